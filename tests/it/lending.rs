//! The actor lends slices of the store, and callers read them themselves: rules 2, 4, 6, 16, 17, 27 and 29.

use std::io::{ErrorKind, SeekFrom};

use futures::StreamExt;
use streamspool::{BufferHandle, Error, Opened, StreamBuffer, Version, source_fn};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt};

use crate::support::scripted_store::{Access, Act, Script};
use crate::support::source::ready;
use crate::support::{BLOCK, Random, assert_bytes, assert_data, data, on_both_runtimes, poll_once};

/// The size of the resource.
const SIZE: u64 = 12 * BLOCK as u64;

/// Whether reads that must not wait find nothing.
fn set_cold(script: &Script, is_cold: bool) {
    script.tries(move |_| if is_cold { Act::fails(ErrorKind::WouldBlock) } else { Act::WORKS });
}

/// Reads by callers, and reads on disk threads.
fn counts(script: &Script) -> (usize, usize) {
    (script.look(|seen| seen.read_at_once), script.count(Access::Read))
}

/// A buffer whose bytes are all in the store.
async fn spilled(script: &Script) -> BufferHandle {
    let buffer = StreamBuffer::builder().store(script.store()).spawn(ready(SIZE, BLOCK / 4));
    buffer.load().await.unwrap();
    buffer.spill().await.unwrap();
    buffer
}

/// A stream of the rest of the resource.
fn whole_from(offset: u64) -> Opened {
    let chunks = (offset..SIZE).step_by(1000).map(|from| Ok(data(from, 1000.min((SIZE - from) as usize))));
    Opened::new(futures::stream::iter(chunks)).size(SIZE).version(Version::strong("v1"))
}

/// A buffer that keeps two blocks, all in the store, and has received the first three.
async fn window(script: &Script, again: bool) -> BufferHandle {
    script.reuse_places();
    let builder = StreamBuffer::builder().store(script.store());
    let builder = builder.max_memory(0).max_disk(2 * BLOCK as u64).read_ahead(0);
    let buffer = if again {
        builder.spawn_source(source_fn(|at| async move { Ok(whole_from(at.offset)) }))
    } else {
        builder.spawn(ready(SIZE, 1000))
    };
    assert_data(&buffer.read(0, 3 * BLOCK).await.unwrap(), 0);
    // The chunk that completes the third block begins the next one, which stays in memory.
    buffer.subscribe().wait_for(|now| now.resident < 2000).await.unwrap();
    buffer
}

#[tokio::test]
async fn rule_4_callers_copy_spilled_bytes_themselves() {
    let script = Script::cached();
    let (buffer, actor) = StreamBuffer::builder().store(script.store()).build(ready(SIZE, BLOCK));
    let mut actor = Box::pin(actor.run());
    let spill = async {
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
    };
    tokio::select! {
        () = &mut actor => panic!("the actor ended"),
        () = spill => {}
    }
    let mut reads: Vec<_> = (0..50).map(|n| Box::pin(buffer.read(n * 1000, 9 * BLOCK))).collect();
    for read in &mut reads {
        assert!(poll_once(read).is_pending());
    }
    assert!(poll_once(&mut actor).is_pending());
    assert_eq!(counts(&script), (0, 0), "the actor copies nothing");
    for (n, read) in (0..).zip(reads) {
        // The actor is not polled any more.
        assert_bytes(&read.await.unwrap(), &data(n * 1000, 9 * BLOCK), n * 1000);
    }
    assert_eq!(counts(&script).1, 0);
}

