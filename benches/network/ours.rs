//! A trace through the readers of a buffer.

use std::io::{self, SeekFrom};
use std::time::Duration;

use futures::future::try_join_all;
use streamspool::{BufferHandle, Bytes};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::Instant;

use crate::traces::{Place, Step, Trace};

/// Reads the trace. Each caller has a reader of its own.
pub(crate) async fn read(buffer: &BufferHandle, trace: &Trace, all: &Bytes) -> io::Result<Duration> {
    let start = Instant::now();
    caller(buffer.clone(), trace.first.clone(), all.clone()).await?;
    let callers = trace.then.iter().map(|steps| {
        let caller = caller(buffer.clone(), steps.clone(), all.clone());
        async { tokio::spawn(caller).await.expect("a caller ends") }
    });
    try_join_all(callers).await?;
    Ok(start.elapsed())
}

async fn caller(buffer: BufferHandle, steps: Vec<Step>, all: Bytes) -> io::Result<()> {
    let mut reader = buffer.reader();
    let mut piece = Vec::new();
    for step in steps {
        let range = step.range(all.len() as u64);
        let seek = match step.place {
            Place::At(offset) => SeekFrom::Start(offset),
            Place::BeforeEnd(len) => SeekFrom::End(-len.cast_signed()),
        };
        assert_eq!(reader.seek(seek).await?, range.start);
        let mut rest = all.slice(range.start as usize..range.end as usize);
        while !rest.is_empty() {
            let expected = rest.split_to(rest.len().min(crate::READ));
            piece.resize(expected.len(), 0);
            reader.read_exact(&mut piece).await?;
            if piece != expected {
                return Err(crate::wrong_bytes());
            }
        }
    }
    Ok(())
}
