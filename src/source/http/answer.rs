//! Decides what the source does with an answer of the server, from the status and the headers alone. All
//! decisions of the HTTP source are made here.

use std::io::ErrorKind;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING,
};

use super::content_range::{ContentRange, content_range};
use super::validators::{
    coding, coding_of, has_other_tag, if_range, is_sent_date, other_version, retry_after, text, version,
};
use crate::source::{Reopen, Version};

/// A request, as far as its answer depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) offset: u64,
    pub(super) end: Option<u64>,
    /// The version that the buffer has bytes of.
    pub(super) known: Option<&'a Version>,
    /// The strong date that an answer with this version had.
    pub(super) date: Option<&'a [u8]>,
    pub(super) form: Form,
    /// Whether a refusal may be due to the `Range`: see [`Learned`](super::learned::Learned).
    pub(super) may_refuse_range: bool,
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
    /// Whether the client may have decoded the body. Then it has removed `Content-Encoding` and `Content-Length`.
    pub(super) may_be_decoded: bool,
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
    /// The server refuses the `Range`, or answers it so that the place of the bytes is in doubt. The request is to
    /// be repeated without it.
    AskWithoutRange,
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

    fn has_range(self) -> bool {
        self.form != Form::Whole
    }

    fn version(self, headers: &HeaderMap) -> Option<Version> {
        version(headers, self.known, self.date)
    }
}

/// Decides what an answer means.
pub(super) fn decide(head: Head<'_>, asked: Asked<'_>, now: SystemTime) -> Decision {
    match head.status.as_u16() {
        200 => whole(head, asked),
        206 => part(head, asked),
        416 => not_satisfiable(head.headers, asked),
        _ => refusal(head, asked, now),
    }
}

/// Any other status. Servers refuse ranges with many of them: 400, 403, 404, 405, 406, 412, 500, 501, 503.
fn refusal(head: Head<'_>, asked: Asked<'_>, now: SystemTime) -> Decision {
    let text = format!("the server answered {}", head.status);
    let status = head.status.as_u16();
    let retry_after = retry_after(head.headers, now);
    let is_busy = matches!(status, 408 | 425 | 429) || head.status.is_server_error() && retry_after.is_some();
    let may_refuse_range = asked.has_range() && asked.may_refuse_range;
    match status {
        _ if is_busy => Decision::Transient { text, retry_after },
        // S3 answers 400 if the credentials that signed an address have expired.
        400 | 401 | 403 | 404 | 410 => Decision::AskForAddress,
        _ if may_refuse_range && status != 407 => Decision::AskWithoutRange,
        // The server does not know GET, or not this version of HTTP.
        501 | 505 => Decision::Refuse { kind: ErrorKind::Unsupported, text },
        500..=599 => Decision::Transient { text, retry_after },
        _ => Decision::Refuse { kind: ErrorKind::Other, text },
    }
}

/// 200: the body is the whole resource.
fn whole(head: Head<'_>, asked: Asked<'_>) -> Decision {
    let headers = head.headers;
    if headers.contains_key(CONTENT_RANGE) && !is_whole_range(headers, asked) {
        // Some servers send a part with the wrong status, others send the whole resource with the header of a part.
        return odd(
            asked,
            "the server answered 200 with the Content-Range of a part to a request without Range",
        );
    }
    if has_other_coding(headers, asked) {
        return odd(asked, "the server's answer has another Content-Encoding than the answer before");
    }
    let version = asked.version(headers);
    if version.is_none() && asked.known.is_none() && coding(headers).is_some() {
        return coded(None);
    }
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
        version: version
            .or_else(|| asked.known.filter(|_| is_other(headers, asked)).map(|_| other_version())),
        reopen: if accepts_ranges(headers) { Reopen::Anywhere } else { Reopen::FromStart },
        part: None,
    })
}

/// Whether a 200 that does not prove the known version is another one.
fn is_other(headers: &HeaderMap, asked: Asked<'_>) -> bool {
    let is_weak_form = headers.contains_key(reqwest::header::ETAG) && !has_other_tag(headers, asked.known);
    // `If-Range` asked for the known version, and the answer does not have it. A server that weakens its tags cannot
    // compare them, so its 200 proves nothing.
    has_other_tag(headers, asked.known) || asked.is_conditional() && !is_weak_form
}

/// Whether a 200 with a `Content-Range` is the whole resource nevertheless.
fn is_whole_range(headers: &HeaderMap, asked: Asked<'_>) -> bool {
    let length = content_length(headers);
    match content_range(headers) {
        Some(ContentRange::Part { start: 0, end, total }) if total == Some(end) => {
            length.is_none_or(|length| length == end)
        }
        // The length of the body decides.
        Some(ContentRange::Part { total, .. }) => !asked.has_range() && total.is_some() && length == total,
        _ => !asked.has_range(),
    }
}

