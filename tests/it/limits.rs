//! Rules 27 and 28: limits on disk, and endless streams.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt};
use streamspool::{Bytes, Error, ErrorKind, SeekStore, SpillStore, State, StreamBuffer, TempFileStore};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::source::ready;
use crate::support::{BLOCK, MIB, assert_bytes, assert_data, data, on_both_runtimes, poll_once};

/// One second of a radio of 128 kbit/s.
const SECOND: usize = 16_000;
/// The bytes of the radio repeat after this many, which is more than the buffer keeps.
const PERIOD: u64 = 4000 * SECOND as u64;
/// Ten minutes.
const WINDOW: usize = 600 * SECOND;

/// A radio that sends one chunk per second.
fn radio(seconds: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let start = Instant::now();
    futures::stream::unfold(0, move |second| async move {
        if second == seconds {
            return None;
        }
        sleep_until(start + Duration::from_secs(second)).await;
        Some((Ok(data(second * SECOND as u64 % PERIOD, SECOND)), second + 1))
    })
}

/// Fails unless these are the bytes of the radio from `offset` on.
fn assert_radio(bytes: &[u8], offset: u64) {
    let at = offset % PERIOD;
    let (first, second) = bytes.split_at(bytes.len().min((PERIOD - at) as usize));
    assert_data(first, at);
    assert_data(second, 0);
}

#[tokio::test]
async fn rules_15_and_27_a_stream_whose_first_bytes_are_discarded_has_ended_at_its_end() {
    const SIZE: u64 = 10 * MIB as u64;
    let chunks = (0..SIZE / BLOCK as u64).map(|block| Ok(data(block * BLOCK as u64, BLOCK)));
    let stream = futures::stream::iter(chunks);
    let buffer = StreamBuffer::builder().max_memory(MIB).max_disk(MIB as u64).spawn(stream);
    let mut updates = buffer.subscribe();
    let mut chunks = buffer.chunks(..);
    let mut at = 0;
    while let Some(piece) = chunks.next().await {
        let piece = piece.unwrap();
        assert_data(&piece, at);
        at += piece.len() as u64;
    }
    assert_eq!(at, SIZE);
    let progress = updates.wait_for(|progress| progress.state.is_final()).await.unwrap();
    assert_eq!((progress.state, progress.size, progress.streams), (State::Ended, Some(SIZE), 0));
    assert!(progress.start > 0 && progress.start < progress.frontier);
    // Kept bytes stay readable, and so does the end.
    let kept = buffer.read(progress.start, SIZE as usize).await.unwrap();
    assert_eq!(progress.start + kept.len() as u64, SIZE);
    assert_data(&kept, progress.start);
    assert_eq!(buffer.read(SIZE, 1).await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn rule_27_a_day_of_radio_keeps_its_last_ten_minutes() {
    const DAY: u64 = 24 * 60 * 60;
    // A paused clock does not wait for disk threads, so the window is in memory.
    let buffer = StreamBuffer::builder().max_memory(WINDOW).max_disk(0).spawn(radio(DAY));
    // This reader listens at half speed. The bytes at its position are discarded again and again.
    let slow = tokio::spawn({
        let mut reader = buffer.reader();
        async move {
            let (mut skips, mut buf) = (0, vec![0; SECOND]);
            loop {
                let position = reader.position();
                match reader.read(&mut buf).await {
                    Ok(0) => return (skips, position),
                    Ok(read) => assert_radio(&buf[..read], position),
                    Err(error) => {
                        let cause = Error::of(&error).unwrap();
                        assert_eq!((cause.kind(), cause.offset()), (ErrorKind::Discarded, position));
                        let skipped = reader.skip_discarded();
                        // More may be discarded since the error was made.
                        assert!(Some(position + skipped) >= cause.kept_from());
                        assert!(skipped > 0);
                        assert_eq!(reader.position(), position + skipped);
                        skips += 1;
                    }
                }
                sleep(Duration::from_secs(2)).await;
            }
        }
    });
    let (mut live, mut buf) = (buffer.reader(), vec![0; SECOND]);
    for second in 0..DAY {
        live.read_exact(&mut buf).await.unwrap();
        assert_radio(&buf, second * SECOND as u64);
        if second % 600 == 0 {
            let progress = buffer.progress();
            assert!(progress.resident <= (WINDOW + MIB + SECOND) as u64, "{progress:?}");
            assert_eq!((progress.spilled, progress.start + progress.loaded), (0, progress.frontier));
            // All but the block that leaves memory, and the empty rest of the block that is being filled.
            let kept = (second * SECOND as u64).min((WINDOW - 2 * BLOCK) as u64);
            assert!(progress.loaded >= kept, "{progress:?}");
            // The oldest kept bytes are right.
            let oldest = buffer.read(progress.start, 100).await.unwrap();
            assert_radio(&oldest, progress.start);
        }
    }
    assert_eq!(live.read(&mut buf).await.unwrap(), 0);
    let progress = buffer.progress();
    assert_eq!((progress.size, progress.state), (Some(DAY * SECOND as u64), State::Ended));
    let (skips, position) = slow.await.unwrap();
    assert!(skips > 10, "{skips}");
    assert_eq!(position, DAY * SECOND as u64);
}

#[tokio::test]
async fn rule_27_errors_of_a_reader_name_the_first_kept_byte() {
    let size = 2 * MIB as u64;
    let buffer = StreamBuffer::builder().max_memory(0).max_disk(0).spawn(ready(size, 64 * 1024));
    let mut reader = buffer.reader_at(5);
    assert_eq!(reader.skip_discarded(), 0, "nothing is discarded yet");
    buffer.read(size - 1, 1).await.unwrap();
    let start = buffer.progress().start;
    assert!(start > MIB as u64, "{start}");
    let error = reader.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Other);
    let text = format!("the byte at offset 5 was discarded: the first byte that is kept is at {start}");
    assert_eq!(error.to_string(), text);
    // The error stays the same until the caller moves the reader, by a seek or by `skip_discarded`.
    assert_eq!(reader.read(&mut [0; 10]).await.unwrap_err().to_string(), text);
    assert_eq!((reader.skip_discarded(), reader.position()), (start - 5, start));
    assert_eq!(reader.skip_discarded(), 0);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
    assert_bytes(&rest, &data(start, (size - start) as usize), start);
    reader.seek(io::SeekFrom::Start(start - 1)).await.unwrap();
    assert_eq!(Error::of(&reader.read_u8().await.unwrap_err()).unwrap().kept_from(), Some(start));
    let error = buffer.slice(3..start).await.unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Discarded, 3));
}

