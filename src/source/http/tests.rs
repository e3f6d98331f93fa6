//! Each row of the table of decisions over a real connection, to a server that the test scripts.

#![allow(clippy::cast_possible_truncation, reason = "a test")]

#[path = "../../../tests/http/server.rs"]
mod server;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt};

use self::server::{Server, answer};
use super::*;
use crate::source::error::{Verdict, verdict};
use crate::source::{Reopen, Version};

const TRANSIENT: Verdict = Verdict::Transient { retry_after: None };

/// 100 bytes that differ from each other.
fn data() -> Vec<u8> {
    (0..100).collect()
}

fn at(offset: u64) -> OpenAt {
    OpenAt::new(offset)
}

fn knowing(offset: u64, version: &str) -> OpenAt {
    OpenAt { version: Some(Version::strong(version.to_owned())), ..at(offset) }
}

/// A 206 of the bytes from `start` to the end, with a strong tag.
fn rest(start: usize, tag: &str) -> Vec<u8> {
    let body = &data()[start..];
    let len = body.len();
    let head = format!("Content-Range: bytes {start}-99/100\nContent-Length: {len}\nETag: {tag}");
    answer(206, &head, body)
}

async fn bytes(opened: Opened) -> Vec<u8> {
    opened.stream.try_collect::<Vec<_>>().await.unwrap().concat()
}

/// The bytes before a failure, and the failure.
async fn failure(mut opened: Opened) -> (Vec<u8>, io::Error) {
    let mut found = Vec::new();
    loop {
        match opened.stream.next().await {
            Some(Ok(chunk)) => found.extend_from_slice(&chunk),
            Some(Err(error)) => {
                assert!(opened.stream.next().await.is_none(), "an error is the last item");
                return (found, error);
            }
            None => panic!("an end after {} bytes", found.len()),
        }
    }
}

/// Opens a server that answers each request in the same way.
async fn open(answer: Vec<u8>, at: OpenAt) -> io::Result<Opened> {
    let server = Server::start(vec![answer; 3]).await;
    HttpSource::new(server.url("/film")).unwrap().open(at).await
}

fn tag(opened: &Opened) -> Option<&[u8]> {
    opened.version.as_ref().map(Version::as_bytes)
}

#[tokio::test]
async fn a_request_names_its_range_and_its_condition() {
    // Rule 21.
    let date = "Tue, 24 Nov 2026 12:00:00 GMT";
    let tags = format!("\"a\"\nLast-Modified: {date}");
    let server = Server::start(vec![rest(40, &tags); 6]).await;
    let source = HttpSource::new(server.url("/film?x=1")).unwrap();
    for at in [
        at(0),
        OpenAt { end: Some(60), ..at(40) },
        OpenAt { end: Some(40), ..at(40) },
        knowing(40, "\"a\""),
        knowing(40, date),
        knowing(40, "W/\"a\" Tue, 24 Nov 2026 12:00:00 GMT"),
    ] {
        let _ = source.open(at).await;
    }
    let ranges = ["bytes=0-", "bytes=40-59", "bytes=40-", "bytes=40-", "bytes=40-", "bytes=40-"];
    assert_eq!(server.sent("range"), ranges.map(|range| Some(range.to_owned())));
    let date = date.to_lowercase();
    assert_eq!(server.sent("if-range"), [None, None, None, Some("\"a\"".into()), Some(date), None]);
    assert_eq!(server.sent("accept-encoding"), vec![Some("identity".to_owned()); 6]);
    assert!(server.requests().iter().all(|request| request.starts_with("get /film?x=1 http/1.1\r\n")));
}

#[tokio::test]
async fn a_206_at_the_offset_continues() {
    // Rules 21, 22.
    let opened = open(rest(40, "\"a\""), knowing(40, "\"a\"")).await.unwrap();
    assert_eq!((opened.start, opened.size, opened.reopen), (Some(40), Some(100), Reopen::Anywhere));
    assert_eq!(tag(&opened), Some(&b"\"a\""[..]));
    assert_eq!(bytes(opened).await, &data()[40..]);
}

#[tokio::test]
async fn a_206_that_starts_earlier_is_opened_only_from_the_start() {
    // Rules 21, 23.
    let opened = open(rest(10, "\"a\""), at(40)).await.unwrap();
    assert_eq!((opened.start, opened.reopen), (Some(10), Reopen::FromStart));
    assert_eq!(bytes(opened).await, &data()[10..]);
}

