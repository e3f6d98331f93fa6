//! How the cost of a read grows with the buffer: `cargo bench --bench growth`.
//!
//! Prints a Markdown table: the time per read for growing numbers of loaded bytes, parked reads and handles.

mod common;

use std::time::{Duration, Instant};

use common::args::Args;
use common::compare::{median, spread};
use common::data::{PAGE, Source, generate, offsets};
use common::{MIB, run, table};
use futures::StreamExt;
use streamspool::{BufferHandle, Bytes, StreamBuffer};
use tokio::task::{JoinSet, yield_now};

fn main() {
    let args = Args::from_env();
    table::head(&["growing", "to", "per read", "against the first", "spread"]);
    run(args.workers, async {
        loaded_in_memory(&args).await;
        loaded_and_spilled(&args).await;
        parked(&args).await;
        handles(&args).await;
    });
    if !args.quick {
        println!("{NOTES}");
    }
}

const NOTES: &str = "
One task reads 4 KiB at random offsets. The runtime has 2 workers unless --workers says otherwise. The rows \
of a group are measured in turn, round by round. Each row is compared with the first row of its round; the \
figures are medians over the rounds. In memory, a read returns slices and the task does not read their \
bytes, so only the look-up is measured. Spilled, the system copies the bytes from its page cache, so cache \
misses in a larger file are included. In the last rows each handle belongs to one task, and the time is that of \
all tasks together divided by all reads.";

/// One quantity that grows, with a buffer for each of its values.
struct Growth<'a> {
    args: &'a Args,
    growing: &'static str,
    cases: Vec<Case>,
}

struct Case {
    to: String,
    buffer: BufferHandle,
    len: usize,
    tasks: usize,
}

impl<'a> Growth<'a> {
    fn new(args: &'a Args, growing: &'static str) -> Option<Self> {
        args.wants(growing).then_some(Self { args, growing, cases: Vec::new() })
    }

    fn case(&mut self, to: String, buffer: &BufferHandle, len: usize, tasks: usize) {
        self.cases.push(Case { to, buffer: buffer.clone(), len, tasks });
    }

    async fn measure(self) {
        let reads = |case: &Case| self.args.scale(128_000, 1000).max(case.tasks);
        let mut rounds = Vec::new();
        // The first round warms up and is dropped.
        for _ in 0..=self.args.rounds(7) {
            let mut round = Vec::new();
            for case in &self.cases {
                let taken = random(&case.buffer, case.len, case.tasks, reads(case) / case.tasks).await;
                round.push(taken / u32::try_from(reads(case)).expect("fits"));
            }
            rounds.push(round);
        }
        rounds.remove(0);
        for (n, case) in self.cases.iter().enumerate() {
            let each = median(rounds.iter().map(|round| round[n]));
            let against = |round: &Vec<Duration>| round[n].as_secs_f64() / round[0].as_secs_f64();
            let ratios: Vec<f64> = rounds.iter().map(against).collect();
            let (ratio, (low, high)) = (median(ratios.iter().copied()), spread(&ratios));
            let (ratio, spread) = (format!("{ratio:.2}"), format!("{low:.2}–{high:.2}"));
            table::line([self.growing, &case.to, &table::time(each), &ratio, &spread]);
        }
    }
}

/// The sizes of the buffers, in MiB.
fn sizes(args: &Args) -> &'static [usize] {
    if args.quick { &[1, 4] } else { &[1, 16, 256, 1024, 4096] }
}

async fn loaded_in_memory(args: &Args) {
    let Some(mut growth) = Growth::new(args, "loaded, all in memory") else { return };
    let data = generate(args.scale(64 * MIB, MIB));
    for mib in sizes(args) {
        let builder = StreamBuffer::builder().max_memory(usize::MAX);
        let buffer = builder.spawn(Source::cycle(&data, (mib * MIB) as u64));
        buffer.load().await.expect("loads");
        growth.case(format!("{mib} MiB"), &buffer, mib * MIB, 1);
    }
    growth.measure().await;
}

async fn loaded_and_spilled(args: &Args) {
    let Some(mut growth) = Growth::new(args, "loaded, all spilled") else { return };
    let data = generate(args.scale(64 * MIB, MIB));
    for mib in sizes(args) {
        let buffer = StreamBuffer::spawn(Source::cycle(&data, (mib * MIB) as u64));
        buffer.load().await.expect("loads");
        buffer.spill().await.expect("spills");
        growth.case(format!("{mib} MiB"), &buffer, mib * MIB, 1);
    }
    growth.measure().await;
}

/// Reads of loaded bytes, while other reads wait for bytes that never arrive.
async fn parked(args: &Args) {
    let Some(mut growth) = Growth::new(args, "parked reads") else { return };
    let data = generate(16 * MIB);
    let mut waiting = JoinSet::new();
    for count in if args.quick { [1, 10, 20, 50] } else { [1, 100, 1000, 10_000] } {
        let buffer = stalled(&data).await;
        for n in 0..count {
            let buffer = buffer.clone();
            waiting.spawn(async move { buffer.read((1 << 40) + n, PAGE).await });
        }
        growth.case(count.to_string(), &buffer, data.len(), 1);
    }
    // Let every task send its request.
    for _ in 0..100 {
        yield_now().await;
    }
    growth.measure().await;
}

async fn handles(args: &Args) {
    let Some(mut growth) = Growth::new(args, "handles in use") else { return };
    let data = generate(16 * MIB);
    let buffer = stalled(&data).await;
    for tasks in [1, 10, 100, 1000] {
        growth.case(tasks.to_string(), &buffer, data.len(), tasks);
    }
    growth.measure().await;
}

/// A buffer with all of `data` in memory. Its source sends nothing more and does not end.
async fn stalled(data: &Bytes) -> BufferHandle {
    let source = Source::of(data).chain(futures::stream::pending());
    let buffer = StreamBuffer::builder().max_memory(usize::MAX).spawn(source);
    buffer.read(data.len() as u64 - 1, 1).await.expect("reads");
    buffer
}

async fn random(buffer: &BufferHandle, len: usize, tasks: usize, each: usize) -> Duration {
    let start = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let buffer = buffer.clone();
        running.spawn(async move {
            for at in offsets(len, task).take(each) {
                let bytes = buffer.read(at as u64, PAGE).await.expect("reads");
                assert_eq!(bytes.len(), PAGE);
            }
        });
    }
    running.join_all().await;
    start.elapsed()
}
