//! Conditional requests (RFC 9110, section 13): whether a client's copy is still valid.

use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

/// What identifies the bytes that a resource has now.
pub(crate) struct Validators<'a> {
    pub(crate) etag: &'a str,
    /// In whole seconds. `None` if other bytes of the resource may have the same date.
    pub(crate) modified: Option<SystemTime>,
}

/// The status that answers a GET or HEAD instead of the bytes: 304 or 412. `None` if its conditions hold. The order
/// is that of RFC 9110, section 13.2.2: a date counts only without the header for tags.
pub(crate) fn answer(headers: &HeaderMap, now: &Validators<'_>) -> Option<StatusCode> {
    let is_later = |name| Some(now.modified? > date(headers, name)?);
    let is_other = match tags(headers, &header::IF_MATCH) {
        // The tag of this server is strong, and a weak one never matches here.
        Some(mut tags) => !tags.any(|tag| tag == "*" || tag == now.etag),
        None => is_later(header::IF_UNMODIFIED_SINCE) == Some(true),
    };
    if is_other {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    let is_same = match tags(headers, &header::IF_NONE_MATCH) {
        Some(mut tags) => tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(&tag) == now.etag),
        None => is_later(header::IF_MODIFIED_SINCE) == Some(false),
    };
    is_same.then_some(StatusCode::NOT_MODIFIED)
}

/// The tags of all headers with this name, or `None` if there is no such header. A tag that contains a comma is
/// divided, and none of its parts equals a tag of this server, which contains no comma.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Option<impl Iterator<Item = String>> {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    let all = values.join(",");
    let tags: Vec<_> = all.split(',').map(|tag| tag.trim().to_owned()).collect();
    headers.contains_key(name).then(|| tags.into_iter())
}

/// The date of this header. A value that is no date counts as none.
fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// The headers of a request, and the status of its answer.
    type Row = (&'static [(&'static str, &'static str)], Option<u16>);

    /// The status for these headers, if the resource has the tag `"a"` and the date of second 100.
    fn status(lines: &[(&'static str, &'static str)]) -> Option<u16> {
        let now = Validators { etag: "\"a\"", modified: Some(UNIX_EPOCH + Duration::from_secs(100)) };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        answer(&headers, &now).map(|status| status.as_u16())
    }

    const BEFORE: &str = "Thu, 01 Jan 1970 00:01:39 GMT";
    const SAME: &str = "Thu, 01 Jan 1970 00:01:40 GMT";

    #[test]
    fn each_condition_has_its_answer() {
        let rows: [Row; 19] = [
            (&[], None),
            (&[("if-none-match", "\"a\"")], Some(304)),
            (&[("if-none-match", "W/\"a\"")], Some(304)),
            (&[("if-none-match", "*")], Some(304)),
            (&[("if-none-match", "\"b\"")], None),
            (&[("if-none-match", "\"b\", \"a\"")], Some(304)),
            (&[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")], Some(304)),
            // A tag overrides a date.
            (&[("if-none-match", "\"b\""), ("if-modified-since", SAME)], None),
            (&[("if-modified-since", SAME)], Some(304)),
            (&[("if-modified-since", BEFORE)], None),
            (&[("if-modified-since", "yesterday")], None),
            (&[("if-match", "\"a\"")], None),
            (&[("if-match", "*")], None),
            (&[("if-match", "\"b\"")], Some(412)),
            (&[("if-match", "W/\"a\"")], Some(412)),
            (&[("if-match", "\"a\""), ("if-unmodified-since", BEFORE)], None),
            (&[("if-unmodified-since", SAME)], None),
            (&[("if-unmodified-since", BEFORE)], Some(412)),
            // The version is another one, whatever the client's copy is.
            (&[("if-match", "\"b\""), ("if-none-match", "\"a\"")], Some(412)),
        ];
        for (headers, expected) in rows {
            assert_eq!(status(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn without_a_date_of_its_own_a_resource_ignores_dates() {
        let headers = [(header::IF_MODIFIED_SINCE, SAME.parse().unwrap())].into_iter().collect();
        assert_eq!(answer(&headers, &Validators { etag: "\"a\"", modified: None }), None);
    }
}