#[tokio::test]
async fn a_206_that_starts_later_or_differs_is_told_as_it_is() {
    // Rules 22, 23.
    let opened = open(rest(41, "\"b\""), knowing(40, "\"a\"")).await.unwrap();
    assert_eq!((opened.start, tag(&opened)), (Some(41), Some(&b"\"b\""[..])));
    assert_eq!(bytes(opened).await, &data()[41..]);
    let head = "Content-Range: bytes 40-49/50\nContent-Length: 10\nETag: \"a\"";
    let opened = open(answer(206, head, &data()[40..50]), knowing(40, "\"a\"")).await.unwrap();
    assert_eq!(opened.size, Some(50));
}

#[tokio::test]
async fn a_206_without_the_known_tag_has_no_version() {
    // Rule 22. The buffer compares the bytes.
    let opened = open(rest(40, "W/\"a\""), knowing(40, "\"a\"")).await.unwrap();
    assert_eq!((opened.start, tag(&opened)), (Some(40), None));
    assert_eq!(bytes(opened).await, &data()[40..]);
}

#[tokio::test]
async fn a_tag_that_becomes_weak_is_proven_by_the_date_of_the_first_answer() {
    // Rule 22.
    let dates = "Last-Modified: Tue, 24 Nov 2026 12:00:00 GMT\nDate: Tue, 24 Nov 2026 13:00:00 GMT";
    let script = [format!("\"a\"\n{dates}"), format!("W/\"a\"\n{dates}"), "W/\"a\"".to_owned()];
    let server = Server::start(script.map(|tag| rest(40, &tag))).await;
    let source = HttpSource::new(server.url("/film")).unwrap();
    source.open(at(40)).await.unwrap();
    for proof in [Some(&b"\"a\""[..]), None] {
        let opened = source.open(knowing(40, "\"a\"")).await.unwrap();
        assert_eq!(tag(&opened), proof);
    }
}

#[tokio::test]
async fn a_200_starts_at_0() {
    // Rule 21.
    for (at, head, reopen) in [
        (at(0), "ETag: \"a\"", Reopen::FromStart),
        (at(40), "ETag: \"a\"", Reopen::FromStart),
        (knowing(40, "\"a\""), "ETag: \"a\"", Reopen::FromStart),
        (at(40), "ETag: \"a\"\nAccept-Ranges: bytes", Reopen::Anywhere),
    ] {
        let opened = open(answer(200, &format!("Content-Length: 100\n{head}"), &data()), at).await.unwrap();
        assert_eq!((opened.start, opened.size, opened.reopen), (Some(0), Some(100), reopen));
        assert_eq!(tag(&opened), Some(&b"\"a\""[..]));
        assert_eq!(bytes(opened).await, data());
    }
}

#[tokio::test]
async fn a_200_of_another_version_is_never_the_known_one() {
    // Rule 22.
    for head in ["ETag: \"b\"", "ETag: W/\"b\"", ""] {
        let head = format!("Content-Length: 100\n{head}");
        let opened = open(answer(200, &head, &data()), knowing(40, "\"a\"")).await.unwrap();
        assert_eq!(opened.start, Some(0));
        assert!(tag(&opened).is_some_and(|tag| tag != b"\"a\""), "{head}");
    }
}

#[tokio::test]
async fn a_part_whose_place_is_in_doubt_is_replaced_by_the_whole_resource() {
    // Rule 22.
    let multipart = "Content-Type: multipart/byteranges; boundary=x\nContent-Length: 100";
    let whole = answer(200, "Content-Length: 100\nAccept-Ranges: bytes\nETag: \"a\"", &data());
    for odd in [
        answer(200, "Content-Length: 60\nContent-Range: bytes 40-99/100", &data()[40..]),
        answer(206, "Content-Length: 60", &data()[40..]),
        answer(206, "Content-Length: 60\nContent-Range: bytes 40-99/50", &data()[40..]),
        answer(206, "Content-Length: 10\nContent-Range: bytes 40-99/100", &data()[40..50]),
        answer(206, multipart, &data()),
        answer(204, "", b""),
        answer(302, "", b""),
        answer(418, "Content-Length: 0", b""),
    ] {
        let text = String::from_utf8_lossy(&odd).into_owned();
        let server = Server::start([odd.clone(), whole.clone(), whole.clone()]).await;
        let source = HttpSource::new(server.url("/film")).unwrap();
        // The second opening knows that ranges are of no use.
        for _ in 0..2 {
            let opened = source.open(at(40)).await.unwrap();
            assert_eq!((opened.start, opened.reopen), (Some(0), Reopen::FromStart), "{text}");
            assert_eq!(bytes(opened).await, data(), "{text}");
        }
        assert_eq!(server.sent("range"), [Some("bytes=40-".to_owned()), None, None], "{text}");
        // A server that never answers otherwise.
        let error = open(odd, at(40)).await.unwrap_err();
        assert_eq!(verdict(&error), Verdict::Permanent, "{text}: {error}");
    }
}

