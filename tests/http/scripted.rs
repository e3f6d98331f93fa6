//! A server whose answer to each request is a function of the request, so that a test states it as a table.

use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::server::head;

/// A request, as far as an answer depends on it.
pub(crate) struct Request {
    /// The path with the query.
    pub(crate) path: String,
    /// The first offset of `Range`.
    pub(crate) from: Option<usize>,
    /// The offset after the last one of `Range`, if it is named.
    pub(crate) to: Option<usize>,
    /// The head in lower case.
    pub(crate) head: String,
}

impl Request {
    fn new(head: String) -> Self {
        let range = value(&head, "range").and_then(|range| range.strip_prefix("bytes="));
        let (from, last) = range.and_then(|range| range.split_once('-')).unzip();
        let from = from.map(|from| from.parse().unwrap());
        let to = last.filter(|last| !last.is_empty()).map(|last| last.parse::<usize>().unwrap() + 1);
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        Self { path, from, to, head }
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        value(&self.head, name)
    }
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().filter_map(|line| line.split_once(": ")).find(|(found, _)| *found == name).map(|at| at.1)
}

/// Serves one request on each connection, then closes the connection.
pub(crate) struct Scripted {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Scripted {
    pub(crate) async fn start(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (record, answer) = (Arc::clone(&requests), Arc::new(answer));
        let task = tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
                tokio::spawn(async move {
                    let head = head(&mut connection).await;
                    if head.is_empty() {
                        return;
                    }
                    let request = Request::new(head);
                    let bytes = answer(&request);
                    record.lock().unwrap().push(request);
                    // The client may have left.
                    let _ = connection.write_all(&bytes).await;
                    let _ = connection.shutdown().await;
                });
            }
        });
        Self { address, requests, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The value of a function of each request so far.
    pub(crate) fn each<T>(&self, of: impl Fn(&Request) -> T) -> Vec<T> {
        self.requests.lock().unwrap().iter().map(of).collect()
    }

    /// The first offset of each request so far.
    pub(crate) fn froms(&self) -> Vec<Option<usize>> {
        self.each(|request| request.from)
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}