#[test]
fn rule_16_bytes_that_cannot_be_read_without_waiting_come_from_a_disk_thread() {
    on_both_runtimes(|| async {
        let script = Script::cached();
        let buffer = spilled(&script).await;
        set_cold(&script, true);
        assert_data(&buffer.read(5, 2 * BLOCK).await.unwrap(), 5);
        assert_data(&buffer.read_some(7, 100).await.unwrap(), 7);
        let mut buf = vec![0; 5000];
        assert_eq!(buffer.read_into(9, &mut buf).await.unwrap(), 5000);
        assert_data(&buf, 9);
        let mut reader = buffer.reader_at(11);
        reader.read_exact(&mut buf).await.unwrap();
        assert_data(&buf, 11);
        let chunk = buffer.chunks(13..5000).next().await.unwrap().unwrap();
        assert_data(&chunk, 13);
        assert_eq!(counts(&script), (0, 5));
    });
}

#[tokio::test]
async fn rule_29_a_slice_whose_place_was_used_again_is_not_taken_for_valid() {
    for again in [false, true] {
        for moves_on in [false, true] {
            let script = Script::cached();
            let buffer = window(&script, again).await;
            let offset = 2 * BLOCK as u64 + 77;
            assert!(buffer.ranges().await.unwrap().spilled.iter().any(|range| range.contains(&offset)));
            let mut read = Box::pin(buffer.read(offset, 10_000));
            let mut reader = buffer.reader_at(offset);
            let mut buf = vec![0; 10_000];
            let mut second = Box::pin(reader.read_exact(&mut buf));
            assert!(poll_once(&mut read).is_pending() && poll_once(&mut second).is_pending());
            // After this round trip, the slices were lent.
            buffer.read(0, 0).await.unwrap();
            if moves_on {
                assert_data(&buffer.read(5 * BLOCK as u64, 3 * BLOCK).await.unwrap(), 5 * BLOCK as u64);
                buffer.subscribe().wait_for(|now| now.resident < 2000).await.unwrap();
            }
            let (read, second) = (read.await, second.await.map(|_| ()));
            if moves_on && !again {
                let error = read.unwrap_err();
                assert_eq!(error.kind(), streamspool::ErrorKind::Discarded);
                assert!(error.kept_from().unwrap() > offset);
                let second = second.unwrap_err();
                assert_eq!(Error::of(&second).unwrap().kind(), streamspool::ErrorKind::Discarded);
            } else {
                assert_bytes(&read.unwrap(), &data(offset, 10_000), offset);
                second.unwrap();
                assert_data(&buf, offset);
            }
        }
    }
}

#[tokio::test]
async fn rule_17_a_slice_that_was_not_read_yet_keeps_no_store() {
    let script = Script::cached();
    let buffer = spilled(&script).await;
    let mut reader = buffer.reader();
    let mut read = Box::pin(buffer.read(5, 1000));
    assert!(poll_once(&mut read).is_pending());
    assert_eq!(reader.read_u8().await.unwrap(), data(0, 1)[0]);
    buffer.close();
    buffer.closed().await;
    while !script.is_dropped() {
        tokio::task::yield_now().await;
    }
    assert_eq!(read.await.unwrap_err().kind(), streamspool::ErrorKind::Closed);
    // The reader has some bytes at hand, and a slice of more.
    let error = reader.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(Error::of(&error).unwrap().kind(), streamspool::ErrorKind::Closed);
}

#[test]
fn rules_1_and_2_a_reader_of_spilled_bytes_gets_the_right_ones_after_any_jump() {
    on_both_runtimes(|| async {
        let script = Script::cached();
        let buffer = spilled(&script).await;
        let (mut reader, mut random) = (buffer.reader(), Random(7));
        let mut position = 0_u64;
        for _ in 0..3000 {
            set_cold(&script, random.below(5) == 0);
            if random.below(3) == 0 {
                // Near, far, and past the end.
                position = match random.below(4) {
                    0 | 1 => position.saturating_add_signed(random.below(100_000) as i64 - 50_000),
                    2 => random.below(SIZE + 10),
                    _ => SIZE - random.below(20_000),
                };
                reader.seek(SeekFrom::Start(position)).await.unwrap();
            }
            let left = SIZE.saturating_sub(position) as usize;
            if random.below(3) == 0 {
                let bytes = reader.fill_buf().await.unwrap();
                assert_eq!(bytes.is_empty(), left == 0);
                let taken = bytes.len().min(random.below(100_000) as usize);
                assert_data(&bytes[..taken], position);
                reader.consume(taken);
                position += taken as u64;
            } else {
                let most = [10, 4096, 70_000, 3 * BLOCK as u64][random.below(4) as usize];
                let mut buf = vec![0; 1 + random.below(most) as usize];
                let read = reader.read(&mut buf).await.unwrap();
                assert!(read <= left && (read > 0 || left == 0));
                assert_data(&buf[..read], position);
                position += read as u64;
            }
            assert_eq!(reader.position(), position);
        }
        let (by_callers, on_threads) = counts(&script);
        assert!(by_callers > 100 && on_threads > 100, "{by_callers} {on_threads}");
    });
}

