//! An HTTP/1.1 server of one resource, with the latency and the rate of a network.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use streamspool::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::link::{CHUNK, Link};
use crate::source::Counts;

/// A running server. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) counts: Arc<Counts>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(all: Bytes, link: Link) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let counts = Arc::<Counts>::default();
        let origin = Origin { all, link, counts: Arc::clone(&counts) };
        let task = tokio::spawn(async move {
            // Dropped with this task, and then the connections end.
            let mut connections = JoinSet::new();
            loop {
                let (connection, _) = listener.accept().await.expect("a connection");
                let origin = origin.clone();
                connections.spawn(async move {
                    // The client closes a connection in the middle of an answer that it needs no more.
                    let _ = origin.serve(connection).await;
                });
            }
        });
        Self { url, counts, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Origin {
    all: Bytes,
    link: Link,
    counts: Arc<Counts>,
}

/// What a client asks for.
#[derive(Debug, Default)]
struct Request {
    is_head: bool,
    range: Option<Range<usize>>,
}

impl Origin {
    /// Answers one request after the other.
    async fn serve(&self, connection: TcpStream) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let mut connection = BufReader::new(connection);
        while let Some(request) = self.request(&mut connection).await? {
            let _begun = self.counts.begin();
            self.answer(connection.get_mut(), request).await?;
        }
        Ok(())
    }

    /// The next request; `None` if there is none.
    async fn request(&self, connection: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
        let mut request = Request::default();
        let mut line = String::new();
        loop {
            line.clear();
            if connection.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            let text = line.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                return Ok(Some(request));
            }
            request.is_head |= text.starts_with("head ");
            if let Some(range) = text.strip_prefix("range: bytes=") {
                request.range = self.range(range);
            }
        }
    }

    /// `first-` or `first-last`. As RFC 9110 asks, a range that ends before it starts is ignored.
    fn range(&self, text: &str) -> Option<Range<usize>> {
        let (first, last) = text.split_once('-')?;
        let (first, size) = (first.parse().ok()?, self.all.len());
        let end = last.parse::<usize>().map_or(size, |last| last.saturating_add(1).min(size));
        (first < end).then_some(first..end)
    }

    async fn answer(&self, connection: &mut TcpStream, request: Request) -> io::Result<()> {
        let size = self.all.len();
        let (status, range) = match request.range {
            Some(range) => {
                let content_range = format!("Content-Range: bytes {}-{}/{size}", range.start, range.end - 1);
                (format!("206 Partial Content\r\n{content_range}"), range)
            }
            None => ("200 OK".to_owned(), 0..size),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nAccept-Ranges: bytes\r\nContent-Type: application/octet-stream\r\n\
             ETag: \"v1\"\r\nContent-Length: {}\r\n\r\n",
            range.len()
        );
        let mut arrivals = self.link.answer().await;
        connection.write_all(head.as_bytes()).await?;
        let mut body = if request.is_head { Bytes::new() } else { self.all.slice(range) };
        while !body.is_empty() {
            let chunk = body.split_to(body.len().min(CHUNK as usize));
            arrivals.next(chunk.len() as u64).await;
            connection.write_all(&chunk).await?;
            self.counts.add_bytes(chunk.len());
        }
        Ok(())
    }
}
