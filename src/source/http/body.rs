//! The body of an answer as a stream, and the bodies of the parts that follow it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use hyper::body::Body as _;
use tokio_stream::Stream;

use super::answer;
use super::errors::{permanent, transient, with_kind};
use super::requests::{Answered, Requests};
use crate::source::{ByteStream, OpenAt, SourceError, Version};

/// The body of one answer. An end before the end of the body is a transient error.
struct Body {
    requests: Requests,
    frames: reqwest::Body,
    url: reqwest::Url,
    /// The bytes that the headers announce and that have not arrived.
    left: Option<u64>,
    /// Whether the protocol itself marks the end of a body, as HTTP/2 does.
    is_framed: bool,
    has_ended: bool,
}

impl Body {
    /// Returns no chunk after the end or an error.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        while !self.has_ended {
            match poll_fn(|cx| Pin::new(&mut self.frames).poll_frame(cx)).await {
                Some(Ok(frame)) => {
                    // Trailers are not part of the resource.
                    if let Ok(chunk) = frame.into_data() {
                        return Some(self.count(chunk));
                    }
                }
                Some(Err(error)) => return Some(self.fail(SourceError::transient(with_kind(error)).into())),
                None => {
                    self.has_ended = true;
                    return self.check_end().await.err().map(Err);
                }
            }
        }
        None
    }

    fn fail(&mut self, error: io::Error) -> io::Result<Bytes> {
        self.has_ended = true;
        Err(error)
    }

    fn count(&mut self, chunk: Bytes) -> io::Result<Bytes> {
        let Some(left) = self.left else { return Ok(chunk) };
        match left.checked_sub(chunk.len() as u64) {
            Some(left) => self.left = Some(left),
            None => return self.fail(self.requests.too_long()),
        }
        Ok(chunk)
    }

    async fn check_end(&mut self) -> io::Result<()> {
        match self.left {
            Some(0) => Ok(()),
            Some(left) => {
                let text = format!("the body ended {left} bytes before the end of its Content-Range");
                Err(unexpected_end(text))
            }
            // hyper takes a reset without an error for the end of a body.
            None if self.is_framed
                && !self.frames.is_end_stream()
                && self.requests.shows_ends(&self.url).await? =>
            {
                Err(unexpected_end(
                    "the server reset the stream of HTTP/2 before it marked the end of the body",
                ))
            }
            None => Ok(()),
        }
    }
}

/// A body, and the parts after it that the server sends one by one.
struct Parts {
    body: Body,
    /// The offset of the next byte.
    at: u64,
    /// The bytes before `at` at the start of this body.
    skipped: u64,
    /// What the next part must have to be a part of the same resource. `None` if no part follows.
    next: Option<Expected>,
}

/// The resource that a part must belong to.
#[derive(Clone)]
struct Expected {
    end: Option<u64>,
    version: Version,
    size: Option<u64>,
}

/// The bytes of an answer. If the server ends it before the requested range ends, the next part is requested at
/// once: new bytes have come, so nothing has failed.
pub(super) fn stream(
    requests: &Requests,
    answer: reqwest::Response,
    found: &answer::Body,
    end: Option<u64>,
) -> ByteStream {
    let is_short = found.part.is_some_and(|part| part.is_short);
    let version = found.version.clone().filter(|_| is_short);
    let next = version.map(|version| Expected { end, version, size: found.size });
    let body = body(requests, answer, found);
    Box::pin(chained(Parts { body, at: found.start, skipped: 0, next }))
}

fn body(requests: &Requests, answer: reqwest::Response, found: &answer::Body) -> Body {
    Body {
        requests: requests.clone(),
        url: answer.url().clone(),
        is_framed: answer.version() >= reqwest::Version::HTTP_2,
        // Without a Content-Range, hyper compares the length with Content-Length.
        left: found.part.map(|part| part.len),
        frames: reqwest::Body::from(answer),
        has_ended: false,
    }
}

fn chained(parts: Parts) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let next = async |mut parts: Parts| {
        loop {
            match parts.body.next().await {
                Some(Ok(mut chunk)) => {
                    let skipped = parts.skipped.min(chunk.len() as u64);
                    parts.skipped -= skipped;
                    let chunk = chunk.split_off(usize::try_from(skipped).unwrap_or(usize::MAX));
                    parts.at += chunk.len() as u64;
                    if !chunk.is_empty() {
                        return Some((Ok(chunk), parts));
                    }
                }
                Some(Err(error)) => {
                    parts.next = None;
                    return Some((Err(error), parts));
                }
                None => match parts.follow().await? {
                    Ok(()) => {}
                    Err(error) => return Some((Err(error), parts)),
                },
            }
        }
    };
    stream::unfold(parts, next).fuse()
}

impl Parts {
    /// Requests the next part. `None` at the end.
    async fn follow(&mut self) -> Option<io::Result<()>> {
        let expected = self.next.take()?;
        let mut at = OpenAt::new(self.at);
        (at.end, at.version) = (expected.end, Some(expected.version.clone()));
        let (answer, found) = match self.body.requests.ask(&at).await {
            Ok(Answered::Body(answer, found)) => (answer, found),
            Ok(Answered::Empty { size, version }) => {
                let is_end = size == self.at && version.as_ref() == Some(&expected.version);
                return if is_end { None } else { Some(Err(other_part())) };
            }
            Err(error) => return Some(Err(error)),
        };
        let has_other_size = expected.size.zip(found.size).is_some_and(|(size, other)| size != other);
        let brings_nothing = found.part.is_some_and(|part| found.start.saturating_add(part.len) <= self.at);
        let is_proven = found.version.as_ref() == Some(&expected.version) && !has_other_size;
        match self.at.checked_sub(found.start) {
            Some(skipped) if is_proven && !brings_nothing => self.skipped = skipped,
            // The buffer opens the source again, and decides what has changed.
            _ => return Some(Err(other_part())),
        }
        self.next = found.part.is_some_and(|part| part.is_short).then_some(expected);
        self.body = body(&self.body.requests, answer, &found);
        Some(Ok(()))
    }
}

fn other_part() -> io::Error {
    let text = "the server sent less than the requested range, and then no part that continues it";
    transient(io::ErrorKind::UnexpectedEof, text)
}

fn unexpected_end(text: impl Into<String>) -> io::Error {
    transient(io::ErrorKind::UnexpectedEof, text)
}

/// More bytes than the headers announce.
pub(super) fn too_long(may_be_decoded: bool) -> io::Error {
    let text = "the body is longer than its Content-Range";
    let hint = if may_be_decoded { ": if the client decompresses bodies, turn that off" } else { "" };
    permanent(io::ErrorKind::InvalidData, format!("{text}{hint}"))
}
