//! A proxy that cuts and holds connections after as many bytes as the test says.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to a connection after this many bytes of its answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// It is closed in the orderly way.
    Close(u64),
    /// It is reset.
    Reset(u64),
    /// Nothing passes until the test releases it.
    Hold(u64),
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
    /// The fates of the next connections. Without one, a connection is left alone.
    fates: Mutex<VecDeque<Fate>>,
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
            fates: Mutex::new(fates.into_iter().collect()),
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
        let mut fate = self.fates.lock().unwrap().pop_front();
        let (mut passed, mut head) = (0, Vec::new());
        let (mut request, mut answer) = (vec![0; 4096], vec![0; 16 * 1024]);
        loop {
            let left = match fate {
                Some(Fate::Close(at) | Fate::Reset(at) | Fate::Hold(at)) => at - passed,
                None => u64::MAX,
            };
            if left == 0 {
                match fate.take() {
                    Some(Fate::Reset(_)) => client.set_zero_linger().unwrap(),
                    Some(Fate::Hold(_)) if self.hold().await == Release::Resume => continue,
                    _ => {}
                }
                return;
            }
            let most = answer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
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
                        passed += len as u64;
                        if client.write_all(&answer[..len]).await.is_err() {
                            return;
                        }
                    }
                    _ => return,
                },
            }
        }
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
