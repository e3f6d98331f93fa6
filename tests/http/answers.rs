//! Servers that answer a range oddly, but serve the whole resource. Each of them is readable, without an attempt.
//!
//! The tables state what a server answers to a request with `Range` and to one without. In the headers, `{at}` is
//! the requested offset, `{last}` the last offset of the resource, and `{rest}` the number of bytes from `{at}` on.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use streamspool::{BufferHandle, Error, HttpSource, Retry, State, StreamBuffer};

use crate::client;
use crate::scripted::Scripted;
use crate::server::answer;

const LEN: usize = 300_000;

/// A server of the film, and whether its parts are of use.
struct Row {
    name: &'static str,
    ranged: (u16, &'static str, Body),
    /// Whether the source reads the parts. Otherwise it asks for the whole resource.
    reads_parts: bool,
}

#[derive(Clone, Copy)]
enum Body {
    Rest,
    Whole,
    Nothing,
}

fn film() -> Vec<u8> {
    (0..LEN as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn message(status: u16, headers: &str, body: Body, at: usize, more: &str) -> Vec<u8> {
    let at = at.min(LEN);
    let headers = headers
        .replace("{at}", &at.to_string())
        .replace("{last}", &(LEN - 1).to_string())
        .replace("{size}", &LEN.to_string())
        .replace("{rest}", &(LEN - at).to_string());
    let film = film();
    let body = match body {
        Body::Rest => &film[at..],
        Body::Whole => &film,
        Body::Nothing => &[],
    };
    answer(status, &format!("{headers}\n{more}"), body)
}

/// A buffer that makes no second attempt.
fn buffer(source: HttpSource) -> BufferHandle {
    StreamBuffer::builder().retry(Retry::never()).spawn_source(source)
}

async fn in_time<T>(name: &str, read: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, read).await.unwrap_or_else(|_| panic!("waited too long: {name}"))
}

/// Reads a range far inside, or at the start, and then all bytes. Compares every byte.
async fn read(name: &str, source: HttpSource, first: usize) -> Result<(), Error> {
    let film = film();
    let buffer = buffer(source);
    let found = in_time(name, buffer.read(first as u64, 1000)).await?;
    assert!(found == film[first..first + 1000], "{name}: the first read at {first}");
    let found = in_time(name, buffer.read(0, usize::MAX)).await?;
    assert!(found == film, "{name}: {} bytes after a read at {first}", found.len());
    assert_eq!(buffer.progress().state, State::Complete, "{name}");
    Ok(())
}

/// Both kinds of clients, both kinds of servers, and reads at the start and far inside.
async fn each_is_readable(rows: &[Row]) {
    for row in rows {
        for validator in ["", "ETag: \"a\"", "ETag: \"a\"\nAccept-Ranges: bytes"] {
            for first in [0, 200_000] {
                for is_own in [true, false] {
                    let (status, headers, body) = row.ranged;
                    let server = Scripted::start(move |request| match request.from {
                        Some(at) => message(status, headers, body, at, validator),
                        None => message(200, "Content-Length: {size}", Body::Whole, 0, validator),
                    })
                    .await;
                    let name = format!("{}, {validator:?}, {first}, {is_own}", row.name);
                    let url = server.url("/film");
                    let source = if is_own {
                        HttpSource::new(url).unwrap()
                    } else {
                        HttpSource::with_client(client(), url).unwrap()
                    };
                    read(&name, source, first).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
                    let froms = server.froms();
                    let plain = froms.iter().filter(|from| from.is_none()).count();
                    if row.reads_parts && is_own {
                        assert_eq!(plain, 0, "{name}: {froms:?}");
                    } else if !row.reads_parts {
                        assert!(plain > 0, "{name}: {froms:?}");
                    }
                    // A server that refuses ranges is asked for one once. The rest are openings of the buffer.
                    assert!(froms.len() <= 5, "{name}: {froms:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn rule_21_a_server_that_refuses_ranges_is_asked_without_one() {
    // Seen: 400, 403, 404, 405, 406, 412, 416, 500, 501, 503.
    const REFUSALS: &str = "Content-Length: 0";
    let rows =
        [400, 403, 404, 405, 406, 409, 410, 412, 416, 451, 500, 501, 502, 503, 505, 530].map(|status| Row {
            name: "a status",
            ranged: (status, REFUSALS, Body::Nothing),
            reads_parts: false,
        });
    each_is_readable(&rows).await;
}

#[tokio::test]
async fn rule_23_a_part_with_an_odd_content_range_is_read_where_its_place_is_certain() {
    let row =
        |name, status, headers, body, reads_parts| Row { name, ranged: (status, headers, body), reads_parts };
    let part = |name, headers| row(name, 206, headers, Body::Rest, true);
    let odd = |name, status, headers, body| row(name, status, headers, body, false);
    each_is_readable(&[
        part("as the RFC says", "Content-Range: bytes {at}-{last}/{size}\nContent-Length: {rest}"),
        part(
            "the size in place of the last offset",
            "Content-Range: bytes {at}-{size}/{size}\nContent-Length: {rest}",
        ),
        part("an equals sign", "Content-Range: bytes={at}-{last}/{size}\nContent-Length: {rest}"),
        part("no unit", "Content-Range: {at}-{last}/{size}\nContent-Length: {rest}"),
        part("another case", "Content-Range: BYTES {at}-{last}/{size}\nContent-Length: {rest}"),
        part("no length, ended by the connection", "Content-Range: bytes {at}-{last}/{size}"),
        odd(
            "206 with the length of the whole",
            206,
            "Content-Range: bytes 7-{last}/{size}\nContent-Length: {size}",
            Body::Whole,
        ),
        odd("206 without a Content-Range", 206, "Content-Length: {rest}", Body::Rest),
        odd(
            "206 with two ranges",
            206,
            "Content-Range: bytes {at}-{last}/{size}\nContent-Range: bytes 0-9/10\nContent-Length: {rest}",
            Body::Rest,
        ),
        odd(
            "206 of another unit",
            206,
            "Content-Range: lines {at}-{last}/{size}\nContent-Length: {rest}",
            Body::Rest,
        ),
        odd(
            "206 of several parts",
            206,
            "Content-Type: multipart/byteranges; boundary=x\nContent-Length: 0",
            Body::Nothing,
        ),
        odd("an empty 206", 206, "Content-Length: 0", Body::Nothing),
        odd(
            "an empty 206 of nothing",
            206,
            "Content-Range: bytes */{size}\nContent-Length: 0",
            Body::Nothing,
        ),
        odd("204", 204, "", Body::Nothing),
    ])
    .await;
}

#[tokio::test]
async fn rule_23_a_200_with_a_content_range_is_read() {
    // The status of a part is wrong, or the header of the whole is.
    for headers in [
        "Content-Range: bytes {at}-{last}/{size}\nContent-Length: {rest}",
        "Content-Range: bytes {at}-{last}/{size}",
    ] {
        for first in [0, 200_000] {
            let server = Scripted::start(move |request| match request.from {
                Some(at) => message(200, headers, Body::Rest, at, "ETag: \"a\""),
                None => message(200, headers, Body::Whole, 0, "ETag: \"a\""),
            })
            .await;
            read(headers, HttpSource::new(server.url("/")).unwrap(), first).await.unwrap();
        }
    }
}

#[tokio::test]
async fn rule_1_an_empty_206_at_the_end_is_the_end() {
    // The size of the resource is unknown, so the buffer asks for bytes at its end.
    for end in [
        (206, "Content-Range: bytes {size}-{last}/{size}\nContent-Length: 0"),
        (206, "Content-Range: bytes {size}-{size}/{size}\nContent-Length: 0"),
        (206, "Content-Range: bytes */{size}\nContent-Length: 0"),
        (206, "Content-Length: 0"),
        (416, "Content-Length: 0"),
        (416, "Content-Range: bytes */{size}\nContent-Length: 0"),
    ] {
        let server = Scripted::start(move |request| match request.from {
            Some(at) if at >= LEN => message(end.0, end.1, Body::Nothing, at, "ETag: \"a\""),
            Some(at) => {
                let headers = "Content-Range: bytes {at}-{last}/*\nContent-Length: {rest}";
                message(206, headers, Body::Rest, at, "ETag: \"a\"")
            }
            None => message(200, "Content-Length: {size}", Body::Whole, 0, "ETag: \"a\""),
        })
        .await;
        let source = HttpSource::new(server.url("/")).unwrap();
        read(end.1, source, 0).await.unwrap_or_else(|error| panic!("{end:?}: {error:?}"));
    }
}

#[tokio::test]
async fn rule_1_an_empty_resource_is_empty_whatever_the_server_calls_it() {
    for (status, headers) in [
        (206, "Content-Range: bytes 0-0/0\nContent-Length: 0"),
        (206, "Content-Range: bytes 0--1/0\nContent-Length: 0"),
        (206, "Content-Range: bytes */0\nContent-Length: 0"),
        (206, "Content-Length: 0"),
        (416, "Content-Range: bytes */0\nContent-Length: 0"),
        (416, "Content-Length: 0"),
        (200, "Content-Range: bytes 0-0/0\nContent-Length: 0"),
    ] {
        let server = Scripted::start(move |request| match request.from {
            Some(_) => answer(status, headers, b""),
            None => answer(200, "Content-Length: 0", b""),
        })
        .await;
        let buffer = buffer(HttpSource::new(server.url("/")).unwrap());
        assert_eq!(in_time(headers, buffer.read(0, usize::MAX)).await.unwrap(), "", "{headers}");
        assert_eq!(buffer.progress().state, State::Complete, "{headers}");
        // This server calls the answer to every request so.
        if headers.contains("Content-Range") && status == 206 {
            let server = Scripted::start(move |_| answer(status, headers, b"")).await;
            let buffer = self::buffer(HttpSource::new(server.url("/")).unwrap());
            assert_eq!(in_time(headers, buffer.read(0, usize::MAX)).await.unwrap(), "", "{headers}");
        }
    }
}

#[tokio::test]
async fn rule_21_a_resource_that_is_stored_encoded_is_read_from_any_offset() {
    // The server never decodes it. A strong tag proves the encoded bytes, else they are loaded from the start.
    for coding in ["gzip", "aws-chunked", "x-gzip"] {
        for (validator, reads_parts) in [("ETag: \"a\"", true), ("ETag: W/\"a\"", false), ("", false)] {
            for first in [0, 200_000] {
                let more = format!("Content-Encoding: {coding}\n{validator}");
                let server = Scripted::start(move |request| match request.from {
                    Some(at) => {
                        let headers = "Content-Range: bytes {at}-{last}/{size}\nContent-Length: {rest}";
                        message(206, headers, Body::Rest, at, &more)
                    }
                    None => message(200, "Content-Length: {size}", Body::Whole, 0, &more),
                })
                .await;
                let name = format!("{coding}, {validator}, {first}");
                let source = HttpSource::new(server.url("/")).unwrap();
                read(&name, source, first).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
                let plain = server.froms().iter().filter(|from| from.is_none()).count();
                assert_eq!(plain, usize::from(!reads_parts && first > 0), "{name}: {:?}", server.froms());
            }
        }
    }
}

#[tokio::test]
async fn rule_24_a_break_in_an_encoded_body_with_a_strong_tag_resumes() {
    let server = Scripted::start(|request| {
        let headers = "Content-Range: bytes {at}-{last}/{size}\nContent-Length: {rest}";
        let more = "Content-Encoding: gzip\nETag: \"a\"";
        let mut answer = message(206, headers, Body::Rest, request.from.unwrap(), more);
        if request.from == Some(0) {
            answer.truncate(150_000);
        }
        answer
    })
    .await;
    let retry = Retry::default().first_delay(Duration::ZERO);
    let buffer = StreamBuffer::builder().retry(retry).spawn_source(HttpSource::new(server.url("/")).unwrap());
    assert!(in_time("the film", buffer.read(0, usize::MAX)).await.unwrap() == film());
    assert_eq!(server.count(), 2);
    assert_eq!(
        server.each(|request| request.value("if-range").map(str::to_owned))[1].as_deref(),
        Some("\"a\"")
    );
}

#[tokio::test]
async fn rule_24_a_resource_that_no_request_gets_is_final_after_one_more_request() {
    for (status, kind) in [
        (400, io::ErrorKind::Other),
        (403, io::ErrorKind::PermissionDenied),
        (404, io::ErrorKind::NotFound),
        (405, io::ErrorKind::Other),
        (501, io::ErrorKind::Unsupported),
    ] {
        let server = Scripted::start(move |_| answer(status, "Content-Length: 0", b"")).await;
        let buffer = StreamBuffer::spawn_source(HttpSource::new(server.url("/")).unwrap());
        for _ in 0..2 {
            let error = in_time("the error", buffer.read(70, 1)).await.unwrap_err();
            assert_eq!(io::Error::from(error).kind(), kind, "{status}");
        }
        assert_eq!(server.froms(), [Some(70), None], "{status}");
        let error = std::error::Error::source(&buffer.error().unwrap()).unwrap().to_string();
        assert!(error.contains(&format!("the server answered {status}")), "{error}");
        assert!(error.contains("without Range"), "{error}");
    }
}

#[tokio::test]
async fn rule_24_a_busy_server_is_asked_without_a_range_once() {
    // Each attempt but the first one is one request.
    let server = Scripted::start(|_| answer(503, "Content-Length: 0", b"")).await;
    let retry = Retry::default().attempts(3).first_delay(Duration::ZERO).max_delay(Duration::ZERO);
    let buffer = StreamBuffer::builder().retry(retry).spawn_source(HttpSource::new(server.url("/")).unwrap());
    in_time("the error", buffer.read(0, 1)).await.unwrap_err();
    assert_eq!(server.froms(), [Some(0), None, Some(0), Some(0), Some(0)]);
    // The server says that it is busy, so the range is not the reason.
    let server = Scripted::start(|_| answer(503, "Retry-After: 0\nContent-Length: 0", b"")).await;
    let buffer = self::buffer(HttpSource::new(server.url("/")).unwrap());
    in_time("the error", buffer.read(0, 1)).await.unwrap_err();
    assert_eq!(server.froms(), [Some(0)]);
}

#[tokio::test]
async fn rule_24_a_server_that_is_busy_when_asked_without_a_range_is_asked_so_again() {
    // The first request without a range gets another status, which says nothing about the range.
    let plain = AtomicUsize::new(0);
    let server = Scripted::start(move |request| match request.from {
        Some(_) => answer(501, "Content-Length: 0", b""),
        None if plain.fetch_add(1, Ordering::SeqCst) == 0 => {
            answer(503, "Retry-After: 0\nContent-Length: 0", b"")
        }
        None => message(200, "Content-Length: {size}", Body::Whole, 0, ""),
    })
    .await;
    let retry = Retry::default().attempts(1).first_delay(Duration::ZERO);
    let buffer = StreamBuffer::builder().retry(retry).spawn_source(HttpSource::new(server.url("/")).unwrap());
    assert!(in_time("the film", buffer.read(0, usize::MAX)).await.unwrap() == film());
    assert_eq!(server.froms(), [Some(0), None, Some(0), None]);
}

#[tokio::test]
async fn rule_24_a_server_that_has_served_a_part_and_then_fails_is_not_loaded_again_from_the_start() {
    let server = Scripted::start(|request| match request.from {
        Some(0) => {
            let headers = "Content-Range: bytes {at}-{last}/{size}\nContent-Length: {rest}";
            let mut answer = message(206, headers, Body::Rest, 0, "ETag: \"a\"");
            answer.truncate(150_000);
            answer
        }
        Some(_) => answer(500, "Content-Length: 0", b""),
        None => message(200, "Content-Length: {size}", Body::Whole, 0, "ETag: \"a\""),
    })
    .await;
    let retry = Retry::default().attempts(2).first_delay(Duration::ZERO).max_delay(Duration::ZERO);
    let buffer = StreamBuffer::builder().retry(retry).spawn_source(HttpSource::new(server.url("/")).unwrap());
    in_time("the error", buffer.read(0, usize::MAX)).await.unwrap_err();
    assert!(server.froms().iter().all(Option::is_some), "{:?}", server.froms());
}

#[tokio::test]
async fn rule_24_an_answer_that_is_no_http_fails_at_once() {
    for text in ["ICY 200 OK\r\nicy-name: radio\r\n\r\n", "SSH-2.0-OpenSSH_9.6\r\n", "hello\r\n\r\n"] {
        let server = Scripted::start(|_| text.as_bytes().to_vec()).await;
        let buffer = StreamBuffer::spawn_source(HttpSource::new(server.url("/")).unwrap());
        let error = in_time(text, buffer.read(0, 1)).await.unwrap_err();
        assert!(buffer.error().is_some(), "{text}: it is final");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("not HTTP") && cause.contains("ICY"), "{cause}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData, "{text}");
        // The second request is on a connection of its own: surplus bytes of another answer are no reason.
        assert_eq!(server.count(), 2, "{text}");
    }
}
