//! The handle on the first answer.

use std::time::{Duration, SystemTime};

use streamspool::{HttpSource, StreamBuffer};

use crate::scripted::Scripted;
use crate::server::answer;

fn part(from: usize, more: &str) -> Vec<u8> {
    let head =
        format!("Content-Range: bytes {from}-9/10\nContent-Length: {}\nETag: \"a\"\n{more}", 10 - from);
    answer(206, &head, &b"0123456789"[from..])
}

#[tokio::test]
async fn rule_21_the_first_usable_answer_is_shown_with_its_headers_and_its_address() {
    let server = Scripted::start(|request| match (&*request.path, request.from) {
        ("/film?secret", _) => {
            answer(302, "Location: /there\nContent-Type: text/html\nContent-Length: 0", b"")
        }
        (_, from) => {
            let more = "Content-Type: video/mp4\nLast-Modified: Thu, 01 Jan 1970 00:01:00 GMT\nX-Cache: HIT";
            part(from.unwrap(), if from == Some(4) { more } else { "X-Cache: MISS" })
        }
    })
    .await;
    let source = HttpSource::new(server.url("/film?secret")).unwrap();
    let first = source.first_answer();
    assert!(first.get().is_none(), "nothing was requested");
    let waiting = tokio::spawn({
        let first = first.clone();
        async move { first.wait().await }
    });
    let buffer = StreamBuffer::spawn_source(source);
    assert_eq!(buffer.read(4, 6).await.unwrap(), "456789");
    assert_eq!(buffer.read(0, 4).await.unwrap(), "0123");
    for answer in [first.get().unwrap(), waiting.await.unwrap().unwrap()] {
        assert_eq!(answer.status(), 206);
        assert_eq!(answer.content_type(), Some("video/mp4"));
        assert_eq!(answer.etag(), Some("\"a\""));
        assert_eq!(answer.last_modified(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(60)));
        assert_eq!(answer.header("X-Cache"), Some("HIT"));
        assert_eq!(answer.header("x-none"), None);
        assert_eq!(answer.headers().len(), 7, "{:?}", answer.headers());
        assert_eq!(answer.url().as_str(), server.url("/there"));
        assert_eq!(format!("{answer:?}"), "HttpAnswer { status: 206, .. }");
    }
    // The handle outlives the buffer, and does not keep it alive.
    drop(buffer);
    assert!(first.wait().await.is_some());
}

#[tokio::test]
async fn rule_21_a_source_that_is_dropped_without_an_answer_has_none() {
    let server = Scripted::start(|_| answer(404, "Content-Length: 0", b"")).await;
    let source = HttpSource::new(server.url("/film")).unwrap();
    let first = source.first_answer();
    let buffer = StreamBuffer::spawn_source(source);
    buffer.read(0, 1).await.unwrap_err();
    assert!(first.get().is_none(), "an error is no answer of use");
    drop(buffer);
    let limit = Duration::from_secs(60);
    assert!(tokio::time::timeout(limit, first.wait()).await.unwrap().is_none());
    assert_eq!(format!("{first:?}"), "FirstAnswer(None)");
}
