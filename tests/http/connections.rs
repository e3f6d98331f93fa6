//! Connections that hang, break while idle, or are redirected: the test holds each of them.

use std::time::Duration;

use streamspool::{Bytes, HttpSource, OpenAt, Retry, Source, StreamBuffer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::client;
use crate::server::{answer, head};

/// A listener that the test serves by hand.
struct Listener(TcpListener);

impl Listener {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0.local_addr().unwrap())
    }

    /// The next connection, and the head of its first request.
    async fn accept(&self) -> (TcpStream, String) {
        let (mut connection, _) = self.0.accept().await.unwrap();
        let request = head(&mut connection).await;
        (connection, request)
    }

    /// Answers the next connection and closes it.
    async fn answer(&self, answer: &[u8]) -> String {
        let (mut connection, request) = self.accept().await;
        connection.write_all(answer).await.unwrap();
        request
    }

    /// Answers each connection with this function of its number and its request. Keeps all of them open.
    async fn serve(&self, answer: impl Fn(usize, &str) -> String) {
        let mut kept = Vec::new();
        loop {
            let (mut connection, request) = self.accept().await;
            // The client may have left.
            let _ = connection.write_all(answer(kept.len(), &request).as_bytes()).await;
            kept.push(connection);
        }
    }
}

const TEXT: &str = "0123456789";

/// The first four bytes for a request from the start, and then silence. The rest for a request of the rest.
fn falls_silent(request: &str) -> String {
    match value(request, "range") {
        Some("bytes=4-") => part(TEXT, 4),
        _ => part(TEXT, 0).trim_end_matches("456789").to_owned(),
    }
}

/// What a buffer of this source reads from a server with these answers. On a slow machine it gives up more
/// connections than the silent ones, so each connection gets an answer.
async fn read_from(
    listener: &Listener,
    source: HttpSource,
    retry: Retry,
    answer: impl Fn(usize, &str) -> String,
) -> Bytes {
    let buffer = StreamBuffer::builder().retry(retry).spawn_source(source);
    tokio::select! {
        bytes = buffer.read(0, 10) => bytes.unwrap(),
        () = listener.serve(answer) => unreachable!(),
    }
}

/// A 206 of the bytes of `text` from `start`. The connection stays usable.
fn part(text: &str, start: usize) -> String {
    let len = text.len();
    format!(
        "HTTP/1.1 206 Text\r\nContent-Range: bytes {start}-{}/{len}\r\nContent-Length: {}\r\nETag: \"a\"\r\n\r\n{}",
        len - 1,
        len - start,
        &text[start..]
    )
}

/// Tries again soon, and as often as a slow machine needs.
fn soon() -> Retry {
    Retry::default().attempts(1000).first_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(1))
}

fn impatient() -> Retry {
    soon().stall_timeout(Duration::from_millis(200))
}

fn value<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().filter_map(|line| line.split_once(": ")).find(|(found, _)| *found == name).map(|at| at.1)
}

#[tokio::test]
async fn a_connection_that_never_answers_is_replaced() {
    // Rule 24.
    let listener = Listener::new().await;
    let source = HttpSource::new(listener.url("/")).unwrap();
    let answer = |number, _: &str| if number == 0 { String::new() } else { part(TEXT, 0) };
    assert_eq!(read_from(&listener, source, impatient(), answer).await, TEXT);
}

#[tokio::test]
async fn a_body_that_falls_silent_is_continued() {
    // Rule 24.
    let listener = Listener::new().await;
    let source = HttpSource::new(listener.url("/")).unwrap();
    let answer = |_, request: &str| falls_silent(request);
    assert_eq!(read_from(&listener, source, impatient(), answer).await, TEXT);
}

#[tokio::test]
async fn a_kept_connection_that_breaks_while_idle_costs_no_byte() {
    // Rule 24.
    let listener = Listener::new().await;
    let client = client();
    let read = async |text: &str| {
        let source = HttpSource::with_client(client.clone(), listener.url("/")).unwrap();
        let buffer = StreamBuffer::builder().retry(soon()).spawn_source(source);
        assert_eq!(buffer.read(0, 10).await.unwrap(), text);
    };
    let (mut kept, ()) = tokio::join!(
        async {
            let (mut kept, _) = listener.accept().await;
            kept.write_all(part("0123456789", 0).as_bytes()).await.unwrap();
            kept
        },
        read("0123456789")
    );
    // The connection is kept: it gets the next request.
    let serve = async {
        head(&mut kept).await;
        kept.write_all(part("abcdefghij", 0).as_bytes()).await.unwrap();
    };
    tokio::join!(serve, read("abcdefghij"));
    // The connection breaks, and the next request needs another one.
    drop(kept);
    let last = part("ABCDEFGHIJ", 0);
    tokio::join!(listener.answer(last.as_bytes()), read("ABCDEFGHIJ"));
}

