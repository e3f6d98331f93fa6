//! Rules 9 to 11: which bytes are in memory and which in the file.

use std::io;

use streamspool::{StreamBuffer, TempFileStore};

use crate::support::disk::Disk;
use crate::support::scripted_store::Script;
use crate::support::source::{ragged, ready, source};
use crate::support::{
    BLOCK, KIB, MIB, Random, assert_bytes, assert_data, chain, data, on_both_runtimes, settled,
};

/// How far memory may exceed its limit: 1 MiB and a chunk.
const SLACK: u64 = 1024 * 1024;

#[test]
fn rule_9_memory_stays_within_its_budget_whatever_the_chunks() {
    on_both_runtimes(|| async {
        for (max_memory, chunk) in [(0, 1000), (64 * KIB, BLOCK), (MIB, 3 * MIB), (5 * MIB, 64 * KIB)] {
            let size = 12 * MIB as u64;
            let buffer = StreamBuffer::builder().max_memory(max_memory).spawn(ready(size, chunk));
            let mut progress = buffer.subscribe();
            let load = tokio::spawn({
                let buffer = buffer.clone();
                async move { buffer.load().await }
            });
            let most = max_memory as u64 + SLACK;
            while progress.latest().loaded < size {
                progress.changed().await.unwrap();
                let resident = progress.latest().resident;
                assert!(resident <= most, "{resident} bytes in memory, {most} allowed");
            }
            assert_eq!(load.await.unwrap().unwrap(), size);
            assert_bytes(&buffer.read(0, 12 * MIB).await.unwrap(), &data(0, 12 * MIB), 0);
        }
    });
}

#[test]
fn rule_9_the_oldest_full_blocks_are_spilled_first_and_in_order() {
    on_both_runtimes(|| async {
        let script = Script::default();
        let size = 4 * MIB as u64 + 100;
        let buffer = StreamBuffer::builder().max_memory(MIB).store(script.store()).spawn(ragged(size, 3));
        buffer.load().await.unwrap();
        // No more bytes are spilled than needed: the newest mebibyte stays.
        buffer.subscribe().wait_for(|progress| progress.resident <= MIB as u64).await.unwrap();
        let mut next = 0;
        for (offset, len) in script.written() {
            assert_eq!(offset, next, "each byte once, without gaps");
            next += len as u64;
        }
        assert_eq!(next, buffer.progress().spilled);
        assert_eq!(next % BLOCK as u64, 0, "only full blocks");
        assert!(size - next > (MIB - BLOCK) as u64, "and no more than needed");
    });
}

#[test]
fn rule_9_pulling_pauses_while_the_disk_lags() {
    on_both_runtimes(|| async {
        let (disk, script) = (Disk::running(), Script::default());
        disk.hold();
        let size = 16 * MIB as u64;
        let stream = ready(size, 64 * KIB);
        let builder = StreamBuffer::builder().max_memory(MIB).read_ahead(u64::MAX).store(script.store());
        let buffer = disk.serve(builder).spawn(stream);
        buffer.subscribe().wait_for(|progress| progress.resident > MIB as u64).await.unwrap();
        // For each reply the actor takes a turn, in which it could pull more.
        for _ in 0..1000 {
            buffer.read(0, 1).await.unwrap();
        }
        let progress = buffer.progress();
        assert!(progress.resident <= MIB as u64 + SLACK, "{progress:?}");
        assert_eq!(progress.spilled, 0);
        // Rule 10: bytes can be read while they are written.
        let loaded = progress.loaded as usize;
        assert_bytes(&buffer.read(0, loaded).await.unwrap(), &data(0, loaded), 0);

        disk.go_on();
        assert_eq!(buffer.load().await.unwrap(), size);
        assert_bytes(&buffer.read(0, 16 * MIB).await.unwrap(), &data(0, 16 * MIB), 0);
    });
}

