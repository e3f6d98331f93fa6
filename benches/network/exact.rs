//! The traces on tokio's paused clock: no time passes except on the network, so the figures are exact.

use std::sync::Arc;
use std::time::Duration;

use streamspool::{Bytes, StreamBuffer};
use tokio::runtime::Builder;

use crate::common::MIB;
use crate::common::args::Args;
use crate::common::table::{head, line};
use crate::link::Link;
use crate::ours;
use crate::source::{Counts, Distant};
use crate::traces::Trace;
use crate::{BLOCK, READ_AHEAD, goal, seconds, streams};

/// How long a trace may take, in times of the ideal.
const GOAL: f64 = 1.1;

/// Longer than the read-ahead takes.
pub(crate) const REST: Duration = Duration::from_secs(10);

pub(crate) fn rows(args: &Args, traces: &[Trace], all: &Bytes) {
    println!("\nIn process, on a paused clock\n");
    head(&["trace", "ideal", "time", "ratio", "goal", "requests", "goal", "at once", "bytes polled", "goal"]);
    for trace in traces.iter().filter(|trace| args.wants(trace.name)) {
        row(args, trace, all);
    }
}

fn row(args: &Args, trace: &Trace, all: &Bytes) {
    let link = Link::FULL;
    let counts = Arc::<Counts>::default();
    let source = Distant { all: all.clone(), link, counts: Arc::clone(&counts) };
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let time = runtime.block_on(async {
        // A paused clock does not wait for the disk, so nothing is spilled.
        let buffer =
            StreamBuffer::builder().max_memory(usize::MAX).streams(streams(args)).spawn_source(source);
        let time = ours::read(&buffer, trace, all).await.expect("reads");
        // The read-ahead counts too. On the paused clock, this takes no time and ends when nothing is left
        // to do.
        tokio::time::sleep(REST).await;
        time
    });
    let ideal = trace.ideal(link);
    let ratio = time.as_secs_f64() / ideal.as_secs_f64();
    let polled =
        trace.needed() + trace.jumps().min(streams(args) as u64) * READ_AHEAD + trace.jumps() * BLOCK;
    let requests = counts.requests();
    line([
        trace.name,
        &seconds(ideal),
        &seconds(time),
        &format!("{ratio:.2}"),
        &goal(format!("{GOAL}"), ratio <= GOAL),
        &requests.to_string(),
        &trace.requests.map_or_else(String::new, |most| goal(most.to_string(), requests <= most)),
        &counts.most_open().to_string(),
        &mib(counts.bytes()),
        &goal(mib(polled), counts.bytes() <= polled),
    ]);
}

pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / MIB as f64)
}
