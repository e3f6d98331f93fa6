//! Validators of a resource, and dates: `ETag`, `Last-Modified`, `If-Range`, `Retry-After`.

use std::time::{Duration, SystemTime};

use reqwest::header::{
    CONTENT_ENCODING, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED, RETRY_AFTER,
};

use crate::source::Version;

/// A `Last-Modified` is strong if the `Date` of its answer is this much later.
///
/// RFC 9110 (8.8.2.2) asks for at least one second, and for a reason to believe that one clock made both
/// dates or that they are too far apart for a difference between two clocks to matter. A client cannot
/// see how many clocks there are: a web server often serves files of another machine. So this is the
/// distance for two clocks. It is the distance that all earlier versions of HTTP prescribed (RFC 7232,
/// 2.2.2); RFC 9110 (B.3) leaves it to the client. A longer distance only costs the 64 KiB by which a
/// buffer proves a resource without a version.
const STRONG_AGE: Duration = Duration::from_secs(60);

/// The longest delay that a server can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The validators that a [`Version`] of this source consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A strong `ETag`. Of an encoded resource: the tag, a space, and the `Content-Encoding`.
    Tag,
    /// A `Last-Modified`.
    Date,
    /// A weak `ETag`, a space, and a `Last-Modified`. It is as strong as the date, but a client that
    /// has a tag must not send a date in `If-Range` (RFC 9110, 13.1.5).
    WeakTagAndDate,
}

/// The version that an answer carries. If a version is known, only a validator of the same kind counts,
/// because nothing else can be compared with it. `date` is the date that the known version had, if it was strong:
/// an answer whose tag is weak or missing is proven by it.
pub(super) fn version(headers: &HeaderMap, known: Option<&Version>, date: Option<&[u8]>) -> Option<Version> {
    let tag = single(headers, &ETAG);
    let modified = single(headers, &LAST_MODIFIED).filter(|date| parse_date(date).is_some());
    if let Some(coding) = coding(headers) {
        // The date of a file is also the date of its compressed form, which may be made anew for each request.
        let tag = tag.filter(|tag| is_strong_tag(tag));
        return tag.map(|tag| Version::strong([tag, b" ", &coding].concat()));
    }
    let of_kind = |kind| match kind {
        Kind::Tag => tag.filter(|tag| is_strong_tag(tag)).map(<[u8]>::to_vec),
        Kind::Date => modified.map(<[u8]>::to_vec),
        Kind::WeakTagAndDate => {
            tag.and_then(weak_form).zip(modified).map(|(tag, date)| [&tag, date].join(&b' '))
        }
    };
    // The date was strong when its version became known, and this needs no second proof: an equal date means the
    // same version, and a different date means a different version.
    if let Some(kind) = known.and_then(kind) {
        let found = of_kind(kind).map(Version::strong);
        let is_proven = modified.is_some() && modified == date && !has_other_tag(headers, known);
        return found.or_else(|| known.filter(|_| is_proven).cloned());
    }
    let found = match tag {
        Some(tag) if is_strong_tag(tag) => of_kind(Kind::Tag),
        Some(tag) if weak_form(tag).is_some() => of_kind(Kind::WeakTagAndDate).filter(|_| is_old(headers)),
        // An answer with two different tags counts as one without a tag. But the resource has a tag, so RFC 9110
        // forbids a date in `If-Range`.
        None if headers.contains_key(ETAG) => None,
        // A tag without quotes is no tag.
        _ => of_kind(Kind::Date).filter(|_| is_old(headers)),
    };
    found.map(Version::strong)
}

/// Whether an answer has a tag that is not a form of the known one: the resource has changed.
pub(super) fn has_other_tag(headers: &HeaderMap, known: Option<&Version>) -> bool {
    let known = known.map(|known| tag_of(known.as_bytes())).and_then(weak_form);
    let found = single(headers, &ETAG).and_then(weak_form);
    known.zip(found).is_some_and(|(known, found)| known != found)
}

/// The `Last-Modified` of an answer, if it is strong.
pub(super) fn strong_date(headers: &HeaderMap) -> Option<&[u8]> {
    single(headers, &LAST_MODIFIED).filter(|_| is_old(headers))
}

