//! Rules 9 and 27: an endless stream at full speed, on a real file.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use streamspool::{Bytes, StreamBuffer};
use tokio::io::AsyncReadExt;

use crate::child::alone;
use crate::support::source::ready;
use crate::support::{BLOCK, MIB, assert_bytes, assert_data, data};
use crate::{HEAP, runtime};

const DISK: u64 = 16 * MIB as u64;
const CHUNK: usize = 64 * 1024;
/// The bytes of the stream repeat after this many, which is more than the buffer keeps.
const PERIOD: u64 = 64 * MIB as u64;

/// The bytes on disk of the files of this process in `dir`, whose names are gone.
fn allocated(dir: &Path) -> u64 {
    let files = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let ours = files.filter(|file| fs::read_link(file).is_ok_and(|target| target.starts_with(dir)));
    ours.filter_map(|file| fs::metadata(file).ok()).map(|file| file.blocks() * 512).sum()
}

#[test]
fn rule_27_an_endless_stream_at_full_speed_keeps_file_and_memory_flat() {
    if !alone("windows::rule_27_an_endless_stream_at_full_speed_keeps_file_and_memory_flat", "") {
        return;
    }
    runtime().block_on(async {
        // The bytes that everything is compared with are made once, before memory is counted.
        assert_data(&data(0, 1), 0);
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let endless = (0_u64..).map(|n| io::Result::<Bytes>::Ok(data(n * CHUNK as u64 % PERIOD, CHUNK)));
        let builder = StreamBuffer::builder().max_memory(MIB).max_disk(DISK).spill_dir(dir.path());
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let buffer = builder.spawn(futures::stream::iter(endless));
        let (mut reader, mut buf) = (buffer.reader(), vec![0; CHUNK]);
        let (start, mut most, mut played) = (Instant::now(), 0, 0);
        while start.elapsed() < Duration::from_secs(3) || played < 8 * DISK {
            for _ in 0..100 {
                reader.read_exact(&mut buf).await.unwrap();
                assert_data(&buf, played % PERIOD);
                played += CHUNK as u64;
            }
            most = most.max(allocated(dir.path()));
            let progress = buffer.progress();
            assert!(progress.spilled <= DISK, "{progress:?}");
            // The oldest kept bytes are right, unless they are discarded meanwhile.
            let oldest = progress.start + 2 * MIB as u64;
            if let Ok(bytes) = buffer.read(oldest, 1000).await {
                assert_data(&bytes, oldest % PERIOD);
            }
        }
        // The file system may need some blocks for its own records.
        assert!(most > DISK / 2 && most <= DISK + BLOCK as u64, "{most} bytes on disk");
        let heap = HEAP.peak_usage() - before;
        assert!(heap < 8 * MIB, "{heap} bytes of memory");
        crate::tell(&format!("notice: {played} bytes played, {most} on disk, {heap} in memory"));
    });
}

#[test]
fn rule_28_a_lower_limit_frees_the_space_of_the_file_and_keeps_the_other_bytes() {
    if !alone("windows::rule_28_a_lower_limit_frees_the_space_of_the_file_and_keeps_the_other_bytes", "") {
        return;
    }
    runtime().block_on(async {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let builder = StreamBuffer::builder().max_memory(MIB).spill_dir(dir.path());
        let buffer = builder.spawn(ready(DISK, CHUNK));
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
        assert!(allocated(dir.path()) >= DISK);
        for limit in [3 * DISK / 4, DISK / 4, 0] {
            buffer.set_max_disk(limit).await.unwrap();
            let left = allocated(dir.path());
            assert!(left <= limit + BLOCK as u64, "{left} bytes on disk of {limit}");
            let kept = buffer.read(DISK - limit, limit as usize).await.unwrap();
            assert_bytes(&kept, &data(DISK - limit, limit as usize), DISK - limit);
        }
    });
}