#[tokio::test]
async fn a_part_without_a_length_ends_with_its_connection() {
    // Rule 24.
    let head = "Content-Range: bytes 40-99/100\nETag: \"a\"";
    let opened = open(answer(206, head, &data()[40..]), at(40)).await.unwrap();
    assert_eq!((opened.start, opened.size), (Some(40), Some(100)));
    assert_eq!(bytes(opened).await, &data()[40..]);
    let opened = open(answer(206, head, &data()[40..99]), at(40)).await.unwrap();
    let (found, error) = failure(opened).await;
    assert_eq!((found, verdict(&error)), (data()[40..99].to_vec(), TRANSIENT), "{error}");
}

#[tokio::test]
async fn an_encoded_body_is_passed_on_and_never_opened_again() {
    // Rule 21.
    let head = "Content-Length: 100\nContent-Encoding: gzip\nETag: W/\"a\"";
    let opened = open(answer(200, head, &data()), at(0)).await.unwrap();
    assert_eq!((opened.start, opened.size, opened.reopen), (Some(0), None, Reopen::Never));
    assert_eq!(tag(&opened), None);
    assert_eq!(bytes(opened).await, data());
    let error = open(answer(200, head, &data()), knowing(40, "\"a\"")).await.unwrap_err();
    assert_eq!(verdict(&error), Verdict::Permanent);
}

#[tokio::test]
async fn a_416_with_a_total_is_an_end() {
    // Rule 24.
    for (offset, total) in [(100, 100), (140, 100), (0, 0)] {
        let head = format!("Content-Range: bytes */{total}\nContent-Length: 3");
        let opened = open(answer(416, &head, b"bad"), knowing(offset, "\"a\"")).await.unwrap();
        assert_eq!((opened.start, opened.size), (None, Some(total)));
        assert_eq!(tag(&opened), Some(&b"\"a\""[..]));
        assert_eq!(bytes(opened).await, b"", "the page of an error is not the resource");
    }
}

#[tokio::test]
async fn a_416_without_a_total_is_asked_again_from_0() {
    // Rule 21.
    let whole = answer(200, "Content-Length: 100\nETag: \"a\"", &data());
    let server = Server::start([answer(416, "Content-Length: 0", b""), whole]).await;
    let opened = HttpSource::new(server.url("/")).unwrap().open(knowing(40, "\"a\"")).await.unwrap();
    assert_eq!((opened.start, opened.reopen), (Some(0), Reopen::FromStart));
    assert_eq!(bytes(opened).await, data());
    assert_eq!(server.sent("range"), [Some("bytes=40-".into()), None]);
    assert_eq!(server.sent("if-range"), [Some("\"a\"".into()), None]);

    let server = Server::start(vec![answer(416, "Content-Length: 0", b""); 2]).await;
    let error = HttpSource::new(server.url("/")).unwrap().open(at(40)).await.unwrap_err();
    assert_eq!(verdict(&error), Verdict::Permanent);
}

