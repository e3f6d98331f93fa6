//! The tasks that run beside the long reads, and what they measure.

use std::io::Write;
use std::net::{self, Ipv4Addr};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::common::data::PAGE;

/// The time between two chunks of the live edge, and between two short reads.
const TICK: Duration = Duration::from_millis(1);

/// How long each read took.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) live: Vec<Duration>,
    pub(crate) cached: Vec<Duration>,
}

/// A thread that sends a page each millisecond through a socket.
pub(crate) struct Edge {
    thread: JoinHandle<()>,
}

/// The time at which each page was sent, in order.
pub(crate) type Sent = mpsc::Receiver<Instant>;

impl Edge {
    /// The thread ends when the receivers are dropped.
    pub(crate) async fn start() -> (Self, TcpStream, Sent) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (times, sent) = mpsc::channel();
        let thread = thread::spawn(move || send(net::TcpStream::connect(address).expect("connects"), &times));
        let (pages, _) = listener.accept().await.expect("accepts");
        (Self { thread }, pages, sent)
    }

    pub(crate) fn end(self) {
        self.thread.join().expect("the thread ends");
    }
}

fn send(mut pages: net::TcpStream, times: &mpsc::Sender<Instant>) {
    pages.set_nodelay(true).expect("a socket");
    loop {
        // The pace of a live stream. It has a thread of its own, so that a busy runtime does not delay it.
        thread::sleep(TICK);
        if times.send(Instant::now()).is_err() || pages.write_all(&[7; PAGE]).is_err() {
            return;
        }
    }
}

/// Ticks for the short reads.
pub(crate) fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The times that one task has measured. Those of the first part of the time do not count: the long reads
/// start then.
pub(crate) struct Measured {
    start: Instant,
    time: Duration,
    taken: Vec<Duration>,
}

impl Measured {
    pub(crate) fn for_time(time: Duration) -> Self {
        Self { start: Instant::now(), time, taken: Vec::new() }
    }

    /// Whether to go on.
    pub(crate) fn goes_on(&self) -> bool {
        self.taken.is_empty() || self.start.elapsed() < self.time + self.time / 4
    }

    pub(crate) fn add(&mut self, taken: Duration) {
        if self.start.elapsed() > self.time / 4 {
            self.taken.push(taken);
        }
    }

    pub(crate) fn end(self) -> Vec<Duration> {
        self.taken
    }
}
