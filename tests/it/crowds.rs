//! Rule 25 with more readers than streams: each opening brings many bytes, and all streams are in use.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use streamspool::{BufferHandle, OpenAt, Opened, StreamBuffer, Version, source_fn};
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::{KIB, MIB, assert_data, data};

/// The resource. Its readers are 8 MiB apart.
const SIZE: u64 = 64 * MIB as u64;
const APART: u64 = 8 * MIB as u64;

/// The time to the first byte, and the bytes per second of each stream after it.
const LATENCY: Duration = Duration::from_millis(30);
const RATE: u64 = 2 * MIB as u64;
const CHUNK: u64 = 16 * KIB as u64;

/// A buffer on a paused clock with two streams, and the number of its openings.
fn buffer() -> (BufferHandle, Arc<AtomicU64>) {
    let openings = Arc::<AtomicU64>::default();
    let counter = Arc::clone(&openings);
    let source = source_fn(move |at: OpenAt| {
        counter.fetch_add(1, Ordering::Relaxed);
        async move {
            sleep(LATENCY).await;
            let end = at.end.unwrap_or(SIZE);
            let stream =
                futures::stream::unfold((at.offset, Instant::now()), move |(offset, last)| async move {
                    let len = CHUNK.min(end - offset);
                    if len == 0 {
                        return None;
                    }
                    let due = (last + time(len)).max(Instant::now());
                    sleep_until(due).await;
                    Some((io::Result::Ok(data(offset, len as usize)), (offset + len, due)))
                });
            Ok(Opened::new(stream).size(SIZE).version(Version::strong("v1")))
        }
    });
    // A paused clock does not wait for the disk.
    (StreamBuffer::builder().max_memory(usize::MAX).streams(2).spawn_source(source), openings)
}

/// How long a stream takes for so many bytes.
fn time(bytes: u64) -> Duration {
    Duration::from_nanos(bytes * 1_000_000_000 / RATE)
}

/// Reads `len` bytes from `start` on by chunks.
async fn read(buffer: &BufferHandle, start: u64, len: u64) {
    let pieces: Vec<_> = buffer.chunks(start..start + len).try_collect().await.unwrap();
    let bytes = pieces.concat();
    assert_eq!(bytes.len() as u64, len);
    assert_data(&bytes, start);
}

/// Plays `len` bytes from `start` on at 200 KB/s. Returns its longest wait that began after the first second.
async fn play(buffer: &BufferHandle, start: u64, len: u64) -> Duration {
    let began = Instant::now();
    let mut chunks = buffer.chunks(start..start + len);
    let (mut taken, mut longest) = (0, Duration::ZERO);
    while taken < len {
        // 64 KiB are left to play.
        let played = Duration::from_micros(taken.saturating_sub(64 * KIB as u64) * 5);
        sleep_until(began + played).await;
        let asked = Instant::now();
        let piece = chunks.next().await.unwrap().unwrap();
        assert_data(&piece, start + taken);
        taken += piece.len() as u64;
        if asked - began >= Duration::from_secs(1) {
            longest = longest.max(asked.elapsed());
        }
    }
    longest
}

/// So many readers of `len` bytes each share two streams.
async fn rule_25_readers_share(readers: u64, len: u64) {
    let (buffer, openings) = buffer();
    let start = Instant::now();
    join_all((0..readers).map(|reader| read(&buffer, reader * APART, len))).await;
    let (took, needed) = (start.elapsed(), readers * len);
    let ideal = LATENCY + time(needed) / 2;
    assert!(took <= ideal.mul_f64(1.25), "{took:?}, where the streams can do it in {ideal:?}");
    let (openings, most) = (openings.load(Ordering::Relaxed), needed / (512 * KIB as u64) + readers);
    assert!(openings <= most, "{openings} openings, more than {most}");
}

#[tokio::test(start_paused = true)]
async fn rule_25_three_readers_take_turns_on_two_streams() {
    rule_25_readers_share(3, 2 * MIB as u64).await;
}

#[tokio::test(start_paused = true)]
async fn rule_25_eight_readers_take_turns_on_two_streams() {
    rule_25_readers_share(8, MIB as u64).await;
}

#[tokio::test(start_paused = true)]
async fn rule_25_eight_viewers_get_their_full_rate_from_two_streams() {
    let (buffer, openings) = buffer();
    let start = Instant::now();
    let viewers = (0..8).map(|viewer| play(&buffer, viewer * APART, 4_000_000));
    let longest = join_all(viewers).await.into_iter().max().unwrap();
    // 4 MB at 200 KB/s. The last piece may come early.
    assert!(start.elapsed() <= Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(longest <= LATENCY * 2, "a wait of {longest:?}");
    let openings = openings.load(Ordering::Relaxed);
    assert!(openings <= 8 * 4_000_000 / (512 * KIB as u64) + 8, "{openings} openings");
}

#[tokio::test(start_paused = true)]
async fn rule_25_a_reader_that_seeks_does_not_wait_for_a_turn_of_a_stream_that_reads_ahead() {
    let (buffer, _) = buffer();
    for viewer in 0..2 {
        let buffer = buffer.clone();
        tokio::spawn(async move { play(&buffer, viewer * APART, 4_000_000).await });
    }
    sleep(Duration::from_secs(3)).await;
    for place in [40, 29, 57, 33, 50] {
        let asked = Instant::now();
        let offset = place * MIB as u64;
        assert_data(&buffer.read(offset, 1).await.unwrap(), offset);
        let (took, most) = (asked.elapsed(), 2 * (LATENCY + time(CHUNK)));
        assert!(took <= most, "{took:?} for the byte at {offset}");
        sleep(Duration::from_millis(400)).await;
    }
}
