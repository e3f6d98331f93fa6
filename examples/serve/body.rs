//! The bodies of responses: pieces of the buffer. Each body reports its position to the list of readers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use futures::{Stream, StreamExt, stream};
use streamspool::{Bytes, Chunks, Error};

use crate::ranges::Part;
use crate::readers::Ticket;
use crate::resource::Run;

/// A range that is being sent, without a copy: `Chunks` returns slices of the buffer's memory, and hyper
/// writes them to the connection. After an error hyper breaks the connection, so that no client takes half a
/// resource for a whole one. When the client disconnects, this is dropped and withdraws its demand.
struct Outgoing {
    chunks: Chunks,
    ticket: Ticket,
    /// An error that is passed on at the next poll. hyper sends what it has before a pause, and drops it at an error.
    error: Option<Error>,
}

impl Stream for Outgoing {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let next = match self.chunks.poll_next_unpin(cx) {
            Poll::Ready(Some(Err(error))) => {
                self.error = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            next => next,
        };
        self.ticket.is_at(self.chunks.position(), next.is_pending());
        next
    }
}

impl Outgoing {
    fn new(run: &Run, label: &str, chunks: Chunks, end: Option<u64>) -> Self {
        let ticket = run.readers.enter(label, chunks.position(), end);
        Self { chunks, ticket, error: None }
    }

    fn onward(run: &Run, label: &str, first: u64) -> Self {
        Self::new(run, label, run.buffer.chunks(first..), run.buffer.progress().size)
    }

    fn part(run: &Run, label: &str, part: Part) -> Self {
        let chunks = run.buffer.chunks(part.first..=part.last);
        Self::new(run, label, chunks, Some(part.last.saturating_add(1)))
    }
}

/// The whole resource.
pub(crate) fn whole(run: &Run, label: &str) -> Body {
    onward(run, label, 0)
}

/// All bytes from this offset on.
pub(crate) fn onward(run: &Run, label: &str, first: u64) -> Body {
    Body::from_stream(Outgoing::onward(run, label, first))
}

/// One range.
pub(crate) fn part(run: &Run, label: &str, part: Part) -> Body {
    Body::from_stream(Outgoing::part(run, label, part))
}

/// Several ranges as `multipart/byteranges` (RFC 9110, section 14.6), and the length of that body.
pub(crate) fn parts(
    run: &Arc<Run>,
    label: &str,
    parts: &[Part],
    size: Option<u64>,
    content_type: &str,
    boundary: &str,
) -> (Body, u64) {
    let mut length = 0;
    let mut pieces = Vec::new();
    for &part in parts {
        let range = part.content_range(size);
        let head =
            format!("\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {range}\r\n\r\n");
        length += head.len() as u64 + part.len();
        pieces.push((Bytes::from(head), Some(part)));
    }
    let tail = format!("\r\n--{boundary}--\r\n");
    length += tail.len() as u64;
    pieces.push((Bytes::from(tail), None));

    let (run, label) = (Arc::clone(run), label.to_owned());
    let stream = stream::iter(pieces).flat_map(move |(head, part)| {
        let body = part.map(|part| Outgoing::part(&run, &label, part));
        stream::iter([Ok(head)]).chain(stream::iter(body).flatten())
    });
    (Body::from_stream(stream), length)
}
