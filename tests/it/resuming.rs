//! Rules 21 to 24 with the actor: a source that is opened again. Times are exact on the paused clock.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use streamspool::{
    Bytes, ErrorKind, OpenAt, Opened, Reopen, Retry, Source, State, StreamBuffer, Version, source_fn,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::{Instant, sleep};

use crate::support::disk::Disk;
use crate::support::{KIB, MIB, assert_bytes, assert_data, data, poll_once, settled};

const SIZE: usize = 4 * MIB;
const CHUNK: usize = 64 * KIB;
const ROUND_TRIP: Duration = Duration::from_millis(30);

/// A server whose connections break, and the requests that it got.
#[derive(Clone)]
struct Server {
    state: Arc<Mutex<Script>>,
    has_version: bool,
    /// Streams that are open.
    streams: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Script {
    /// Each stream breaks after so many bytes, in order. Later ones do not break.
    breaks: Vec<usize>,
    openings: Vec<(u64, Instant)>,
    sent: usize,
}

/// Counts an open stream.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    fn new(has_version: bool, breaks: &[usize]) -> Self {
        let state = Script { breaks: breaks.to_vec(), ..Script::default() };
        Self { state: Arc::new(Mutex::new(state)), has_version, streams: Arc::default() }
    }

    fn openings(&self) -> Vec<u64> {
        self.state.lock().unwrap().openings.iter().map(|(offset, _)| *offset).collect()
    }

    fn sent(&self) -> usize {
        self.state.lock().unwrap().sent
    }

    fn streams(&self) -> usize {
        self.streams.load(Ordering::SeqCst)
    }
}

impl Source for Server {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        self.state.lock().unwrap().openings.push((at.offset, Instant::now()));
        sleep(ROUND_TRIP).await;
        let breaks = {
            let mut state = self.state.lock().unwrap();
            if state.breaks.is_empty() { usize::MAX } else { state.breaks.remove(0) }
        };
        self.streams.fetch_add(1, Ordering::SeqCst);
        let guard = Guard(Arc::clone(&self.streams));
        let (state, mut at, mut left) = (Arc::clone(&self.state), at.offset, breaks);
        let stream = futures::stream::poll_fn(move |_| {
            let _ = &guard;
            let len = CHUNK.min(SIZE - at as usize).min(left);
            Poll::Ready(if left == 0 {
                Some(Err(io::ErrorKind::ConnectionReset.into()))
            } else if len == 0 {
                None
            } else {
                let chunk = data(at, len);
                (at, left) = (at + len as u64, left - len);
                state.lock().unwrap().sent += len;
                Some(Ok(chunk))
            })
        });
        let version = self.has_version.then(|| Version::strong("v1"));
        Ok(Opened::new(stream).size(SIZE as u64).version(version))
    }
}

#[tokio::test(start_paused = true)]
async fn rule_22_a_break_costs_no_byte_with_a_version_and_64_kib_without() {
    for has_version in [true, false] {
        let server = Server::new(has_version, &[MIB, MIB, 10]);
        let buffer = StreamBuffer::builder().max_memory(usize::MAX).spawn_source(server.clone());
        assert_eq!(buffer.load().await.unwrap(), SIZE as u64);
        assert_bytes(&buffer.read(0, SIZE).await.unwrap(), &data(0, SIZE), 0);
        let overlap = if has_version { 0 } else { 64 * KIB };
        // Without a version the second stream sends the overlap first, and the third breaks inside of it.
        let last = 2 * MIB - 2 * overlap;
        let expected = vec![0, MIB - overlap, last, if has_version { last + 10 } else { last }];
        let openings: Vec<_> = server.openings().iter().map(|offset| *offset as usize).collect();
        assert_eq!(openings, expected);
        let again = server.sent() - SIZE;
        assert!(again <= 3 * overlap, "{again} bytes fetched again");
        assert_eq!(again == 0, has_version);
    }
}

#[tokio::test(start_paused = true)]
async fn rule_24_a_resume_costs_the_delay_and_one_round_trip() {
    let server = Server::new(true, &[MIB]);
    let buffer = StreamBuffer::builder().spawn_source(server.clone());
    let mut updates = buffer.subscribe();
    let start = Instant::now();
    let (loaded, retrying) = tokio::join!(buffer.load(), async {
        let is_retrying = |state| matches!(state, State::Retrying { .. });
        let progress = updates.wait_for(|progress| is_retrying(progress.state)).await.unwrap();
        assert_eq!(buffer.error().unwrap().kind(), ErrorKind::Source);
        progress
    });
    loaded.unwrap();
    let State::Retrying { attempt: 1, delay } = retrying.state else { panic!("{retrying:?}") };
    assert!(delay > Duration::from_millis(49) && delay <= Duration::from_millis(100));
    // tokio's timer counts in milliseconds.
    let expected = delay + 2 * ROUND_TRIP;
    let took = start.elapsed();
    assert!(took >= expected && took <= expected + Duration::from_millis(3), "{took:?}, not {expected:?}");
    assert!(buffer.error().is_none());
}

