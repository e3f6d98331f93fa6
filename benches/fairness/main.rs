//! Measures how long reads of few bytes take while 100 tasks read long ranges of the same buffer:
//! `cargo bench --bench fairness`.
//!
//! Prints one Markdown table. Arguments after `--`: words that select rows, `--rounds N`, `--workers N`,
//! `--range N` (MiB), `--quick`.

#[path = "../common/mod.rs"]
mod common;
mod file;
mod memory;
mod model;
mod neighbours;
mod ours;

use std::time::Duration;

use common::args::Args;
use common::compare::{median, percentile, spread};
use common::data::generate;
use common::{MIB, table};
use streamspool::Bytes;
use tokio::runtime::{Builder, Runtime};

use crate::memory::Buffers;
use crate::neighbours::Taken;

/// The goals for the p99: at most this long, and at most this many times the p99 of the bare model.
const GOAL: (Duration, f64) = (Duration::from_millis(5), 2.0);

/// Where the bytes of the long ranges are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    InMemory,
    /// In a temporary file, and in the page cache.
    Cached,
    /// In a temporary file, and never in the page cache.
    Uncached,
}

/// The work of one round.
#[derive(Clone, Debug)]
struct Work {
    kept: Kept,
    /// Whether each long read allocates its result. Otherwise it fills a buffer that is used again.
    into_new: bool,
    buffers: Buffers,
    /// The long range.
    data: Bytes,
    /// The number of tasks that read it again and again.
    tasks: usize,
    /// How long the neighbours are measured.
    time: Duration,
}

fn main() {
    let args = Args::from_env();
    let range = args.range.map_or(args.scale(64 * MIB, MIB), |mib| mib * MIB);
    let data = generate(range);
    table::head(&[
        "long ranges",
        "runtime",
        "work",
        "ours: p50, p99, p99.9",
        "bare model: p50, p99, p99.9",
        "ratio of p99",
        "spread",
        "goal",
        "reached",
    ]);
    let buffers = Buffers::default();
    for (kept, into_new, name) in [
        (Kept::InMemory, false, "in memory"),
        (Kept::Cached, false, "spilled, cached"),
        (Kept::Uncached, false, "spilled, not cached"),
        (Kept::InMemory, true, "in memory, into new memory"),
    ] {
        for workers in [None, Some(args.workers)] {
            let runtime_name = if workers.is_some() { "multi-thread" } else { "current-thread" };
            if !args.wants(&format!("{name} | {runtime_name}")) {
                continue;
            }
            let time = Duration::from_millis(args.scale(4_000, 20) as u64);
            let (buffers, data, tasks) = (buffers.clone(), data.clone(), args.scale(100, 4));
            let work = Work { kept, into_new, buffers, data, tasks, time };
            let rounds: Vec<_> = (0..args.rounds(3)).map(|_| round(&work, workers)).collect();
            for (neighbour, of) in [
                ("live edge, 4 KiB chunks", (|taken| &taken.live) as fn(&Taken) -> &Vec<_>),
                ("4 KiB reads, one each millisecond", |taken| &taken.cached),
            ] {
                let rounds: Vec<_> =
                    rounds.iter().map(|(a, b)| (Figures::of(of(a)), Figures::of(of(b)))).collect();
                row(&args, [name, runtime_name, neighbour], &rounds);
            }
        }
    }
    if !args.quick {
        println!("{NOTES}");
    }
}

/// Measures both sides, one after the other, each on a runtime of its own.
fn round(work: &Work, workers: Option<usize>) -> (Taken, Taken) {
    (runtime(workers).block_on(ours::measure(work)), runtime(workers).block_on(model::measure(work)))
}

fn runtime(workers: Option<usize>) -> Runtime {
    let mut builder = workers.map_or_else(Builder::new_current_thread, |workers| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(workers);
        builder
    });
    builder.enable_all().build().expect("a runtime")
}

/// The percentiles of one round.
struct Figures {
    p50: Duration,
    p99: Duration,
    p999: Duration,
}

impl Figures {
    fn of(taken: &[Duration]) -> Self {
        let mut sorted = taken.to_vec();
        sorted.sort_unstable();
        let [p50, p99, p999] = [500, 990, 999].map(|per_mille| percentile(&sorted, per_mille));
        Self { p50, p99, p999 }
    }
}

fn row(args: &Args, names: [&str; 3], rounds: &[(Figures, Figures)]) {
    let middle = |of: &dyn Fn(&(Figures, Figures)) -> Duration| median(rounds.iter().map(of));
    let p99 = middle(&|(ours, _)| ours.p99);
    let ours = [middle(&|(ours, _)| ours.p50), p99, middle(&|(ours, _)| ours.p999)];
    let bare = [middle(&|(_, bare)| bare.p50), middle(&|(_, bare)| bare.p99), middle(&|(_, bare)| bare.p999)];
    let ratios: Vec<_> =
        rounds.iter().map(|(ours, bare)| ours.p99.as_secs_f64() / bare.p99.as_secs_f64()).collect();
    let (ratio, (low, high)) = (median(ratios.iter().copied()), spread(&ratios));
    let (most, times) = GOAL;
    let is_reached = p99 <= most && ratio <= times;
    let [long, runtime, work] = names;
    table::line([
        long,
        runtime,
        work,
        &ours.map(table::time).join(", "),
        &bare.map(table::time).join(", "),
        &format!("{ratio:.2}"),
        &format!("{low:.2}–{high:.2}"),
        &format!("at most {} and {times}", table::time(most)),
        if args.quick { "" } else { ["no", "yes"][usize::from(is_reached)] },
    ]);
}

const NOTES: &str = "
How it was measured:
- 100 tasks read the same range of 64 MiB (or --range) again and again: with `read_into` into one \
buffer each, and in the last rows with `read` into new memory, which a thread outside of the runtime frees. \
Meanwhile one task follows the live edge, and another one reads 4 KiB at random offsets, \
once each millisecond: of the spilled bytes if they are cached, else of bytes in memory.
- A thread outside of the runtime sends 4 KiB each millisecond through a TCP socket. The time of the live edge is \
the time from there until the reader has these bytes.
- Each figure is the median of the rounds; the ratio and its spread are those of the p99.
- The bare model has no actor: each of its 100 tasks joins the same bytes, 64 KiB a poll, from memory or with \
`pread`. Where the bytes are not cached, at most eight of the tasks read 4 MiB at a time with `spawn_blocking`. \
Its live-edge task reads the socket. Its 4 KiB read is one turn of the scheduler and \
a copy. So each wake-up of the model takes one turn of the scheduler, and one of ours takes two: to the actor, and \
back.
- Spilled bytes are in a file in the system's temporary directory. Bytes that are not cached are dropped from the \
page cache before each read of them.";
