//! The work of the rows, done by this crate.

use std::hint::black_box;
use std::time::{Duration, Instant};

use futures::StreamExt;
use streamspool::{BufferHandle, Builder, Bytes, StreamBuffer};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::{JoinHandle, JoinSet};

use crate::check::{Check, verify};
use crate::common::data::{BUFFER, PAGE, Source, offsets};
use crate::common::spawned;

/// Where the bytes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    InMemory,
    /// All but the newest 5 MiB in a temporary file.
    Spilled,
}

impl Kept {
    fn builder(self, size: usize) -> Builder {
        let builder = StreamBuffer::builder().size(size as u64);
        match self {
            Self::InMemory => builder.max_memory(usize::MAX),
            Self::Spilled => builder,
        }
    }
}

/// A buffer and the task of its actor. The end of the task is awaited, so that clean-up does not overlap the
/// next measurement.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) buffer: BufferHandle,
    actor: JoinHandle<()>,
}

impl Ours {
    pub(crate) fn new(kept: Kept, all: &Bytes) -> Self {
        let (buffer, actor) = kept.builder(all.len()).build(Source::of(all));
        Self { buffer, actor: tokio::spawn(actor.run()) }
    }

    /// A buffer that has loaded everything. If `kept` is `Spilled`, nothing is in memory.
    pub(crate) async fn loaded(kept: Kept, all: &Bytes) -> Self {
        let ours = Self::new(kept, all);
        ours.buffer.load().await.expect("loads");
        if kept == Kept::Spilled {
            ours.buffer.spill().await.expect("spills");
        }
        ours
    }

    pub(crate) async fn end(self) {
        drop(self.buffer);
        self.actor.await.expect("the actor ends");
    }
}

/// Reads the stream from the first byte to the last through the reader.
pub(crate) async fn first_read(kept: Kept, all: &Bytes, check: bool) -> Duration {
    let all = all.clone();
    spawned(async move {
        let start = Instant::now();
        let ours = Ours::new(kept, &all);
        read_through(ours.buffer.reader(), check.then_some(&all)).await;
        let taken = start.elapsed();
        ours.end().await;
        taken
    })
    .await
}

/// Reads all loaded bytes through a new reader.
pub(crate) async fn read_again(buffer: &BufferHandle, check: Option<&Bytes>) -> Duration {
    let (buffer, check) = (buffer.clone(), check.cloned());
    spawned(async move {
        let start = Instant::now();
        read_through(buffer.reader(), check.as_ref()).await;
        start.elapsed()
    })
    .await
}

/// Reads all loaded bytes as pieces, without copying them.
pub(crate) async fn chunks_again(buffer: &BufferHandle, check: Option<&Bytes>) -> Duration {
    let (buffer, check) = (buffer.clone(), check.cloned());
    spawned(async move {
        let start = Instant::now();
        let (mut chunks, mut check) = (buffer.chunks(..), Check::new(check.as_ref()));
        while let Some(piece) = chunks.next().await {
            check.next(&black_box(piece.expect("reads")));
        }
        check.end();
        start.elapsed()
    })
    .await
}

async fn read_through(mut reader: impl AsyncRead + Unpin, check: Option<&Bytes>) {
    let (mut buf, mut check) = (vec![0; BUFFER], Check::new(check));
    loop {
        let read = reader.read(&mut buf).await.expect("reads");
        if read == 0 {
            return check.end();
        }
        check.next(&buf[..read]);
        black_box(&buf);
    }
}

/// `count` random reads by each of `tasks`.
pub(crate) async fn random(
    buffer: &BufferHandle,
    all: &Bytes,
    tasks: usize,
    count: usize,
    check: bool,
) -> Duration {
    let start = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let (buffer, all) = (buffer.clone(), all.clone());
        running.spawn(async move {
            for at in offsets(all.len(), task).take(count) {
                let bytes = buffer.read(at as u64, PAGE).await.expect("reads");
                verify(&bytes, &all, at, check);
            }
        });
    }
    running.join_all().await;
    start.elapsed()
}
