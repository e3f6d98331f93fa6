//! A buffer for each stream, which keeps a window of it, and three readers at its live edge.

use std::sync::Arc;

use streamspool::{BufferReader, StreamBuffer};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use crate::count::{Counters, count_polls};
use crate::source::{BLOCK, CHUNK, Live, Pattern, READERS, first_len};

/// The bytes that a buffer keeps in memory. Whole blocks are discarded, so it has the last 16 to 32 s.
const WINDOW: usize = 2 * BLOCK;

pub(crate) fn spawn(
    tasks: &mut JoinSet<()>,
    source: Live,
    pattern: Pattern,
    stream: usize,
    counters: &Arc<Counters>,
) {
    let (buffer, actor) = StreamBuffer::builder().max_memory(WINDOW).max_disk(0).build(source);
    for _ in 0..READERS {
        let reader = buffer.reader_at(first_len(stream) as u64);
        let reading = follow(reader, pattern, stream, Arc::clone(counters));
        tasks.spawn(count_polls(Arc::clone(counters), |one| &one.readers, reading));
    }
    tasks.spawn(count_polls(Arc::clone(counters), |one| &one.sources, actor.run()));
}

async fn follow(mut reader: BufferReader, pattern: Pattern, stream: usize, counters: Arc<Counters>) {
    let mut buf = [0; CHUNK];
    loop {
        let offset = reader.position();
        let read = reader.read(&mut buf).await.expect("reads");
        assert!(read > 0, "a live stream has no end");
        pattern.verify(stream, offset, &buf[..read]);
        Counters::add(&counters.delivered, read);
    }
}
