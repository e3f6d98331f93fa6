//! Compares this crate with others and with the bare machine: `cargo bench --bench peers`.
//!
//! Prints one Markdown table. Arguments after `--`: words that select rows, `--rounds N`, `--workers N`,
//! `--quick`.

mod by_hand;
mod catcher;
mod check;
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
- Both sides of a row run in turn in one process, after one round to warm up. The ratio says how many times as \
fast we are: the median of the rounds' ratios. The spread is the lowest and the highest of them. The last rows \
have a limit instead; there, lower is better.
- The source is always ready. It sends 256 MiB that do not repeat, in chunks of 64 KiB sliced from memory. All \
sides know the size. The bytes of every side are compared with the original, outside the measured time.
- The tokio runtime has 2 workers unless --workers says otherwise; our side runs as tasks on it. The reader and \
its competitors read into a buffer of 64 KiB.
- The rows without a goal show how much of a missed goal is our cost. \"Message and reply alone\" is a task that \
answers over the same channels; the caller reads the original bytes. \"Copied into new memory\" copies each \
chunk into new memory and out of it, on one thread. The pread loops read a file of the same bytes into one \
buffer, on one thread.
- Temporary files are in the system's temporary directory and stay in the page cache.
- stream-download has one synchronous reader. It runs in `spawn_blocking` with default settings. \
streamcatcher keeps everything in memory. It is compared with one reader only, because several readers corrupt \
its heap. Its chunks are 64 KiB instead of the default of 4 KiB, which makes it faster. \"By hand\" is a \
`tokio::sync::Mutex<SpooledTempFile>`.";
