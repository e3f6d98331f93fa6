//! Both neighbours and the long reads on one buffer.

use std::io::Cursor;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use streamspool::{BufferHandle, Bytes, StreamBuffer};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use crate::common::MIB;
use crate::common::data::{PAGE, offsets};
use crate::file::TestFile;
use crate::memory::{Lent, freeing};
use crate::neighbours::{Edge, Measured, Sent, Taken, ticks};
use crate::{Kept, Work};

/// The reads of bytes in memory lie at most this far before the frontier.
const RECENT: usize = MIB;

pub(crate) async fn measure(work: &Work) -> Taken {
    let (edge, pages, sent) = Edge::start().await;
    let len = work.data.len() as u64;
    let filler = Bytes::from(vec![0; RECENT]);
    let source = Cursor::new(work.data.clone()).chain(Cursor::new(filler)).chain(pages);
    let builder = StreamBuffer::builder();
    let file = TestFile::new(work.kept == Kept::Cached);
    let builder = match work.kept {
        Kept::InMemory => builder.max_memory(usize::MAX),
        Kept::Cached | Kept::Uncached => builder.store(file.clone()),
    };
    let buffer = builder.spawn_reader(source);
    buffer.read(len - 1, 1).await.expect("reads");
    if work.kept != Kept::InMemory {
        buffer.spill().await.expect("spills");
        file.sync();
    }
    buffer.read(len, RECENT).await.expect("reads");

    let mut long = JoinSet::new();
    let freeing = freeing();
    for _ in 0..work.tasks {
        let (buffer, len) = (buffer.clone(), work.data.len());
        if work.into_new {
            long.spawn(read_into_new(buffer, len, freeing.clone()));
        } else {
            long.spawn(read_into(buffer, work.buffers.lend(len)));
        }
    }
    let live = tokio::spawn(follow(buffer.clone(), sent, work.clone()));
    let cached = tokio::spawn(read_short(buffer.clone(), work.clone()));
    let (live, cached) = (live.await.expect("reads"), cached.await.expect("reads"));
    long.shutdown().await;
    buffer.close();
    buffer.closed().await;
    edge.end();
    Taken { live, cached }
}

async fn read_into_new(buffer: BufferHandle, len: usize, freeing: mpsc::Sender<Bytes>) {
    loop {
        let bytes = buffer.read(0, len).await.expect("reads");
        assert_eq!(bytes.len(), len);
        let _ = freeing.send(bytes);
    }
}

async fn read_into(buffer: BufferHandle, mut to: Lent) {
    loop {
        assert_eq!(buffer.read_into(0, &mut to.bytes).await.expect("reads"), to.bytes.len());
    }
}

async fn follow(buffer: BufferHandle, sent: Sent, work: Work) -> Vec<Duration> {
    let mut page = [0; PAGE];
    let mut reader = buffer.reader_at((work.data.len() + RECENT) as u64);
    let mut measured = Measured::for_time(work.time);
    while measured.goes_on() {
        reader.read_exact(&mut page).await.expect("reads");
        measured.add(sent.recv().expect("it was sent").elapsed());
    }
    measured.end()
}

async fn read_short(buffer: BufferHandle, work: Work) -> Vec<Duration> {
    let spilled = work.kept == Kept::Cached;
    let mut offsets = offsets(if spilled { work.data.len() } else { RECENT }, 1);
    let (mut measured, mut ticks) = (Measured::for_time(work.time), ticks());
    while measured.goes_on() {
        ticks.tick().await;
        let at = offsets.next().expect("endless") as u64;
        let at = if spilled { at } else { buffer.progress().loaded - RECENT as u64 + at };
        let start = Instant::now();
        let bytes = buffer.read(at, PAGE).await.expect("reads");
        measured.add(start.elapsed());
        assert_eq!(bytes.len(), PAGE);
    }
    measured.end()
}
