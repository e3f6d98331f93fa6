//! Guide: a radio whose last ten minutes can be heard again.

use std::{io, time::Duration};

use futures::{Stream, stream};
use streamspool::{Bytes, StreamBuffer};
use tokio::io::{AsyncReadExt, copy, sink};

/// 128 kbit/s.
const SECOND: u64 = 16_000;

/// Stands for the body of a request: 20 minutes, at 1000 times the pace. Each second repeats its number.
fn radio() -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold(0_u32, async |second| {
        tokio::time::sleep(Duration::from_millis(1)).await; // the pace
        let bytes = Bytes::from(second.to_be_bytes().repeat(4000));
        (second < 20 * 60).then(|| (Ok(bytes), second + 1))
    })
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let buffer = StreamBuffer::builder().max_memory(1 << 20).max_disk(10 * 60 * SECOND).spawn(radio());
    let mut paused = buffer.reader();
    println!("paused at second {}", paused.read_u32().await?);
    // This reader listens all the time. Without a read, the radio is not pulled.
    copy(&mut buffer.reader(), &mut sink()).await?;

    let progress = buffer.progress();
    println!("seconds {} to {} are kept", progress.start / SECOND, progress.frontier / SECOND);
    let mut rewound = buffer.reader_at(progress.frontier - 5 * 60 * SECOND);
    println!("five minutes ago it was second {}", rewound.read_u32().await?);

    if let Err(error) = paused.read_to_end(&mut Vec::new()).await {
        println!("{error}");
        let skipped = paused.skip_discarded();
        println!("{} seconds are skipped; it goes on at {}", skipped / SECOND, paused.read_u32().await?);
    }
    Ok(())
}