#[tokio::test]
async fn surplus_bytes_of_a_kept_connection_are_no_answer_to_the_next_request() {
    // Rule 22.
    let listener = Listener::new().await;
    let client = client();
    let read = async || {
        let source = HttpSource::with_client(client.clone(), listener.url("/")).unwrap();
        let buffer = StreamBuffer::builder().retry(soon()).spawn_source(source);
        assert_eq!(buffer.read(0, 10).await.unwrap(), "0123456789");
    };
    let serve = async {
        let (mut kept, _) = listener.accept().await;
        let surplus = part("0123456789", 0) + &part("WRONGWRONG", 0);
        kept.write_all(surplus.as_bytes()).await.unwrap();
        kept
    };
    let (kept, ()) = tokio::join!(serve, read());
    let last = part("0123456789", 0);
    tokio::join!(listener.answer(last.as_bytes()), read());
    drop(kept);
}

#[tokio::test]
async fn credentials_stay_with_the_first_host() {
    // Rule 21.
    let (first, other) = (Listener::new().await, Listener::new().await);
    let url = first.url("/secret?secret").replace("http://", "http://user:secret@");
    let source = HttpSource::new(url).unwrap().header("cookie", "secret");
    let there = |url: &str| answer(302, &format!("Location: {url}\nContent-Length: 0"), b"");
    let serve = async {
        // The second opening starts again at the first address.
        for offset in [0, 4] {
            let asked = first.answer(&there(&other.url("/b"))).await;
            assert!(asked.starts_with("get /secret?secret "));
            assert_eq!(value(&asked, "authorization"), Some("basic dxnlcjpzzwnyzxq="));
            assert_eq!(value(&asked, "cookie"), Some("secret"));
            let redirected = other.answer(&there(&first.url("/c"))).await;
            let back = first.answer(part("0123456789", offset).as_bytes()).await;
            assert!(redirected.starts_with("get /b ") && back.starts_with("get /c "));
            for request in [redirected, back] {
                assert!(!request.contains("secret") && !request.contains("authorization"), "{request}");
                assert_eq!(value(&request, "range"), Some(&*format!("bytes={offset}-")));
            }
        }
    };
    let open = async {
        for offset in [0, 4] {
            source.open(OpenAt::new(offset)).await.unwrap();
        }
    };
    tokio::join!(serve, open);
}

#[tokio::test]
async fn a_redirect_that_cannot_be_followed_is_final_and_tells_no_secret() {
    // Rules 19, 24.
    for location in ["ftp://secret.example/secret", "file:///secret", "http://[secret", "http://secret@:0/"] {
        let listener = Listener::new().await;
        let source = HttpSource::new(listener.url("/secret")).unwrap();
        let buffer = StreamBuffer::spawn_source(source);
        let there = answer(302, &format!("Location: {location}\nContent-Length: 0"), b"");
        let (error, _) = tokio::join!(buffer.read(0, 1), listener.answer(&there));
        let error = error.unwrap_err();
        assert!(buffer.error().is_some(), "{location}: {error}");
        assert!(!format!("{error:?} {error}").contains("secret"), "{location}: {error:?}");
    }
}

#[tokio::test]
async fn http_1_0_is_understood() {
    // Rules 21, 24.
    let text = "0123456789";
    let with_length = part(text, 0).replace("HTTP/1.1", "HTTP/1.0");
    // Without a length, the body ends with the connection.
    let without = format!("HTTP/1.0 200 OK\r\n\r\n{text}");
    for answer in [with_length, without] {
        let listener = Listener::new().await;
        let buffer = StreamBuffer::spawn_source(HttpSource::new(listener.url("/")).unwrap());
        let (bytes, _) = tokio::join!(buffer.read(0, usize::MAX), listener.answer(answer.as_bytes()));
        assert_eq!(bytes.unwrap(), text);
    }
}

#[tokio::test]
async fn a_timeout_of_the_client_is_a_transient_timeout() {
    // Rule 24.
    let _ = client();
    let client = reqwest::Client::builder().read_timeout(Duration::from_millis(100)).build().unwrap();
    let listener = Listener::new().await;
    let source = HttpSource::with_client(client, listener.url("/")).unwrap();
    let (error, silent) = tokio::join!(source.open(OpenAt::new(0)), listener.accept());
    assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    drop(silent);
    // The buffer itself would wait 30 s.
    let bytes = read_from(&listener, source, soon(), |_, request| falls_silent(request)).await;
    assert_eq!(bytes, TEXT);
}
