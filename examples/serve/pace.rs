//! Limits the rate of a stream. The page can change the limit at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::stream::{StreamExt, unfold};
use streamspool::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::sources::ByteStream;

/// Pieces per second. More would cost time; fewer would look like jumps on the page.
const BEATS: u32 = 25;

/// The rate limit of a source, in KiB per second.
#[derive(Default)]
pub(crate) struct Pace {
    /// 0 means no limit.
    kib: AtomicU32,
}

impl Pace {
    pub(crate) fn new(kib: Option<u32>) -> Arc<Self> {
        Arc::new(Self { kib: AtomicU32::new(kib.unwrap_or(0)) })
    }

    /// None means no limit.
    pub(crate) fn get(&self) -> Option<u32> {
        Some(self.kib.load(Ordering::Relaxed)).filter(|kib| *kib > 0)
    }

    pub(crate) fn set(&self, kib: Option<u32>) {
        self.kib.store(kib.unwrap_or(0), Ordering::Relaxed);
    }
}

struct Paced {
    stream: ByteStream,
    pace: Arc<Pace>,
    /// The rest of the current piece.
    rest: Bytes,
    /// When the next piece is due.
    due: Instant,
}

/// Passes on at most as many bytes per second as the pace says. A pause of the caller does not make later
/// pieces faster.
pub(crate) fn paced(stream: ByteStream, pace: &Arc<Pace>) -> ByteStream {
    let second = Duration::from_secs(1);
    let start = Paced { stream, pace: Arc::clone(pace), rest: Bytes::new(), due: Instant::now() };
    unfold(start, move |mut paced| async move {
        while paced.rest.is_empty() {
            match paced.stream.next().await? {
                Ok(piece) => paced.rest = piece,
                Err(error) => return Some((Err(error), paced)),
            }
        }
        sleep_until(paced.due).await;
        let Some(kib) = paced.pace.get() else {
            paced.due = Instant::now();
            return Some((Ok(std::mem::take(&mut paced.rest)), paced));
        };
        let rate = kib.saturating_mul(1024);
        let most = (rate / BEATS).max(1);
        let size = u32::try_from(paced.rest.len()).unwrap_or(most).min(most);
        let piece = paced.rest.split_to(size as usize);
        let now = Instant::now();
        let late = now.duration_since(paced.due);
        let base = if late > second / BEATS { now } else { paced.due };
        paced.due = base + second.mul_f64(f64::from(size) / f64::from(rate));
        Some((Ok(piece), paced))
    })
    .boxed()
}
