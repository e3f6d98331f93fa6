//! Servers that end a part before the requested range ends. New bytes have come, so nothing has failed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use streamspool::{BufferHandle, ErrorKind, HttpSource, Retry, State, StreamBuffer};

use crate::scripted::{Request, Scripted};
use crate::server::answer;

const LEN: usize = 1_000_000;
const PART: usize = 65_536;

fn film() -> Vec<u8> {
    (0..LEN as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// A part of at most `PART` bytes.
fn part(request: &Request, total: &str, validators: &str) -> Vec<u8> {
    let from = request.from.unwrap();
    let end = LEN.min(from + PART).min(request.to.unwrap_or(LEN));
    let head = format!(
        "Content-Range: bytes {from}-{}/{total}\nContent-Length: {}\n{validators}",
        end - 1,
        end - from
    );
    answer(206, &head, &film()[from..end])
}

fn buffer(server: &Scripted, retry: Retry) -> BufferHandle {
    StreamBuffer::builder().retry(retry).spawn_source(HttpSource::new(server.url("/film")).unwrap())
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("waited too long")
}

#[tokio::test]
async fn rule_24_a_short_part_is_no_failure() {
    let server = Scripted::start(|request| part(request, &LEN.to_string(), "ETag: \"a\"")).await;
    let buffer = buffer(&server, Retry::never());
    let mut progress = buffer.subscribe();
    let retries = tokio::spawn(async move {
        progress.wait_for(|progress| matches!(progress.state, State::Retrying { .. })).await.is_ok()
    });
    // A stream that starts far inside is continued too.
    assert!(in_time(buffer.read(700_000, 200_000)).await.unwrap() == film()[700_000..900_000]);
    assert!(in_time(buffer.read(0, usize::MAX)).await.unwrap() == film());
    assert!(buffer.error().is_none());
    assert_eq!(buffer.progress().state, State::Complete);
    drop(buffer);
    assert!(!retries.await.unwrap(), "no attempt was scheduled");
    // Each part is requested once: no byte is fetched again.
    assert!(server.count() <= LEN / PART + 4, "{}", server.count());
    let conditions = server.each(|request| request.value("if-range").map(str::to_owned));
    assert!(conditions[1..].iter().all(|condition| condition.as_deref() == Some("\"a\"")), "{conditions:?}");
}

#[tokio::test]
async fn rule_24_short_parts_of_an_unknown_total_end_with_the_resource() {
    let server = Scripted::start(|request| match request.from {
        Some(from) if from >= LEN => {
            answer(416, &format!("Content-Range: bytes */{LEN}\nContent-Length: 0"), b"")
        }
        _ => part(request, "*", "ETag: \"a\""),
    })
    .await;
    let buffer = buffer(&server, Retry::never());
    assert!(in_time(buffer.read(0, usize::MAX)).await.unwrap() == film());
    assert_eq!(buffer.progress().state, State::Complete);
    assert_eq!(server.count(), LEN.div_ceil(PART) + 1);
}

#[tokio::test]
async fn rule_22_an_end_before_the_bytes_that_arrived_is_not_the_end() {
    let server = Scripted::start(|request| match request.from {
        Some(from) if from > 0 => answer(416, "Content-Range: bytes */10\nContent-Length: 0", b""),
        _ => part(request, "*", "ETag: \"a\""),
    })
    .await;
    let buffer = buffer(&server, Retry::default().first_delay(Duration::ZERO));
    let error = in_time(buffer.read(0, usize::MAX)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed, "{error:?}");
}

#[tokio::test]
async fn rule_22_a_part_of_another_version_is_never_appended() {
    // The third part, and what the buffer says of it.
    for (third, total) in [("ETag: \"b\"", LEN), ("ETag: \"a\"", LEN + 1)] {
        let count = AtomicUsize::new(0);
        let server = Scripted::start(move |request| match count.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => part(request, &LEN.to_string(), "ETag: \"a\""),
            _ => part(request, &total.to_string(), third),
        })
        .await;
        let buffer = buffer(&server, Retry::default().first_delay(Duration::ZERO));
        let error = in_time(buffer.read(0, usize::MAX)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Changed, "{third}: {error:?}");
        assert!(buffer.read(0, 2 * PART).await.unwrap() == film()[..2 * PART], "{third}");
        // The buffer has seen the answer itself.
        assert_eq!(server.count(), 4, "{third}");
    }
}

#[tokio::test]
async fn rule_24_a_failure_of_the_next_part_is_a_failure() {
    let count = AtomicUsize::new(0);
    let server = Scripted::start(move |request| match count.fetch_add(1, Ordering::SeqCst) {
        1 => answer(503, "Retry-After: 0\nContent-Length: 0", b""),
        // No part, and one that brings nothing new.
        3 => answer(
            206,
            &format!("Content-Range: bytes 0-9/{LEN}\nContent-Length: 10\nETag: \"a\""),
            &film()[..10],
        ),
        _ => part(request, &LEN.to_string(), "ETag: \"a\""),
    })
    .await;
    let retry = Retry::default().first_delay(Duration::ZERO).max_delay(Duration::ZERO);
    let buffer = buffer(&server, retry);
    assert!(in_time(buffer.read(0, usize::MAX)).await.unwrap() == film());
    let server = Scripted::start(|request| match request.from {
        Some(0) => part(request, &LEN.to_string(), "ETag: \"a\""),
        _ => answer(503, "Retry-After: 0\nContent-Length: 0", b""),
    })
    .await;
    let buffer = self::buffer(&server, Retry::never());
    let error = in_time(buffer.read(0, usize::MAX)).await.unwrap_err();
    assert_eq!(error.offset(), PART as u64, "{error:?}");
}

#[tokio::test]
async fn rule_24_a_part_that_starts_earlier_is_skipped_up_to_the_next_byte() {
    // Parts start at a multiple of 50,000, and have at most 65,536 bytes.
    let server = Scripted::start(|request| {
        let from = request.from.unwrap() / 50_000 * 50_000;
        let end = LEN.min(from + PART);
        let head = format!(
            "Content-Range: bytes {from}-{}/{LEN}\nContent-Length: {}\nETag: \"a\"",
            end - 1,
            end - from
        );
        answer(206, &head, &film()[from..end])
    })
    .await;
    let buffer = buffer(&server, Retry::never());
    assert!(in_time(buffer.read(0, usize::MAX)).await.unwrap() == film());
}
