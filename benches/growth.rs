//! What a read costs while the buffer grows: `cargo bench --bench growth`.
//!
//! Prints a Markdown table: bytes loaded, reads parked and handles in use, against the time per read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a benchmark that can't go on must not go on"
)]

mod common;

use std::time::{Duration, Instant};

use common::args::Args;
use common::compare::median;
use common::data::{PAGE, Source, generate, offsets};
use common::{MIB, run, table};
use futures::StreamExt;
use streamspool::{BufferHandle, Bytes, StreamBuffer};
use tokio::task::{JoinHandle, JoinSet, yield_now};

fn main() {
    let args = Args::from_env();
    table::head(&["growing", "to", "per read", "against the first"]);
    run(async {
        loaded(&args).await;
        parked(&args).await;
        handles(&args).await;
    });
    if !args.quick {
        println!("{NOTES}");
    }
}

const NOTES: &str = "
Reads of 4 KiB at random offsets, one task, a runtime with 2 workers; medians of rounds. In memory, the \
reader gets slices and does not look at them: what is measured is finding them. Spilled, the system \
copies the bytes from its page cache, so its own misses in a larger file are part of it. In the last \
rows each handle is used by a task of its own, and the time is for all of them together.";

struct Growth<'a> {
    args: &'a Args,
    growing: &'static str,
    first: Option<Duration>,
}

impl<'a> Growth<'a> {
    fn new(args: &'a Args, growing: &'static str) -> Option<Self> {
        args.wants(growing).then_some(Self { args, growing, first: None })
    }

    async fn row(&mut self, to: &str, buffer: &BufferHandle, len: usize, tasks: usize) {
        let reads = self.args.scale(128_000, 1000).max(tasks);
        let mut taken = Vec::new();
        for _ in 0..self.args.rounds(5) {
            taken.push(random(buffer, len, tasks, reads / tasks).await);
        }
        let each = median(taken.into_iter()) / u32::try_from(reads).expect("fits");
        let first = *self.first.get_or_insert(each);
        let against = each.as_secs_f64() / first.as_secs_f64();
        table::line([self.growing, to, &table::time(each), &format!("{against:.2}")]);
    }
}

async fn loaded(args: &Args) {
    let data = generate(args.scale(64 * MIB, MIB));
    let sizes = if args.quick { &[1, 4][..] } else { &[1, 16, 256, 1024, 4096] };
    if let Some(mut growth) = Growth::new(args, "loaded, all in memory") {
        for mib in sizes {
            let builder = StreamBuffer::builder().max_memory(usize::MAX);
            let (buffer, actor) = builder.build(Source::cycle(&data, (mib * MIB) as u64));
            let actor = tokio::spawn(actor.run());
            buffer.load().await.expect("loads");
            growth.row(&format!("{mib} MiB"), &buffer, mib * MIB, 1).await;
            end(buffer, actor).await;
        }
    }
    if let Some(mut growth) = Growth::new(args, "loaded, all spilled") {
        for mib in sizes {
            let (buffer, actor) = StreamBuffer::builder().build(Source::cycle(&data, (mib * MIB) as u64));
            let actor = tokio::spawn(actor.run());
            buffer.load().await.expect("loads");
            buffer.spill().await.expect("spills");
            growth.row(&format!("{mib} MiB"), &buffer, mib * MIB, 1).await;
            end(buffer, actor).await;
        }
    }
}

/// Reads of what is there, while others wait for what never comes.
async fn parked(args: &Args) {
    let Some(mut growth) = Growth::new(args, "parked reads") else { return };
    let data = generate(16 * MIB);
    for count in if args.quick { [1, 10, 20, 50] } else { [1, 100, 1000, 10_000] } {
        let (buffer, actor) = stalled(&data).await;
        let mut waiting = JoinSet::new();
        for n in 0..count {
            let buffer = buffer.clone();
            waiting.spawn(async move { buffer.read((1 << 40) + n, PAGE).await });
        }
        // So that all of them have asked.
        for _ in 0..100 {
            yield_now().await;
        }
        buffer.read(0, 1).await.expect("reads");
        growth.row(&count.to_string(), &buffer, data.len(), 1).await;
        waiting.shutdown().await;
        end(buffer, actor).await;
    }
}

async fn handles(args: &Args) {
    let Some(mut growth) = Growth::new(args, "handles in use") else { return };
    let data = generate(16 * MIB);
    let (buffer, actor) = stalled(&data).await;
    for tasks in [1, 10, 100, 1000] {
        growth.row(&tasks.to_string(), &buffer, data.len(), tasks).await;
    }
    end(buffer, actor).await;
}

/// All of `data` in memory, and a source that sends no more, and does not end either.
async fn stalled(data: &Bytes) -> (BufferHandle, JoinHandle<()>) {
    let source = Source::of(data).chain(futures::stream::pending());
    let (buffer, actor) = StreamBuffer::builder().max_memory(usize::MAX).build(source);
    let actor = tokio::spawn(actor.run());
    buffer.read(data.len() as u64 - 1, 1).await.expect("reads");
    (buffer, actor)
}

async fn end(buffer: BufferHandle, actor: JoinHandle<()>) {
    drop(buffer);
    actor.await.expect("the actor ends");
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
