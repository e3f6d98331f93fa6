//! Sources that can be opened again, with a whole buffer: they refuse, hang, fall silent, break after any
//! byte, start early or late, send too little or too much, ignore offsets, and change with and without a new
//! version. Up to three streams are open at once. Rules 21 to 26, beside all others.
//!
//! The buffer is the real one, with its actor, its store and its callers. One run is one seed, as in the other
//! simulation, and the same commands repeat it.

mod checks;
mod end;
mod found;
mod generate;
mod invariants;
mod need;
mod run;
mod server;
mod steps;

use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use self::end::Totals;
use self::generate::Generator;
use self::run::{Counts, Run};
use self::steps::{Case, Step, Trouble};
use crate::steps::End;
use crate::watch::{Seeds, Watch};
use crate::{SaveDir, on_runtime, shorten};

const NAME: &str = "remote";

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

/// Does the case of a seed, and notes its steps while it goes.
fn do_seed(seed: u64, dir: &SaveDir, case: &mut Option<Case>) -> (Totals, Counts, Vec<String>) {
    let result = on_runtime(async || {
        let (mut generator, setup) = Generator::new(seed);
        let mut run = Run::new(setup, dir.path());
        let count = generator.steps();
        let case = case.insert(Case { setup, steps: Vec::new(), trouble: Trouble::None, end: End::Leave });
        for _ in 0..count {
            let step = generator.step(&run);
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

#[test]
fn sources_that_can_be_opened_again_keep_all_rules() {
    let (dir, watch, start) = (SaveDir::new(), Watch::start(NAME), Instant::now());
    let mut survived = Survived::default();
    for seed in Seeds::from_env() {
        watch.begin(seed);
        let mut case = None;
        let result = catch_unwind(AssertUnwindSafe(|| do_seed(seed, &dir, &mut case)));
        let case = case.expect("a seed has a setup");
        let Ok((totals, counts, _)) = result else {
            println!("\n--- looking for a shorter list of steps ---\n");
            let fails = |steps: &[Step]| {
                watch.begin(seed);
                let case = Case { steps: steps.to_vec(), ..case.clone() };
                catch_unwind(AssertUnwindSafe(|| do_case(&case))).is_err()
            };
            println!("{}", Case { steps: shorten(case.steps.clone(), fails), ..case.clone() });
            panic!("again: STREAMSPOOL_SEED={seed} cargo test --test simulation {NAME}");
        };
        survived.add(&totals, &counts, case.steps.len());
    }
    // Past the test harness, which keeps what passing tests print to itself.
    writeln!(std::io::stderr(), "survived {survived} in {:.1?}", start.elapsed()).unwrap();
}

#[test]
fn a_seed_decides_every_step_answer_and_fault_of_a_source_too() {
    let dir = SaveDir::new();
    for seed in 1..=150 {
        let run = || {
            let mut case = None;
            let (totals, counts, log) = do_seed(seed, &dir, &mut case);
            (format!("{totals:?}, {counts:?}, {:?}", case.unwrap()), log)
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
}

/// What all the runs came to.
#[derive(Debug, Default)]
struct Survived {
    runs: u64,
    steps: u64,
    counts: Counts,
    totals: Totals,
    changed: u64,
    complete: u64,
    /// Runs in which bytes were fetched again, and in which bytes were discarded for good.
    refetching: u64,
    discarding: u64,
}

impl Survived {
    fn add(&mut self, totals: &Totals, counts: &Counts, steps: usize) {
        self.runs += 1;
        self.steps += steps as u64;
        self.counts.turns += counts.turns;
        self.counts.answered += counts.answered;
        self.counts.cancelled += counts.cancelled;
        let all = &mut self.totals;
        all.openings += totals.openings;
        all.faults += totals.faults;
        all.chunks += totals.chunks;
        all.sent += totals.sent;
        all.sent_again += totals.sent_again;
        all.discarded += totals.discarded;
        self.refetching += u64::from(totals.sent_again > 0);
        self.discarding += u64::from(totals.discarded > 0);
        all.spilled += totals.spilled;
        all.disk_faults += totals.disk_faults;
        self.changed += u64::from(totals.is_changed);
        self.complete += u64::from(totals.is_complete);
    }
}

impl fmt::Display for Survived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, steps, counts, totals, changed, complete, refetching, discarding } = self;
        let Counts { turns, answered, cancelled } = counts;
        write!(
            f,
            "{runs} runs with sources that can be opened again, {steps} steps, {turns} turns of the actor, "
        )?;
        write!(f, "{answered} requests answered and {cancelled} dropped, ")?;
        write!(f, "{} openings and {} faults of the source, ", totals.openings, totals.faults)?;
        write!(
            f,
            "{changed} changed resources and {complete} complete ones, {} faults of the disk, ",
            totals.disk_faults
        )?;
        write!(f, "{} bytes sent in {} chunks and {} spilled, ", totals.sent, totals.chunks, totals.spilled)?;
        write!(f, "{} bytes fetched again in {refetching} runs, ", totals.sent_again)?;
        write!(f, "{} bytes discarded for good in {discarding} runs", totals.discarded)
    }
}
