//! HTTP/2, which only clients of the user have: the end of a body is marked in its frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use streamspool::{BufferHandle, HttpSource, Retry, State, StreamBuffer};
use tokio::net::TcpListener;

use crate::client;

const LEN: usize = 10_000;

fn film() -> Vec<u8> {
    (0..LEN).map(|at| (at * 7 % 251) as u8).collect()
}

/// Serves the film without its length. Each of the first `resets` bodies is reset without an error after one half.
async fn serve(listener: TcpListener, resets: usize, tag: &'static str, bodies: Arc<AtomicUsize>) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let bodies = Arc::clone(&bodies);
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(connection).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let answer = http::Response::builder();
                if request.method() == "HEAD" {
                    respond.send_response(answer.body(()).unwrap(), true).unwrap();
                    continue;
                }
                let range = request.headers().get("range").map(|range| range.to_str().unwrap().to_owned());
                let from: usize =
                    range.map_or(0, |range| range["bytes=".len()..].trim_end_matches('-').parse().unwrap());
                let answer = if from > 0 {
                    let range = format!("bytes {from}-{}/{LEN}", LEN - 1);
                    answer.status(206).header("content-range", range)
                } else {
                    answer.status(200)
                };
                let answer = if tag.is_empty() { answer } else { answer.header("etag", tag) };
                let mut body = respond.send_response(answer.body(()).unwrap(), false).unwrap();
                let is_reset = bodies.fetch_add(1, Ordering::SeqCst) < resets;
                let end = if is_reset { from.midpoint(LEN) } else { LEN };
                body.send_data(film()[from..end].to_vec().into(), !is_reset).unwrap();
                if is_reset {
                    // The frames before it are sent first.
                    tokio::spawn(async move {
                        body.reserve_capacity(1);
                        let _ = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
                        body.send_reset(h2::Reason::NO_ERROR);
                    });
                }
            }
        });
    }
}

async fn buffer(resets: usize, tag: &'static str, retry: Retry) -> (BufferHandle, Arc<AtomicUsize>) {
    let _ = client();
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/film", listener.local_addr().unwrap());
    let bodies = Arc::new(AtomicUsize::new(0));
    tokio::spawn(serve(listener, resets, tag, Arc::clone(&bodies)));
    let source = HttpSource::with_client(client, url).unwrap();
    (StreamBuffer::builder().retry(retry).spawn_source(source), bodies)
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("waited too long")
}

#[tokio::test]
async fn rule_15_a_stream_that_is_reset_without_an_error_is_not_the_end() {
    let (buffer, _) = buffer(usize::MAX, "", Retry::never()).await;
    let error = in_time(buffer.read(0, usize::MAX)).await.unwrap_err();
    assert_ne!(buffer.progress().state, State::Complete);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("reset the stream of HTTP/2"), "{cause}");
    // The bytes that arrived stay readable.
    assert_eq!(buffer.read(0, LEN / 2).await.unwrap(), film()[..LEN / 2]);
}

#[tokio::test]
async fn rule_24_a_stream_that_is_reset_is_continued() {
    for tag in ["", "\"a\""] {
        let retry = Retry::default().first_delay(Duration::ZERO).max_delay(Duration::ZERO);
        let (buffer, bodies) = buffer(2, tag, retry).await;
        assert_eq!(in_time(buffer.read(0, usize::MAX)).await.unwrap(), film(), "{tag}");
        assert_eq!(buffer.progress().state, State::Complete);
        assert_eq!(bodies.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test]
async fn rule_1_a_marked_end_without_a_length_is_the_end() {
    let (buffer, bodies) = buffer(0, "", Retry::never()).await;
    assert_eq!(in_time(buffer.read(0, usize::MAX)).await.unwrap(), film());
    assert_eq!(buffer.progress().state, State::Complete);
    assert_eq!(bodies.load(Ordering::SeqCst), 1);
}