/// The `Content-Encoding` of an answer, in lower case. `none` is not registered, but servers send it.
pub(super) fn coding(headers: &HeaderMap) -> Option<Vec<u8>> {
    let values = headers.get_all(CONTENT_ENCODING).iter();
    let codings = values.map(|value| value.as_bytes().trim_ascii().to_ascii_lowercase());
    let codings: Vec<_> =
        codings.filter(|coding| ![&b""[..], b"identity", b"none"].contains(&&**coding)).collect();
    (!codings.is_empty()).then(|| codings.join(&b','))
}

/// The `Content-Encoding` of the resource with this version.
pub(super) fn coding_of(version: &Version) -> Option<&[u8]> {
    let bytes = version.as_bytes();
    let coding = bytes.get(tag_of(bytes).len()..).filter(|_| bytes.starts_with(b"\""))?;
    coding.strip_prefix(b" ")
}

/// The tag at the start of a version: all bytes up to the last quote.
fn tag_of(version: &[u8]) -> &[u8] {
    let end = version.iter().rposition(|byte| *byte == b'"').map_or(0, |last| last + 1);
    version.get(..end).unwrap_or_default()
}

/// The value of `If-Range` that asks for this version. `None` if RFC 9110 allows none.
pub(super) fn if_range(version: &Version) -> Option<HeaderValue> {
    match kind(version)? {
        Kind::Tag => HeaderValue::from_bytes(tag_of(version.as_bytes())).ok(),
        Kind::Date => HeaderValue::from_bytes(version.as_bytes()).ok(),
        Kind::WeakTagAndDate => None,
    }
}

/// A version that differs from every version that [`version`] makes, because none of those is empty. It stands
/// for a resource that has changed and has no validator.
pub(super) fn other_version() -> Version {
    Version::strong("")
}

/// The delay that `Retry-After` asks for, as a number of seconds or as a date, at most 60 s. A date
/// counts from the server's `Date` if there is one, so that the clocks need not agree.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?;
    let delay = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number that is too large for `u64` is not parsed.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let at = httpdate::parse_http_date(value).ok()?;
        at.duration_since(date(headers, &DATE).unwrap_or(now)).unwrap_or_default()
    };
    Some(delay.min(MAX_RETRY_AFTER))
}

/// Whether a request for this version has a date in `If-Range`.
pub(super) fn is_sent_date(version: &Version) -> bool {
    kind(version) == Some(Kind::Date)
}

fn kind(version: &Version) -> Option<Kind> {
    let bytes = version.as_bytes();
    if is_strong_tag(tag_of(bytes)) && bytes.starts_with(b"\"") {
        Some(Kind::Tag)
    } else if bytes.starts_with(b"W/") {
        Some(Kind::WeakTagAndDate)
    } else {
        parse_date(bytes).map(|_| Kind::Date)
    }
}

/// A tag may have bytes that are not ASCII (RFC 9110, 8.8.3).
fn is_strong_tag(tag: &[u8]) -> bool {
    let opaque = tag.strip_prefix(b"\"").and_then(|tag| tag.strip_suffix(b"\""));
    opaque.is_some_and(|opaque| !opaque.contains(&b'"'))
}

/// The tag as a weak one. Some answers of a server may have the strong form of the same tag: proxies that
/// compress weaken tags. `None` if it is no tag.
fn weak_form(tag: &[u8]) -> Option<Vec<u8>> {
    let opaque = tag.strip_prefix(b"W/").unwrap_or(tag);
    is_strong_tag(opaque).then(|| [b"W/", opaque].concat())
}

/// Whether `Last-Modified` is strong by the answer's `Date`.
fn is_old(headers: &HeaderMap) -> bool {
    let age = date(headers, &DATE)
        .zip(date(headers, &LAST_MODIFIED))
        .and_then(|(sent, modified)| sent.duration_since(modified).ok());
    age.is_some_and(|age| age >= STRONG_AGE)
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    parse_date(single(headers, name)?)
}

fn parse_date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}

