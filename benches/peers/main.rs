//! This crate beside others, and beside the bare machine: `cargo bench --bench peers`.
//!
//! Prints one Markdown table. Behind `--`: words to choose rows by, `--rounds N`, `--workers N`, `--quick`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a benchmark that can't go on must not go on"
)]

mod by_hand;
mod catcher;
mod child;
#[path = "../common/mod.rs"]
mod common;
mod download;
mod limited;
mod limits;
mod ours;
mod rows;
mod tail;

use common::args::Args;
use common::{run, spawned, table};

fn main() {
    if child::is_one() {
        return;
    }
    let args = Args::from_env();
    table::head(&["work", "against", "ours", "theirs", "ratio", "spread", "goal", "reached"]);
    run(args.workers, async {
        rows::all(args.clone()).await;
        spawned(tail::rows(args.clone())).await;
        spawned(limited::rows(args.clone())).await;
    });
    child::rows(&args);
    if !args.quick {
        println!("{NOTES}");
    }
}

const NOTES: &str = "
How it was measured:
- Both sides of a row run in turn in one process, one untimed round first. The ratio is the median of \
the rounds' ratios, times as fast as the other; the spread is the lowest and the highest of them. In \
the last rows, which have a limit instead, lower is better.
- 256 MiB that repeat nowhere, in chunks of 64 KiB, sliced from memory by a source that is always ready. \
All sides are told the size. Every side's bytes are compared with the original off the clock.
- A tokio runtime with 2 workers unless told; our side runs as tasks on it. The reader is read with \
`AsyncReadExt::read` into a buffer of 64 KiB, and so are the others.
- The rows without a goal tell how much of what stands between us and a goal is ours. Message and reply \
alone is a task that answers over the same channels, and whoever gets the answer looks at the original. \
New memory is copied into chunk by chunk, and out of, by one thread. The loops of pread read a file of \
the same bytes, on one thread and always into the same buffer.
- Temporary files are in the system's temporary directory, and stay in the page cache.
- stream-download has one synchronous reader; it runs in `spawn_blocking`, with default settings. \
streamcatcher keeps all in memory; only one reader is compared, because several corrupt its heap. Its \
chunks are 64 KiB here, not its default of 4 KiB, which serves it better. By hand means a \
`tokio::sync::Mutex<SpooledTempFile>`.";
