//! `HttpSource` as a user sees it: against servers that the tests script, servers that are odd at random, and
//! real servers. The answers of a server are tested in `src/source/http/tests.rs`, which shares the scripted
//! server and can read the stream of an opening.

mod answers;
mod connections;
mod first;
mod frames;
mod odd;
mod parts;
mod redirects;
mod resuming;
mod scripted;
mod server;
#[cfg(target_os = "linux")]
mod servers;

use std::io;
use std::sync::Arc;

use streamspool::{HttpSource, OpenAt, Source};

use self::server::{Server, answer};

/// An answer of ten bytes.
fn ten() -> Vec<u8> {
    answer(206, "Content-Range: bytes 0-9/10\nContent-Length: 10\nETag: \"a\"", b"0123456789")
}

/// A client of the user. reqwest takes the crypto provider of the process.
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

#[tokio::test]
async fn an_opening_tells_what_the_server_said() {
    // Rules 21, 22.
    let server = Server::start([ten()]).await;
    let source: Arc<HttpSource> = Arc::new(HttpSource::new(server.url("/film")).unwrap());
    let opened = source.open(OpenAt::new(0)).await.unwrap();
    let text =
        r#"Opened { start: Some(0), size: Some(10), version: Some(Version(\"a\")), reopen: Anywhere, .. }"#;
    assert_eq!(format!("{opened:?}"), text);
}

#[tokio::test]
async fn headers_are_sent_and_those_of_the_range_replaced() {
    // Rule 21.
    let server = Server::start([ten()]).await;
    let source = HttpSource::with_client(client(), server.url("/film")).unwrap();
    let source = source.header("authorization", "Bearer abc").header("x-key", "1").header("x-key", "2");
    let source =
        source.header("range", "bytes=5-").header("if-range", "\"b\"").header("accept-encoding", "gzip");
    source.open(OpenAt::new(0)).await.unwrap();
    let sent = server.requests().remove(0);
    for line in
        ["authorization: bearer abc", "x-key: 1", "x-key: 2", "range: bytes=0-", "accept-encoding: identity"]
    {
        assert!(sent.lines().any(|found| found == line), "{line} in {sent}");
    }
    for line in ["range: bytes=5-", "if-range", "gzip"] {
        assert!(!sent.contains(line), "{line} in {sent}");
    }
}

#[tokio::test]
async fn an_address_may_come_from_the_user() {
    // Rule 21.
    let server = Server::start([ten()]).await;
    let url = server.url("/signed?by=me");
    let source = HttpSource::addressed_by(client(), move || {
        let url = url.clone();
        async move { url.parse().map_err(io::Error::other) }
    });
    source.open(OpenAt::new(0)).await.unwrap();
    assert_eq!(server.sent("range"), [Some("bytes=0-".into())]);
    assert!(server.requests()[0].starts_with("get /signed?by=me http/1.1\r\n"));
}

#[tokio::test]
async fn an_invalid_address_or_header_is_invalid_input() {
    // Rule 24.
    for url in ["film.mp4", "", "ftp://example.com/film", "file:///film", "http://", "http://[::"] {
        assert_eq!(HttpSource::new(url).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{url}");
        assert_eq!(HttpSource::with_client(client(), url).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    for url in ["ftp://example.com/film", "file:///film", "data:,film"] {
        let source = HttpSource::addressed_by(client(), || async { Ok(url.parse().unwrap()) });
        let error = source.open(OpenAt::new(0)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{url}");
    }
    for (name, value) in [("a b", "c"), ("a", "b\nc")] {
        let source = HttpSource::new("http://127.0.0.1:1/").unwrap().header(name, value);
        let error = source.open(OpenAt::new(0)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
    }
}

#[test]
fn a_source_prints_no_secret() {
    // Rule 19.
    let source = HttpSource::with_client(client(), "http://secret:secret@example.com/secret?secret").unwrap();
    assert_eq!(format!("{:?}", source.header("cookie", "secret")), "HttpSource { .. }");
}