/// The value of a header that may be repeated only with the same value.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii());
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::http::answer::headers;

    const MODIFIED: &str = "Tue, 24 Nov 2026 12:00:00 GMT";
    const SOON: &str = "Tue, 24 Nov 2026 12:00:59 GMT";
    const LATER: &str = "Tue, 24 Nov 2026 12:01:00 GMT";

    #[test]
    fn a_version_is_made_only_of_strong_validators() {
        // Rule 22. RFC 9110, 8.8.2.2 and 13.1.5.
        let weak = format!("W/\"a\" {MODIFIED}");
        for (text, found, sent) in [
            ("ETag: \"a\"\nLast-Modified: Tue, 24 Nov 2026 12:00:00 GMT", Some("\"a\""), Some("\"a\"")),
            ("ETag: \"\"", Some("\"\""), Some("\"\"")),
            ("ETag: W/\"a\"", None, None),
            ("ETag: a", None, None),
            ("ETag: \"", None, None),
            ("ETag: \"a\", \"b\"", None, None),
            ("Last-Modified: Tue, 24 Nov 2026 12:00:00 GMT", None, None),
            (&format!("Last-Modified: {MODIFIED}\nDate: {SOON}"), None, None),
            (&format!("Last-Modified: {MODIFIED}\nDate: {LATER}"), Some(MODIFIED), Some(MODIFIED)),
            (&format!("Last-Modified: {LATER}\nDate: {MODIFIED}"), None, None),
            (&format!("Last-Modified: soon\nDate: {LATER}"), None, None),
            (&format!("ETag: W/\"a\"\nLast-Modified: {MODIFIED}\nDate: {LATER}"), Some(&weak), None),
            (&format!("ETag: W/\"a\"\nLast-Modified: {MODIFIED}\nDate: {SOON}"), None, None),
            // A tag without quotes is no tag, and hides no date.
            (&format!("ETag: a\nLast-Modified: {MODIFIED}\nDate: {LATER}"), Some(MODIFIED), Some(MODIFIED)),
            (&format!("ETag: W/a\nLast-Modified: {MODIFIED}\nDate: {LATER}"), Some(MODIFIED), Some(MODIFIED)),
            (&format!("ETag: a\nLast-Modified: {MODIFIED}\nDate: {SOON}"), None, None),
            // The ranges of an encoded resource count encoded bytes. Only a strong tag names these.
            ("ETag: \"a\"\nContent-Encoding: GZip", Some("\"a\" gzip"), Some("\"a\"")),
            (
                "ETag: \"a\"\nContent-Encoding: br\nContent-Encoding: gzip",
                Some("\"a\" br,gzip"),
                Some("\"a\""),
            ),
            ("ETag: \"a\"\nContent-Encoding: none", Some("\"a\""), Some("\"a\"")),
            (&format!("Content-Encoding: br\nLast-Modified: {MODIFIED}\nDate: {LATER}"), None, None),
            // Repeated headers.
            ("ETag: \"a\"\nETag: \"a\"", Some("\"a\""), Some("\"a\"")),
            (&format!("ETag: \"a\"\nETag: \"b\"\nLast-Modified: {MODIFIED}\nDate: {LATER}"), None, None),
            (&format!("Last-Modified: {MODIFIED}\nLast-Modified: {SOON}\nDate: {LATER}"), None, None),
            (&format!("Last-Modified: {MODIFIED}\nDate: {LATER}\nDate: {SOON}"), None, None),
            ("", None, None),
        ] {
            let version = version(&headers(text), None, None);
            assert_eq!(version, found.map(|found| Version::strong(found.to_owned())), "{text}");
            let condition = version.as_ref().and_then(if_range);
            assert_eq!(condition.as_ref().map(|value| value.to_str().unwrap()), sent, "{text}");
        }
    }

    #[test]
    fn a_known_version_is_compared_with_a_validator_of_its_kind() {
        // Rule 22.
        let weak = format!("W/\"a\" {MODIFIED}");
        for (known, text, found) in [
            ("\"a\"", "ETag: \"b\"", Some("\"b\"")),
            ("\"a\"", &format!("Last-Modified: {MODIFIED}\nDate: {LATER}"), None),
            ("\"a\"", "ETag: W/\"a\"", None),
            // The date was strong before, so a `Date` is not needed.
            (MODIFIED, &format!("Last-Modified: {MODIFIED}"), Some(MODIFIED)),
            (MODIFIED, &format!("Last-Modified: {LATER}"), Some(LATER)),
            (MODIFIED, "ETag: \"a\"", None),
            (&weak, &format!("ETag: W/\"a\"\nLast-Modified: {MODIFIED}"), Some(&weak)),
            (&weak, "ETag: W/\"a\"", None),
            (&weak, &format!("Last-Modified: {MODIFIED}\nDate: {LATER}"), None),
            // A proxy weakened the tag of the first answer.
            (&weak, &format!("ETag: \"a\"\nLast-Modified: {MODIFIED}"), Some(&weak)),
            (&weak, &format!("ETag: a\nLast-Modified: {MODIFIED}"), None),
        ] {
            let known = Version::strong(known.to_owned());
            let found = found.map(|found| Version::strong(found.to_owned()));
            assert_eq!(version(&headers(text), Some(&known), None), found, "{known:?}, {text}");
        }
        // Another tag with the same date is another version.
        let other = version(
            &headers(&format!("ETag: \"b\"\nLast-Modified: {MODIFIED}")),
            Some(&Version::strong(weak)),
            None,
        );
        assert_eq!(other, Some(Version::strong(format!("W/\"b\" {MODIFIED}"))));
        assert_eq!(if_range(&other_version()), None);
        assert_eq!(if_range(&Version::strong("of another source")), None);
    }

    #[test]
    fn a_strong_date_proves_a_version_whose_tag_has_become_weak() {
        // Rule 22.
        let known = Version::strong("\"a\"");
        let date = Some(MODIFIED.as_bytes());
        for (text, is_proven) in [
            (format!("ETag: W/\"a\"\nLast-Modified: {MODIFIED}"), true),
            (format!("Last-Modified: {MODIFIED}"), true),
            (format!("ETag: a\nLast-Modified: {MODIFIED}"), true),
            (format!("ETag: W/\"a\"\nLast-Modified: {LATER}"), false),
            (format!("ETag: W/\"b\"\nLast-Modified: {MODIFIED}"), false),
            ("ETag: W/\"a\"".to_owned(), false),
        ] {
            let found = version(&headers(&text), Some(&known), date);
            assert_eq!(found, is_proven.then(|| known.clone()), "{text}");
            assert_eq!(version(&headers(&text), Some(&known), None), None, "{text}");
        }
        assert!(has_other_tag(&headers("ETag: W/\"b\""), Some(&known)));
        assert!(!has_other_tag(&headers("ETag: W/\"a\""), Some(&known)));
        assert!(!has_other_tag(&headers("ETag: b"), Some(&known)));
        assert!(!has_other_tag(&headers("ETag: W/\"b\""), Some(&Version::strong(MODIFIED))));
    }

    #[test]
    fn a_version_names_the_encoding_of_its_resource() {
        // Rule 22.
        for (version, coding) in [("\"a\" gzip", Some(&b"gzip"[..])), ("\"a\"", None), (MODIFIED, None)] {
            assert_eq!(coding_of(&Version::strong(version)), coding, "{version}");
        }
        assert_eq!(coding_of(&Version::strong(format!("W/\"a\" {MODIFIED}"))), None);
    }

    #[test]
    fn a_tag_of_bytes_that_are_not_ascii_is_a_version() {
        // Rule 22. RFC 9110, 8.8.3.
        let tag = HeaderValue::from_bytes(b"\"\xe9\xff\"").unwrap();
        let headers = HeaderMap::from_iter([(ETAG, tag.clone())]);
        let version = version(&headers, None, None).unwrap();
        assert_eq!(version.as_bytes(), tag.as_bytes());
        assert_eq!(super::version(&headers, Some(&version), None), Some(version.clone()));
        assert_eq!(if_range(&version), Some(tag));
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_capped() {
        // Rule 24.
        let now = httpdate::parse_http_date(SOON).unwrap();
        for (text, seconds) in [
            ("Retry-After: 7", Some(7)),
            ("Retry-After: 0", Some(0)),
            ("Retry-After: 61", Some(60)),
            ("Retry-After: 99999999999999999999999", Some(60)),
            (&format!("Retry-After: {LATER}"), Some(1)),
            (&format!("Retry-After: {MODIFIED}"), Some(0)),
            (&format!("Retry-After: {SOON}\nDate: {MODIFIED}"), Some(59)),
            ("Retry-After: Wed, 24 Nov 2027 12:00:00 GMT", Some(60)),
            ("Retry-After: -1", None),
            ("Retry-After: soon", None),
            ("Retry-After:", None),
            ("", None),
        ] {
            assert_eq!(retry_after(&headers(text), now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
