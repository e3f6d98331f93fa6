//! The stream that the actor pulls.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio_stream::Stream;

use crate::panics;

/// The stream of a buffer, until it must not be polled any more.
pub(super) struct Streams {
    stream: Option<Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>>,
}

impl Streams {
    pub(super) fn new(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self { stream: Some(Box::pin(stream)) }
    }

    /// The next chunk. A panic of the stream becomes an error.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        catch_unwind(AssertUnwindSafe(|| stream.as_mut().poll_next(cx)))
            .unwrap_or_else(|payload| Poll::Ready(Some(Err(panics::error("source", payload)))))
    }

    /// Drops the stream, and the connection behind it.
    pub(super) fn close(&mut self) {
        panics::drop_quietly(self.stream.take());
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.close();
    }
}