#[tokio::test]
async fn rule_1_chunks_of_spilled_bytes_are_right_wherever_they_come_from() {
    let script = Script::cached();
    let buffer = spilled(&script).await;
    let (mut chunks, mut at, mut is_cold) = (buffer.chunks(1000..SIZE - 1000), 1000, false);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        assert_data(&chunk, at);
        at += chunk.len() as u64;
        assert_eq!(chunks.position(), at);
        is_cold = !is_cold && at % 3 == 0;
        set_cold(&script, is_cold);
    }
    assert_eq!(at, SIZE - 1000);
    let (by_callers, on_threads) = counts(&script);
    assert!(by_callers > 10 && on_threads > 0, "{by_callers} {on_threads}");
}

#[test]
fn rule_27_read_ahead_discards_no_bytes_that_were_lent_and_not_read_yet() {
    on_both_runtimes(|| async {
        let block = BLOCK as u64;
        for by in 0..3 {
            let script = Script::cached();
            script.reuse_places();
            let builder = StreamBuffer::builder().store(script.store());
            let builder = builder.max_memory(0).max_disk(4 * block).read_ahead(8 * block);
            let buffer = builder.spawn(ready(SIZE, BLOCK / 4));
            buffer.load_range(0..4 * block).await.unwrap();
            buffer.spill().await.unwrap();
            // There is one consumer, and it is in order.
            let mut at = 0;
            match by {
                0 => {
                    let (mut reader, mut buf) = (buffer.reader(), vec![0; 10_000]);
                    loop {
                        let read = reader.read(&mut buf).await.unwrap();
                        assert_data(&buf[..read], at);
                        at += read as u64;
                        if read == 0 {
                            break;
                        }
                    }
                }
                1 => {
                    let mut chunks = buffer.chunks(..);
                    while let Some(chunk) = chunks.next().await {
                        let chunk = chunk.unwrap();
                        assert_data(&chunk, at);
                        at += chunk.len() as u64;
                    }
                }
                _ => {
                    while at < SIZE {
                        let bytes = buffer.read(at, 100_000).await.unwrap();
                        assert_data(&bytes, at);
                        at += bytes.len() as u64;
                    }
                }
            }
            assert_eq!(at, SIZE);
        }
    });
}

/// Polls a loop of reads until it ends. Returns how often it has let other tasks run.
async fn turns(reads: impl Future<Output = ()>) -> u64 {
    let (mut reads, mut polls) = (Box::pin(reads), 0);
    while poll_once(&mut reads).is_pending() {
        polls += 1;
        assert!(polls < 10_000, "no end to it");
        tokio::task::yield_now().await;
    }
    polls
}

#[tokio::test]
async fn rule_4_readers_and_chunks_of_spilled_bytes_let_other_tasks_run() {
    let script = Script::cached();
    let buffer = spilled(&script).await;
    let (mut bytes, mut reader) = (Vec::new(), buffer.reader());
    let polls = turns(async {
        reader.read_to_end(&mut bytes).await.unwrap();
    });
    let polls = polls.await;
    assert_bytes(&bytes, &data(0, SIZE as usize), 0);
    assert!(polls >= SIZE / (512 * 1024), "{polls} polls for {SIZE} bytes");

    let polls = turns(async {
        assert!(buffer.chunks(..).all(async |chunk| chunk.is_ok()).await);
    });
    let polls = polls.await;
    assert!(polls >= SIZE / (512 * 1024), "{polls} polls for {SIZE} bytes");
}

