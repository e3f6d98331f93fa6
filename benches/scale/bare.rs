//! The same tasks without a buffer: one task pulls each source, and passes each chunk to three readers over
//! channels. Nothing is kept.

use std::sync::Arc;

use futures::StreamExt;
use streamspool::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::count::{Counters, count_polls};
use crate::source::{CHUNK, Live, Pattern, READERS, first_len};

/// The most chunks that wait for a reader.
const WAITING: usize = 4;

pub(crate) fn spawn(
    tasks: &mut JoinSet<()>,
    source: Live,
    pattern: Pattern,
    stream: usize,
    counters: &Arc<Counters>,
) {
    let mut readers = Vec::with_capacity(READERS);
    for _ in 0..READERS {
        let (sender, chunks) = mpsc::channel(WAITING);
        readers.push(sender);
        let reading = follow(chunks, pattern, stream, Arc::clone(counters));
        tasks.spawn(count_polls(Arc::clone(counters), |one| &one.readers, reading));
    }
    tasks.spawn(count_polls(Arc::clone(counters), |one| &one.sources, pass_on(source, readers)));
}

async fn pass_on(mut source: Live, readers: Vec<mpsc::Sender<Bytes>>) {
    // No reader reads the first chunk.
    source.next().await;
    while let Some(chunk) = source.next().await {
        let chunk = chunk.expect("a chunk");
        for reader in &readers {
            reader.send(chunk.clone()).await.expect("the reader is there");
        }
    }
}

async fn follow(mut chunks: mpsc::Receiver<Bytes>, pattern: Pattern, stream: usize, counters: Arc<Counters>) {
    let mut buf = [0; CHUNK];
    let mut offset = first_len(stream) as u64;
    while let Some(chunk) = chunks.recv().await {
        let buf = &mut buf[..chunk.len()];
        buf.copy_from_slice(&chunk);
        pattern.verify(stream, offset, buf);
        offset += buf.len() as u64;
        Counters::add(&counters.delivered, buf.len());
    }
}
