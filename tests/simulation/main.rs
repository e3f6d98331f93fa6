//! The whole, simulated: thousands of seeded runs in which a buffer meets everything that a source, a disk and its
//! callers may do to it, in any order.
//!
//! One run (`run.rs`) is one seed. Its generator (`generate.rs`) draws a setup, steps and an end (`steps.rs`). The
//! actor, every request, the source (`source.rs`) and the disk jobs (`disk.rs`) are moved by hand, one step at a time,
//! on one thread. So a seed decides every step and fault, and a seed tried again does the same again. After each
//! step, and when nothing is left to do, the rules are checked (`invariants.rs`). Each answer is compared with what is
//! true (`asks.rs`), and each opening and poll of the source with what its callers need (`checks.rs`, `need.rs`).
//! What must hold at the end is in `end.rs`.
//!
//! There are two kinds of sources, each with a test: one-way streams, and sources that can be opened again. By
//! default the seeds from 1 on are run for some seconds. To look harder, or again:
//!
//! ```text
//! STREAMSPOOL_RUNS=100000 cargo test --test simulation              # seeds 1 to 100000, with each kind
//! STREAMSPOOL_RUNS=100000 cargo test --test simulation one_way      # with one kind; the other: can_be_opened_again
//! STREAMSPOOL_SEED=77 cargo test --test simulation one_way          # one seed, again
//! STREAMSPOOL_SEED=1000000 STREAMSPOOL_RUNS=1000 cargo test --test simulation   # from a seed on
//! ```
//!
//! A run that fails is shortened to the steps that matter and printed. Keep it in `found.rs`.
#![cfg(test)]
#![allow(
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
mod checks;
mod disk;
mod end;
mod found;
mod generate;
mod invariants;
mod limits;
mod need;
mod players;
mod run;
mod source;
mod steps;
#[path = "../it/support/mod.rs"]
mod support;
mod watch;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::Instant;

use crate::generate::Generator;
use crate::run::{Counts, Run};
use crate::steps::{Case, End, Kind, Step, Trouble};
use crate::watch::{Seeds, Watch};

#[test]
fn one_way_streams_keep_all_rules_in_any_order_of_events_and_faults() {
    simulate(Kind::OneWay, "one_way");
}

#[test]
fn sources_that_can_be_opened_again_keep_all_rules() {
    simulate(Kind::Reopenable, "can_be_opened_again");
}

#[test]
fn a_seed_decides_every_step_answer_and_fault() {
    let dir = SaveDir::new();
    for (kind, seed) in (1..=150).flat_map(|seed| [(Kind::OneWay, seed), (Kind::Reopenable, seed)]) {
        let run = || {
            let mut case = None;
            let (counts, log) = do_seed(kind, seed, &dir, &mut case);
            (format!("{counts:?}, {:?}", case.unwrap()), log)
        };
        assert_eq!(run(), run(), "{kind:?}, seed {seed}");
    }
}

/// Does the seeds that the environment names. `filter` selects the test on the command line.
fn simulate(kind: Kind, filter: &'static str) {
    let (dir, watch, start) = (SaveDir::new(), Watch::start(filter), Instant::now());
    let mut all = Counts::default();
    for seed in Seeds::from_env() {
        watch.begin(seed);
        let mut case = None;
        let result = catch_unwind(AssertUnwindSafe(|| do_seed(kind, seed, &dir, &mut case)));
        let case = case.expect("a seed has a setup");
        let Ok((counts, _)) = result else {
            // Each of these tries may fail, and say so.
            println!("\n--- looking for a shorter list of steps ---\n");
            let fails = |steps: &[Step]| {
                watch.begin(seed);
                let case = Case { steps: steps.to_vec(), ..case.clone() };
                catch_unwind(AssertUnwindSafe(|| do_case(&case))).is_err()
            };
            println!("{}", Case { steps: shorten(case.steps.clone(), fails), ..case.clone() });
            panic!("again: STREAMSPOOL_SEED={seed} cargo test --test simulation {filter}");
        };
        all.add(&counts);
    }
    // Past the test harness, which keeps what passing tests print to itself.
    writeln!(std::io::stderr(), "{kind:?}: survived {all} in {:.1?}", start.elapsed()).unwrap();
}

/// Does the case of a seed, and notes its steps while it goes. Returns what it came to and its log.
fn do_seed(kind: Kind, seed: u64, dir: &SaveDir, case: &mut Option<Case>) -> (Counts, Vec<String>) {
    let result = on_runtime(async || {
        let (mut generator, setup) = Generator::new(kind, seed);
        let mut run = Run::new(setup, dir.path());
        let case = case.insert(Case { setup, steps: Vec::new(), trouble: Trouble::None, end: End::Leave });
        while let Some(step) = generator.next_step(&run) {
            case.steps.push(step.clone());
            run.step(&step).await;
        }
        (case.trouble, case.end) = (generator.trouble(), generator.end());
        run.trouble(case.trouble).await;
        run.end(case.end).await
    });
    dir.check();
    result
}

/// Does a case. Fails if a rule does not hold.
fn do_case(case: &Case) {
    let dir = SaveDir::new();
    on_runtime(async || {
        let mut run = Run::new(case.setup, dir.path());
        for step in &case.steps {
            run.step(step).await;
        }
        run.trouble(case.trouble).await;
        run.end(case.end).await;
    });
    dir.check();
}

/// Leaves out the steps of a failing case without which it fails too.
fn shorten(mut steps: Vec<Step>, fails: impl Fn(&[Step]) -> bool) -> Vec<Step> {
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
