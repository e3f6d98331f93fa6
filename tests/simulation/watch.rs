//! Which seeds are run, and an end to runs that hang.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the runs of a test take together, unless their number is given.
const TIME: Duration = Duration::from_secs(10);

/// A run hangs if it does not end while the watch sleeps this often for a second. The time of a machine that is
/// suspended does not count.
const HANGS: u32 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// The seeds to run: as many as the environment says, or those from 1 on for some seconds.
pub struct Seeds {
    next: u64,
    /// The seed after the last one, if their number is given.
    end: Option<u64>,
    start: Instant,
}

impl Seeds {
    pub fn from_env() -> Self {
        let (seed, runs) = (number("STREAMSPOOL_SEED"), number("STREAMSPOOL_RUNS"));
        let next = seed.unwrap_or(1);
        let end = runs.or(seed.and(Some(1))).map(|runs| next.saturating_add(runs));
        Self { next, end, start: Instant::now() }
    }
}

impl Iterator for Seeds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let is_over = match self.end {
            Some(end) => self.next >= end,
            None => self.start.elapsed() > TIME,
        };
        self.next += 1;
        (!is_over).then_some(self.next - 1)
    }
}

/// Tells the seed of a run that hangs, and ends the process: no panic would end the run.
pub struct Watch(Arc<Watched>);

#[derive(Default)]
struct Watched {
    /// The seed of the run under way; 0 if there is none.
    seed: AtomicU64,
    /// How many runs have begun.
    runs: AtomicU64,
}

impl Watch {
    /// Starts to watch the runs of a test. `filter` selects the test on the command line.
    pub fn start(filter: &'static str) -> Self {
        let watched = Arc::<Watched>::default();
        let watch = Self(Arc::clone(&watched));
        std::thread::spawn(move || {
            let (mut last, mut slept) = (0, 0);
            while slept < HANGS {
                std::thread::sleep(Duration::from_secs(1));
                let runs = watched.runs.load(Ordering::SeqCst);
                slept = if runs == last { slept + 1 } else { 0 };
                last = runs;
            }
            let seed = watched.seed.load(Ordering::SeqCst);
            if seed > 0 {
                let again = format!("hangs: STREAMSPOOL_SEED={seed} cargo test --test simulation {filter}");
                let _ = writeln!(std::io::stderr(), "{again}");
                std::process::abort();
            }
        });
        watch
    }

    /// The run of this seed begins.
    pub fn begin(&self, seed: u64) {
        self.0.seed.store(seed, Ordering::SeqCst);
        self.0.runs.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.seed.store(0, Ordering::SeqCst);
    }
}
