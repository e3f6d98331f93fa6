//! `HttpSource` against real servers: nginx, Apache, lighttpd and Python's `http.server`.
//!
//! Each test starts its server and a proxy in front of it. Connections are cut where the test says, never
//! by time. The tests of a server that is not installed are skipped with a message.

mod film;
mod program;
mod proxy;

use std::fs::{self, File};
use std::io::{self, Write};
use std::time::Duration;

use streamspool::{BufferHandle, ErrorKind, HttpSource, Retry, State, StreamBuffer};

use self::film::{Age, NAME, error_after, film, play, put};
use self::program::{Kind, Program, Setup, has_openssl};
use self::proxy::{Fate, Proxy, Release};
use crate::client;

/// The length of the film: no multiple of a block.
const LEN: usize = 3_000_001;

/// How a new answer is proven to belong to the bytes that arrived before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Tag,
    Date,
    Overlap,
    /// The overlap at first, and a tag when the server calls it strong.
    TagInTime,
}

/// A buffer of the film.
fn buffer(proxy: &Proxy) -> BufferHandle {
    buffer_of(proxy, NAME)
}

fn buffer_of(proxy: &Proxy, path: &str) -> BufferHandle {
    spawn(HttpSource::with_client(client(), proxy.url(path)).unwrap())
}

/// A buffer that tries again soon, and as often as a server needs to start.
fn spawn(source: HttpSource) -> BufferHandle {
    let retry = Retry::default().attempts(10_000).first_delay(Duration::from_millis(1));
    let retry = retry.max_delay(Duration::from_millis(20));
    StreamBuffer::builder().retry(retry).spawn_source(source)
}

/// Fails a test that waits for ever.
async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(120);
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| panic!("waited too long: {what}"))
}

/// Whether the server compresses the film for a client that accepts it.
async fn compresses(server: &Program) -> bool {
    let url = format!("http://127.0.0.1:{}/{NAME}", server.port);
    let answer = client().get(url).header("accept-encoding", "gzip").send().await.unwrap();
    answer.headers().get("content-encoding").is_some_and(|coding| coding == "gzip")
}

/// Plays the film while connections are cut and the server is killed and started again. Returns the proxy,
/// which has recorded the requests.
async fn play_with_cuts(
    setup: Setup,
    age: Age,
    open: impl FnOnce(&Program, &Proxy) -> BufferHandle,
) -> Proxy {
    let mut server = Program::start(setup).await;
    let film = film(1, LEN);
    put(&server.root(), &film, 1, age);
    if !setup.tls {
        assert_eq!(compresses(&server).await, setup.gzip && setup.kind != Kind::Python);
    }
    let fates = [
        // Both fates happen in the head of an answer.
        Fate::Close(10),
        Fate::Reset(110),
        Fate::Close(300_000),
        Fate::Reset(340_000),
        Fate::Hold(900_000),
        Fate::Close(1_500_000),
        Fate::Reset(2_000_000),
    ];
    let proxy = Proxy::start(server.port, fates).await;
    let buffer = open(&server, &proxy);
    let mut progress = buffer.subscribe();
    let root = server.root();
    let disturb = async {
        proxy.held(1).await;
        server.kill();
        proxy.release(Release::Close);
        proxy.refused(3).await;
        progress.wait_for(|progress| matches!(progress.state, State::Retrying { .. })).await.unwrap();
        server.restart().await;
        proxy.connect_to(server.port);
    };
    in_time("the film", async { tokio::join!(play(&buffer, &root, &film), disturb) }).await;
    proxy
}

/// The film is played while connections are cut and the server is killed and started again.
async fn survives_cuts_and_a_restart(setup: Setup, age: Age, proof: Proof) {
    survives_cuts_at(NAME, setup, age, proof).await;
}

async fn survives_cuts_at(path: &str, setup: Setup, age: Age, proof: Proof) {
    if !setup.kind.is_installed() {
        return;
    }
    let proxy = play_with_cuts(setup, age, |_, proxy| buffer_of(proxy, path)).await;
    let conditions = proxy.sent("if-range");
    assert!(conditions.len() > 7, "some connections were not cut: {conditions:?}");
    // No version was known before the first answer.
    assert_eq!(conditions[..3], [None, None, None], "{conditions:?}");
    for condition in &conditions[3..] {
        let found = match condition {
            Some(condition) if condition.starts_with('"') => Proof::Tag,
            Some(condition) if condition.ends_with("gmt") => Proof::Date,
            Some(condition) => panic!("{condition}"),
            None => Proof::Overlap,
        };
        let is_right = match proof {
            Proof::TagInTime => found != Proof::Date,
            _ => found == proof,
        };
        assert!(is_right, "{proof:?}: {conditions:?}");
    }
    assert!(proxy.sent("range").iter().all(Option::is_some), "every request names its range");
}

