//! One test for each row of the table of decisions.

#![allow(clippy::cast_possible_truncation, reason = "a test")]

use super::*;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn known(tag: &str) -> Version {
    Version::strong(tag.to_owned())
}

fn from(offset: u64) -> Asked<'static> {
    Asked { offset, end: None, known: None, date: None, form: Form::Conditional, may_refuse_range: true }
}

fn knowing(offset: u64, known: &Version) -> Asked<'_> {
    Asked { known: Some(known), ..from(offset) }
}

fn answer(status: u16, text: &str, asked: Asked<'_>) -> Decision {
    let status = StatusCode::from_u16(status).unwrap();
    decide(Head { status, headers: &headers(text), is_framed: false, may_be_decoded: true }, asked, NOW)
}

fn body(status: u16, text: &str, asked: Asked<'_>) -> Body {
    match answer(status, text, asked) {
        Decision::Body(body) => body,
        other => panic!("{other:?} for {status} with {text}"),
    }
}

fn is_refused(status: u16, text: &str, asked: Asked<'_>) -> bool {
    matches!(answer(status, text, asked), Decision::Refuse { kind: ErrorKind::InvalidData, .. })
}

#[test]
fn a_206_at_the_offset_continues() {
    let a = known("\"a\"");
    let head = "Content-Range: bytes 40-99/100\nContent-Length: 60\nETag: \"a\"";
    let expected = Body {
        start: 40,
        size: Some(100),
        version: Some(a.clone()),
        reopen: Reopen::Anywhere,
        part: Some(Part { len: 60, is_short: false }),
    };
    assert_eq!(body(206, head, knowing(40, &a)), expected);
    assert_eq!(body(206, head, from(40)), expected);
}

#[test]
fn a_206_that_starts_earlier_can_be_opened_only_from_the_start() {
    let found = body(206, "Content-Range: bytes 10-99/100\nContent-Length: 90", from(40));
    assert_eq!((found.start, found.reopen), (10, Reopen::FromStart));
    let found = body(206, "Content-Range: bytes 39-99/100\nContent-Length: 61", from(40));
    assert_eq!((found.start, found.reopen), (39, Reopen::FromStart));
}

#[test]
fn a_206_that_starts_later_or_differs_is_told_as_it_is() {
    let a = known("\"a\"");
    let found = body(206, "Content-Range: bytes 41-99/100\nContent-Length: 59\nETag: \"a\"", knowing(40, &a));
    assert_eq!((found.start, found.reopen), (41, Reopen::Anywhere));
    let found =
        body(206, "Content-Range: bytes 40-199/200\nContent-Length: 160\nETag: \"a\"", knowing(40, &a));
    assert_eq!(found.size, Some(200));
    let found = body(206, "Content-Range: bytes 40-99/100\nContent-Length: 60\nETag: \"b\"", knowing(40, &a));
    assert_eq!(found.version, Some(known("\"b\"")));
}

