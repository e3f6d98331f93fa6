//! An origin that the test stops and starts again: a server of one resource with ranges and a strong `ETag`.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) struct Origin {
    pub(crate) url: String,
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Option<JoinHandle<()>>,
}

struct Shared {
    bytes: Vec<u8>,
    /// The offset up to which bytes are sent, on all connections.
    sent_to: watch::Sender<usize>,
    /// Bytes that are not sent meanwhile.
    withheld: watch::Sender<Range<usize>>,
    /// The `Range` and `If-Range` of each request.
    requests: Mutex<Vec<(String, String)>>,
}

impl Origin {
    /// Sends no byte of the body before [`Origin::send_to`].
    pub(crate) async fn start(name: &str, bytes: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared {
            bytes,
            sent_to: watch::Sender::new(0),
            withheld: watch::Sender::new(0..0),
            requests: Mutex::default(),
        };
        let shared = Arc::new(shared);
        let running = Some(tokio::spawn(run(listener, Arc::clone(&shared))));
        Self { url: format!("http://{address}/{name}"), address, shared, running }
    }

    pub(crate) fn send_to(&self, offset: usize) {
        self.shared.sent_to.send_replace(offset);
    }

    /// Sends no byte of this range before the next call.
    pub(crate) fn withhold(&self, range: Range<usize>) {
        self.shared.withheld.send_replace(range);
    }

    /// Closes the listener and all connections.
    pub(crate) async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }

    /// Listens again on the same port.
    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.running = Some(tokio::spawn(run(listener, Arc::clone(&self.shared))));
    }

    pub(crate) fn requests(&self) -> Vec<(String, String)> {
        self.shared.requests.lock().unwrap().clone()
    }
}

async fn run(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, which closes the connections.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(answer(stream, Arc::clone(&shared)));
    }
}

/// Answers one request. The client may leave at any time.
async fn answer(mut stream: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    let (mut range, mut condition) = (String::new(), String::new());
    while let Some(line) = lines.next_line().await.ok()?.filter(|line| !line.is_empty()) {
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => range = value.into(),
            Some((name, value)) if name.eq_ignore_ascii_case("if-range") => condition = value.into(),
            _ => {}
        }
    }
    shared.requests.lock().unwrap().push((range.clone(), condition));
    let size = shared.bytes.len();
    let first = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let first = first.map(|(first, _)| first.parse::<usize>().unwrap());
    let status = match first {
        Some(first) => format!("206 Partial Content\r\nContent-Range: bytes {first}-{}/{size}", size - 1),
        None => "200 OK".into(),
    };
    let mut at = first.unwrap_or(0);
    let length = size - at;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: \"one\"\r\nConnection: close\r\n\r\n"
    );
    write.write_all(head.as_bytes()).await.ok()?;
    let mut sent_to = shared.sent_to.subscribe();
    let mut withheld = shared.withheld.subscribe();
    while at < size {
        let end = *sent_to.wait_for(|end| *end > at).await.ok()?;
        let hole = withheld.wait_for(|hole| !hole.contains(&at)).await.ok()?.clone();
        let end = if at < hole.start { end.min(hole.start) } else { end };
        write.write_all(&shared.bytes[at..end]).await.ok()?;
        at = end;
    }
    Some(())
}
