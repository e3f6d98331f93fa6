//! The source of a buffer, its openings and its streams.

use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::core::OpenedStream;
use crate::panics;
use crate::source::{AnySource, ByteStream, OpenAt, Opened, Opening, SourceError};

/// The source of a buffer, and its streams under the numbers that the core gave them.
pub(crate) struct Streams {
    /// `None` for a one-way stream.
    source: Option<Arc<dyn AnySource>>,
    slots: Vec<Slot>,
}

/// One stream.
enum Slot {
    Closed,
    Opening(Opening),
    Open(ByteStream),
}

impl Streams {
    /// A stream that is open already, and cannot be opened again.
    pub(crate) fn one_way(stream: ByteStream) -> Self {
        Self { source: None, slots: vec![Slot::Open(stream)] }
    }

    /// A source that is to be opened.
    pub(crate) fn source(source: Arc<dyn AnySource>) -> Self {
        Self { source: Some(source), slots: Vec::new() }
    }

    /// Starts an opening, in place of the stream with this number. A panic of the source becomes an error of
    /// the opening.
    pub(super) fn open(&mut self, id: usize, at: OpenAt) {
        self.close(id);
        let Some(source) = &self.source else { return };
        let source = Arc::clone(source);
        let opening = Slot::Opening(match catch_unwind(AssertUnwindSafe(|| source.open(at))) {
            Ok(opening) => opening,
            Err(payload) => {
                let error = panicked(payload);
                Box::pin(async { Err(error) })
            }
        });
        match self.slots.get_mut(id) {
            Some(slot) => *slot = opening,
            // Numbers are given in order.
            None => self.slots.push(opening),
        }
    }

    /// The result of the opening that runs under this number.
    pub(super) fn poll_opening(&mut self, cx: &mut Context<'_>, id: usize) -> Poll<io::Result<OpenedStream>> {
        let Some(slot) = self.slots.get_mut(id) else { return Poll::Pending };
        let Slot::Opening(opening) = slot else { return Poll::Pending };
        let polled = catch_unwind(AssertUnwindSafe(|| opening.as_mut().poll(cx)))
            .unwrap_or_else(|payload| Poll::Ready(Err(panicked(payload))));
        polled.map(|result| {
            panics::drop_quietly(mem::replace(slot, Slot::Closed));
            let Opened { stream, start, size, version, reopen } = result?;
            *slot = Slot::Open(stream);
            Ok(OpenedStream { start, size, version, reopen })
        })
    }

    /// The next chunk of a stream. A panic of the stream becomes an error.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>, id: usize) -> Poll<Option<io::Result<Bytes>>> {
        let Some(Slot::Open(stream)) = self.slots.get_mut(id) else { return Poll::Pending };
        catch_unwind(AssertUnwindSafe(|| stream.as_mut().poll_next(cx)))
            .unwrap_or_else(|payload| Poll::Ready(Some(Err(panicked(payload)))))
    }

    /// Drops a stream or its opening, and the connection behind it.
    pub(super) fn close(&mut self, id: usize) {
        if let Some(slot) = self.slots.get_mut(id) {
            panics::drop_quietly(mem::replace(slot, Slot::Closed));
        }
    }

    /// Drops all streams and openings.
    pub(super) fn close_all(&mut self) {
        for slot in self.slots.drain(..) {
            panics::drop_quietly(slot);
        }
    }
}

/// The error that a panic of the source becomes. It would panic again, so it is permanent.
fn panicked(payload: Box<dyn std::any::Any + Send>) -> io::Error {
    SourceError::permanent(panics::error("source", payload)).into()
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.close_all();
        panics::drop_quietly(self.source.take());
    }
}
