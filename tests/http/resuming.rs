//! A buffer over `HttpSource`: every byte, the requests that it took, and failures that last.

use streamspool::{BufferHandle, ErrorKind, HttpSource, StreamBuffer};

use crate::server::{Server, answer};

/// 100,000 bytes without a short period.
fn data() -> Vec<u8> {
    (0..100_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A 206 from `start` whose body breaks off at `broken`.
fn part(start: usize, broken: usize, tag: &str) -> Vec<u8> {
    let head =
        format!("Content-Range: bytes {start}-99999/100000\nContent-Length: {}\n{tag}", 100_000 - start);
    answer(206, &head, &data()[start..broken])
}

fn spawn(server: &Server) -> BufferHandle {
    StreamBuffer::spawn_source(HttpSource::new(server.url("/film")).unwrap())
}

fn some(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

#[tokio::test]
async fn with_a_strong_tag_no_byte_is_fetched_again() {
    // Rules 22, 24.
    let tag = "ETag: \"a\"";
    let script = [part(0, 70_000, tag), part(70_000, 70_001, tag), part(70_001, 100_000, tag)];
    let server = Server::start(script).await;
    assert_eq!(spawn(&server).read(0, 100_000).await.unwrap(), data());
    assert_eq!(server.sent("range"), some(&["bytes=0-", "bytes=70000-", "bytes=70001-"]));
    assert_eq!(server.sent("if-range")[1..], some(&["\"a\"", "\"a\""]));
}

#[tokio::test]
async fn without_a_version_the_overlap_is_compared() {
    // Rule 22.
    let server = Server::start([part(0, 70_000, ""), part(70_000 - 65_536, 100_000, "")]).await;
    assert_eq!(spawn(&server).read(0, 100_000).await.unwrap(), data());
    assert_eq!(server.sent("range"), some(&["bytes=0-", "bytes=4464-"]));
    assert_eq!(server.sent("if-range"), [None, None]);

    let mut other = part(70_000 - 65_536, 100_000, "");
    let len = other.len();
    other[len - 40_000] ^= 1;
    let server = Server::start([part(0, 70_000, ""), other]).await;
    let buffer = spawn(&server);
    assert_eq!(buffer.read(0, 100_000).await.unwrap_err().kind(), ErrorKind::Changed);
}

#[tokio::test]
async fn a_tag_that_becomes_weak_for_good_is_replaced_by_the_overlap() {
    // Rule 22: no date proves the version either.
    let (strong, weak) = ("ETag: \"a\"", "ETag: W/\"a\"");
    let overlap = 70_000 - 65_536;
    for is_conditional in [false, true] {
        // A server that compares the tags sends all bytes: the weak tag does not match `If-Range`.
        let refused = || {
            if is_conditional {
                return answer(200, &format!("Content-Length: 100000\n{weak}"), &data());
            }
            part(70_000, 100_000, weak)
        };
        let script = [part(0, 70_000, strong), refused(), refused(), part(overlap, 100_000, weak)];
        let server = Server::start(script).await;
        assert_eq!(spawn(&server).read(0, 100_000).await.unwrap(), data());
        let ranges = ["bytes=0-", "bytes=70000-", "bytes=70000-", "bytes=4464-"];
        assert_eq!(server.sent("range"), some(&ranges));
        assert_eq!(server.sent("if-range")[3], None);
    }
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_read_again_from_the_start() {
    // Rules 21, 23.
    for tag in ["ETag: \"a\"", ""] {
        let head = format!("Content-Length: 100000\n{tag}");
        let server =
            Server::start([answer(200, &head, &data()[..70_000]), answer(200, &head, &data())]).await;
        assert_eq!(spawn(&server).read(0, 100_000).await.unwrap(), data());
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn another_resource_is_changed_and_the_loaded_bytes_stay() {
    // Rule 22.
    let tag = "ETag: \"a\"";
    let other = vec![0; 100_000];
    for second in [
        answer(200, "Content-Length: 100000\nETag: \"b\"", &other),
        answer(200, "Content-Length: 100000", &other),
        answer(
            206,
            "Content-Range: bytes 70000-99999/100000\nContent-Length: 30000\nETag: \"b\"",
            &other[..30_000],
        ),
        answer(
            206,
            "Content-Range: bytes 70000-99999/200000\nContent-Length: 30000\nETag: \"a\"",
            &other[..30_000],
        ),
        answer(
            206,
            "Content-Range: bytes 70001-99999/100000\nContent-Length: 29999\nETag: \"a\"",
            &other[..29_999],
        ),
        answer(416, "Content-Range: bytes */50000\nContent-Length: 0", b""),
    ] {
        let text = String::from_utf8_lossy(&second[..80]).into_owned();
        let server = Server::start([part(0, 70_000, tag), second]).await;
        let buffer = spawn(&server);
        assert_eq!(buffer.read(70_000, 1).await.unwrap_err().kind(), ErrorKind::Changed, "{text}");
        assert_eq!(buffer.read(0, 70_000).await.unwrap(), data()[..70_000], "{text}");
        assert_eq!(server.requests().len(), 2, "{text}");
    }
}

#[tokio::test]
async fn an_end_is_proven_where_the_total_is_unknown() {
    // Rule 24.
    let tag = "ETag: \"a\"";
    let head = |from: usize, to: usize| {
        format!("Content-Range: bytes {from}-{}/*\nContent-Length: {}\n{tag}", to - 1, to - from)
    };
    let whole = answer(200, &format!("Transfer-Encoding: chunked\n{tag}"), &{
        [b"186a0\r\n", &data()[..], b"\r\n0\r\n\r\n"].concat()
    });
    for end in [
        vec![answer(416, "Content-Range: bytes */100000\nContent-Length: 0", b"")],
        vec![answer(416, "Content-Length: 0", b""), whole],
    ] {
        let mut script = vec![
            answer(206, &head(0, 70_000), &data()[..70_000]),
            answer(206, &head(70_000, 100_000), &data()[70_000..]),
        ];
        script.extend(end);
        let server = Server::start(script).await;
        assert_eq!(spawn(&server).read(0, usize::MAX).await.unwrap(), data());
        assert_eq!(server.sent("range")[..3], some(&["bytes=0-", "bytes=70000-", "bytes=100000-"]));
    }
    // Without a version, one request without a Range shows the end.
    let script = [
        answer(206, "Content-Range: bytes 0-69999/*\nContent-Length: 70000", &data()[..70_000]),
        answer(200, "Content-Length: 100000", &data()),
    ];
    let server = Server::start(script).await;
    assert_eq!(spawn(&server).read(0, usize::MAX).await.unwrap(), data());
}

#[tokio::test]
async fn an_empty_resource_is_empty() {
    // Rule 24.
    let server = Server::start([answer(416, "Content-Range: bytes */0\nContent-Length: 3", b"bad")]).await;
    assert_eq!(spawn(&server).read(0, usize::MAX).await.unwrap(), "");
}

#[tokio::test]
async fn a_refusal_is_final_and_a_busy_server_is_not() {
    // Rule 24.
    let server =
        Server::start([answer(503, "Retry-After: 0\nContent-Length: 0", b""), part(0, 100_000, "")]).await;
    assert_eq!(spawn(&server).read(0, 100_000).await.unwrap(), data());
    let missing = answer(404, "Content-Length: 0", b"");
    let server = Server::start([missing.clone(), missing, part(0, 100_000, "")]).await;
    let buffer = spawn(&server);
    for _ in ["the first read", "a later read"] {
        assert!(buffer.read(0, 1).await.is_err());
    }
    // The second request has no Range.
    assert_eq!(server.sent("range"), [Some("bytes=0-".into()), None]);
}

#[tokio::test]
async fn a_416_for_bytes_that_exist_is_not_the_end() {
    // Rule 24. The size is unknown, and the second answer contradicts the first one.
    let tag = "ETag: \"a\"";
    let chunked = |bytes: &[u8], end: &[u8]| {
        let body = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n", end].concat();
        answer(200, &format!("Transfer-Encoding: chunked\n{tag}"), &body)
    };
    let script = [
        chunked(&data()[..70_000], b""),
        answer(416, "Content-Range: bytes */100000\nContent-Length: 0", b""),
        chunked(&data(), b"0\r\n\r\n"),
    ];
    let server = Server::start(script).await;
    assert_eq!(spawn(&server).read(0, usize::MAX).await.unwrap(), data());
    assert_eq!(server.sent("range"), [Some("bytes=0-".into()), Some("bytes=70000-".into()), None]);
}

#[tokio::test]
async fn a_date_that_the_server_does_not_repeat_is_asked_for() {
    // Rule 22. RFC 9110 (15.3.7) says that the second answer should not have `Last-Modified`.
    let dates = "Last-Modified: Tue, 24 Nov 2026 12:00:00 GMT\nDate: Tue, 24 Nov 2026 13:00:00 GMT";
    let (start, rest) = (part(0, 70_000, dates), part(70_000, 100_000, ""));
    let server = Server::start([start.clone(), rest.clone(), part(70_000, 100_000, dates)]).await;
    assert_eq!(spawn(&server).read(0, 100_000).await.unwrap(), data());
    assert_eq!(server.sent("range"), some(&["bytes=0-", "bytes=70000-", "bytes=70000-"]));
    let date = "tue, 24 nov 2026 12:00:00 gmt";
    assert_eq!(server.sent("if-range"), [None, Some(date.into()), None]);
    // This server leaves the date out of every part.
    let whole = answer(200, &format!("Content-Length: 100000\n{dates}"), &data());
    let server = Server::start([start, rest.clone(), rest, whole]).await;
    assert_eq!(spawn(&server).read(0, 100_000).await.unwrap(), data());
    let range = Some("bytes=70000-".to_owned());
    assert_eq!(server.sent("range")[1..], [range.clone(), range, None]);
}

#[tokio::test]
async fn short_parts_are_followed_by_the_next_ones() {
    // Rule 24. The server limits its parts to 30,000 bytes.
    let part = |start: usize, tag: &str| {
        let end = (start + 30_000).min(100_000);
        let head = format!(
            "Content-Range: bytes {start}-{}/100000\nContent-Length: {}\n{tag}",
            end - 1,
            end - start
        );
        answer(206, &head, &data()[start..end])
    };
    let tag = "ETag: \"a\"";
    let server = Server::start([0, 30_000, 60_000, 90_000].map(|start| part(start, tag))).await;
    assert_eq!(spawn(&server).read(0, usize::MAX).await.unwrap(), data());
    assert_eq!(server.sent("range"), some(&["bytes=0-", "bytes=30000-", "bytes=60000-", "bytes=90000-"]));
    // Without a version, 64 KiB before each position are requested again: no part would reach new bytes.
    let server = Server::start([part(0, ""), answer(200, "Content-Length: 100000", &data())]).await;
    assert_eq!(spawn(&server).read(0, usize::MAX).await.unwrap(), data());
    assert_eq!(server.sent("range"), [Some("bytes=0-".into()), None]);
}

#[tokio::test]
async fn a_server_that_knows_no_tag_in_if_range_is_asked_without_it() {
    // Rules 21, 22. The server answers 200 with the version that `If-Range` names. The tag of the 206 is the proof.
    let tag = "ETag: \"a\"";
    let whole = answer(200, &format!("Content-Length: 100000\nAccept-Ranges: bytes\n{tag}"), &data());
    let server = Server::start([part(0, 70_000, tag), whole.clone(), part(70_000, 100_000, tag)]).await;
    assert_eq!(spawn(&server).read(0, 100_000).await.unwrap(), data());
    assert_eq!(server.sent("range"), some(&["bytes=0-", "bytes=70000-", "bytes=70000-"]));
    assert_eq!(server.sent("if-range"), [None, Some("\"a\"".into()), None]);
    // If that does not help either, the body of the second 200 is used.
    let server = Server::start([part(0, 70_000, tag), whole.clone(), whole.clone()]).await;
    assert_eq!(spawn(&server).read(0, 100_000).await.unwrap(), data());
    // The resource changes between the two requests.
    let server = Server::start([part(0, 70_000, tag), whole, part(70_000, 100_000, "ETag: \"b\"")]).await;
    let error = spawn(&server).read(0, 100_000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed);
}

#[tokio::test]
async fn the_content_encoding_none_is_no_encoding() {
    // Rule 21. It is not registered, but servers send it.
    let head = "Content-Encoding: none\nETag: \"a\"";
    let server = Server::start([part(0, 70_000, head), part(70_000, 100_000, head)]).await;
    assert_eq!(spawn(&server).read(0, 100_000).await.unwrap(), data());
}
