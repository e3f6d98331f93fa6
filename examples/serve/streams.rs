//! The open streams of a source, for the page: where each of them is now.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use streamspool::Bytes;

use crate::sources::ByteStream;
use crate::upstream::Declared;

/// What the streams of one buffer show.
#[derive(Default)]
pub(crate) struct Streams {
    list: Mutex<List>,
    /// What the first answer of an HTTP source says of the content.
    declared: OnceLock<Declared>,
}

#[derive(Default)]
struct List {
    last: u64,
    /// The offset of the next byte of each stream.
    positions: BTreeMap<u64, u64>,
}

/// A stream that reports its position.
struct Followed {
    stream: ByteStream,
    id: u64,
    streams: Arc<Streams>,
}

impl Streams {
    /// Reports the position of this stream until it is dropped.
    pub(crate) fn follow(self: &Arc<Self>, stream: ByteStream, start: u64) -> ByteStream {
        let id = self.with(|list| {
            list.last += 1;
            list.positions.insert(list.last, start);
            list.last
        });
        Followed { stream, id, streams: Arc::clone(self) }.boxed()
    }

    pub(crate) fn positions(&self) -> Vec<u64> {
        self.with(|list| list.positions.values().copied().collect())
    }

    /// Keeps the first answer.
    pub(crate) fn declare(&self, declared: Declared) {
        let _ = self.declared.set(declared);
    }

    pub(crate) fn declared(&self) -> Declared {
        self.declared.get().cloned().unwrap_or_default()
    }

    fn with<T>(&self, work: impl FnOnce(&mut List) -> T) -> T {
        work(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Stream for Followed {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.stream.poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.streams.with(|list| {
                if let Some(position) = list.positions.get_mut(&self.id) {
                    *position = position.saturating_add(chunk.len() as u64);
                }
            });
        }
        next
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.streams.with(|list| list.positions.remove(&self.id));
    }
}