#[tokio::test(start_paused = true)]
async fn rule_21_a_paused_buffer_holds_no_connection_and_its_next_read_resumes() {
    let server = Server::new(true, &[]);
    let buffer =
        Disk::running().serve(StreamBuffer::builder().read_ahead(MIB as u64)).spawn_source(server.clone());
    assert_eq!(server.openings().len(), 0, "no byte is needed");
    let mut reader = buffer.reader();
    let mut first = vec![0; 100_000];
    reader.read_exact(&mut first).await.unwrap();
    assert_data(&first, 0);
    settled().await;
    assert_eq!(server.streams(), 1);
    sleep(Duration::from_secs(29)).await;
    assert_eq!(server.streams(), 1);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(server.streams(), 0, "the player is paused");
    assert_eq!(buffer.progress().state, State::Waiting);
    // Hours later.
    sleep(Duration::from_secs(7200)).await;
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
    assert_data(&rest, 100_000);
    assert_eq!(100_000 + rest.len(), SIZE);
    assert_eq!(server.openings().len(), 2);
    assert_eq!(server.sent(), SIZE);
}

#[tokio::test(start_paused = true)]
async fn rule_24_after_the_last_attempt_the_read_fails_and_the_next_one_starts_anew() {
    let openings = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&openings);
    let source = source_fn(move |_| {
        let opening = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if opening < 4 {
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "no"));
            }
            Ok(Opened::new(futures::stream::iter([Ok(data(0, 100))])).size(100))
        }
    });
    let retry = Retry::default().attempts(3);
    let buffer = StreamBuffer::builder().retry(retry).spawn_source(source);
    let error = buffer.read(0, 10).await.unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Source, 0));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(openings.load(Ordering::SeqCst), 4);
    assert_bytes(&buffer.read(0, 10).await.unwrap(), &data(0, 10), 0);
}

#[tokio::test(start_paused = true)]
async fn rule_24_an_opening_that_hangs_is_dropped_after_the_stall_timeout() {
    let (dropped, openings) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (counted, asked) = (Arc::clone(&dropped), Arc::clone(&openings));
    let source = source_fn(move |_| {
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        // `Guard` subtracts one when it is dropped.
        let guard = Guard(Arc::clone(&counted));
        async move {
            let _guard = guard;
            if first {
                std::future::pending::<()>().await;
            }
            Ok(Opened::new(futures::stream::iter([Ok(data(0, 100))])))
        }
    });
    let retry = Retry::default().stall_timeout(Duration::from_secs(5));
    let buffer = StreamBuffer::builder().retry(retry).spawn_source(source);
    let start = Instant::now();
    assert_bytes(&buffer.read(0, 100).await.unwrap(), &data(0, 100), 0);
    let took = start.elapsed();
    assert!(took > Duration::from_secs(5) && took < Duration::from_millis(5110), "{took:?}");
    assert_eq!(dropped.load(Ordering::SeqCst), 0_usize.wrapping_sub(2), "both openings are over");
}

#[tokio::test(start_paused = true)]
async fn rule_17_a_close_drops_the_opening_the_stream_and_the_source() {
    struct Hangs(#[allow(dead_code, reason = "counts the drop")] Guard);
    impl Source for Hangs {
        async fn open(&self, _: OpenAt) -> io::Result<Opened> {
            std::future::pending().await
        }
    }
    let alive = Arc::new(AtomicUsize::new(1));
    let buffer = StreamBuffer::spawn_source(Hangs(Guard(Arc::clone(&alive))));
    let mut read = Box::pin(buffer.read(0, 1));
    assert!(poll_once(&mut read).is_pending());
    settled().await;
    buffer.close();
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Closed);
    settled().await;
    assert_eq!(alive.load(Ordering::SeqCst), 0, "an opening that runs holds the source");
}

#[tokio::test(start_paused = true)]
async fn rule_15_a_source_that_panics_fails_for_good() {
    for at_once in [true, false] {
        let source = source_fn(move |_| {
            assert!(!at_once, "as the test asked");
            async { panic!("as the test asked") }
        });
        let buffer = StreamBuffer::spawn_source(source);
        let error = buffer.read(0, 1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source);
        let cause = error.io_error().unwrap().to_string();
        assert!(cause.contains("the source panicked: as the test asked"), "{cause}");
        assert_eq!(buffer.progress().state, State::Failed);
    }
}

