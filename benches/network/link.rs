//! A network connection: how long the first byte takes, and how fast the others follow.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::common::{KIB, MIB};

/// The bytes that arrive at once.
pub(crate) const CHUNK: u64 = 16 * KIB as u64;

/// What every connection has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// From a request to the first byte of its answer.
    pub(crate) latency: Duration,
    /// Bytes per second of each connection.
    pub(crate) rate: u64,
}

impl Link {
    pub(crate) const FULL: Self = Self { latency: Duration::from_millis(30), rate: 2 * MIB as u64 };
    /// What viewers have. 2 MB/s is ten times what one of them plays.
    pub(crate) const VIEWERS: Self = Self { rate: 2_000_000, ..Self::FULL };
    /// Real time in a brief run.
    pub(crate) const BRIEF: Self = Self { latency: Duration::from_millis(5), rate: 16 * MIB as u64 };

    /// How long so many bytes take.
    pub(crate) fn time(self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.rate as f64)
    }

    /// Waits for the first byte of an answer.
    pub(crate) async fn answer(self) -> Arrivals {
        sleep(self.latency).await;
        Arrivals { link: self, last: Instant::now() }
    }
}

/// When the chunks of an answer arrive.
#[derive(Debug)]
pub(crate) struct Arrivals {
    link: Link,
    /// When the last chunk had arrived.
    last: Instant,
}

impl Arrivals {
    /// Waits until the next `len` bytes have arrived.
    ///
    /// A timer fires up to a millisecond late, so the times are counted from the first byte. While its receiver
    /// is busy, a connection receives one chunk and then waits.
    pub(crate) async fn next(&mut self, len: u64) {
        self.last = (self.last + self.link.time(len)).max(Instant::now());
        sleep_until(self.last).await;
    }
}