#[tokio::test]
async fn a_fixed_address_that_is_refused_is_permanent() {
    // Rule 24.
    for (status, kind) in [
        (400, io::ErrorKind::Other),
        (401, io::ErrorKind::PermissionDenied),
        (403, io::ErrorKind::PermissionDenied),
        (404, io::ErrorKind::NotFound),
        (410, io::ErrorKind::NotFound),
    ] {
        let error = open(answer(status, "Content-Length: 0", b""), at(0)).await.unwrap_err();
        assert_eq!((verdict(&error), error.kind()), (Verdict::Permanent, kind));
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
}

/// A source that numbers its addresses, and the count of them.
fn numbered(server: &Server) -> (HttpSource, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let (counter, base) = (Arc::clone(&count), server.url("/"));
    let source =
        HttpSource::addressed_by(HttpSource::client_builder().unwrap().build().unwrap(), move || {
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let url = format!("{base}{number}").parse();
            async move { url.map_err(io::Error::other) }
        });
    (source, count)
}

fn paths(server: &Server) -> Vec<String> {
    server.requests().iter().map(|request| request.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_new_address_is_asked_for_twice_in_a_row() {
    // Rule 24.
    let none = |status| answer(status, "Content-Length: 0", b"");
    let script =
        vec![none(400), none(410), rest(0, "\"a\""), rest(40, "\"a\""), none(403), rest(50, "\"a\"")];
    let server = Server::start(script).await;
    let (source, count) = numbered(&server);
    assert_eq!(count.load(Ordering::SeqCst), 0, "no address before the first opening");
    for (offset, number) in [(0, 3), (40, 3), (50, 4)] {
        let opened = source.open(at(offset as u64)).await.unwrap();
        assert_eq!(bytes(opened).await, &data()[offset..]);
        assert_eq!(count.load(Ordering::SeqCst), number);
    }
    assert_eq!(paths(&server), ["/1", "/2", "/3", "/3", "/3", "/4"]);
    assert_eq!(server.sent("range")[5].as_deref(), Some("bytes=50-"));

    let server = Server::start(vec![none(404); 4]).await;
    let (source, count) = numbered(&server);
    let error = source.open(at(0)).await.unwrap_err();
    assert_eq!((verdict(&error), error.kind()), (Verdict::Permanent, io::ErrorKind::NotFound));
    // The last request has no Range.
    assert_eq!((count.load(Ordering::SeqCst), server.requests().len()), (3, 4));
    assert_eq!(server.sent("range")[2..], [Some("bytes=0-".to_owned()), None]);
}

#[tokio::test]
async fn an_error_of_the_address_is_the_error_of_the_opening() {
    // Rule 24.
    let source = HttpSource::addressed_by(HttpSource::client_builder().unwrap().build().unwrap(), || async {
        Err(io::Error::from(io::ErrorKind::TimedOut))
    });
    let error = source.open(at(0)).await.unwrap_err();
    assert_eq!((verdict(&error), error.kind()), (TRANSIENT, io::ErrorKind::TimedOut));
}

#[tokio::test]
async fn a_busy_server_says_when_to_come_back() {
    // Rule 24.
    let date = |seconds| httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds));
    let sent = "Date: Tue, 24 Nov 2026 12:00:00 GMT";
    for (status, head, seconds) in [
        (408, String::new(), None),
        (425, "Retry-After: 3".into(), Some(3)),
        (429, "Retry-After: 600".into(), Some(60)),
        (500, "Retry-After: soon".into(), None),
        (503, format!("{sent}\nRetry-After: Tue, 24 Nov 2026 12:00:20 GMT"), Some(20)),
        (599, format!("Retry-After: {}", date(600)), Some(60)),
    ] {
        let head = format!("Content-Length: 0\n{head}");
        let error = open(answer(status, &head, b""), at(0)).await.unwrap_err();
        let retry_after = seconds.map(Duration::from_secs);
        assert_eq!(verdict(&error), Verdict::Transient { retry_after }, "{status}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_never_an_end() {
    // Rule 24.
    let part = "Content-Range: bytes 40-99/100\nETag: \"a\"";
    let chunked = |chunk: &[u8], end: &[u8]| [b"14\r\n", chunk, b"\r\n", end].concat();
    let chunk = &data()[40..60];
    for (status, head, body) in [
        (200, "Content-Length: 100".to_owned(), chunk.to_vec()),
        (206, format!("{part}\nContent-Length: 60"), chunk.to_vec()),
        (200, "Transfer-Encoding: chunked".into(), chunked(chunk, b"")),
        // This body is complete, but shorter than its Content-Range.
        (206, format!("{part}\nTransfer-Encoding: chunked"), chunked(chunk, b"0\r\n\r\n")),
        // The size is unknown, so the resource may go on.
        (206, "Content-Range: bytes 40-59/*\nContent-Length: 20\nETag: \"a\"".into(), chunk.to_vec()),
    ] {
        let opened = open(answer(status, &head, &body), at(40)).await.unwrap();
        let (found, error) = failure(opened).await;
        assert_eq!(found, chunk, "{head}");
        assert_eq!(verdict(&error), TRANSIENT, "{head}: {error}");
    }
    let head = "Content-Range: bytes 40-59/*\nContent-Length: 20\nETag: \"a\"";
    let opened = open(answer(206, head, chunk), OpenAt { end: Some(60), ..at(40) }).await.unwrap();
    assert_eq!(bytes(opened).await, chunk, "all that was asked for");
}

#[tokio::test]
async fn an_opening_with_an_end_ends_cleanly_only_there() {
    // Rule 25.
    let to_60 = OpenAt { end: Some(60), ..at(40) };
    let part = |range: &str, len: usize, body: &[u8]| {
        answer(206, &format!("Content-Range: bytes {range}\nContent-Length: {len}\nETag: \"a\""), body)
    };
    // The requested range; the rest of a resource that ends earlier; a server that ignores the end.
    for (range, last) in [("40-59/100", 60), ("40-59/*", 60), ("40-49/50", 50), ("40-99/100", 100)] {
        let opened = open(part(range, last - 40, &data()[40..last]), to_60.clone()).await.unwrap();
        assert_eq!((opened.start, opened.reopen), (Some(40), Reopen::Anywhere));
        assert_eq!(bytes(opened).await, &data()[40..last], "{range}");
    }
    // A broken connection, and a part that is shorter than the requested range.
    for (range, len) in [("40-59/100", 20), ("40-49/100", 10), ("40-49/*", 10)] {
        // The server sends the same part again, which brings nothing new.
        let server = Server::start(vec![part(range, len, &data()[40..50]); 2]).await;
        let source = HttpSource::new(server.url("/film")).unwrap();
        let (found, error) = failure(source.open(to_60.clone()).await.unwrap()).await;
        assert_eq!((found, verdict(&error)), (data()[40..50].to_vec(), TRANSIENT), "{range}");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{range}");
    }
}

#[tokio::test]
async fn a_body_longer_than_its_range_is_refused() {
    // Rule 23.
    let head = "Content-Range: bytes 90-99/100\nTransfer-Encoding: chunked";
    let opened = open(answer(206, head, b"b\r\n0123456789a\r\n0\r\n\r\n"), at(90)).await.unwrap();
    let (found, error) = failure(opened).await;
    assert_eq!((found, verdict(&error)), (vec![], Verdict::Permanent));
}

#[tokio::test]
async fn a_redirect_is_followed_anew_by_each_opening() {
    // Rule 21.
    let there = |path| answer(307, &format!("Location: {path}\nContent-Length: 0"), b"");
    let script = vec![there("/b"), there("/c"), rest(0, "\"a\""), there("/d"), rest(40, "\"a\"")];
    let server = Server::start(script).await;
    let source = HttpSource::new(server.url("/a")).unwrap().header("x-key", "1");
    assert_eq!(bytes(source.open(at(0)).await.unwrap()).await, data());
    assert_eq!(bytes(source.open(at(40)).await.unwrap()).await, &data()[40..]);
    assert_eq!(paths(&server), ["/a", "/b", "/c", "/a", "/d"]);
    let ranges = ["bytes=0-", "bytes=0-", "bytes=0-", "bytes=40-", "bytes=40-"];
    assert_eq!(server.sent("range"), ranges.map(|range| Some(range.to_owned())));
    assert_eq!(server.sent("x-key"), vec![Some("1".to_owned()); 5]);

    let server = Server::start(vec![there("/a"); 12]).await;
    let error = HttpSource::new(server.url("/a")).unwrap().open(at(0)).await.unwrap_err();
    assert_eq!(verdict(&error), Verdict::Permanent, "a loop");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_transient_and_its_address_secret() {
    // Rules 19, 24.
    let server = Server::start([b"".to_vec()]).await;
    let source = HttpSource::new(server.url("/?secret")).unwrap();
    for _ in ["a connection that is closed without an answer", "a port that refuses"] {
        let error = source.open(at(0)).await.unwrap_err();
        assert_eq!(verdict(&error), TRANSIENT, "{error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}
