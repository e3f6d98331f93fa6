//! Limits the rate of a stream.

use std::time::Duration;

use futures::stream::{StreamExt, unfold};
use streamspool::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::sources::ByteStream;

/// Pieces per second. More would cost time; fewer would look like jumps on the page.
const BEATS: u32 = 25;

struct Paced {
    stream: ByteStream,
    /// The rest of the current piece.
    rest: Bytes,
    /// When the next piece is due.
    due: Instant,
}

/// Passes on at most `rate` bytes per second. A pause of the caller does not make later pieces faster.
pub(crate) fn paced(stream: ByteStream, rate: u32) -> ByteStream {
    let most = (rate / BEATS).max(1);
    let second = Duration::from_secs(1);
    let start = Paced { stream, rest: Bytes::new(), due: Instant::now() };
    unfold(start, move |mut paced| async move {
        while paced.rest.is_empty() {
            match paced.stream.next().await? {
                Ok(piece) => paced.rest = piece,
                Err(error) => return Some((Err(error), paced)),
            }
        }
        let size = u32::try_from(paced.rest.len()).unwrap_or(most).min(most);
        let piece = paced.rest.split_to(size as usize);
        sleep_until(paced.due).await;
        let now = Instant::now();
        let late = now.duration_since(paced.due);
        let base = if late > second / BEATS { now } else { paced.due };
        paced.due = base + second.mul_f64(f64::from(size) / f64::from(rate));
        Some((Ok(piece), paced))
    })
    .boxed()
}
