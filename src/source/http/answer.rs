//! Decides what the source does with an answer of the server, from the status and the headers alone. All
//! decisions of the HTTP source are made here.

use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use http_content_range::ContentRange;
use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap,
    TRANSFER_ENCODING,
};

use super::validators::{if_range, is_sent_date, other_version, retry_after, text, version};
use crate::source::{Reopen, Version};

/// A request, as far as its answer depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) offset: u64,
    pub(super) end: Option<u64>,
    /// The version that the buffer has bytes of.
    pub(super) known: Option<&'a Version>,
    pub(super) form: Form,
}

/// The form of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// With a `Range`, and with the known version in `If-Range` if it can be named there.
    Conditional,
    /// With a `Range` only.
    Ranged,
    /// Without a `Range`.
    Whole,
}

/// The status and the headers of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    /// Whether the protocol itself marks the end of a body, as HTTP/2 does. In HTTP/1, only a `Content-Length` or
    /// a `Transfer-Encoding` does.
    pub(super) is_framed: bool,
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The body is of use.
    Body(Body),
    /// There are no bytes at the requested offset.
    Empty { size: u64, version: Option<Version> },
    /// The request is to be repeated in this form.
    Ask(Form),
    /// The resource is not at this address, or not any more.
    AskForAddress,
    /// Another attempt may help.
    Transient { text: String, retry_after: Option<Duration> },
    /// No other attempt will help.
    Refuse { kind: ErrorKind, text: String },
}

/// What the headers say about a body and its resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body {
    /// The offset of the first byte.
    pub(super) start: u64,
    pub(super) size: Option<u64>,
    pub(super) version: Option<Version>,
    pub(super) reopen: Reopen,
    pub(super) part: Option<Part>,
}

/// What a `Content-Range` says about a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) len: u64,
    /// Whether the part ends before the requested range ends. If the size of the resource is unknown, the
    /// requested range may go on after each part.
    pub(super) is_short: bool,
}

impl Asked<'_> {
    /// Whether the request had an `If-Range`.
    fn is_conditional(self) -> bool {
        self.form == Form::Conditional && self.known.is_some_and(|known| if_range(known).is_some())
    }
}

/// Decides what an answer means.
pub(super) fn decide(head: Head<'_>, asked: Asked<'_>, now: SystemTime) -> Decision {
    match head.status.as_u16() {
        200 => whole(head.headers, asked),
        206 => part(head, asked),
        416 => not_satisfiable(head.headers, asked),
        // S3 answers 400 if the credentials that signed an address have expired.
        400 | 401 | 403 | 404 | 410 => Decision::AskForAddress,
        408 | 425 | 429 | 500..=599 => Decision::Transient {
            text: format!("the server answered {}", head.status),
            retry_after: retry_after(head.headers, now),
        },
        _ => {
            Decision::Refuse { kind: ErrorKind::Other, text: format!("the server answered {}", head.status) }
        }
    }
}

/// 200: the body is the whole resource.
fn whole(headers: &HeaderMap, asked: Asked<'_>) -> Decision {
    if headers.contains_key(CONTENT_RANGE) {
        return refuse("the server answered 200 with a Content-Range");
    }
    if is_coded(headers) {
        return coded(asked, None);
    }
    let version = version(headers, asked.known);
    if asked.is_conditional()
        && asked.offset > 0
        && version.as_ref() == asked.known
        && accepts_ranges(headers)
    {
        // The answer has the version that `If-Range` named, so the server should have sent a 206. It does not
        // understand this form of `If-Range`: some servers know only dates. The version of the next answer is
        // compared in any case.
        return Decision::Ask(Form::Ranged);
    }
    Decision::Body(Body {
        start: 0,
        size: content_length(headers),
        // `If-Range` asked for the known version, and this is not it.
        version: version.or_else(|| asked.known.map(|_| other_version())),
        reopen: if accepts_ranges(headers) { Reopen::Anywhere } else { Reopen::FromStart },
        part: None,
    })
}