#[test]
fn rule_9_unlimited_memory_never_touches_the_disk() {
    on_both_runtimes(|| async {
        let script = Script::default();
        let size = 8 * MIB as u64;
        let buffer =
            StreamBuffer::builder().max_memory(usize::MAX).store(script.store()).spawn(ready(size, 99_999));
        assert_eq!(buffer.load().await.unwrap(), size);
        assert_bytes(&buffer.read(0, 8 * MIB).await.unwrap(), &data(0, 8 * MIB), 0);
        assert_eq!(script.written(), []);
        assert_eq!(buffer.progress().resident, size);
    });
}

#[test]
fn rule_10_bytes_are_readable_before_while_and_after_they_are_written() {
    on_both_runtimes(|| async {
        let (disk, script) = (Disk::running(), Script::default());
        let size = 3 * MIB as u64;
        let buffer = disk.serve(StreamBuffer::builder().store(script.store())).spawn(ready(size, 10_000));
        buffer.load().await.unwrap();
        let check = async |when: &str| {
            for offset in (0..size - 5000).step_by(100_003) {
                assert_eq!(
                    buffer.read(offset, 5000).await.unwrap(),
                    data(offset, 5000),
                    "{when}, at {offset}"
                );
            }
        };
        check("before").await;
        disk.hold();
        let spill = tokio::spawn({
            let buffer = buffer.clone();
            async move { buffer.spill().await }
        });
        check("while").await;
        assert!(!spill.is_finished());
        disk.go_on();
        spill.await.unwrap().unwrap();
        assert_eq!(buffer.progress().resident, 0);
        check("after").await;
    });
}

