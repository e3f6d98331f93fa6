//! The whole, simulated: thousands of seeded runs in which a buffer meets everything that a source,
//! a disk and its users may do to it, in any order.
//!
//! One run is one seed. The actor, every request and the disk are moved by hand, one turn at a time,
//! so a seed decides every step and fault, and a seed tried again does the same again. By default the
//! seeds from 1 on are run for some seconds. To look harder, or again:
//!
//! ```text
//! STREAMSPOOL_RUNS=100000 cargo test --test simulation              # seeds 1 to 100000
//! STREAMSPOOL_SEED=77 cargo test --test simulation                  # one seed, again
//! STREAMSPOOL_SEED=1000000 STREAMSPOOL_RUNS=1000 cargo test --test simulation   # from a seed on
//! ```
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
mod players;
mod run;
#[path = "../it/support/mod.rs"]
mod support;
mod world;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::run::Survived;

/// How long the runs take together, unless their number is told.
const TIME: Duration = Duration::from_secs(10);

/// Seeds that have found something; tried before all others.
///
/// 307: a request that came in together with the close waited for the disk to end.
/// 782: a request that waited for a disk read that hung was not told that the actor was gone.
const FOUND: &[u64] = &[307, 782];

/// A run that takes this long has come to hang.
const HANGS: Duration = Duration::from_secs(30);

/// Tells the seed of a run that hangs, and ends it: no panic would get it out of there.
fn watch(seed: &'static AtomicU64) {
    std::thread::spawn(move || {
        let mut last = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = seed.load(Ordering::SeqCst);
            if now != last.0 {
                last = (now, Instant::now());
            }
            if now > 0 && last.1.elapsed() > HANGS {
                let _ =
                    writeln!(std::io::stderr(), "hangs: STREAMSPOOL_SEED={now} cargo test --test simulation");
                std::process::abort();
            }
        }
    });
}

/// The seed of the run under way.
static SEED: AtomicU64 = AtomicU64::new(0);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

#[test]
fn all_rules_hold_in_any_order_of_events_and_faults() {
    let (seed, runs) = (number("STREAMSPOOL_SEED"), number("STREAMSPOOL_RUNS"));
    let first = seed.unwrap_or(1);
    let last = runs.map_or(u64::MAX, |runs| first.saturating_add(runs));
    let again = seed.is_some() && runs.is_none();
    let known = if again { vec![first] } else { FOUND.to_vec() };
    let last = if again { first } else { last };
    watch(&SEED);
    let dir = tempfile::tempdir().unwrap();
    let mut survived = Survived::default();
    let start = Instant::now();
    for seed in known.into_iter().chain(first..last) {
        if last == u64::MAX && start.elapsed() > TIME {
            break;
        }
        SEED.store(seed, Ordering::SeqCst);
        let mut trace = Vec::new();
        let run = AssertUnwindSafe(|| run::run(seed, dir.path(), &mut trace, &mut survived));
        if let Err(panic) = catch_unwind(run) {
            let steps = trace.join("\n  ");
            println!("  {steps}\nagain: STREAMSPOOL_SEED={seed} cargo test --test simulation");
            resume_unwind(panic);
        }
    }
    // Past the test harness, which keeps what passing tests print to itself.
    SEED.store(0, Ordering::SeqCst);
    writeln!(std::io::stderr(), "survived {survived} in {:.1?}", start.elapsed()).unwrap();
}