/// 206: the body is a part of the resource.
fn part(head: Head<'_>, asked: Asked<'_>) -> Decision {
    let headers = head.headers;
    if asked.form == Form::Whole {
        return refuse("the server answered 206 to a request without a Range");
    }
    if text(headers, &CONTENT_TYPE).is_some_and(is_multipart) {
        return refuse("the server answered with multipart/byteranges to a request for one range");
    }
    let (start, last, total) = match content_range(headers) {
        Some(ContentRange::Bytes(range)) => (range.first_byte, range.last_byte, Some(range.complete_length)),
        Some(ContentRange::UnboundBytes(range)) => (range.first_byte, range.last_byte, None),
        Some(ContentRange::Unsatisfied(_)) | None => {
            return refuse("the server answered 206 without a valid Content-Range");
        }
    };
    let Some(end) = last.checked_add(1) else {
        return refuse("the server answered 206 without a valid Content-Range");
    };
    let len = end.saturating_sub(start);
    if content_length(headers).is_some_and(|length| length != len) {
        return refuse("the Content-Length of the server's answer is not that of its Content-Range");
    }
    if is_coded(headers) {
        // The offsets count encoded bytes, so a part of them is of no use.
        if start > 0 || total != Some(end) {
            return refuse("the server answered with a part of an encoded body");
        }
        return coded(asked, Some(Part { len, is_short: false }));
    }
    // A client that decodes a body removes Content-Encoding and Content-Length.
    if !head.is_framed && !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING) {
        return refuse("the answer 206 has no length: the client's decompression must be off");
    }
    let version = version(headers, asked.known);
    if let (None, Some(known)) = (&version, asked.known) {
        if is_sent_date(known) {
            // By RFC 9110 (15.3.7), the answer to `If-Range` has no `Last-Modified`. It proves the version only
            // if the server has looked at `If-Range`. All other answers must have the date.
            return Decision::Ask(if asked.is_conditional() { Form::Ranged } else { Form::Whole });
        }
        return Decision::Transient {
            text: "the server answered 206 without the validator that it sent before".into(),
            retry_after: None,
        };
    }
    let requested = total.into_iter().chain(asked.end).min();
    let is_short = requested.is_none_or(|requested| end < requested);
    if is_short && version.is_none() {
        // Without a version, the buffer opens the source before its last byte. A short part may end before that
        // byte, so it would bring nothing new.
        return Decision::Ask(Form::Whole);
    }
    Decision::Body(Body {
        start,
        size: total,
        version,
        reopen: if start < asked.offset { Reopen::FromStart } else { Reopen::Anywhere },
        part: Some(Part { len, is_short }),
    })
}

/// 416: the requested offset is at the end of the resource or after it.
fn not_satisfiable(headers: &HeaderMap, asked: Asked<'_>) -> Decision {
    if asked.form == Form::Whole {
        return refuse("the server answered 416 to a request without a Range");
    }
    match content_range(headers) {
        Some(ContentRange::Unsatisfied(range)) if range.complete_length <= asked.offset => {
            // A server compares the version in `If-Range` before it looks at the range. So without a
            // validator of its own, this answer is about the version that the request named.
            let named = asked.known.filter(|_| asked.is_conditional()).cloned();
            match (asked.known, version(headers, asked.known).or(named)) {
                (Some(_), None) => Decision::Ask(Form::Whole),
                (_, version) => Decision::Empty { size: range.complete_length, version },
            }
        }
        // The resource has a byte at the requested offset, so this server refuses ranges as such.
        _ => Decision::Ask(Form::Whole),
    }
}

/// A body with a `Content-Encoding` other than identity: it may be encoded anew for each request.
fn coded(asked: Asked<'_>, part: Option<Part>) -> Decision {
    if asked.known.is_some() {
        return refuse("the server's answer has a Content-Encoding, unlike the one before");
    }
    Decision::Body(Body { start: 0, size: None, version: None, reopen: Reopen::Never, part })
}

fn refuse(text: &str) -> Decision {
    Decision::Refuse { kind: ErrorKind::InvalidData, text: text.into() }
}

fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let mut values = headers.get_all(CONTENT_RANGE).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    // The names of units are case-insensitive (RFC 9110, 14.1). The parser knows only one form.
    ContentRange::parse_bytes(&value.as_bytes().to_ascii_lowercase())
}

/// The length of the body. A `Transfer-Encoding` overrides it.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    text(headers, &CONTENT_LENGTH)?.parse().ok()
}

/// Whether a body is encoded. `none` is not registered, but servers send it.
fn is_coded(headers: &HeaderMap) -> bool {
    let is_none =
        |value: &[u8]| [&b""[..], b"identity", b"none"].iter().any(|none| value.eq_ignore_ascii_case(none));
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    values.any(|value| !is_none(value.as_bytes()))
}

fn is_multipart(media_type: &str) -> bool {
    let name = media_type.split(';').next().unwrap_or_default();
    name.trim().eq_ignore_ascii_case("multipart/byteranges")
}

fn accepts_ranges(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(ACCEPT_RANGES).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|unit| unit.trim().eq_ignore_ascii_case("bytes")))
}

/// Headers from lines of text, for tests.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
pub(super) fn headers(text: &str) -> HeaderMap {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let parsed = lines.map(|(name, value)| (name.parse().unwrap(), value.trim().parse().unwrap()));
    // `append`, as a client does. `collect` would replace.
    let mut headers = HeaderMap::new();
    parsed.for_each(|(name, value): (reqwest::header::HeaderName, _)| {
        headers.append(name, value);
    });
    headers
}

#[cfg(test)]
mod tests;
