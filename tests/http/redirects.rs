//! Redirects, the headers that go with them, and addresses that are asked for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::redirect::Policy;
use streamspool::{HttpSource, OpenAt, Retry, Source, StreamBuffer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};

use crate::client;
use crate::scripted::{Request, Scripted};
use crate::server::{answer, head};

const TEXT: &str = "0123456789";

/// The rest of the text. The connection stays usable.
fn rest(from: usize) -> String {
    let len = TEXT.len() - from;
    format!(
        "HTTP/1.1 206 Text\r\nContent-Range: bytes {from}-9/10\r\nContent-Length: {len}\r\nETag: \"a\"\r\n\r\n{}",
        &TEXT[from..]
    )
}

fn film(request: &Request) -> Vec<u8> {
    rest(request.from.unwrap()).into_bytes()
}

/// A client of the user that follows no redirect.
fn bare_client() -> reqwest::Client {
    let _ = client();
    reqwest::Client::builder().redirect(Policy::none()).build().unwrap()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("waited too long")
}

#[tokio::test]
async fn rule_24_a_server_that_closes_after_each_answer_without_announcing_it_is_passed() {
    for is_own in [true, false] {
        // Each connection gets one answer, which does not say that the connection is closed. It is closed only
        // when the next request has arrived on it, so that the client cannot have noticed before.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let request = head(&mut connection).await;
                    let answer = if request.starts_with("get /c ") {
                        rest(0)
                    } else {
                        let there = if request.starts_with("get /a ") { "/b" } else { "/c" };
                        format!("HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n")
                    };
                    connection.write_all(answer.as_bytes()).await.unwrap();
                    head(&mut connection).await;
                });
            }
        });
        let source = if is_own {
            HttpSource::new(url).unwrap()
        } else {
            HttpSource::with_client(client(), url).unwrap()
        };
        let buffer = StreamBuffer::builder().retry(Retry::never()).spawn_source(source);
        assert_eq!(in_time(buffer.read(0, 10)).await.unwrap(), TEXT, "{is_own}");
    }
}

#[tokio::test]
async fn rule_21_a_header_is_not_sent_to_another_host_unless_that_is_asked_for() {
    for is_own in [true, false] {
        let other = Scripted::start(film).await;
        let there = other.url("/b");
        let first = Scripted::start(move |request| match &*request.path {
            // An address of its own, without the credentials.
            "/a" => {
                let host = request.value("host").unwrap();
                answer(302, &format!("Location: http://{host}/same\nContent-Length: 0"), b"")
            }
            _ => answer(302, &format!("Location: {there}\nContent-Length: 0"), b""),
        })
        .await;
        let url = first.url("/a").replace("http://", "http://user:password@");
        let source = if is_own {
            HttpSource::new(url).unwrap()
        } else {
            HttpSource::with_client(bare_client(), url).unwrap().follow_redirects()
        };
        let source = source.header("x-api-key", "secret").header("accept", "video/mp4");
        let source = source.header("user-agent", "player/1").header_for_all_hosts("x-trace", "7");
        assert_eq!(in_time(StreamBuffer::spawn_source(source).read(0, 10)).await.unwrap(), TEXT);
        for name in ["x-api-key", "accept", "x-trace", "user-agent", "range", "authorization"] {
            let sent = first.each(|request| request.value(name).is_some());
            assert_eq!(sent, [true, true], "{name}");
        }
        let sent = first.each(|request| request.value("authorization").map(str::to_owned));
        assert_eq!(sent[0], sent[1], "the user and the password");
        let value = |name: &str| other.each(|request| request.value(name).map(str::to_owned)).remove(0);
        assert_eq!((value("x-api-key"), value("authorization")), (None, None));
        assert_eq!(value("x-trace").as_deref(), Some("7"));
        assert_eq!(value("user-agent").as_deref(), Some("player/1"));
        assert_eq!(value("range").as_deref(), Some("bytes=0-"));
    }
}

#[tokio::test]
async fn rule_21_a_client_that_follows_no_redirect_is_not_made_to() {
    let server = Scripted::start(|_| answer(302, "Location: /b\nContent-Length: 0", b"")).await;
    let source = HttpSource::with_client(bare_client(), server.url("/a")).unwrap();
    let error = source.open(OpenAt::new(0)).await.unwrap_err().to_string();
    assert!(error.contains("302"), "{error}");
    assert!(server.each(|request| request.path.clone()).iter().all(|path| path == "/a"));
}

#[tokio::test]
async fn rule_21_the_agent_is_named_unless_the_user_names_another_one() {
    let server = Scripted::start(film).await;
    let url = || server.url("/film");
    let _ = client();
    let named = reqwest::Client::builder().user_agent("app/2").build().unwrap();
    for source in [
        HttpSource::new(url()).unwrap(),
        HttpSource::new(url()).unwrap().header("user-agent", "player/1"),
        HttpSource::with_client(named, url()).unwrap(),
    ] {
        source.open(OpenAt::new(0)).await.unwrap();
    }
    let agents = server.each(|request| request.value("user-agent").unwrap_or_default().to_owned());
    assert!(agents[0].starts_with("streamspool/0."), "{agents:?}");
    assert_eq!(agents[1..], ["player/1", "app/2"]);
}

#[tokio::test]
async fn rule_24_a_dead_address_is_replaced_in_the_next_round() {
    let live = Scripted::start(film).await;
    // A port that belongs to this test, and on which nothing listens.
    let dead = TcpSocket::new_v4().unwrap();
    dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let refused = format!("http://{}/film", dead.local_addr().unwrap());
    let broken = Scripted::start(|request| {
        let status = request.path.trim_start_matches('/').parse().unwrap();
        answer(status, "Content-Length: 0", b"")
    })
    .await;
    // A connection that is never answered.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = format!("http://{}/film", silent.local_addr().unwrap());
    for first in [&refused, &broken.url("/530"), &broken.url("/500"), &broken.url("/503"), &hangs] {
        let addresses = [first.clone(), live.url("/film")];
        let count = Arc::new(AtomicUsize::new(0));
        let calls = Arc::clone(&count);
        let source = HttpSource::addressed_by(client(), move || {
            let number = calls.fetch_add(1, Ordering::SeqCst);
            let url = addresses[number.min(1)].parse().map_err(io::Error::other);
            async move { url }
        });
        let retry = Retry::default().first_delay(Duration::ZERO).max_delay(Duration::ZERO);
        // On a slow machine the live server may take that long too.
        let is_silent = first == &hangs;
        let retry = if is_silent {
            retry.attempts(1000).stall_timeout(Duration::from_secs(1))
        } else {
            retry.attempts(1)
        };
        let buffer = StreamBuffer::builder().retry(retry).spawn_source(source);
        assert_eq!(in_time(buffer.read(0, 10)).await.unwrap(), TEXT, "{first}");
        let count = count.load(Ordering::SeqCst);
        assert!(count == 2 || is_silent && count > 2, "{first}: {count}");
    }
}
