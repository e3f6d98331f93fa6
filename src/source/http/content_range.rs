//! `Content-Range`, in all forms that servers write and that leave no doubt.

use reqwest::header::{CONTENT_RANGE, HeaderMap};

/// What a `Content-Range` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentRange {
    /// The body is the bytes from `start` up to `end`. `start == end` if there are none.
    Part { start: u64, end: u64, total: Option<u64> },
    /// The resource has this size, and the requested range is outside of it.
    Unsatisfied { total: u64 },
}

/// The range of an answer. `None` if there is none, if there are several, or if it is no range of bytes.
pub(super) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let mut values = headers.get_all(CONTENT_RANGE).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    parse(value.to_str().ok()?)
}

fn parse(value: &str) -> Option<ContentRange> {
    // The names of units are case-insensitive (RFC 9110, 14.1). Some servers leave the unit out, or write `bytes=`
    // as in a request.
    let value = value.trim().to_ascii_lowercase();
    let value = value.strip_prefix("bytes").unwrap_or(&value).trim_start_matches([' ', '=', ':']);
    let (range, total) = value.split_once('/')?;
    let (range, total) = (range.trim(), total.trim());
    let total = if total == "*" { None } else { Some(number(total)?) };
    if range == "*" {
        return total.map(|total| ContentRange::Unsatisfied { total });
    }
    let (start, last) = range.split_once('-')?;
    let start = number(start)?;
    // Servers compute the last offset of an empty part as `start - 1`, which is -1 for an empty resource.
    let end = if last == "-1" { 0 } else { number(last)?.checked_add(1)? };
    // Some servers write the size in place of the last offset.
    let end = if total.and_then(|total| total.checked_add(1)) == Some(end) { end - 1 } else { end };
    let is_valid = start <= end && total.is_none_or(|total| end <= total);
    is_valid.then_some(ContentRange::Part { start, end, total })
}

/// Digits only: `parse` takes a plus sign too.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_where_it_leaves_no_doubt() {
        // Rule 23.
        let part = |start, end, total| Some(ContentRange::Part { start, end, total });
        for (value, range) in [
            ("bytes 40-99/100", part(40, 100, Some(100))),
            ("bytes 40-99/*", part(40, 100, None)),
            ("Bytes  40-99/100 ", part(40, 100, Some(100))),
            ("bytes=40-99/100", part(40, 100, Some(100))),
            ("bytes: 40-99/100", part(40, 100, Some(100))),
            ("40-99/100", part(40, 100, Some(100))),
            // The size in place of the last offset.
            ("bytes 0-100/100", part(0, 100, Some(100))),
            ("bytes 0-0/0", part(0, 0, Some(0))),
            ("bytes 100-100/100", part(100, 100, Some(100))),
            // Nothing, as the last offset of an empty part is computed.
            ("bytes 0--1/0", part(0, 0, Some(0))),
            ("bytes 100-99/100", part(100, 100, Some(100))),
            ("bytes */100", Some(ContentRange::Unsatisfied { total: 100 })),
            ("BYTES */0", Some(ContentRange::Unsatisfied { total: 0 })),
            ("bytes */*", None),
            ("bytes 40-/100", None),
            ("bytes -99/100", None),
            ("bytes 99-40/100", None),
            ("bytes 40-101/100", None),
            ("bytes 40-99", None),
            ("bytes +40-99/100", None),
            ("bytes 40-99/100, 120-130/200", None),
            ("lines 40-99/100", None),
            ("bytes 0-18446744073709551615/*", None),
            ("bytes 0-18446744073709551614/18446744073709551615", part(0, u64::MAX, Some(u64::MAX))),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(parse(value), range, "{value}");
        }
    }
}