#[tokio::test]
async fn rules_22_to_24_nginx_with_tags_and_gzip() {
    survives_cuts_and_a_restart(Setup::new(Kind::Nginx), Age::Hours, Proof::Tag).await;
}

#[tokio::test]
async fn rules_22_to_24_nginx_with_dates_and_a_limited_rate() {
    let setup = Setup { etag: false, rate: 1500, ..Setup::new(Kind::Nginx) };
    survives_cuts_and_a_restart(setup, Age::Hours, Proof::Date).await;
}

#[tokio::test]
async fn rules_22_to_24_nginx_without_a_version() {
    let setup = Setup { etag: false, ..Setup::new(Kind::Nginx) };
    survives_cuts_and_a_restart(setup, Age::New, Proof::Overlap).await;
}

#[tokio::test]
async fn rules_21_to_24_nginx_with_tags_and_without_ranges() {
    survives_cuts_at("whole/film.bin", Setup::new(Kind::Nginx), Age::Hours, Proof::Tag).await;
}

#[tokio::test]
async fn rules_22_to_24_nginx_with_tls() {
    if !Kind::Nginx.is_installed() || !has_openssl() {
        return;
    }
    let setup = Setup { tls: true, ..Setup::new(Kind::Nginx) };
    let open = |server: &Program, proxy: &Proxy| {
        // reqwest takes the crypto provider of the process, which `client` installs.
        let _ = client();
        let certificate = reqwest::Certificate::from_pem(&server.certificate()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([certificate]).build().unwrap();
        let url = proxy.url(NAME).replace("http://", "https://");
        spawn(HttpSource::with_client(client, url).unwrap())
    };
    play_with_cuts(setup, Age::Hours, open).await;
}

#[tokio::test]
async fn rule_24_a_certificate_that_is_not_trusted_fails_at_once() {
    if !Kind::Nginx.is_installed() || !has_openssl() {
        return;
    }
    let server = Program::start(Setup { tls: true, ..Setup::new(Kind::Nginx) }).await;
    let proxy = Proxy::start(server.port, []).await;
    let source = HttpSource::new(proxy.url(NAME).replace("http://", "https://")).unwrap();
    let buffer = StreamBuffer::spawn_source(source);
    let mut progress = buffer.subscribe();
    let retries = tokio::spawn(async move {
        progress.wait_for(|progress| matches!(progress.state, State::Retrying { .. })).await.is_ok()
    });
    let error = in_time("the handshake", buffer.read(0, 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    drop(buffer);
    assert!(!retries.await.unwrap(), "no retry mends a certificate");
    let mut cause = std::error::Error::source(&error);
    while cause.is_some_and(|error| !error.to_string().contains("certificate")) {
        cause = cause.and_then(std::error::Error::source);
    }
    assert!(cause.is_some(), "no cause names the certificate: {error:?}");
}

#[tokio::test]
async fn rules_22_to_24_apache_with_tags_and_gzip() {
    survives_cuts_and_a_restart(Setup::new(Kind::Apache), Age::Hours, Proof::Tag).await;
}

#[tokio::test]
async fn rules_22_to_24_apache_with_dates_and_a_limited_rate() {
    let setup = Setup { etag: false, rate: 1500, ..Setup::new(Kind::Apache) };
    survives_cuts_and_a_restart(setup, Age::Hours, Proof::Date).await;
}

#[tokio::test]
async fn rules_22_to_24_apache_without_a_version() {
    let setup = Setup { etag: false, ..Setup::new(Kind::Apache) };
    survives_cuts_and_a_restart(setup, Age::New, Proof::Overlap).await;
}

#[tokio::test]
async fn rules_22_to_24_apache_with_tags_that_are_weak_at_first() {
    survives_cuts_and_a_restart(Setup::new(Kind::Apache), Age::New, Proof::TagInTime).await;
}

#[tokio::test]
async fn rules_22_to_24_lighttpd_with_tags_and_gzip() {
    survives_cuts_and_a_restart(Setup::new(Kind::Lighttpd), Age::Hours, Proof::Tag).await;
}

#[tokio::test]
async fn rules_22_to_24_lighttpd_with_dates_and_a_limited_rate() {
    let setup = Setup { etag: false, rate: 1500, ..Setup::new(Kind::Lighttpd) };
    survives_cuts_and_a_restart(setup, Age::Hours, Proof::Date).await;
}

#[tokio::test]
async fn rules_22_to_24_lighttpd_without_a_version() {
    let setup = Setup { etag: false, ..Setup::new(Kind::Lighttpd) };
    survives_cuts_and_a_restart(setup, Age::New, Proof::Overlap).await;
}

#[tokio::test]
async fn rules_22_to_24_lighttpd_of_an_unknown_media_type() {
    let setup = Setup { knows_type: false, gzip: false, ..Setup::new(Kind::Lighttpd) };
    survives_cuts_and_a_restart(setup, Age::Hours, Proof::Overlap).await;
}

#[tokio::test]
async fn rules_21_to_24_python_with_dates_and_without_ranges() {
    survives_cuts_and_a_restart(Setup::new(Kind::Python), Age::Hours, Proof::Date).await;
}

#[tokio::test]
async fn rules_21_to_24_python_without_a_version_and_without_ranges() {
    survives_cuts_and_a_restart(Setup::new(Kind::Python), Age::New, Proof::Overlap).await;
}

/// How a film is changed while it is read.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Another file of the same size takes its place.
    SameSize,
    /// A file that is shorter than the bytes that arrived takes its place.
    Shorter,
    /// A file with more bytes at its end takes its place.
    Longer,
    /// The film itself loses its end, below the bytes that arrived.
    Truncated,
    /// The film itself grows: it is still being written.
    Grows,
}

/// The film changes while a connection is held, which then breaks.
async fn notices_a_change(kind: Kind, etag: bool, age: Age, change: Change) {
    if !kind.is_installed() {
        return;
    }
    let server = Program::start(Setup { etag, ..Setup::new(kind) }).await;
    let old = film(1, LEN / 3);
    put(&server.root(), &old, 1, age);
    let proxy = Proxy::start(server.port, [Fate::Hold(500_000)]).await;
    let buffer = buffer(&proxy);
    let disturb = async {
        proxy.held(1).await;
        match change {
            Change::SameSize => put(&server.root(), &film(2, LEN / 3), 2, age),
            Change::Shorter => put(&server.root(), &film(2, 100_000), 2, age),
            Change::Longer => put(&server.root(), &film(1, LEN / 3 + 1), 2, age),
            Change::Truncated => open(&server).set_len(100_000).unwrap(),
            Change::Grows => open(&server).write_all(b"more").unwrap(),
        }
        proxy.release(Release::Close);
    };
    let what = format!("{kind:?} {etag} {age:?} {change:?}");
    let ((at, error), ()) =
        in_time(&what, async { tokio::join!(error_after(&what, &buffer, &old), disturb) }).await;
    assert_eq!(error.kind(), ErrorKind::Changed, "{what}: {error:?}");
    assert!((400_000..=500_000).contains(&at), "{what}: {at} bytes arrived before the break");
    assert!(buffer.read(0, at).await.unwrap() == old[..at], "{what}: the loaded bytes stay");
    let later = buffer.read(old.len() as u64 - 1, 1).await.unwrap_err();
    assert_eq!(later.kind(), ErrorKind::Changed, "{what}: later reads fail too");
}

/// The file of the film, opened to change it in place.
fn open(server: &Program) -> File {
    File::options().append(true).open(server.root().join(NAME)).unwrap()
}

/// All changes, with every kind of proof that the server offers.
async fn notices_all_changes(kind: Kind) {
    for change in [Change::SameSize, Change::Shorter, Change::Longer, Change::Truncated, Change::Grows] {
        if kind != Kind::Python {
            notices_a_change(kind, true, Age::Hours, change).await;
        }
        notices_a_change(kind, false, Age::Hours, change).await;
        notices_a_change(kind, false, Age::New, change).await;
    }
}

#[tokio::test]
async fn rule_22_a_file_that_nginx_serves_is_changed() {
    notices_all_changes(Kind::Nginx).await;
}

#[tokio::test]
async fn rule_22_a_file_that_apache_serves_is_changed() {
    notices_all_changes(Kind::Apache).await;
}

#[tokio::test]
async fn rule_22_a_file_that_lighttpd_serves_is_changed() {
    notices_all_changes(Kind::Lighttpd).await;
}

#[tokio::test]
async fn rule_22_a_file_that_python_serves_is_changed() {
    notices_all_changes(Kind::Python).await;
}

/// The server closes a connection whose bytes are not taken, such as the connection of a player that pauses.
async fn survives_a_pause(kind: Kind, logged: &str) {
    if !kind.is_installed() {
        return;
    }
    let server = Program::start(Setup { impatient: true, ..Setup::new(kind) }).await;
    // More bytes than the buffers of all sockets hold.
    let film = film(1, 8_000_000);
    put(&server.root(), &film, 1, Age::Hours);
    let proxy = Proxy::start(server.port, [Fate::Hold(200_000)]).await;
    let buffer = buffer(&proxy);
    let start = buffer.read(0, 100_000).await.unwrap();
    assert!(start == film[..100_000]);
    proxy.held(1).await;
    in_time("the server's timeout", server.logged(&[logged])).await;
    proxy.release(Release::Resume);
    in_time("the film", play(&buffer, &server.root(), &film)).await;
    assert!(proxy.sent("range").len() > 1, "the first connection carried the whole film");
    assert!(proxy.sent("if-range")[1].as_ref().is_some_and(|condition| condition.starts_with('"')));
}

#[tokio::test]
async fn rule_24_a_pause_longer_than_the_timeout_of_nginx() {
    survives_a_pause(Kind::Nginx, "client timed out").await;
}

#[tokio::test]
async fn rule_24_a_pause_longer_than_the_timeout_of_apache() {
    survives_a_pause(Kind::Apache, "timeout specified has expired").await;
}

#[tokio::test]
async fn rule_24_a_pause_longer_than_the_timeout_of_lighttpd() {
    survives_a_pause(Kind::Lighttpd, "timed out").await;
}

#[tokio::test]
async fn rule_21_a_file_that_nginx_always_sends_compressed_is_passed_on_and_resumed() {
    if !Kind::Nginx.is_installed() {
        return;
    }
    let server = Program::start(Setup::new(Kind::Nginx)).await;
    let coded = film(1, LEN);
    put(&server.root(), &film(2, LEN), 2, Age::Hours);
    fs::write(server.root().join("film.bin.gz"), &coded).unwrap();
    let proxy = Proxy::start(server.port, [Fate::Hold(500_000)]).await;
    let buffer = buffer_of(&proxy, "coded/film.bin");
    let disturb = async {
        proxy.held(1).await;
        proxy.release(Release::Close);
    };
    // The tag of the compressed file is strong, so it proves the rest after the break.
    let read = buffer.read(0, usize::MAX);
    let (found, ()) = in_time("the film", async { tokio::join!(read, disturb) }).await;
    assert!(found.unwrap() == coded);
    assert_eq!(proxy.sent("range").len(), 2);
    // A first read far inside.
    let buffer = buffer_of(&proxy, "coded/film.bin");
    assert!(in_time("the read", buffer.read(2_000_000, 1000)).await.unwrap() == coded[2_000_000..2_001_000]);
}

#[tokio::test]
async fn rule_24_an_empty_file_is_empty_for_every_server() {
    for kind in [Kind::Nginx, Kind::Apache, Kind::Lighttpd, Kind::Python] {
        if !kind.is_installed() {
            continue;
        }
        let server = Program::start(Setup::new(kind)).await;
        put(&server.root(), b"", 1, Age::Hours);
        let proxy = Proxy::start(server.port, []).await;
        let buffer = buffer(&proxy);
        assert_eq!(in_time("the end", buffer.read(0, usize::MAX)).await.unwrap(), "", "{kind:?}");
        assert_eq!(buffer.progress().state, State::Complete, "{kind:?}");
    }
}

#[tokio::test]
async fn rule_24_a_missing_file_is_final_for_every_server() {
    for kind in [Kind::Nginx, Kind::Apache, Kind::Lighttpd, Kind::Python] {
        if !kind.is_installed() {
            continue;
        }
        let server = Program::start(Setup::new(kind)).await;
        let proxy = Proxy::start(server.port, []).await;
        let buffer = buffer(&proxy);
        for _ in 0..2 {
            let error = in_time("the answer", buffer.read(0, 1)).await.unwrap_err();
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound, "{kind:?}");
        }
        // The second request has no Range.
        assert_eq!(proxy.sent("range"), [Some("bytes=0-".to_owned()), None], "{kind:?}");
    }
}
