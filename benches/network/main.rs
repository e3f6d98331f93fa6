//! Reads far apart over a network: `cargo bench -p benches --bench network`.
//!
//! Prints Markdown tables: on a paused clock, and over HTTP in real time. Traces of a few callers are compared with
//! other ways. Crowds are more readers than streams. Arguments after `--`: words that select rows, `--rounds N`,
//! `--streams N`, `--exact` for the tables on the paused clock alone, `--quick`.

mod by_hand;
#[path = "../common/mod.rs"]
mod common;
mod crowds;
mod download;
mod exact;
mod link;
mod many;
mod ours;
mod real;
mod server;
mod source;
mod traces;
mod viewers;

use std::io;
use std::time::Duration;

use common::args::Args;
use common::data::generate;
use common::{KIB, MIB};
use traces::Scale;

/// A caller reads so many bytes at once.
const READ: usize = 64 * KIB;

/// The defaults of a buffer.
const READ_AHEAD: u64 = MIB as u64;
const STREAMS: usize = 2;

const BLOCK: u64 = 256 * KIB as u64;

fn main() {
    let args = Args::from_env();
    let scale = if args.quick { Scale::BRIEF } else { Scale::FULL };
    let all = generate(scale.size() as usize);
    let traces = scale.traces();
    let is_exact = std::env::args().any(|word| word == "--exact");
    exact::rows(&args, &traces, &all);
    if !is_exact {
        real::rows(&args, &traces, &all);
    }
    many::tables(&args, is_exact);
    if !args.quick {
        println!("{NOTES}");
    }
}

fn streams(args: &Args) -> usize {
    args.streams.unwrap_or(STREAMS)
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
one request (reqwest), and keep the bytes that a later read needs again.
- Crowds and viewers are far apart in a resource of 64 MiB. The ideal of a crowd is one round trip, and the needed \
bytes at the rate of all streams together. The goal for the requests is one for each 512 KiB that are needed, and one \
for each reader. The goal for the bytes is the needed bytes, and 1 MiB of read-ahead and one block for each reader.
- A viewer plays 200 KB/s for 20 s, and takes the next piece when it has less than 64 KiB left to play. Its \
connections bring 2 MB/s. The share is that of the viewer which got the fewest bytes. Waits count if they began after \
the first second. A scrubbing user seeks every 400 ms to a random place and reads 64 KiB.
- Over HTTP, the bytes of a crowd are those that the server has sent. Up to some MiB of them are in the buffers of \
the connections.";