#[test]
fn rule_1_bytes_read_back_stay_unchanged_while_others_are_read() {
    on_both_runtimes(|| async {
        let size = 3 * MIB as u64;
        let buffer = StreamBuffer::spawn(ready(size, 64 * KIB));
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
        let (mut random, mut held) = (Random(1), Vec::new());
        for n in 0..2000 {
            // A buffer that its caller has dropped is reused for reads of the same length.
            let len = [4096, 4000, 4500, 100, 20_000, BLOCK][(n / 100) % 6];
            let offset = random.below(size - len as u64);
            let bytes = buffer.read(offset, len).await.unwrap();
            assert_bytes(&bytes, &data(offset, len), offset);
            if random.below(3) == 0 {
                held.push((offset, bytes));
            }
        }
        for (offset, bytes) in held {
            assert_data(&bytes, offset);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn rule_12_a_spill_in_the_middle_of_a_block_keeps_every_byte() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(0).spawn(stream);
    let mut size = 0;
    // Steps of all sizes, so that spills end at, before and after the edges of blocks.
    for step in [1, 10, 5000, BLOCK - 5011, 1, BLOCK, BLOCK + 1, 3000, 70_000, 600_000, 3] {
        feed.chunk(step);
        size += step;
        buffer.read(size as u64 - 1, 1).await.unwrap();
        buffer.spill().await.unwrap();
        let progress = buffer.progress();
        assert_eq!((progress.resident, progress.spilled), (0, size as u64));
        assert_bytes(&buffer.read(0, size).await.unwrap(), &data(0, size), 0);
    }
    feed.end();
    assert_eq!(buffer.load().await.unwrap(), size as u64);
}

#[tokio::test(start_paused = true)]
async fn rule_12_a_spill_of_no_bytes_is_done_at_once() {
    let (mut feed, stream) = source();
    let script = Script::default();
    let builder = Disk::running().serve(StreamBuffer::builder().store(script.store()));
    let buffer = builder.spawn(stream);
    buffer.spill().await.unwrap();
    feed.chunk(10);
    buffer.read(0, 10).await.unwrap();
    buffer.spill().await.unwrap();
    buffer.spill().await.unwrap();
    assert_eq!(script.written(), [(0, 10)]);
}

#[test]
fn rule_12_spills_while_bytes_arrive_keep_every_byte() {
    on_both_runtimes(|| async {
        let size = 6 * MIB as u64;
        let buffer = StreamBuffer::builder().read_ahead(u64::MAX).spawn(ragged(size, 11));
        let spills = tokio::spawn({
            let buffer = buffer.clone();
            async move {
                while buffer.progress().loaded < size {
                    buffer.spill().await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut offset = 0;
        while offset < size {
            let bytes = buffer.read_some(offset, 100_000).await.unwrap();
            assert_data(&bytes, offset);
            offset += bytes.len() as u64;
        }
        spills.await.unwrap();
        assert_bytes(&buffer.read(0, 6 * MIB).await.unwrap(), &data(0, 6 * MIB), 0);
    });
}

#[tokio::test(start_paused = true)]
async fn rule_11_the_file_is_made_when_first_needed_and_has_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let names = || dir.path().read_dir().unwrap().count();
    let buffer = StreamBuffer::builder().max_memory(MIB).spill_dir(dir.path()).spawn(ready(4 << 20, BLOCK));
    // This stream fits into memory and needs no file: it loads, although the directory does not exist.
    let small = StreamBuffer::builder().spill_dir(dir.path().join("none")).spawn(ready(MIB as u64, 1000));
    assert_eq!(small.load().await.unwrap(), MIB as u64);
    assert_eq!(small.read(5, 10).await.unwrap(), data(5, 10));

    buffer.load().await.unwrap();
    buffer.spill().await.unwrap();
    assert_eq!(buffer.progress().spilled, 4 << 20);
    assert_eq!(names(), 0, "the file has no name");
    assert_bytes(&buffer.read(0, 4 << 20).await.unwrap(), &data(0, 4 << 20), 0);
}

/// The permissions of the unnamed files below `dir` that this process has open.
#[cfg(target_os = "linux")]
fn unnamed_files(dir: &std::path::Path) -> Vec<u32> {
    use std::os::unix::fs::MetadataExt;
    let links = std::fs::read_dir("/proc/self/fd").unwrap().map(|link| link.unwrap().path());
    let unnamed = links.filter(|link| {
        let target = std::fs::read_link(link).unwrap_or_default();
        target.starts_with(dir) && target.to_string_lossy().contains("(deleted)")
    });
    unnamed.map(|link| std::fs::metadata(link).unwrap().mode() & 0o777).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn rules_11_and_17_the_file_is_private_and_gone_with_the_last_handle() {
    on_both_runtimes(|| async {
        let dir = tempfile::tempdir().unwrap();
        let (buffer, actor) = StreamBuffer::builder().spill_dir(dir.path()).build(ready(4 << 20, BLOCK));
        let actor = tokio::spawn(actor.run());
        buffer.load().await.unwrap();
        assert_eq!(unnamed_files(dir.path()), [0_u32; 0]);
        buffer.spill().await.unwrap();
        assert_eq!(unnamed_files(dir.path()), [0o600]);
        let reader = buffer.reader();
        drop(buffer);
        drop(reader);
        actor.await.unwrap();
        assert_eq!(unnamed_files(dir.path()), [0_u32; 0]);
    });
}

#[tokio::test(start_paused = true)]
async fn rule_16_a_directory_that_is_not_there_is_named_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let buffer = Disk::running()
        .serve(StreamBuffer::builder().store(TempFileStore::in_dir(&missing)))
        .spawn(ready(1000, 100));
    buffer.load().await.unwrap();
    let error = buffer.spill().await.unwrap_err();
    assert!(chain(&error)[1].contains(&missing.display().to_string()), "{error:?}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
    settled().await;
    assert_bytes(&buffer.read(0, 1000).await.unwrap(), &data(0, 1000), 0);
    // Once the directory exists, the same request succeeds.
    std::fs::create_dir(&missing).unwrap();
    buffer.spill().await.unwrap();
    assert_bytes(&buffer.read(0, 1000).await.unwrap(), &data(0, 1000), 0);
}
