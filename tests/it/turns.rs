//! Rules 4 and 8: the actor and its callers work in small turns, so that no task waits long for them.
//!
//! These tests count bytes and polls. They measure no time.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::StreamExt;
use futures::future::poll_fn;
use streamspool::{BufferHandle, Bytes, ErrorKind, StreamBuffer};
use tokio::task::coop;

use crate::support::disk::Disk;
use crate::support::scripted_store::Script;
use crate::support::source::{ready, source};
use crate::support::{BLOCK, KIB, MIB, assert_data, data, poll_once, settled};

/// A stream that is always ready, and a count of the bytes that it has sent.
fn endless() -> (impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static, Arc<AtomicU64>) {
    let sent = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&sent);
    let chunk = Bytes::from(vec![7; 64 * KIB]);
    let chunks = futures::stream::repeat_with(move || {
        counted.fetch_add(chunk.len() as u64, Ordering::SeqCst);
        Ok(chunk.clone())
    });
    (chunks, sent)
}

/// A buffer whose bytes are all in the store, and its actor, which the test polls.
async fn spilled(size: u64) -> (BufferHandle, std::pin::Pin<Box<dyn Future<Output = ()>>>) {
    let (buffer, actor) =
        StreamBuffer::builder().store(Script::cached().store()).build(ready(size, 64 * KIB));
    let mut actor: std::pin::Pin<Box<dyn Future<Output = ()>>> = Box::pin(actor.run());
    let spill = async {
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
    };
    tokio::select! {
        () = &mut actor => panic!("the actor ended"),
        () = spill => {}
    }
    (buffer, actor)
}

#[tokio::test]
async fn rule_8_a_client_in_the_same_task_is_answered_before_much_is_pulled() {
    let (stream, sent) = endless();
    let (buffer, actor) = StreamBuffer::builder().read_ahead(u64::MAX).max_memory(usize::MAX).build(stream);
    let client = async {
        for n in 0..10 {
            buffer.read(n, 10).await.unwrap();
            // Two polls of the actor for a request: one takes it in, one may be under way.
            let sent = sent.load(Ordering::SeqCst);
            assert!(sent <= (n + 1) * 5 * MIB as u64, "{sent} bytes pulled before answer {n}");
        }
        buffer.close();
    };
    futures::future::join(actor.run(), client).await;
}

#[tokio::test]
async fn rule_4_many_short_reads_take_several_polls_of_the_actor() {
    let (buffer, mut actor) = spilled(MIB as u64).await;
    let mut reads: Vec<_> = (0..5000).map(|n| Box::pin(buffer.read(n, 10))).collect();
    for read in &mut reads {
        assert!(poll_once(read).is_pending());
    }
    let mut polls = 0;
    while !reads.is_empty() {
        tokio::task::yield_now().await;
        assert!(poll_once(&mut actor).is_pending());
        tokio::task::yield_now().await;
        reads.retain_mut(|read| poll_once(read).is_pending());
        polls += 1;
    }
    assert!((5..100).contains(&polls), "{polls} polls for 5,000 reads");
}