#[tokio::test(start_paused = true)]
async fn the_size_and_a_seek_from_the_end_open_the_source_and_load_nothing() {
    let server = Server::new(true, &[]);
    let buffer = StreamBuffer::builder().read_ahead(0).spawn_source(server.clone());
    assert_eq!(buffer.size().await.unwrap(), SIZE as u64);
    assert_eq!((server.openings(), server.sent()), (vec![0], 0));
    let other = StreamBuffer::builder().read_ahead(0).spawn_source(server.clone());
    let mut reader = other.reader();
    assert_eq!(reader.seek(io::SeekFrom::End(-5)).await.unwrap(), SIZE as u64 - 5);
    assert_eq!(server.sent(), 0);
}

#[test]
fn rule_24_without_a_timer_a_failure_is_an_error_and_the_next_read_opens_again() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let openings = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&openings);
        let source = source_fn(move |at: OpenAt| {
            let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                let chunk = data(at.offset, 100 - at.offset as usize);
                let broken = futures::stream::iter([
                    Ok(chunk.slice(..50)),
                    Err(io::Error::from(io::ErrorKind::ConnectionReset)),
                ]);
                let whole = futures::stream::iter([Ok(chunk)]);
                let opened = if first { Opened::new(broken) } else { Opened::new(whole) };
                Ok(opened.size(100).version(Version::strong("v1")))
            }
        });
        let buffer = StreamBuffer::spawn_source(source);
        assert_eq!(buffer.read(0, 100).await.unwrap_err().kind(), ErrorKind::Source);
        assert_bytes(&buffer.read(0, 50).await.unwrap(), &data(0, 50), 0);
        assert_bytes(&buffer.read(0, 100).await.unwrap(), &data(0, 100), 0);
        assert_eq!(openings.load(Ordering::SeqCst), 2);
    });
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_a_stream_of_its_bytes() {
    let (mut input, output) = tokio::io::duplex(1000);
    let buffer = StreamBuffer::builder().spawn_reader(output);
    let write = async {
        tokio::io::AsyncWriteExt::write_all(&mut input, &data(0, 300_000)).await.unwrap();
        drop(input);
    };
    let (bytes, ()) = tokio::join!(buffer.slice(..), write);
    assert_bytes(&bytes.unwrap(), &data(0, 300_000), 0);
    // A failure of the reader is one of the source.
    let failing = tokio_util::io::StreamReader::new(futures::stream::iter([
        Ok(Bytes::from_static(b"abc")),
        Err(io::Error::from(io::ErrorKind::ConnectionReset)),
    ]));
    let buffer = StreamBuffer::builder().spawn_reader(failing);
    assert_eq!(buffer.read(0, 3).await.unwrap(), "abc");
    assert_eq!(buffer.read(0, 4).await.unwrap_err().kind(), ErrorKind::Source);
    assert!(buffer.chunks(3..).next().await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn rules_14_and_18_an_answer_is_what_was_known_when_it_was_sent() {
    // The stream tells a size, and ends without a byte.
    let ends = Arc::new(AtomicBool::new(false));
    let has_ended = Arc::clone(&ends);
    let source = source_fn(move |_| {
        let ends = Arc::clone(&has_ended);
        let stream = futures::stream::poll_fn(move |_| {
            if ends.load(Ordering::SeqCst) { Poll::Ready(None::<io::Result<Bytes>>) } else { Poll::Pending }
        });
        async move { Ok(Opened::new(stream).size(10).reopen(Reopen::Never)) }
    });
    let (buffer, actor) = StreamBuffer::builder().build_source(source);
    let (mut actor, mut reader) = (Box::pin(actor.run()), buffer.reader());
    let (mut size, mut read) = (Box::pin(buffer.size()), Box::pin(buffer.read(0, 10)));
    let mut seek = Box::pin(reader.seek(io::SeekFrom::End(-1)));
    assert!(poll_once(&mut size).is_pending() && poll_once(&mut seek).is_pending());
    assert!(poll_once(&mut read).is_pending());
    // Both replies are sent. Then the stream ends, before the callers are polled.
    for step in 0..20 {
        ends.store(step >= 10, Ordering::SeqCst);
        assert!(poll_once(&mut actor).is_pending());
    }
    assert_eq!(buffer.progress().state, State::Failed);
    let (results, ()) = tokio::join!(async { (size.await, seek.await, read.await) }, async {
        for _ in 0..10 {
            assert!(poll_once(&mut actor).is_pending());
            tokio::task::yield_now().await;
        }
    });
    // The size is an answer of the time before, and so is the offset of the seek.
    assert_eq!((results.0.unwrap(), results.1.unwrap()), (10, 9));
    assert_eq!(results.2.unwrap_err().kind(), ErrorKind::Truncated);
    assert_eq!(buffer.progress().size, None);
}
