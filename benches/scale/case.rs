//! One case: a number of streams on one side. It is measured in a process of its own.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::common::child::{ask, asked, status};
use crate::count::Counters;
use crate::source::{CHUNK, Live, PERIOD, Pattern, READERS};
use crate::{bare, ours};

/// The longest time until all readers are at the live edge.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Bare,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) side: Side,
    pub(crate) streams: usize,
    pub(crate) workers: usize,
    /// The time before the measurement, once all readers are at the live edge.
    pub(crate) settle: Duration,
    /// The time of the measurement.
    pub(crate) time: Duration,
}

/// The figures of one case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Seconds of processor time for 10^9 delivered bytes.
    pub(crate) cpu: f64,
    /// Growth of the process for each stream, in bytes.
    pub(crate) memory: f64,
    /// Wake-ups of the task that owns the source, for each chunk.
    pub(crate) sources: f64,
    /// Wake-ups of all readers of a stream, for each chunk.
    pub(crate) readers: f64,
    /// How often a thread went to sleep, for each chunk.
    pub(crate) sleeps: f64,
    /// The delivered bytes, as a part of those that were due.
    pub(crate) on_time: f64,
}

impl Figures {
    /// Whether the machine has kept the pace: almost each chunk came alone.
    pub(crate) fn is_on_time(&self) -> bool {
        self.on_time > 0.99 && self.readers > 0.98 * READERS as f64
    }
}

impl Case {
    /// Measures it in a child process.
    pub(crate) fn measure(self) -> Figures {
        ask(&self.to_string()).parse().expect("figures")
    }
}

/// Measures the case and prints its figures if this is a child process. Returns whether it is one.
pub(crate) fn is_one() -> bool {
    let Some(asked) = asked() else { return false };
    let case: Case = asked.parse().expect("a case");
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(case.workers).enable_time().build().expect("a runtime");
    println!("{}", runtime.block_on(run(case)));
    // The end of all streams takes long.
    runtime.shutdown_background();
    true
}

async fn run(case: Case) -> Figures {
    let pattern = Pattern::new();
    sleep(Duration::from_millis(20)).await;
    let memory = status("VmRSS:");
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    let mut all = Vec::with_capacity(case.streams);
    for stream in 0..case.streams {
        let counters = Arc::new(Counters::default());
        let source = Live::new(pattern, stream, case.streams, start);
        let spawn = if case.side == Side::Ours { ours::spawn } else { bare::spawn };
        spawn(&mut tasks, source, pattern, stream, &counters);
        all.push(counters);
    }
    // Bytes that were due while the streams were started have been delivered.
    while Counters::sum(&all).delivered < due(case.streams, start.elapsed().saturating_sub(2 * PERIOD)) {
        assert!(start.elapsed() < LIMIT, "the machine is too busy for {} streams", case.streams);
        sleep(PERIOD / 2).await;
    }
    sleep(case.settle).await;
    let before = (cpu(), Counters::sum(&all), sleeps(), Instant::now());
    sleep_until(before.3 + case.time).await;
    let after = (cpu(), Counters::sum(&all), sleeps(), Instant::now());
    let memory = (status("VmRSS:") - memory) / case.streams as f64;
    assert!(tasks.try_join_next().is_none(), "a task has ended");

    let delivered = (after.1.delivered - before.1.delivered) as f64;
    let chunks = delivered / (READERS * CHUNK) as f64;
    let due = due(case.streams, after.3 - before.3) as f64;
    Figures {
        cpu: (after.0 - before.0) / (delivered / 1e9),
        memory,
        sources: (after.1.sources - before.1.sources) as f64 / chunks,
        readers: (after.1.readers - before.1.readers) as f64 / chunks,
        sleeps: (after.2 - before.2) as f64 / chunks,
        on_time: delivered / due,
    }
}

/// The bytes that all readers are to get in this time.
fn due(streams: usize, time: Duration) -> u64 {
    let chunks = streams as f64 * time.as_secs_f64() / PERIOD.as_secs_f64();
    (chunks * (READERS * CHUNK) as f64) as u64
}

/// The processor time of all threads of this process, in seconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// How often threads of this process went to sleep by themselves.
fn sleeps() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").expect("a Linux system");
    let of_one = |path: std::path::PathBuf| {
        // A thread may have ended since.
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.map_or(0, |count| count.trim().parse().expect("a number"))
    };
    threads.map(|thread| of_one(thread.expect("a thread").path())).sum()
}

impl Display for Side {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Ours { "ours" } else { "bare" })
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { side, streams, workers, settle, time } = self;
        write!(f, "{side} {streams} {workers} {} {}", settle.as_millis(), time.as_millis())
    }
}

impl FromStr for Case {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (side, numbers) = text.split_once(' ').unwrap_or_default();
        let side = if side == "ours" { Side::Ours } else { Side::Bare };
        let numbers = numbers.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [streams, workers, settle, time] = numbers[..] else { panic!("four numbers") };
        let [settle, time] = [settle, time].map(Duration::from_millis);
        Ok(Self { side, streams: streams as usize, workers: workers as usize, settle, time })
    }
}

impl Display for Figures {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { cpu, memory, sources, readers, sleeps, on_time } = self;
        write!(f, "{cpu} {memory} {sources} {readers} {sleeps} {on_time}")
    }
}

impl FromStr for Figures {
    type Err = std::num::ParseFloatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
        let [cpu, memory, sources, readers, sleeps, on_time] = numbers[..] else { panic!("six numbers") };
        Ok(Self { cpu, memory, sources, readers, sleeps, on_time })
    }
}