/// A request whose range the server must not refuse again.
fn whole_of(asked: Asked<'_>) -> Asked<'_> {
    Asked { form: Form::Whole, ..asked }
}

#[test]
fn a_206_without_the_known_tag_has_no_version_unless_its_date_is_the_known_one() {
    let a = known("\"a\"");
    let date = "Tue, 24 Nov 2026 12:00:00 GMT";
    for tag in ["", "ETag: W/\"a\"", &format!("Last-Modified: {date}")] {
        let head = format!("Content-Range: bytes 40-99/100\nContent-Length: 60\n{tag}");
        assert_eq!(body(206, &head, knowing(40, &a)).version, None, "{tag}");
    }
    let head = format!("Content-Range: bytes 40-99/100\nContent-Length: 60\nLast-Modified: {date}");
    let dated = Asked { date: Some(date.as_bytes()), ..knowing(40, &a) };
    assert_eq!(body(206, &head, dated).version, Some(a.clone()));
}

#[test]
fn a_206_of_unknown_total_does_not_prove_an_end() {
    let head = "Content-Range: bytes 40-99/*\nContent-Length: 60\nETag: \"a\"";
    let found = body(206, head, from(40));
    assert_eq!((found.size, found.part), (None, Some(Part { len: 60, is_short: true })));
    for (end, is_short) in [(101, true), (100, false), (99, false)] {
        let found = body(206, head, Asked { end: Some(end), ..from(40) });
        assert_eq!(found.part, Some(Part { len: 60, is_short }), "{end}");
    }
    // A source without versions could not come past this end.
    let head = "Content-Range: bytes 40-99/*\nContent-Length: 60";
    assert_eq!(answer(206, head, from(40)), Decision::Ask(Form::Whole));
    assert_eq!(body(206, head, Asked { end: Some(100), ..from(40) }).start, 40);
}

#[test]
fn a_206_that_ends_before_the_requested_range_is_short() {
    for (range, end, is_short) in [
        ("40-99/100", None, false),
        ("40-98/100", None, true),
        ("40-59/100", Some(60), false),
        ("40-58/100", Some(60), true),
        ("40-99/100", Some(60), false),
        // The resource ends before the requested range does.
        ("40-49/50", Some(60), false),
        ("40-48/50", Some(60), true),
        ("40-59/*", Some(60), false),
        ("40-58/*", Some(60), true),
    ] {
        let head = format!("Content-Range: bytes {range}\nTransfer-Encoding: chunked");
        let asked = Asked { end, ..from(40) };
        let found = body(206, &format!("{head}\nETag: \"a\""), asked);
        assert_eq!(found.part.unwrap().is_short, is_short, "{range} {end:?}");
        // Without a version, a buffer that asks again from an earlier offset might never come further.
        let found = answer(206, &head, asked);
        assert_eq!(found == Decision::Ask(Form::Whole), is_short, "{range} {end:?}: {found:?}");
    }
}

#[test]
fn a_206_to_if_range_with_a_date_need_not_have_the_date_and_is_no_proof_without_it() {
    // RFC 9110, 15.3.7.
    let date = known("Tue, 24 Nov 2026 12:00:00 GMT");
    let head = "Content-Range: bytes 40-99/100\nContent-Length: 60";
    for more in ["", "ETag: \"a\"", "Last-Modified: soon"] {
        for (form, next) in [(Form::Conditional, Form::Ranged), (Form::Ranged, Form::Whole)] {
            let found = answer(206, &format!("{head}\n{more}"), Asked { form, ..knowing(40, &date) });
            assert_eq!(found, Decision::Ask(next), "{more}");
        }
    }
    let found =
        body(206, &format!("{head}\nLast-Modified: Tue, 24 Nov 2026 12:00:00 GMT"), knowing(40, &date));
    assert_eq!((found.start, found.version), (40, Some(date)));
    // Nothing was said in `If-Range`, so the answer must have both.
    let weak = known("W/\"a\" Tue, 24 Nov 2026 12:00:00 GMT");
    assert_eq!(body(206, head, knowing(40, &weak)).version, None);
}

#[test]
fn names_of_units_are_case_insensitive() {
    // RFC 9110, 14.1.
    assert_eq!(body(206, "Content-Length: 60\nContent-Range: Bytes 40-99/100", from(40)).start, 40);
    let empty = Decision::Empty { size: 40, version: None };
    assert_eq!(answer(416, "Content-Range: BYTES */40", from(40)), empty);
}

#[test]
fn a_200_starts_at_0_and_tells_whether_ranges_work() {
    let a = known("\"a\"");
    let head = "Content-Length: 100\nETag: \"a\"";
    let expected =
        Body { start: 0, size: Some(100), version: Some(a.clone()), reopen: Reopen::FromStart, part: None };
    assert_eq!(body(200, head, from(0)), expected);
    assert_eq!(body(200, head, from(40)), expected);
    assert_eq!(body(200, head, knowing(40, &a)), expected);
    assert_eq!(body(200, "Content-Length: 5", from(40)).version, None);
    for (value, reopen) in [
        ("bytes", Reopen::Anywhere),
        ("Bytes", Reopen::Anywhere),
        ("lines, bytes", Reopen::Anywhere),
        ("none", Reopen::FromStart),
        ("bytes2", Reopen::FromStart),
    ] {
        let head = format!("Content-Length: 100\nETag: \"a\"\nAccept-Ranges: {value}");
        let whole = Asked { form: Form::Whole, ..knowing(40, &a) };
        assert_eq!(body(200, &head, whole), Body { reopen, ..body(200, &head, from(0)) }, "{value}");
        assert_eq!(body(200, &head, from(0)).reopen, reopen, "{value}");
    }
    // A length that is overridden, or not there.
    assert_eq!(body(200, "Content-Length: 9\nTransfer-Encoding: chunked", from(0)).size, None);
    assert_eq!(body(200, "", from(0)).size, None);
}

#[test]
fn a_200_of_the_version_in_if_range_is_asked_again_without_it() {
    let a = known("\"a\"");
    let head = "Content-Length: 100\nETag: \"a\"\nAccept-Ranges: bytes";
    assert_eq!(answer(200, head, knowing(40, &a)), Decision::Ask(Form::Ranged));
    for asked in [
        // The whole resource was asked for.
        knowing(0, &a),
        // `If-Range` was not sent.
        from(40),
        Asked { form: Form::Ranged, ..knowing(40, &a) },
        Asked { form: Form::Whole, ..knowing(40, &a) },
    ] {
        assert_eq!(body(200, head, asked).start, 0, "{asked:?}");
    }
    let weak = known("W/\"a\" Tue, 24 Nov 2026 12:00:00 GMT");
    let both = "ETag: W/\"a\"\nLast-Modified: Tue, 24 Nov 2026 12:00:00 GMT\nAccept-Ranges: bytes";
    assert_eq!(body(200, both, knowing(40, &weak)).start, 0);
    // Another version, or a server without ranges.
    assert_eq!(body(200, "ETag: \"b\"\nAccept-Ranges: bytes", knowing(40, &a)).start, 0);
    assert_eq!(body(200, "ETag: \"a\"\nAccept-Ranges: none", knowing(40, &a)).start, 0);
    // Without `If-Range`, an end that names no version is no proof.
    let asked = Asked { form: Form::Ranged, ..knowing(100, &a) };
    assert_eq!(answer(416, "Content-Range: bytes */100", asked), Decision::Ask(Form::Whole));
}

#[test]
fn a_200_of_another_version_is_told_by_its_version() {
    let a = known("\"a\"");
    let found = body(200, "Content-Length: 100\nETag: \"b\"", knowing(40, &a));
    assert_eq!((found.start, found.version), (0, Some(known("\"b\""))));
    // Without a validator, the version still differs from the one that `If-Range` named.
    let found = body(200, "Content-Length: 100", knowing(40, &a));
    assert!(found.version.is_some_and(|version| version != a));
    // No version was named, or the server weakens its tags and cannot compare them. The bytes decide.
    assert_eq!(body(200, "Content-Length: 100", whole_of(knowing(40, &a))).version, None);
    assert_eq!(body(200, "Content-Length: 100\nETag: W/\"a\"", knowing(40, &a)).version, None);
    for form in [Form::Conditional, Form::Whole] {
        let found = body(200, "Content-Length: 100\nETag: W/\"b\"", Asked { form, ..knowing(40, &a) });
        assert!(found.version.is_some_and(|version| version != a), "{form:?}");
    }
}

#[test]
fn a_200_with_the_content_range_of_a_part_is_asked_again_without_a_range() {
    for head in [
        "Content-Length: 60\nContent-Range: bytes 40-99/100",
        "Content-Length: 100\nContent-Range: bytes 40-99/100",
        "Content-Length: 100\nContent-Range: nonsense",
        "Content-Length: 60\nContent-Range: bytes 0-99/100",
        "Content-Length: 60\nContent-Range: bytes 0-59/100",
    ] {
        assert_eq!(answer(200, head, from(40)), Decision::AskWithoutRange, "{head}");
    }
    // The range of the whole resource, and a length that decides.
    for (head, asked) in [
        ("Content-Length: 100\nContent-Range: bytes 0-99/100", from(40)),
        ("Transfer-Encoding: chunked\nContent-Range: bytes 0-99/100", from(40)),
        ("Content-Length: 100\nContent-Range: bytes 40-99/100", whole_of(from(40))),
        ("Content-Length: 100\nContent-Range: nonsense", whole_of(from(40))),
    ] {
        assert_eq!(body(200, head, asked).start, 0, "{head}");
    }
    for head in [
        "Content-Length: 60\nContent-Range: bytes 0-59/100",
        "Transfer-Encoding: chunked\nContent-Range: bytes 0-59/100",
        "Content-Length: 60\nContent-Range: bytes 0-59/*",
    ] {
        assert!(is_refused(200, head, whole_of(from(0))), "{head}");
    }
}

#[test]
fn a_206_whose_place_is_in_doubt_is_asked_again_without_a_range() {
    for head in [
        "Content-Length: 60",
        "Content-Length: 60\nContent-Range: bytes 40-/100",
        "Content-Length: 60\nContent-Range: bytes 99-40/100",
        "Content-Length: 60\nContent-Range: bytes 40-99/99",
        "Content-Length: 60\nContent-Range: bytes */100",
        "Content-Length: 0\nContent-Range: bytes */100",
        "Content-Length: 0\nContent-Range: bytes 100-99/*",
        "Content-Length: 0\nContent-Range: bytes 40-39/100",
        "Content-Length: 0",
        "Content-Length: 60\nContent-Range: lines 40-99/100",
        "Content-Length: 60\nContent-Range: bytes 0-18446744073709551615/*",
        "Content-Length: 60\nContent-Range: bytes 40-99/100\nContent-Range: bytes 0-9/100",
        "Content-Length: 59\nContent-Range: bytes 40-99/100",
        "Content-Length: 60\nContent-Range: bytes 40-99/100\nContent-Type: multipart/byteranges; boundary=x",
        "Content-Length: 60\nContent-Type: Multipart/ByteRanges",
    ] {
        assert_eq!(answer(206, head, from(40)), Decision::AskWithoutRange, "{head}");
        assert!(is_refused(206, head, whole_of(from(40))), "{head}");
    }
}

#[test]
fn a_206_to_a_request_without_a_range_is_read_if_it_starts_at_0() {
    let whole = "Content-Length: 100\nContent-Range: bytes 0-99/100";
    assert_eq!(body(206, whole, whole_of(from(40))).start, 0);
    assert!(is_refused(206, "Content-Length: 60\nContent-Range: bytes 40-99/100", whole_of(from(40))));
    // The part proves the next ones.
    let short = "Content-Length: 60\nContent-Range: bytes 0-59/100";
    let found = body(206, &format!("{short}\nETag: \"a\""), whole_of(from(40)));
    assert_eq!(found.part, Some(Part { len: 60, is_short: true }));
    assert!(is_refused(206, short, whole_of(from(40))));
}

#[test]
fn an_empty_206_at_the_end_is_the_end() {
    for range in ["0-0/0", "0--1/0", "*/0", "100-99/100", "100-100/100", "*/100"] {
        let head = format!("Content-Length: 0\nContent-Range: bytes {range}");
        let size = if range.ends_with("/0") { 0 } else { 100 };
        assert_eq!(answer(206, &head, from(100)), Decision::Empty { size, version: None }, "{range}");
        let a = known("\"a\"");
        let version = Some(a.clone());
        assert_eq!(answer(206, &head, knowing(size, &a)), Decision::Empty { size, version }, "{range}");
    }
    let head = "Content-Length: 0\nContent-Range: bytes 0-0/0";
    assert_eq!(answer(206, head, whole_of(from(0))), Decision::Empty { size: 0, version: None });
}

#[test]
fn a_206_without_a_length_may_have_been_decoded_by_a_client_of_the_user() {
    let text = "Content-Range: bytes 40-99/100";
    assert_eq!(answer(206, text, from(40)), Decision::AskWithoutRange);
    assert_eq!(body(206, &format!("{text}\nTransfer-Encoding: chunked"), from(40)).start, 40);
    let headers = headers(text);
    let head = Head {
        status: StatusCode::PARTIAL_CONTENT,
        headers: &headers,
        is_framed: false,
        may_be_decoded: true,
    };
    for head in [Head { is_framed: true, ..head }, Head { may_be_decoded: false, ..head }] {
        assert!(matches!(decide(head, from(40), NOW), Decision::Body(_)));
    }
}

#[test]
fn an_encoded_body_without_a_strong_tag_can_not_be_opened_again() {
    let expected = Body { start: 0, size: None, version: None, reopen: Reopen::Never, part: None };
    for tag in ["", "ETag: W/\"a\"", "Last-Modified: Tue, 24 Nov 2026 12:00:00 GMT"] {
        let head = format!("Content-Length: 60\nContent-Encoding: gzip\nAccept-Ranges: bytes\n{tag}");
        assert_eq!(body(200, &head, from(0)), expected);
        assert_eq!(body(200, &head, from(40)), expected);
        let all = format!("{head}\nContent-Range: bytes 0-59/60");
        let part = Some(Part { len: 60, is_short: false });
        assert_eq!(body(206, &all, from(0)), Body { part, version: None, ..expected });
        for range in ["0-59/61", "0-59/*", "1-60/61"] {
            let head = format!("{head}\nContent-Range: bytes {range}");
            assert_eq!(answer(206, &head, from(0)), Decision::Ask(Form::Whole), "{range}");
            assert!(is_refused(206, &head, whole_of(from(0))), "{range}");
        }
    }
    for value in ["identity", "Identity", "", "None"] {
        let found = body(200, &format!("Content-Length: 60\nContent-Encoding: {value}"), from(0));
        assert_eq!(found.size, Some(60), "{value}");
    }
    assert_eq!(
        body(200, "Content-Encoding: identity\nContent-Encoding: gzip", from(0)).reopen,
        Reopen::Never
    );
}

#[test]
fn an_encoded_body_with_a_strong_tag_is_a_resource_like_any_other() {
    // Ranges count encoded bytes.
    let coded = known("\"a\" gzip");
    let head = "Content-Length: 60\nContent-Range: bytes 40-99/100\nContent-Encoding: gzip\nETag: \"a\"";
    for asked in [from(40), knowing(40, &coded)] {
        let found = body(206, head, asked);
        assert_eq!((found.start, found.size, found.reopen), (40, Some(100), Reopen::Anywhere));
        assert_eq!(found.version, Some(coded.clone()));
    }
    let whole = body(200, "Content-Length: 60\nContent-Encoding: GZIP\nETag: \"a\"", from(0));
    assert_eq!((whole.size, whole.version, whole.reopen), (Some(60), Some(coded.clone()), Reopen::FromStart));
    // Nothing is to be mixed with bytes of another encoding.
    let plain = known("\"a\"");
    let identity = "Content-Length: 60\nContent-Range: bytes 40-99/100\nETag: \"a\"";
    for (head, known) in [(head, &plain), (identity, &coded), (&head.replace("gzip", "br"), &coded)] {
        assert_eq!(answer(206, head, knowing(40, known)), Decision::AskWithoutRange, "{head}");
        let head = head.replace("Content-Range: bytes 40-99/100", "");
        assert_eq!(answer(200, &head, knowing(40, known)), Decision::AskWithoutRange, "{head}");
        assert!(is_refused(200, &head, whole_of(knowing(40, known))), "{head}");
    }
}

#[test]
fn a_416_with_a_total_tells_the_size() {
    let a = known("\"a\"");
    for (offset, total) in [(100, 100), (140, 100), (0, 0)] {
        let head = format!("Content-Range: bytes */{total}");
        assert_eq!(answer(416, &head, from(offset)), Decision::Empty { size: total, version: None });
        let version = Some(a.clone());
        assert_eq!(answer(416, &head, knowing(offset, &a)), Decision::Empty { size: total, version });
    }
    let version = Some(known("\"b\""));
    let head = "Content-Range: bytes */100\nETag: \"b\"";
    assert_eq!(answer(416, head, knowing(100, &a)), Decision::Empty { size: 100, version });
}

#[test]
fn a_416_about_a_resource_that_the_request_did_not_name_is_no_proof() {
    let weak = known("W/\"a\" Tue, 24 Nov 2026 12:00:00 GMT");
    let head = "Content-Range: bytes */100";
    assert_eq!(answer(416, head, knowing(100, &weak)), Decision::Ask(Form::Whole));
    let head = "Content-Range: bytes */100\nETag: W/\"a\"\nLast-Modified: Tue, 24 Nov 2026 12:00:00 GMT";
    let version = Some(weak.clone());
    assert_eq!(answer(416, head, knowing(100, &weak)), Decision::Empty { size: 100, version });
}

#[test]
fn a_416_without_a_total_is_asked_again_without_a_range() {
    for head in ["", "Content-Range: bytes */*", "Content-Range: bytes 0-9/10"] {
        for offset in [0, 40] {
            assert_eq!(answer(416, head, from(offset)), Decision::AskWithoutRange, "{head}");
            assert!(is_refused(416, head, whole_of(from(offset))), "{head}");
        }
    }
    // There is a byte at the requested offset, so the server does not mean the end.
    for offset in [0, 40, 99] {
        assert_eq!(answer(416, "Content-Range: bytes */100", from(offset)), Decision::AskWithoutRange);
    }
}

#[test]
fn an_address_that_does_not_serve_the_resource_is_replaced() {
    for status in [400, 401, 403, 404, 410] {
        assert_eq!(answer(status, "", from(40)), Decision::AskForAddress, "{status}");
    }
}

#[test]
fn a_refusal_may_be_due_to_the_range() {
    let refuses = |status, asked| answer(status, "Content-Length: 0", asked) == Decision::AskWithoutRange;
    for status in [201, 204, 300, 304, 402, 405, 406, 412, 418, 451, 500, 501, 502, 503, 504, 505, 530] {
        assert!(refuses(status, from(40)), "{status}");
        assert!(!refuses(status, whole_of(from(40))), "{status}");
        // A request without a Range got the same status, or the server has served ranges.
        assert!(!refuses(status, Asked { may_refuse_range: false, ..from(40) }), "{status}");
    }
    for status in [407, 408, 425, 429] {
        assert!(!refuses(status, from(40)), "{status}");
    }
    // The server means a time, and not the range.
    assert!(matches!(answer(503, "Retry-After: 7", from(40)), Decision::Transient { .. }));
    assert_eq!(answer(503, "Retry-After: soon", from(40)), Decision::AskWithoutRange);
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    for status in [408, 425, 429, 500, 502, 503, 504, 599] {
        for (head, seconds) in [("", None), ("Retry-After: 7", Some(7)), ("Retry-After: 70", Some(60))] {
            match answer(status, head, whole_of(from(40))) {
                Decision::Transient { retry_after, text } => {
                    assert_eq!(retry_after, seconds.map(Duration::from_secs), "{status}");
                    assert!(text.contains(&status.to_string()));
                }
                other => panic!("{other:?} for {status}"),
            }
        }
    }
}

#[test]
fn every_other_status_is_refused() {
    for status in [201, 202, 203, 204, 205, 207, 300, 302, 304, 402, 405, 406, 407, 412, 418, 451, 501, 505] {
        let found = answer(status, "", whole_of(from(0)));
        assert!(matches!(found, Decision::Refuse { .. }), "{found:?} for {status}");
    }
}
