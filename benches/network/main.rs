//! Reads far apart over a network: `cargo bench -p benches --bench network`.
//!
//! Prints two Markdown tables: on a paused clock, and over HTTP in real time beside other ways. Arguments after
//! `--`: words that select traces, `--rounds N`, `--exact` for the first table alone, `--quick`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a benchmark stops at the first error"
)]

mod by_hand;
#[path = "../common/mod.rs"]
mod common;
mod download;
mod exact;
mod link;
mod ours;
mod real;
mod server;
mod source;
mod traces;

use std::io;
use std::time::Duration;

use common::KIB;
use common::args::Args;
use common::data::generate;
use traces::Scale;

/// A caller reads so many bytes at once.
const READ: usize = 64 * KIB;

fn main() {
    let args = Args::from_env();
    let scale = if args.quick { Scale::BRIEF } else { Scale::FULL };
    let all = generate(scale.size() as usize);
    let traces = scale.traces();
    exact::rows(&args, &traces, &all);
    if std::env::args().all(|word| word != "--exact") {
        real::rows(&args, &traces, &all);
    }
    if !args.quick {
        println!("{NOTES}");
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

/// A goal, and whether it is met.
fn goal(most: impl AsRef<str>, met: bool) -> String {
    format!("at most {}: {}", most.as_ref(), if met { "met" } else { "missed" })
}

fn wrong_bytes() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "wrong bytes")
}

const NOTES: &str = "
How it was measured:
- The resource has 32 MiB and a strong version. Each connection takes 30 ms to the first byte and then brings 2 \
MiB/s, in chunks of 16 KiB. A caller reads 64 KiB at a time, and every byte is compared.
- The ideal is the round trips that are needed, each 30 ms, and the bytes that are needed, at the rate of one \
connection. Reads of one caller depend on each other, so their times add up. Callers that read at once have a \
connection each, and the slowest counts. A stream that is open goes on without a round trip. A caller that reads \
from the end needs a round trip to learn the size. Bytes loaded ahead of a read can beat the ideal.
- The goal for the bytes polled is the needed bytes, one block of 256 KiB for each jump, and 1 MiB of read-ahead for \
each of the last two positions (rule 26). They are counted when the read-ahead has come to its end.
- On the paused clock, memory has no limit: such a clock does not wait for the disk. Over HTTP all settings are \
the defaults. \"At once\" is the most connections that were open at the same time.
- Over HTTP, the three ways take turns, and the times are medians. A time includes the first request. The server \
runs on the same runtime and waits 30 ms before each answer. Opening a connection costs nothing on loopback.
- stream-download has a synchronous reader with default settings in `spawn_blocking`; each caller that reads at \
once has a download of its own, because a download has one reader. Range requests by hand fetch each range with \
one request (reqwest), and keep the bytes that a later read needs again.";
