//! The source of a buffer, its opening and its stream.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::core::OpenedStream;
use crate::panics;
use crate::source::{AnySource, ByteStream, OpenAt, Opened, Opening, SourceError};

/// The source of a buffer. At most one opening runs, or one stream is open.
pub(crate) struct Streams {
    /// `None` for a one-way stream.
    source: Option<Arc<dyn AnySource>>,
    opening: Option<Opening>,
    stream: Option<ByteStream>,
}

impl Streams {
    /// A stream that is open already, and cannot be opened again.
    pub(crate) fn one_way(stream: ByteStream) -> Self {
        Self { source: None, opening: None, stream: Some(stream) }
    }

    /// A source that is to be opened.
    pub(crate) fn source(source: Arc<dyn AnySource>) -> Self {
        Self { source: Some(source), opening: None, stream: None }
    }

    /// Starts an opening. A panic of the source becomes an error of the opening.
    pub(super) fn open(&mut self, at: OpenAt) {
        self.close();
        let Some(source) = &self.source else { return };
        let source = Arc::clone(source);
        self.opening = Some(match catch_unwind(AssertUnwindSafe(|| source.open(at))) {
            Ok(opening) => opening,
            Err(payload) => {
                let error = panicked(payload);
                Box::pin(async { Err(error) })
            }
        });
    }

    /// The result of the opening that runs.
    pub(super) fn poll_opening(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<OpenedStream>> {
        let Some(opening) = &mut self.opening else { return Poll::Pending };
        let polled = catch_unwind(AssertUnwindSafe(|| opening.as_mut().poll(cx)))
            .unwrap_or_else(|payload| Poll::Ready(Err(panicked(payload))));
        polled.map(|result| {
            panics::drop_quietly(self.opening.take());
            let Opened { stream, start, size, version, reopen } = result?;
            self.stream = Some(stream);
            Ok(OpenedStream { start, size, version, reopen })
        })
    }

    /// The next chunk. A panic of the stream becomes an error.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        catch_unwind(AssertUnwindSafe(|| stream.as_mut().poll_next(cx)))
            .unwrap_or_else(|payload| Poll::Ready(Some(Err(panicked(payload)))))
    }

    /// Drops the opening and the stream, and the connection behind them.
    pub(super) fn close(&mut self) {
        panics::drop_quietly(self.opening.take());
        panics::drop_quietly(self.stream.take());
    }
}

/// The error that a panic of the source becomes. It would panic again, so it is permanent.
fn panicked(payload: Box<dyn std::any::Any + Send>) -> io::Error {
    SourceError::permanent(panics::error("source", payload)).into()
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.close();
        panics::drop_quietly(self.source.take());
    }
}
