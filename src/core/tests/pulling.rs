//! When the source is pulled, and for which requests: rules 6 and 7.

use super::*;

fn reading_ahead(read_ahead: u64) -> World {
    World::one_way(Limits { read_ahead, ..PLAIN })
}

/// How far the source is pulled in chunks of `chunk` bytes until no more bytes are needed.
fn pulled_to(world: &mut World, chunk: usize) -> u64 {
    while world.wants() {
        world.send(chunk);
    }
    world.source.sent
}

#[test]
fn nothing_is_pulled_before_the_first_read() {
    // Rule 6.
    for read_ahead in [0, 1, MIB as u64, u64::MAX - 1] {
        let mut world = reading_ahead(read_ahead);
        assert!(!world.wants());
        world.spill();
        world.read(5, 0);
        assert!(!world.wants());
    }
}

#[test]
fn a_boundless_read_ahead_pulls_without_being_asked() {
    // Rule 6.
    assert!(reading_ahead(u64::MAX).wants());
}

#[test]
fn the_source_is_pulled_as_far_as_the_furthest_read() {
    // Rule 6.
    let mut world = reading_ahead(0);
    world.read(0, 10);
    let far = world.read_some(995, 500);
    world.read(20, 10);
    assert_eq!(pulled_to(&mut world, 1), 996);
    assert_eq!(world.bytes(&far), source(995, 996));
}

#[test]
fn read_ahead_counts_from_the_furthest_byte_delivered() {
    // Rule 6.
    let mut world = reading_ahead(1000);
    let first = world.read(0, 10);
    assert_eq!(pulled_to(&mut world, 10), 1010);
    assert_eq!(world.bytes(&first), source(0, 10));
    // Bytes that were delivered before do not advance the read-ahead.
    world.read(5, 5);
    assert_eq!(pulled_to(&mut world, 10), 1010);
    world.read(500, 20);
    assert_eq!(pulled_to(&mut world, 10), 1520);
}

#[test]
fn a_run_gets_more_than_a_piece_only_of_what_is_no_news() {
    // Rule 6: bytes that a reader gets ahead of its position must not advance the read-ahead.
    let (block, ahead) = (BLOCK as u64, 4 * BLOCK as u64);
    let mut world = reading_ahead(ahead);
    let run = |world: &mut World, offset| {
        let ask = world.ask(Read { offset, len: ahead, want: Want::Run });
        let bytes = world.bytes(&ask);
        assert_eq!(bytes, source(offset, offset + bytes.len() as u64));
        bytes.len() as u64
    };
    world.read_some(0, 1);
    world.send(4 * BLOCK);
    assert_eq!(run(&mut world, 0), block, "no read got more");
    assert_eq!(pulled_to(&mut world, BLOCK), block + ahead);
    world.read(block, 2 * block + 10);
    assert_eq!(pulled_to(&mut world, BLOCK), 8 * block);
    assert_eq!(run(&mut world, 100), 3 * block + 10 - 100, "up to the furthest delivery");
    assert_eq!(run(&mut world, 3 * block + 9), block - 9, "a piece is given whole");
    assert_eq!(pulled_to(&mut world, BLOCK), 4 * block + ahead);
    world.ends();
    assert_eq!(run(&mut world, 3 * block), ahead, "nothing is left to be pulled");
}

