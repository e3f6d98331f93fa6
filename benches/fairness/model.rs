//! The same work without any actor.

use std::future::poll_fn;
use std::hint::black_box;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::{Duration, Instant};

use streamspool::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking, yield_now};

use crate::common::data::{BUFFER, PAGE, offsets};
use crate::common::{KIB, MIB};
use crate::file::TestFile;
use crate::memory::{Lent, freeing};
use crate::neighbours::{Edge, Measured, Sent, Taken, ticks};
use crate::{Kept, Work};

/// The most bytes that a task joins in one poll.
const JOIN_MOST: usize = 64 * KIB;

/// The length of a read on a blocking thread, and the most of them at a time.
const BLOCKING: usize = 4 * MIB;
const BLOCKING_AT_ONCE: usize = 8;

/// Where the bytes come from.
#[derive(Clone)]
enum From {
    Memory(Bytes),
    Cached(TestFile),
    Uncached(TestFile, Arc<Semaphore>),
}

pub(crate) async fn measure(work: &Work) -> Taken {
    let file = |cached| {
        let file = TestFile::new(cached);
        for (n, part) in work.data.chunks(BUFFER).enumerate() {
            assert_eq!(file.write((n * BUFFER) as u64, part).expect("writes"), part.len());
        }
        file.sync();
        file
    };
    let from = match work.kept {
        Kept::InMemory => From::Memory(work.data.clone()),
        Kept::Cached => From::Cached(file(true)),
        Kept::Uncached => From::Uncached(file(false), Arc::new(Semaphore::new(BLOCKING_AT_ONCE))),
    };
    let (edge, pages, sent) = Edge::start().await;
    let mut long = JoinSet::new();
    let freeing = freeing();
    for _ in 0..work.tasks {
        let (from, len) = (from.clone(), work.data.len());
        if work.into_new {
            long.spawn(read_into_new(from, len, freeing.clone()));
        } else {
            long.spawn(read_into(from, work.buffers.lend(len)));
        }
    }
    let live = tokio::spawn(follow(pages, sent, work.time));
    let cached = tokio::spawn(read_short(from, work.clone()));
    let (live, cached) = (live.await.expect("reads"), cached.await.expect("reads"));
    long.shutdown().await;
    edge.end();
    Taken { live, cached }
}

/// Zeroed memory is new memory too: its pages are made when they are filled.
async fn read_into_new(from: From, len: usize, freeing: mpsc::Sender<Bytes>) {
    loop {
        let mut to = vec![0; len];
        read(&from, &mut to).await;
        let _ = freeing.send(to.into());
    }
}

async fn read_into(from: From, mut to: Lent) {
    loop {
        read(&from, &mut to.bytes).await;
    }
}

async fn read(from: &From, to: &mut [u8]) {
    match from {
        From::Memory(bytes) => join(to, bytes).await,
        From::Cached(file) => {
            for (n, part) in to.chunks_mut(JOIN_MOST).enumerate() {
                assert_eq!(file.read((n * JOIN_MOST) as u64, part).expect("reads"), part.len());
                yield_now().await;
            }
        }
        From::Uncached(file, permits) => {
            for (n, part) in to.chunks_mut(BLOCKING).enumerate() {
                let permit = permits.acquire().await.expect("it is open");
                let (file, mut buffer) = (file.clone(), vec![0; part.len()]);
                let buffer = spawn_blocking(move || {
                    assert_eq!(file.read((n * BLOCKING) as u64, &mut buffer).expect("reads"), buffer.len());
                    buffer
                });
                let buffer = buffer.await.expect("reads");
                drop(permit);
                join(part, &buffer).await;
            }
        }
    }
}

async fn join(to: &mut [u8], bytes: &[u8]) {
    for (to, part) in to.chunks_mut(JOIN_MOST).zip(bytes.chunks(JOIN_MOST)) {
        to.copy_from_slice(part);
        yield_now().await;
    }
}

async fn follow(mut pages: TcpStream, sent: Sent, time: Duration) -> Vec<Duration> {
    let (mut measured, mut page) = (Measured::for_time(time), [0; PAGE]);
    while measured.goes_on() {
        pages.read_exact(&mut page).await.expect("reads");
        measured.add(sent.recv().expect("it was sent").elapsed());
    }
    measured.end()
}

async fn read_short(from: From, work: Work) -> Vec<Duration> {
    let (mut offsets, mut page) = (offsets(work.data.len(), 1), [0; PAGE]);
    let (mut measured, mut ticks) = (Measured::for_time(work.time), ticks());
    while measured.goes_on() {
        ticks.tick().await;
        let at = offsets.next().expect("endless");
        let start = Instant::now();
        turn().await;
        match &from {
            From::Cached(file) => assert_eq!(file.read(at as u64, &mut page).expect("reads"), PAGE),
            From::Memory(_) | From::Uncached(..) => page.copy_from_slice(&work.data[at..at + PAGE]),
        }
        black_box(&page);
        measured.add(start.elapsed());
    }
    measured.end()
}

/// Lets the tasks before this one in the queue run, as a message does.
async fn turn() {
    let mut has_waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