#[tokio::test]
async fn rule_16_only_bytes_that_are_not_cached_come_from_a_disk_thread() {
    let script = Script::cached();
    let buffer = spilled(&script).await;
    assert_data(&buffer.read(0, 10).await.unwrap(), 0);
    set_cold(&script, true);
    let before = counts(&script);
    for n in 0..20 {
        assert_data(&buffer.read(n * 5000, 4000).await.unwrap(), n * 5000);
    }
    assert_eq!(counts(&script), (before.0, before.1 + 20));
    set_cold(&script, false);
    assert_data(&buffer.read(0, 10).await.unwrap(), 0);
    assert_eq!(counts(&script), (before.0 + 1, before.1 + 20));
}

#[test]
fn rule_6_each_read_near_the_end_moves_the_read_ahead() {
    // A read pulls more, also when all is spilled.
    on_both_runtimes(|| async {
        let ahead = 2 * BLOCK as u64;
        let builder = StreamBuffer::builder().store(Script::cached().store()).read_ahead(ahead);
        let buffer = builder.spawn(ready(SIZE, BLOCK / 4));
        for mut at in 0..SIZE / 1000 - 1 {
            at *= 1000;
            buffer.load_range(0..at + 1000).await.unwrap();
            if at % 7000 == 0 {
                buffer.spill().await.unwrap();
            }
            assert_data(&buffer.read(at, 1000).await.unwrap(), at);
            let expected = (at + 1000 + ahead).min(SIZE);
            buffer.subscribe().wait_for(|now| now.loaded >= expected).await.unwrap();
        }
    });
}

#[tokio::test]
async fn rule_2_a_reader_that_waits_gets_its_reply_though_the_bytes_are_spilled_meanwhile() {
    let script = Script::cached();
    let buffer = StreamBuffer::builder().store(script.store()).spawn(ready(SIZE, BLOCK));
    let (mut reader, mut chunks) = (buffer.reader(), buffer.chunks(..));
    let (mut buf, mut more) = (vec![0; 100], vec![0; 3 * BLOCK]);
    assert!(poll_once(&mut Box::pin(reader.read_exact(&mut buf))).is_pending());
    assert!(poll_once(&mut Box::pin(chunks.next())).is_pending());
    buffer.load().await.unwrap();
    buffer.spill().await.unwrap();
    let by_callers = counts(&script).0;
    reader.read_exact(&mut buf).await.unwrap();
    assert_data(&buf, 0);
    let chunk = chunks.next().await.unwrap().unwrap();
    assert_data(&chunk, 0);
    assert_eq!(counts(&script).0, by_callers, "the replies had the bytes");
    reader.read_exact(&mut more).await.unwrap();
    assert_data(&more, 100);
    assert_bytes(&chunks.next().await.unwrap().unwrap()[..10], &data(chunk.len() as u64, 10), 0);
}

#[tokio::test]
async fn rule_16_a_store_that_cannot_read_at_once_any_more_is_not_asked_again() {
    let script = Script::cached();
    let buffer = spilled(&script).await;
    assert_data(&buffer.read(0, 10).await.unwrap(), 0);
    script.tries(|_| Act::fails(ErrorKind::Unsupported));
    let before = (script.count(Access::Try), script.count(Access::Read));
    for n in 0..20 {
        assert_data(&buffer.read(n * 5000, 4000).await.unwrap(), n * 5000);
    }
    assert_eq!((script.count(Access::Try), script.count(Access::Read)), (before.0 + 1, before.1 + 20));
}
