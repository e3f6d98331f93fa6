//! The running server, a source that the test controls, and waiting with a deadline.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::get;
use futures::stream::{self, Stream, StreamExt};
use serde_json::Value;
use streamspool::Bytes;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};

/// Much longer than each step of a test takes on a slow machine, so only a test that hangs reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(300);

pub(crate) const CLIP: &[u8] = include_bytes!("../../../../assets/clip.mp4");
pub(crate) const FILM: &[u8] = include_bytes!("../../../../assets/film.mp4");
pub(crate) const TUNE: &[u8] = include_bytes!("../../../../assets/tune.mp3");

pub(crate) fn clip_path() -> String {
    format!("{}/../../assets/clip.mp4", env!("CARGO_MANIFEST_DIR"))
}

/// The output of `future`. Fails after the deadline.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited too long: {what}"))
}

/// Whether a client that is not a crate is installed.
pub(crate) fn has_client(program: &str, version_flag: &str) -> bool {
    let asked = Command::new(program).arg(version_flag).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let here = asked.is_ok_and(|status| status.success());
    if !here {
        assert!(!is_required(), "`{program}` is missing, and STREAMSPOOL_REQUIRE_CLIENTS=1");
        skipped(program);
    }
    here
}

pub(crate) fn is_required() -> bool {
    std::env::var_os("STREAMSPOOL_REQUIRE_CLIENTS").is_some_and(|value| value == "1")
}

/// Prints directly to standard error, because the test harness hides the output of passing tests.
pub(crate) fn skipped(client: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: `{client}` is not installed, so its test did not run");
}

/// Bytes that depend on their offset, in a pattern whose length divides no block size.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|offset| u8::try_from(offset % 251).unwrap() ^ u8::try_from(offset / 251 % 239).unwrap())
        .collect()
}

/// A stream of `bytes` in chunks of uneven sizes. It yields to other tasks before each chunk.
pub(crate) fn uneven(bytes: &[u8]) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut pieces = Vec::new();
    for size in [1, 7000, 300, 65_536, 13].into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        pieces.push(rest.split_to(size.min(rest.len())));
    }
    stream::iter(pieces).then(async |piece| {
        tokio::task::yield_now().await;
        Ok(piece)
    })
}

/// The running server. It ends when this is dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) url: String,
    /// The lines before its address, and the later ones up to now.
    pub(crate) output: watch::Receiver<String>,
    /// What it has written to standard error.
    pub(crate) errors: watch::Receiver<String>,
}

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_serve");

impl Server {
    /// Runs the server with these arguments.
    pub(crate) async fn start(args: &[&str]) -> Self {
        Self::start_with(args, Stdio::null()).await
    }

    pub(crate) async fn start_with(args: &[&str], stdin: Stdio) -> Self {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(args).stdin(stdin);
        Self::launch(command).await
    }

    pub(crate) async fn launch(mut command: tokio::process::Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let errors = kept(BufReader::new(child.stderr.take().unwrap()).lines());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = in_time("the server's address", lines.next_line()).await.unwrap();
        let line = line.unwrap_or_else(|| panic!("no address: {}", *errors.borrow()));
        let url = line.strip_prefix("Serving on ").unwrap().trim_end_matches('/').to_owned();
        Self { child, url, output: kept(lines), errors }
    }

    /// Runs the server until it ends by itself: its exit code and its standard error.
    pub(crate) async fn refuses(args: &[&str]) -> (Option<i32>, String) {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        let output = in_time("the end of the server", command.output()).await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Waits until it has written this to standard error.
    pub(crate) async fn reports(&self, text: &str) {
        until_text(&self.errors, text).await;
    }

    /// A request that changes something, as the page sends it.
    pub(crate) async fn ask(&self, method: reqwest::Method, name: &str, what: &str) -> u16 {
        let url = format!("{}/{what}", self.media(name));
        let request = http().request(method, url).header("x-streamspool", "test");
        in_time("an answer", request.send()).await.unwrap().status().as_u16()
    }

    /// The address of a resource.
    pub(crate) fn media(&self, name: &str) -> String {
        format!("{}/media/{name}", self.url)
    }

    /// The standard input of the server.
    pub(crate) fn stdin(&mut self) -> tokio::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// A GET with some headers.
    pub(crate) async fn get(&self, name: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut request = http().get(self.media(name));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        in_time("the head of a response", request.send()).await.unwrap()
    }

    /// The first snapshot for the page that satisfies `fits`.
    pub(crate) async fn wait_for(&self, name: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let events = http().get(format!("{}/events", self.media(name))).send();
        let mut events = in_time("the events", events).await.unwrap();
        let mut text = String::new();
        let found = async {
            while let Some(piece) = events.chunk().await.unwrap() {
                text.push_str(std::str::from_utf8(&piece).unwrap());
                while let Some(end) = text.find("\n\n") {
                    let event: String = text.drain(..end + 2).collect();
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    let snapshot = data.and_then(|data| serde_json::from_str(data).ok());
                    if let Some(snapshot) = snapshot.filter(&fits) {
                        return snapshot;
                    }
                }
            }
            panic!("the events ended before: {what}");
        };
        in_time(what, found).await
    }
}

/// Keeps the lines of a stream, and prints them for a test that fails.
fn kept<R>(mut lines: tokio::io::Lines<BufReader<R>>) -> watch::Receiver<String>
where
    R: tokio::io::AsyncRead + Unpin + Send + 'static,
{
    let (kept, all) = watch::channel(String::new());
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            println!("{line}");
            kept.send_modify(|text| text.extend([&line, "\n"]));
        }
        // The text stays when the server has ended.
        kept.closed().await;
    });
    all
}

/// Waits until a program has written `part`. Returns all that it has written.
pub(crate) async fn until_text(text: &watch::Receiver<String>, part: &str) -> String {
    let mut text = text.clone();
    let written = in_time(part, text.wait_for(|text| text.contains(part))).await;
    written.unwrap().clone()
}

pub(crate) fn http() -> reqwest::Client {
    // Fails only if a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// A source for the server: another HTTP server, whose only resource arrives when the test sends it.
pub(crate) struct Upstream {
    pub(crate) url: String,
    /// An error breaks the connection. Dropping the sender ends the resource.
    pub(crate) send: mpsc::UnboundedSender<io::Result<Bytes>>,
}

impl Upstream {
    /// Declares this size, or none.
    pub(crate) async fn start(name: &str, size: Option<usize>) -> Self {
        let (send, received) = mpsc::unbounded_channel();
        let once = Mutex::new(Some(received));
        let answer = move || {
            let received = once.lock().unwrap().take();
            async move {
                let Some(received) = received else {
                    return Response::builder().status(StatusCode::GONE).body(Body::empty()).unwrap();
                };
                let pieces = stream::unfold(received, async |mut received: mpsc::UnboundedReceiver<_>| {
                    Some((received.recv().await?, received))
                });
                let mut headers = HeaderMap::new();
                if let Some(size) = size {
                    headers.insert(header::CONTENT_LENGTH, size.into());
                }
                let mut response = Response::new(Body::from_stream(pieces));
                *response.headers_mut() = headers;
                response
            }
        };
        let answer = Arc::new(answer);
        let routes = Router::new().route(&format!("/{name}"), get(move || answer()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/{name}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, send }
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.send.send(Ok(Bytes::copy_from_slice(bytes))).unwrap();
    }

    pub(crate) fn fail(self) {
        self.send.send(Err(io::ErrorKind::ConnectionReset.into())).unwrap();
    }
}