/// A store that notes the end of the last byte that was written to it.
struct Noted<S>(S, Arc<AtomicU64>);

impl<S: SpillStore> SpillStore for Noted<S> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.1.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
        self.0.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read_at(offset, buf)
    }
}

/// A stream of 16 MiB plays through a store of five blocks. The kept bytes are readable.
async fn plays_within_a_limit(store: impl SpillStore) {
    let (size, limit) = (16 * MIB as u64, 5 * BLOCK as u64);
    let end = Arc::<AtomicU64>::default();
    let buffer = StreamBuffer::builder()
        .max_memory(BLOCK)
        .max_disk(limit + 77)
        .store(Noted(store, Arc::clone(&end)))
        .spawn(ready(size, 50_000));
    let mut reader = buffer.reader();
    let mut buf = vec![0; 100_000];
    loop {
        let at = reader.position();
        let read = reader.read(&mut buf).await.unwrap();
        assert_data(&buf[..read], at);
        assert!(buffer.progress().spilled <= limit);
        if read == 0 {
            break;
        }
    }
    let start = buffer.progress().start;
    assert!(start + limit <= size && start + 4 * limit >= size, "{start}");
    let kept = buffer.read(start, usize::MAX).await.unwrap();
    assert_bytes(&kept, &data(start, (size - start) as usize), start);
    assert_eq!(buffer.read(start - 1, 1).await.unwrap_err().kind(), ErrorKind::Discarded);
    assert_eq!(end.load(Ordering::Relaxed), limit, "slots are reused");
}

#[test]
fn rule_27_a_cursor_stays_within_the_limit() {
    on_both_runtimes(|| plays_within_a_limit(SeekStore::new(Cursor::new(Vec::new()))));
}

#[test]
fn rule_27_a_temporary_file_stays_within_the_limit() {
    on_both_runtimes(|| plays_within_a_limit(TempFileStore::new()));
}

#[test]
fn rule_28_the_limit_on_disk_changes_while_a_real_file_is_read() {
    on_both_runtimes(|| async {
        let size = 8 * MIB as u64;
        let buffer = StreamBuffer::builder().max_memory(BLOCK).spawn(ready(size, 50_000));
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
        let mut readers = Vec::new();
        for n in 0..4 {
            let mut reader = buffer.reader_at(n * 100_000);
            readers.push(tokio::spawn(async move {
                let mut buf = vec![0; 30_000];
                let mut skips = 0;
                loop {
                    let at = reader.position();
                    match reader.read(&mut buf).await {
                        Ok(0) => return (at, skips),
                        Ok(read) => assert_data(&buf[..read], at),
                        Err(error) => {
                            assert_eq!(Error::of(&error).unwrap().kind(), ErrorKind::Discarded);
                            assert!(reader.skip_discarded() > 0);
                            skips += 1;
                        }
                    }
                    tokio::task::yield_now().await;
                }
            }));
        }
        for blocks in [28, 20, 24, 3] {
            tokio::task::yield_now().await;
            let limit = blocks * BLOCK as u64;
            buffer.set_max_disk(limit).await.unwrap();
            let progress = buffer.progress();
            assert!(progress.spilled <= limit, "{progress:?}");
        }
        assert_eq!(buffer.progress().spilled, 3 * BLOCK as u64);
        assert_eq!(buffer.progress().start, size - 3 * BLOCK as u64);
        for reader in readers {
            assert_eq!(reader.await.unwrap().0, size);
        }
    });
}

#[tokio::test]
async fn rule_27_a_load_returns_the_size_although_bytes_are_discarded_before_its_caller_is_polled() {
    let size = 2 * MIB as u64;
    let buffer = StreamBuffer::builder().max_disk(0).spawn(ready(size, 64 * 1024));
    let mut load = Box::pin(buffer.load());
    assert!(poll_once(&mut load).is_pending());
    buffer.subscribe().wait_for(|now| now.state == State::Complete).await.unwrap();
    buffer.set_max_memory(0).await.unwrap();
    assert_eq!(buffer.progress().loaded, 0);
    assert_eq!(load.await.unwrap(), size);
}