#[test]
fn a_run_from_disk_gets_a_piece_or_bytes_that_were_delivered_before() {
    // Rule 6.
    let (block, ahead) = (BLOCK as u64, 4 * BLOCK as u64);
    let mut world = reading_ahead(ahead);
    world.read(0, 2 * block + 10);
    assert_eq!(pulled_to(&mut world, BLOCK), 7 * block);
    world.spill();
    world.write_all();
    let run = |world: &mut World, offset| {
        let ask = world.ask(Read { offset, len: ahead, want: Want::Run });
        let bytes = world.bytes(&ask);
        assert_eq!(bytes, source(offset, offset + bytes.len() as u64));
        bytes.len() as u64
    };
    assert_eq!(run(&mut world, 100), 2 * block - 90, "up to the furthest delivery");
    assert_eq!(pulled_to(&mut world, BLOCK), 7 * block, "nothing is news");
    assert_eq!(run(&mut world, 2 * block), block);
    assert_eq!(pulled_to(&mut world, BLOCK), 7 * block);
    world.ends();
    assert_eq!(run(&mut world, 2 * block), ahead, "nothing is left to be pulled");
    assert_eq!(run(&mut world, 6 * block + 1), block - 1, "to the end");
}

#[test]
fn read_ahead_counts_what_a_read_of_some_got_and_not_what_it_asked_for() {
    // Rule 6: otherwise a slow reader of long ranges would advance the read-ahead with each request.
    let (block, ahead) = (BLOCK as u64, 4 * BLOCK as u64);
    let mut world = reading_ahead(ahead);
    world.read_some(0, u64::MAX);
    world.send(4 * BLOCK);
    let one = world.read_some(0, u64::MAX);
    assert_eq!(world.bytes(&one).len(), BLOCK);
    assert_eq!(pulled_to(&mut world, BLOCK), block + ahead);
    // The same from disk.
    world.spill();
    world.write_all();
    let two = world.read_some(block, u64::MAX);
    assert_eq!(world.bytes(&two).len(), BLOCK);
    assert_eq!(pulled_to(&mut world, BLOCK), 2 * block + ahead);
}

#[test]
fn an_abandoned_read_is_pulled_for_no_more_and_the_others_notice_nothing() {
    // Rule 7.
    let mut world = reading_ahead(0);
    let (near, far) = (world.read(0, 10), world.read(0, 1000));
    far.abandon();
    assert_eq!(pulled_to(&mut world, 1), 10);
    assert_eq!(world.bytes(&near), source(0, 10));
    assert!(world.is_waiting(&far));
    // Bytes that were pulled stay.
    world.reads(0, 10);
}

#[test]
fn abandoned_reads_do_not_pile_up_while_the_source_stalls() {
    // Rule 7.
    let mut world = reading_ahead(0);
    let living = world.read(0, 1 << 40);
    for n in 0..200_000 {
        world.read(n, 10).abandon();
        assert!(world.kept_requests() <= 128);
    }
    assert!(world.is_waiting(&living) && world.wants());
    world.ends();
    assert_eq!(world.fresh, [living.id]);
}

#[test]
fn abandoned_reads_are_at_most_as_many_as_the_living() {
    // Rule 7: sweeping them out must not visit all other requests each time.
    let mut world = reading_ahead(0);
    let living: Vec<Ask> = (0..1000).map(|n| world.read(n, 10)).collect();
    for n in 0..20_000 {
        world.read(n, 10).abandon();
        assert!(world.kept_requests() <= 3 * living.len());
    }
    world.send(1009);
    assert!(living.iter().all(|read| !world.is_waiting(read)));
}

#[test]
fn no_work_is_done_for_a_read_that_was_abandoned() {
    // Rule 7.
    let mut world = reading_ahead(0);
    let (gone, kept) = (world.read(0, 10), world.read(0, 10));
    gone.abandon();
    world.send(10);
    assert_eq!(world.fresh, [kept.id]);
    assert_eq!(world.kept_requests(), 0);
}

#[test]
fn one_chunk_is_pulled_at_a_time() {
    // Rule 9: the next chunk waits until this one is in memory.
    let mut world = reading_ahead(u64::MAX);
    world.before_actions(|world| {
        world.send(2 * BLOCK);
        assert!(!world.wants());
        assert_eq!(world.progress().loaded, BLOCKS, "the first block is taken in at once");
    });
    assert_eq!(world.progress().loaded, 2 * BLOCK as u64);
    assert!(world.wants());
}
