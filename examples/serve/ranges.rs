//! Which bytes a request asks for. The arithmetic of RFC 9110, section 14, is `http-range-header`'s;
//! here is what a server decides beside it, above all while nobody knows the size.

use std::num::NonZeroUsize;

use axum::http::{HeaderMap, header};
use http_range_header::{
    ParsedRanges, RangeUnsatisfiableError, SyntacticallyCorrectRange, parse_range_header_with_max_ranges,
};
use streamspool::{BufferHandle, Error};

/// More than a PDF viewer asks for at once.
const MOST: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// What to answer.
#[derive(Debug)]
pub(crate) enum Selection {
    /// 200: all of it.
    Whole { size: Option<u64> },
    /// 206: these ranges, in the order asked for, each `first..=last`.
    Parts { parts: Vec<Part>, size: Option<u64> },
    /// 416: nothing that exists.
    Nothing { size: u64 },
}

/// First and last byte, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Part {
    pub(crate) fn len(self) -> u64 {
        self.last - self.first + 1
    }

    /// As in `Content-Range`.
    pub(crate) fn content_range(self, size: Option<u64>) -> String {
        let size = size.map_or_else(|| "*".into(), |size| size.to_string());
        format!("bytes {}-{}/{size}", self.first, self.last)
    }
}

/// The ranges of a GET, if it has any that count: the standard has a server ignore what it can't
/// parse, what asks for too much at once, and what an `If-Range` with another validator disowns.
pub(crate) fn asked(headers: &HeaderMap, etag: &str) -> Option<ParsedRanges> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    // Only a strong validator counts, and this is the only one that was ever given out.
    if headers.get(header::IF_RANGE).is_some_and(|validator| validator.as_bytes() != etag.as_bytes()) {
        return None;
    }
    parse_range_header_with_max_ranges(range, MOST).ok()
}

/// Selects what `ranges` ask for. While the size is unknown it waits for as much as it takes to
/// answer truly:
///
/// - `first-last` waits until `last` is there, and says `first-last/*`;
/// - `0-` is all of it, as it comes;
/// - `first-` and `-suffix` wait for the end of the stream, and with it the size;
/// - several ranges at once are all of it.
pub(crate) async fn select(buffer: &BufferHandle, ranges: Option<ParsedRanges>) -> Result<Selection, Error> {
    let size = buffer.progress().size;
    let Some(ranges) = ranges else { return Ok(Selection::Whole { size }) };
    if let Some(size) = size {
        return Ok(within(&ranges, size));
    }
    match ranges.clone().into_ranges().as_slice() {
        [SyntacticallyCorrectRange::Indexed(first, last)] => {
            if buffer.read_some(*last, 1).await?.is_empty() {
                // It ended before.
                return Ok(within(&ranges, buffer.size().await?));
            }
            let part = Part { first: *first, last: *last };
            Ok(Selection::Parts { parts: vec![part], size: buffer.progress().size })
        }
        [SyntacticallyCorrectRange::FromStart(0)] => Ok(Selection::Whole { size }),
        [_] => Ok(within(&ranges, buffer.size().await?)),
        _ => Ok(Selection::Whole { size }),
    }
}

/// With the size known.
fn within(ranges: &ParsedRanges, size: u64) -> Selection {
    match ranges.validate(size) {
        Ok(valid) if valid.is_empty() => Selection::Whole { size: Some(size) },
        Ok(valid) => {
            let parts = valid.iter().map(|range| Part { first: *range.start(), last: *range.end() });
            Selection::Parts { parts: parts.collect(), size: Some(size) }
        }
        Err(RangeUnsatisfiableError::Unsatisfiable) => Selection::Nothing { size },
        // Ranges that overlap again and again are ignored.
        Err(_) => Selection::Whole { size: Some(size) },
    }
}
