//! A proxy that cuts and holds connections after as many bytes as the test says.
//!
//! The bytes of all connections are counted together, because a buffer may use more than one at a time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The fate of the connection that is in use when this many bytes of answers have passed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// It is closed without a reset.
    Close(u64),
    /// It is reset.
    Reset(u64),
    /// Nothing passes until the test releases it.
    Hold(u64),
}

impl Fate {
    fn at(self) -> u64 {
        match self {
            Self::Close(at) | Self::Reset(at) | Self::Hold(at) => at,
        }
    }
}

/// How the test ends a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// The connection is closed.
    Close,
    /// Bytes pass again.
    Resume,
}

pub(super) struct Proxy {
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    upstream: watch::Sender<u16>,
    /// The bytes of answers that have passed, and the fates to come, in their order.
    course: Mutex<(u64, VecDeque<Fate>)>,
    /// The heads of all requests, in lower case.
    requests: Mutex<Vec<String>>,
    held: watch::Sender<usize>,
    releases: watch::Sender<Vec<Release>>,
    /// How many connections the server refused.
    refused: watch::Sender<usize>,
}

impl Proxy {
    pub(super) async fn start(upstream: u16, fates: impl IntoIterator<Item = Fate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            upstream: watch::Sender::new(upstream),
            course: Mutex::new((0, fates.into_iter().collect())),
            requests: Mutex::default(),
            held: watch::Sender::new(0),
            releases: watch::Sender::default(),
            refused: watch::Sender::new(0),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(Arc::clone(&shared).connect(client));
            }
        });
        Self { port, state, task }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// The server has another port now.
    pub(super) fn connect_to(&self, upstream: u16) {
        self.state.upstream.send_replace(upstream);
    }

    /// Waits until the connection that is to be held for the `count`-th time is held.
    pub(super) async fn held(&self, count: usize) {
        self.state.held.subscribe().wait_for(|held| *held >= count).await.unwrap();
    }

    pub(super) fn release(&self, release: Release) {
        self.state.releases.send_modify(|releases| releases.push(release));
    }

    /// Waits until the server has refused this many connections.
    pub(super) async fn refused(&self, count: usize) {
        self.state.refused.subscribe().wait_for(|refused| *refused >= count).await.unwrap();
    }

    /// The value of a header of each request so far.
    pub(super) fn sent(&self, name: &str) -> Vec<Option<String>> {
        let value = |request: &String| {
            let mut lines = request.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
        };
        self.state.requests.lock().unwrap().iter().map(value).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    async fn connect(self: Arc<Self>, mut client: TcpStream) {
        // A small buffer, so that a server whose bytes do not pass notices it soon.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(65_536).unwrap();
        let upstream = SocketAddr::from(([127, 0, 0, 1], *self.upstream.borrow()));
        let Ok(mut server) = socket.connect(upstream).await else {
            self.refused.send_modify(|refused| *refused += 1);
            return;
        };
        let mut head = Vec::new();
        let (mut request, mut answer) = (vec![0; 4096], vec![0; 16 * 1024]);
        loop {
            let most = self.most().min(answer.len());
            tokio::select! {
                read = client.read(&mut request) => match read {
                    Ok(len) if len > 0 => {
                        head.extend_from_slice(&request[..len]);
                        self.note_request(&mut head);
                        if server.write_all(&request[..len]).await.is_err() {
                            return;
                        }
                    }
                    _ => return,
                },
                read = server.read(&mut answer[..most]) => match read {
                    Ok(len) if len > 0 => {
                        if client.write_all(&answer[..len]).await.is_err() {
                            return;
                        }
                        let goes_on = match self.pass(len) {
                            None => true,
                            Some(Fate::Hold(_)) => self.hold().await == Release::Resume,
                            Some(Fate::Close(_)) => false,
                            Some(Fate::Reset(_)) => {
                                client.set_zero_linger().unwrap();
                                false
                            }
                        };
                        if !goes_on {
                            return;
                        }
                    }
                    _ => return,
                },
            }
        }
    }

    /// The most bytes that may pass before the next fate.
    fn most(&self) -> usize {
        let (passed, fates) = &*self.course.lock().unwrap();
        fates.front().map_or(usize::MAX, |fate| (fate.at() - passed) as usize)
    }

    /// Counts bytes that have passed. Returns the fate of their connection, if they reach one.
    fn pass(&self, len: usize) -> Option<Fate> {
        let (passed, fates) = &mut *self.course.lock().unwrap();
        *passed += len as u64;
        if fates.front()?.at() > *passed {
            return None;
        }
        let fate = fates.pop_front();
        // Other connections may have passed bytes at the same time.
        while fates.front().is_some_and(|fate| fate.at() <= *passed) {
            fates.pop_front();
        }
        fate
    }

    async fn hold(&self) -> Release {
        let mut number = 0;
        self.held.send_modify(|held| {
            *held += 1;
            number = *held;
        });
        let mut releases = self.releases.subscribe();
        releases.wait_for(|releases| releases.len() >= number).await.unwrap()[number - 1]
    }

    /// Records the heads that are complete. The requests have no bodies. TLS hides them.
    fn note_request(&self, head: &mut Vec<u8>) {
        while let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let request: Vec<u8> = head.drain(..end + 4).collect();
            self.requests.lock().unwrap().push(String::from_utf8_lossy(&request).to_lowercase());
        }
    }
}