/// 206: the body is a part of the resource.
fn part(head: Head<'_>, asked: Asked<'_>) -> Decision {
    let headers = head.headers;
    if text(headers, &CONTENT_TYPE).is_some_and(is_multipart) {
        return odd(asked, "the server answered with multipart/byteranges to a request for one range");
    }
    let length = content_length(headers);
    let (start, end, total) = match content_range(headers) {
        Some(ContentRange::Part { start, end, total }) => (start, end, total),
        // A 416 with the wrong status.
        Some(ContentRange::Unsatisfied { total }) if length == Some(0) => {
            return at_end(headers, total, asked);
        }
        Some(ContentRange::Unsatisfied { .. }) | None => {
            return odd(asked, "the server answered 206 without a valid Content-Range");
        }
    };
    let len = end.saturating_sub(start);
    if length.is_some_and(|length| length != len) {
        return odd(asked, "the Content-Length of the server's answer is not that of its Content-Range");
    }
    if len == 0 {
        let text = "the server answered 206 without a byte";
        return total.map_or_else(|| odd(asked, text), |total| at_end(headers, total, asked));
    }
    if !asked.has_range() && start > 0 {
        return odd(asked, "the server answered a request without Range with a part that is not the start");
    }
    if has_other_coding(headers, asked) {
        return odd(asked, "the server's answer has another Content-Encoding than the answer before");
    }
    let is_short = total.into_iter().chain(asked.end).min().is_none_or(|requested| end < requested);
    let version = asked.version(headers);
    if coding(headers).is_some() && version.is_none() && asked.known.is_none() {
        // The offsets count encoded bytes, which may differ between requests.
        let is_all = start == 0 && total == Some(end);
        return if is_all { coded(Some(Part { len, is_short: false })) } else { ask_whole(asked) };
    }
    let has_length = length.is_some() || headers.contains_key(TRANSFER_ENCODING);
    if !head.is_framed && !has_length && head.may_be_decoded && asked.has_range() {
        return Decision::AskWithoutRange;
    }
    if let (None, Some(known)) = (&version, asked.known)
        && is_sent_date(known)
        && asked.has_range()
    {
        // By RFC 9110 (15.3.7), the answer to `If-Range` has no `Last-Modified`. It proves the version only
        // if the server has looked at `If-Range`. All other answers must have the date.
        return Decision::Ask(if asked.is_conditional() { Form::Ranged } else { Form::Whole });
    }
    if is_short && version.is_none() {
        // Without a version, the buffer opens the source before its last byte. A short part may end before that
        // byte, so it would bring nothing new.
        return ask_whole(asked);
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
    match content_range(headers) {
        Some(ContentRange::Unsatisfied { total }) => at_end(headers, total, asked),
        _ if asked.has_range() => Decision::AskWithoutRange,
        _ => refuse("the server answered 416 to a request without a Range"),
    }
}

/// The server says that there are no bytes at the requested offset.
fn at_end(headers: &HeaderMap, total: u64, asked: Asked<'_>) -> Decision {
    if total > asked.offset || total > 0 && !asked.has_range() {
        // The resource has a byte there, so this server refuses ranges as such.
        return odd(asked, "the server answered that its resource has no bytes, and that it has some");
    }
    // A server compares the version in `If-Range` before it looks at the range. So without a validator of its
    // own, this answer is about the version that the request named.
    let named = asked.known.filter(|_| asked.is_conditional()).cloned();
    match (asked.known, asked.version(headers).or(named)) {
        (Some(_), None) => Decision::Ask(Form::Whole),
        (_, version) => Decision::Empty { size: total, version },
    }
}

/// A body with a `Content-Encoding` and without a strong tag: it may be encoded anew for each request.
fn coded(part: Option<Part>) -> Decision {
    Decision::Body(Body { start: 0, size: None, version: None, reopen: Reopen::Never, part })
}

/// Whether the answer is encoded in another way than the bytes of the buffer.
fn has_other_coding(headers: &HeaderMap, asked: Asked<'_>) -> bool {
    asked.known.is_some_and(|known| coding(headers).as_deref() != coding_of(known))
}

/// The answer to a range leaves the place of its bytes in doubt.
fn odd(asked: Asked<'_>, text: &str) -> Decision {
    if asked.has_range() { Decision::AskWithoutRange } else { refuse(text) }
}

/// Only the whole resource is of use. This does not mean that ranges are not.
fn ask_whole(asked: Asked<'_>) -> Decision {
    if asked.has_range() {
        return Decision::Ask(Form::Whole);
    }
    refuse(
        "the server sends only a part, and nothing that proves the other parts: no ETag and no Last-Modified",
    )
}

fn refuse(text: &str) -> Decision {
    Decision::Refuse { kind: ErrorKind::InvalidData, text: text.into() }
}

/// The length of the body. A `Transfer-Encoding` overrides it.
fn content_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    text(headers, &CONTENT_LENGTH)?.parse().ok()
}

fn is_multipart(media_type: &str) -> bool {
    let name = media_type.split(';').next().unwrap_or_default();
    name.trim().eq_ignore_ascii_case("multipart/byteranges")
}

pub(super) fn accepts_ranges(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(ACCEPT_RANGES).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|unit| unit.trim().eq_ignore_ascii_case("bytes")))
}

/// Headers from lines of text, for tests.
#[cfg(test)]
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
