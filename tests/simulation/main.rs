//! The whole, simulated: thousands of seeded runs in which a buffer meets everything that a source,
//! a disk and its callers may do to it, in any order.
//!
//! One run is one seed. The actor, every request and the disk are moved by hand, one step at a time, and
//! disk threads work only while the run waits for them. So a seed decides every step and fault, and a
//! seed tried again does the same again. By default the seeds from 1 on are run for some seconds. To
//! look harder, or again:
//!
//! ```text
//! STREAMSPOOL_RUNS=100000 cargo test --test simulation              # seeds 1 to 100000
//! STREAMSPOOL_SEED=77 cargo test --test simulation                  # one seed, again
//! STREAMSPOOL_SEED=1000000 STREAMSPOOL_RUNS=1000 cargo test --test simulation   # from a seed on
//! ```
//!
//! A run that fails is shortened to the steps that matter and printed. Keep it in `found.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::explicit_write,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a test says what it expects by panicking, and shares its support with others"
)]

mod asks;
mod found;
mod generate;
mod limits;
mod players;
mod remote;
mod run;
mod steps;
#[path = "../it/support/mod.rs"]
mod support;
mod watch;

use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::Instant;

use crate::generate::Generator;
use crate::run::{Counts, Run};
use crate::steps::{Case, End, Step};
use crate::watch::{Seeds, Watch};

/// Runs on a thread of its own: how often callers let others run depends on all that the thread has read before.
fn on_runtime<R: Send>(run: impl AsyncFnOnce() -> R + Send) -> R {
    let run = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        let result = runtime.block_on(run());
        assert_eq!(runtime.metrics().num_alive_tasks(), 0, "tasks are left behind");
        result
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// A directory to save to. After a run there is nothing in it but the file that was saved.
struct SaveDir(tempfile::TempDir);

impl SaveDir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn check(&self) {
        let _ = std::fs::remove_file(self.path().join("saved"));
        let names: Vec<_> = self.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [""; 0], "files are left behind");
    }
}

/// Does a case. Fails if a rule does not hold.
fn do_case(case: &Case) {
    let dir = SaveDir::new();
    on_runtime(async || {
        let mut run = Run::new(case.setup, dir.path());
        for step in &case.steps {
            run.step(step).await;
        }
        run.end(case.end).await;
    });
    dir.check();
}

/// Does the case of a seed, and notes its steps while it goes. Returns what it came to and its log.
fn do_seed(seed: u64, dir: &SaveDir, case: &mut Option<Case>) -> (Counts, Vec<String>) {
    let result = on_runtime(async || {
        let (mut generator, setup) = Generator::new(seed);
        let mut run = Run::new(setup, dir.path());
        let count = generator.steps();
        let case = case.insert(Case { setup, steps: Vec::new(), end: End::Leave });
        for at in 0.. {
            let step = if at < count { Some(generator.step(&run)) } else { generator.last_step(&run) };
            let Some(step) = step else { break };
            case.steps.push(step.clone());
            run.step(&step).await;
        }
        case.end = generator.end();
        run.end(case.end).await
    });
    dir.check();
    result
}

/// Leaves out the steps of a failing case without which it fails too.
fn shorten<S: Clone>(mut steps: Vec<S>, fails: impl Fn(&[S]) -> bool) -> Vec<S> {
    let mut part = steps.len();
    while part > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut shorter = steps.clone();
            shorter.drain(at..steps.len().min(at + part));
            if fails(&shorter) {
                steps = shorter;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    steps
}

#[test]
fn all_rules_hold_in_any_order_of_events_and_faults() {
    let (dir, watch, start) = (SaveDir::new(), Watch::start("all_rules"), Instant::now());
    let mut survived = Survived::default();
    for seed in Seeds::from_env() {
        watch.begin(seed);
        let mut case = None;
        let result = catch_unwind(AssertUnwindSafe(|| do_seed(seed, &dir, &mut case)));
        let case = case.expect("a seed has a setup");
        let Ok((counts, _)) = result else {
            // Each of these tries may fail, and say so.
            println!("\n--- looking for a shorter list of steps ---\n");
            let fails = |steps: &[Step]| {
                watch.begin(seed);
                let case = Case { steps: steps.to_vec(), ..case };
                catch_unwind(AssertUnwindSafe(|| do_case(&case))).is_err()
            };
            println!("{}", Case { steps: shorten(case.steps.clone(), fails), ..case });
            panic!("again: STREAMSPOOL_SEED={seed} cargo test --test simulation all_rules");
        };
        survived.add(&counts, case.steps.len());
    }
    // Past the test harness, which keeps what passing tests print to itself.
    writeln!(std::io::stderr(), "survived {survived} in {:.1?}", start.elapsed()).unwrap();
}

#[test]
fn a_seed_decides_every_step_answer_and_fault() {
    let dir = SaveDir::new();
    for seed in 1..=150 {
        let run = || {
            let mut case = None;
            let (counts, log) = do_seed(seed, &dir, &mut case);
            (format!("{counts:?}, {:?}", case.unwrap()), log)
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
}

/// What all the runs came to.
#[derive(Debug, Default)]
struct Survived {
    runs: u64,
    steps: u64,
    /// Runs in which bytes were discarded.
    discarding: u64,
    counts: Counts,
}

impl Survived {
    fn add(&mut self, run: &Counts, steps: usize) {
        self.runs += 1;
        self.steps += steps as u64;
        let all = &mut self.counts;
        all.turns += run.turns;
        all.answered += run.answered;
        all.cancelled += run.cancelled;
        all.chunks += run.chunks;
        all.pulled += run.pulled;
        all.disk_calls += run.disk_calls;
        all.disk_faults += run.disk_faults;
        all.source_faults += run.source_faults;
        all.spilled += run.spilled;
        all.discarded += run.discarded;
        self.discarding += u64::from(run.discarded > 0);
    }
}

impl fmt::Display for Survived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, steps, discarding, counts } = self;
        let Counts { turns, answered, cancelled, .. } = counts;
        write!(f, "{runs} runs, {steps} steps, {turns} turns of the actor, ")?;
        write!(f, "{answered} requests answered and {cancelled} dropped, ")?;
        write!(f, "{} faults of the disk in {} calls, ", counts.disk_faults, counts.disk_calls)?;
        write!(f, "{} faults of the source in {} chunks, ", counts.source_faults, counts.chunks)?;
        write!(f, "{} bytes pulled and {} spilled, ", counts.pulled, counts.spilled)?;
        write!(f, "{} bytes discarded in {discarding} runs", counts.discarded)
    }
}
