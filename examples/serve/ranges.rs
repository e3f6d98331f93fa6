//! Which bytes a request asks for. The crate `http-range-header` implements the arithmetic of RFC 9110,
//! section 14. This module decides the rest, such as the response while the size is unknown.

use std::num::NonZeroUsize;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use http_range_header::{
    ParsedRanges, RangeUnsatisfiableError, SyntacticallyCorrectRange, parse_range_header_with_max_ranges,
};
use streamspool::{BufferHandle, Error};
use tokio::time::timeout;

/// The most ranges of one request. A PDF viewer asks for fewer.
const MOST: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// In RFC 8673 this last position says that a response goes on as long as bytes arrive.
pub(crate) const ENDLESS: u64 = (1 << 53) - 1;

/// How long a response waits for the end of the stream, after the first byte of a range that was not loaded.
/// A player that jumps to the index at the end of a film needs the size, and it comes soon after the index.
const SOON: Duration = Duration::from_secs(2);

/// What a response contains.
#[derive(Debug)]
pub(crate) enum Selection {
    /// 200: the whole resource.
    Whole { size: Option<u64> },
    /// 206: these ranges, in the order of the request.
    Parts { parts: Vec<Part>, size: Option<u64> },
    /// 206: all bytes from this offset on, as they arrive. The size is unknown.
    Onward { first: u64 },
    /// 416: no requested byte exists.
    Nothing { size: u64 },
}

/// A range with its first and its last byte, both included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Part {
    pub(crate) fn len(self) -> u64 {
        self.last - self.first + 1
    }

    /// The value of `Content-Range`.
    pub(crate) fn content_range(self, size: Option<u64>) -> String {
        let size = size.map_or_else(|| "*".into(), |size| size.to_string());
        format!("bytes {}-{}/{size}", self.first, self.last)
    }
}

/// The ranges of a GET. As the standard says, a server ignores ranges that it cannot parse, too many ranges,
/// and ranges with an `If-Range` of another version.
pub(crate) fn asked(headers: &HeaderMap, etag: &str) -> Option<ParsedRanges> {
    let range = headers.get(header::RANGE)?.to_str().ok()?;
    // Only a strong validator is valid here, and this server has sent no other than this one.
    if headers.get(header::IF_RANGE).is_some_and(|validator| validator.as_bytes() != etag.as_bytes()) {
        return None;
    }
    parse_range_header_with_max_ranges(range, MOST).ok()
}

/// Selects the bytes for `ranges`. While the size is unknown, it waits only until a correct response is possible:
///
/// - `first-last` waits until `last` is loaded, and the response says `first-last/*`;
/// - `0-` selects the whole resource;
/// - `first-` selects all bytes from there on, as they arrive. If `first` is not loaded, it waits for it;
/// - `-suffix` waits for the end of the stream, which is the size;
/// - several ranges select the whole resource.
pub(crate) async fn select(buffer: &BufferHandle, ranges: Option<ParsedRanges>) -> Result<Selection, Error> {
    let size = buffer.progress().size;
    let Some(ranges) = ranges else { return Ok(Selection::Whole { size }) };
    if let Some(size) = size {
        return Ok(within(&ranges, size));
    }
    match *ranges.clone().into_ranges().as_slice() {
        [SyntacticallyCorrectRange::FromStart(0)] => Ok(Selection::Whole { size }),
        [SyntacticallyCorrectRange::FromStart(first)] => onward(buffer, &ranges, first).await,
        [SyntacticallyCorrectRange::Indexed(first, last)] if last >= ENDLESS => {
            onward(buffer, &ranges, first).await
        }
        [SyntacticallyCorrectRange::Indexed(first, last)] => {
            if buffer.read_some(last, 1).await?.is_empty() {
                // The stream ends before `last`.
                return Ok(within(&ranges, buffer.size().await?));
            }
            Ok(Selection::Parts { parts: vec![Part { first, last }], size: buffer.progress().size })
        }
        [_] => Ok(within(&ranges, buffer.size().await?)),
        _ => Ok(Selection::Whole { size }),
    }
}

/// The selection for all bytes from `first` on.
async fn onward(buffer: &BufferHandle, ranges: &ParsedRanges, first: u64) -> Result<Selection, Error> {
    if first >= buffer.progress().frontier {
        if buffer.read_some(first, 1).await?.is_empty() {
            return Ok(within(ranges, buffer.size().await?));
        }
        // If the source fails meanwhile, the client gets the bytes before the failure.
        if let Ok(Ok(size)) = timeout(SOON, buffer.size()).await {
            return Ok(within(ranges, size));
        }
    }
    Ok(match buffer.progress().size {
        Some(size) => within(ranges, size),
        None => Selection::Onward { first },
    })
}

/// The selection for a known size.
fn within(ranges: &ParsedRanges, size: u64) -> Selection {
    match ranges.validate(size) {
        Ok(valid) if valid.is_empty() => Selection::Whole { size: Some(size) },
        Ok(valid) => {
            let parts = valid.iter().map(|range| Part { first: *range.start(), last: *range.end() });
            Selection::Parts { parts: parts.collect(), size: Some(size) }
        }
        Err(RangeUnsatisfiableError::Unsatisfiable) => Selection::Nothing { size },
        // Ranges that overlap too often are ignored.
        Err(_) => Selection::Whole { size: Some(size) },
    }
}