#[tokio::test]
async fn rule_8_the_actor_leaves_budget_to_futures_of_its_task() {
    // A stream that takes one unit of tokio's budget for each chunk, and has many small chunks.
    let (chunks, stream) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(10_000);
    for n in 0..10_000_u64 {
        chunks.try_send(Ok(data(n, 1))).unwrap();
    }
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let (buffer, actor) = StreamBuffer::builder().read_ahead(u64::MAX).build(stream);
    let mut actor = pin!(actor.run());
    let mut polls = 0;
    poll_fn(|cx| {
        assert!(actor.as_mut().poll(cx).is_pending());
        assert!(coop::has_budget_remaining(), "the actor took all of the budget in poll {polls}");
        polls += 1;
        if buffer.progress().loaded == 10_000 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert!(polls > 100, "{polls} polls");
}

#[test]
fn rule_4_readers_that_one_chunk_has_answered_are_taken_in_together_by_one_poll() {
    const READERS: u64 = 8;
    const CHUNKS: u64 = 100;
    const LEN: usize = KIB;
    // One worker of the multi-thread runtime: it runs a task that was woken last before the others.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (mut feed, source) = source();
    let (buffer, actor) = StreamBuffer::builder().build(source);
    let [polls, reads] = [(); 2].map(|()| Arc::<AtomicU64>::default());
    let counted = Arc::clone(&polls);
    runtime.spawn(async move {
        let mut actor = pin!(actor.run());
        poll_fn(|cx| {
            counted.fetch_add(1, Ordering::SeqCst);
            actor.as_mut().poll(cx)
        })
        .await;
    });
    for _ in 0..READERS {
        let (buffer, reads) = (buffer.clone(), Arc::clone(&reads));
        runtime.spawn(async move {
            for offset in (0..CHUNKS).map(|n| n * LEN as u64) {
                let bytes = buffer.read_some(offset, LEN).await.unwrap();
                assert_eq!(bytes.len(), LEN);
                assert_data(&bytes, offset);
                reads.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let feeding = runtime.spawn(async move {
        for n in 1..=CHUNKS {
            feed.chunk(LEN);
            while reads.load(Ordering::SeqCst) < n * READERS {
                tokio::task::yield_now().await;
            }
            // All tasks that are ready now run before this one.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
    });
    let watched = async { tokio::time::timeout(Duration::from_secs(60), feeding).await };
    runtime.block_on(watched).expect("all readers read").unwrap();
    let polls = polls.load(Ordering::SeqCst);
    assert!(polls <= 3 * CHUNKS, "{polls} polls of the actor for {CHUNKS} chunks to {READERS} readers each");
}

#[test]
fn rule_4_after_the_answer_to_one_reader_the_actor_rests() {
    struct Wakes(AtomicU64);
    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (mut feed, source) = source();
    let (buffer, actor) = StreamBuffer::builder().build(source);
    let wakes = Arc::new(Wakes(AtomicU64::new(0)));
    let waker = Waker::from(Arc::clone(&wakes));
    let mut cx = Context::from_waker(&waker);
    let mut actor = pin!(actor.run());
    let mut read = pin!(buffer.read_some(0, 10));
    assert!(poll_once(&mut read).is_pending());
    assert!(actor.as_mut().poll(&mut cx).is_pending());
    feed.chunk(10);
    let before = wakes.0.load(Ordering::SeqCst);
    assert!(actor.as_mut().poll(&mut cx).is_pending());
    assert_eq!(wakes.0.load(Ordering::SeqCst), before, "the actor woke itself");
    let Poll::Ready(bytes) = poll_once(&mut read) else { panic!("the read is not answered") };
    assert_data(&bytes.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn rule_4_a_long_read_lets_other_tasks_run_after_each_32_kib() {
    let size = 16 * MIB;
    let buffer =
        Disk::running().serve(StreamBuffer::builder().max_memory(usize::MAX)).spawn(ready(size as u64, MIB));
    buffer.load().await.unwrap();
    let mut into = vec![0; size];
    for is_into in [false, true] {
        let mut polls = 0;
        let mut read = if is_into {
            let read = buffer.read_into(0, &mut into);
            futures::future::Either::Left(Box::pin(async { read.await.map(|read| assert_eq!(read, size)) }))
        } else {
            let read = buffer.read(0, size);
            futures::future::Either::Right(Box::pin(async { read.await.map(|bytes| assert_data(&bytes, 0)) }))
        };
        while poll_once(&mut read).is_pending() {
            polls += 1;
            settled().await;
        }
        assert!(polls >= size / (32 * KIB) - 8, "{polls} polls for 16 MiB");
    }
    assert_data(&into, 0);
}

#[tokio::test(start_paused = true)]
async fn rule_1_read_into_fills_the_buffer_or_stops_at_the_end() {
    for max_memory in [0, MIB, usize::MAX] {
        let size = 3 * BLOCK + 100;
        let (mut feed, stream) = source();
        let buffer = Disk::running().serve(StreamBuffer::builder().max_memory(max_memory)).spawn(stream);
        for _ in 0..3 {
            feed.chunk(BLOCK);
        }
        let mut first = vec![0; 2 * BLOCK];
        assert_eq!(buffer.read_into(BLOCK as u64 - 5, &mut first).await.unwrap(), first.len());
        assert_data(&first, BLOCK as u64 - 5);
        // A read that waits for its last bytes.
        let mut waiting = vec![0; 50];
        let mut read = Box::pin(buffer.read_into(3 * BLOCK as u64 - 25, &mut waiting));
        settled().await;
        assert!(poll_once(&mut read).is_pending());
        feed.chunk(100);
        assert_eq!(read.await.unwrap(), 50);
        assert_data(&waiting, 3 * BLOCK as u64 - 25);
        feed.end();
        let mut rest = vec![1; 200];
        assert_eq!(buffer.read_into(size as u64 - 100, &mut rest).await.unwrap(), 100);
        assert_data(&rest[..100], size as u64 - 100);
        assert_eq!(buffer.read_into(size as u64, &mut rest).await.unwrap(), 0);
        assert_eq!(buffer.read_into(u64::MAX, &mut rest).await.unwrap(), 0);
        assert_eq!(buffer.read_into(5, &mut []).await.unwrap(), 0);
        buffer.close();
        assert_eq!(buffer.read_into(0, &mut rest).await.unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn handles_report_the_close_the_number_of_handles_and_the_last_read() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    assert!(!buffer.is_closed());
    assert_eq!(buffer.handle_count(), 1);
    let (other, reader, chunks) = (buffer.clone(), buffer.reader(), buffer.chunks(..));
    let weak = buffer.downgrade();
    assert_eq!(buffer.handle_count(), 4);
    drop((other, reader, chunks));
    assert_eq!(buffer.handle_count(), 1);

    assert_eq!(buffer.last_read(), None);
    feed.chunk(10);
    let now = || tokio::time::Instant::now().into_std();
    let step = std::time::Duration::from_secs(60);
    buffer.read(0, 10).await.unwrap();
    let first = buffer.last_read().unwrap();
    assert!(now() - first < step / 2);
    tokio::time::advance(step).await;
    let _ = buffer.progress();
    settled().await;
    assert_eq!(buffer.last_read(), Some(first), "only a read counts");
    buffer.reader().fill_buf_once().await;
    assert!(buffer.last_read().unwrap() - first >= step);

    let mut closed = Box::pin(buffer.closed());
    assert!(poll_once(&mut closed).is_pending());
    buffer.close();
    assert!(buffer.is_closed());
    closed.await;
    assert!(feed.is_dropped());
    drop(weak);
}

trait FillOnce {
    async fn fill_buf_once(self);
}

impl FillOnce for streamspool::BufferReader {
    async fn fill_buf_once(mut self) {
        assert_data(tokio::io::AsyncBufReadExt::fill_buf(&mut self).await.unwrap(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_buffer_is_closed_when_its_actor_is_dropped() {
    let (buffer, actor) = StreamBuffer::builder().build(futures::stream::pending());
    let mut closed = Box::pin(buffer.closed());
    let mut updates = buffer.subscribe();
    assert!(updates.next().await.is_some());
    assert!(poll_once(&mut closed).is_pending() && !buffer.is_closed());
    drop(actor);
    assert!(closed.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    assert!(buffer.is_closed());
    assert!(updates.next().await.is_none());
    assert_eq!(updates.changed().await.unwrap_err().kind(), ErrorKind::Closed);
}
