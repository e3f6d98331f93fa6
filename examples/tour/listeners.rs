//! The listeners read while the stream arrives: random ranges, at the live edge, and page by page.

use std::time::Duration;

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use futures::StreamExt;
use streamspool::{BufferHandle, Progress};
use tokio::time::{sleep, timeout};
use tokio_util::codec::{Decoder, FramedRead};

use crate::check::{Promise, Witness};

/// The number of readers of random ranges.
pub(crate) const RANDOM: u64 = 3;

/// The least number of ranges that each of them reads, however short the stream is.
const RANGES: u32 = 200;

/// How long they wait for a range before they give up.
const PATIENCE: Duration = Duration::from_millis(300);

/// The longest range is 2 to this power. It is longer than a block, so that some ranges lie in two blocks.
const LONGEST: u32 = 19;

/// The length of a read at the live edge.
const MOUTHFUL: usize = 64 * 1024;

/// Reads bytes as soon as they arrive, to the end.
pub(crate) async fn live_edge(buffer: BufferHandle, witness: Witness) -> Result<()> {
    let mut offset = 0;
    loop {
        let asking = witness.asks(offset, MOUTHFUL, Promise::Some);
        let bytes = buffer.read_some(offset, MOUTHFUL).await?;
        let got = bytes.len() as u64;
        witness.got(asking, bytes).await?;
        if got == 0 {
            return Ok(());
        }
        offset += got;
    }
}

/// Reads random ranges until all bytes have arrived. Some ranges have not arrived yet. It gives up those that
/// take too long. With `paced`, it pauses between reads.
pub(crate) async fn random(buffer: BufferHandle, witness: Witness, seed: u64, paced: bool) -> Result<()> {
    let mut random = Rng::with_seed(seed);
    for number in 0.. {
        let progress = buffer.progress();
        let arriving = !progress.state.is_final();
        if !arriving && number >= RANGES {
            break;
        }
        let (offset, len) = range(&mut random, &progress);
        let asking = witness.asks(offset, len, Promise::Exact);
        // The timeout drops the read, which withdraws it.
        match timeout(PATIENCE, buffer.read(offset, len)).await {
            Ok(bytes) => witness.got(asking, bytes?).await?,
            Err(_) => witness.gave_up().await?,
        }
        let pause = Duration::from_millis(random.u64(5..40));
        if paced && arriving {
            sleep(pause).await;
        }
    }
    Ok(())
}

/// A random range: mostly of loaded bytes, often near the frontier, sometimes far ahead.
fn range(random: &mut Rng, progress: &Progress) -> (u64, usize) {
    const NEAR: u64 = 32 * 1024;
    let edge = progress.loaded;
    let offset = match random.u32(0..100) {
        0..60 => random.u64(0..=edge),
        60..90 => (edge + random.u64(0..2 * NEAR)).saturating_sub(NEAR),
        _ => random.u64(edge..=progress.size.unwrap_or(edge + 32 * NEAR).max(edge)),
    };
    // Lengths of all magnitudes: half of them are below 1 KiB.
    let magnitude = random.u32(1..=LONGEST);
    (offset, random.usize(1..=1 << magnitude))
}

/// Splits the stream into pages with a codec: first from the middle as it arrives, then from the first
/// eighth.
pub(crate) async fn framed(buffer: BufferHandle, witness: Witness) -> Result<()> {
    // A server tells the size with its first byte.
    buffer.read(0, 1).await?;
    let middle = buffer.progress().size.unwrap_or(256 * 1024) / 2;
    for start in [middle, middle / 4] {
        let mut pages = FramedRead::new(buffer.reader_at(start), Pages);
        let mut offset = start;
        loop {
            let asking = witness.asks(offset, PAGE, Promise::Exact);
            let page = pages.next().await.transpose()?.unwrap_or_default();
            let got = page.len() as u64;
            witness.got(asking, page).await?;
            if got == 0 {
                break;
            }
            offset += got;
        }
    }
    Ok(())
}

/// Splits bytes into pages of a fixed size. The last page may be shorter.
struct Pages;

const PAGE: usize = 4000;

impl Decoder for Pages {
    type Item = Bytes;
    type Error = std::io::Error;

    fn decode(&mut self, read: &mut BytesMut) -> Result<Option<Bytes>, Self::Error> {
        Ok((read.len() >= PAGE).then(|| read.split_to(PAGE).freeze()))
    }

    fn decode_eof(&mut self, read: &mut BytesMut) -> Result<Option<Bytes>, Self::Error> {
        let len = read.len().min(PAGE);
        Ok((len > 0).then(|| read.split_to(len).freeze()))
    }
}
