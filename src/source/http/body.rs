//! The body of an answer as a stream, and the errors that its failures become.

use std::error::Error;
use std::io;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio_stream::Stream;

use super::answer::Part;
use crate::source::SourceError;

/// The bytes of an answer. A body that is shorter than its headers say ends with a transient error.
pub(super) fn stream(answer: reqwest::Response, part: Option<Part>) -> impl Stream<Item = io::Result<Bytes>> {
    let body = answer.bytes_stream().map(|chunk| chunk.map_err(body_error)).boxed();
    match part {
        // Without a Content-Range, hyper compares the length with Content-Length.
        None => body,
        Some(part) => counted(body, part),
    }
}

/// Compares the length of a body with its Content-Range.
fn counted(body: BoxStream<'static, io::Result<Bytes>>, part: Part) -> BoxStream<'static, io::Result<Bytes>> {
    let next = move |state: Option<(BoxStream<'static, io::Result<Bytes>>, u64)>| async move {
        let (mut body, left) = state?;
        match body.next().await {
            Some(Ok(chunk)) => match left.checked_sub(chunk.len() as u64) {
                Some(left) => Some((Ok(chunk), Some((body, left)))),
                None => Some((Err(too_long()), None)),
            },
            Some(Err(error)) => Some((Err(error), None)),
            None if left > 0 => {
                Some((Err(unexpected_end("the body is shorter than its Content-Range")), None))
            }
            None if part.is_short => {
                Some((Err(unexpected_end("the server sent less than the requested range")), None))
            }
            None => None,
        }
    };
    stream::unfold(Some((body, part.len)), next).boxed()
}

fn unexpected_end(text: &str) -> io::Error {
    SourceError::transient(io::Error::new(io::ErrorKind::UnexpectedEof, text)).into()
}

fn too_long() -> io::Error {
    let text = "the body is longer than its Content-Range: the client's decompression must be off";
    SourceError::permanent(io::Error::new(io::ErrorKind::InvalidData, text)).into()
}

fn body_error(error: reqwest::Error) -> io::Error {
    SourceError::transient(with_kind(error)).into()
}

/// A request that got no answer. Only a wrong request and wrong redirects are permanent.
pub(super) fn send_error(error: reqwest::Error) -> io::Error {
    if error.is_builder() || error.is_redirect() {
        return SourceError::permanent(with_kind(error)).into();
    }
    SourceError::transient(with_kind(error)).into()
}

/// Removes the address from the error, because it may be secret, and takes the kind from the cause.
pub(super) fn with_kind(error: reqwest::Error) -> io::Error {
    let error = error.without_url();
    // A timeout of the client need not have an `io::Error` as its cause.
    let mut kind = if error.is_timeout() { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            kind = error.kind();
            break;
        }
        cause = error.source();
    }
    io::Error::new(kind, error)
}
