//! The disk of a run: a store, and the jobs that call it. A job waits until a step of the run has it run, on the thread
//! of the run. All that the simulation knows of how disk work is held up is in this file.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use streamspool::Builder;

use crate::steps::{Kind, Setup};
use crate::support::Random;
use crate::support::scripted_store::{Access, Act, Call, Script};
pub use crate::support::scripted_store::{Fault, Seen};

type Work = Box<dyn FnOnce() + Send>;

/// How reads end that must not wait.
#[derive(Clone, Copy, Debug)]
pub enum AtOnce {
    /// The store does not support them.
    Never,
    /// Most succeed, others are short, fail, or panic if `panics` is set: by the seed.
    Seeded { seed: u64, panics: bool },
}

pub struct Disk {
    script: Script,
    jobs: Arc<Mutex<Jobs>>,
}

struct Jobs {
    /// The jobs that wait, each with its number.
    waiting: VecDeque<(u64, Work)>,
    /// How many jobs were started.
    started: u64,
    /// How the next calls of this job go wrong.
    faults: VecDeque<Fault>,
    /// What happens in the middle of its next write.
    meanwhile: Option<Work>,
    /// The calls of the job that runs.
    calls: Vec<Call>,
    at_once: AtOnce,
    /// For reads that must not wait.
    random: Random,
}

impl Disk {
    pub fn new(setup: &Setup) -> Self {
        let script = Script::default();
        if setup.kind == Kind::Reopenable {
            script.take_any_order();
        }
        if setup.max_disk.is_some() {
            script.reuse_places();
        }
        let seed = if let AtOnce::Seeded { seed, .. } = setup.at_once { seed } else { 0 };
        let jobs = Arc::new(Mutex::new(Jobs {
            waiting: VecDeque::new(),
            started: 0,
            faults: VecDeque::new(),
            meanwhile: None,
            calls: Vec::new(),
            at_once: setup.at_once,
            random: Random(seed),
        }));
        let of = |act: fn(&Mutex<Jobs>, Call) -> Act| {
            let jobs = Arc::clone(&jobs);
            move |call| act(&jobs, call)
        };
        script.writes(of(access));
        script.reads(of(access));
        script.discards(of(access));
        script.tries(of(read_at_once));
        Self { script, jobs }
    }

    /// The buffer has this disk.
    pub fn serve(&self, builder: Builder) -> Builder {
        let jobs = Arc::clone(&self.jobs);
        builder.store(self.script.store()).disk_spawner(move |job| {
            let mut jobs = lock(&jobs);
            jobs.started += 1;
            let number = jobs.started;
            jobs.waiting.push_back((number, job));
        })
    }

    /// How many jobs wait.
    pub fn waiting(&self) -> usize {
        lock(&self.jobs).waiting.len()
    }

    /// Runs a job that waits, by its place among them. Its first calls go wrong like this. `meanwhile` happens in the
    /// middle of its first write, if it writes. Returns what the job did.
    pub fn run(&self, number: usize, faults: &[Fault], meanwhile: Option<Work>) -> Option<String> {
        let mut jobs = lock(&self.jobs);
        let (number, job) = jobs.waiting.remove(number)?;
        jobs.meanwhile = meanwhile;
        jobs.faults = faults.iter().copied().collect();
        // It calls the store, and may start another job.
        drop(jobs);
        job();
        let mut jobs = lock(&self.jobs);
        (jobs.faults, jobs.meanwhile) = Default::default();
        Some(format!("job {number}: {:?}", std::mem::take(&mut jobs.calls)))
    }

    /// Runs all jobs, also those that follow from them.
    pub fn run_all(&self) {
        while self.run(0, &[], None).is_some() {}
    }

    /// Awaits a future, and runs each job that waits meanwhile.
    pub async fn run_all_while<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            let polled = future.as_mut().poll(cx);
            self.run_all();
            polled
        })
        .await
    }

    /// The space on the disk.
    pub fn limit(&self, capacity: Option<u64>) {
        self.script.limit(capacity);
    }

    pub fn look<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        self.script.look(look)
    }

    /// How many calls of jobs the store has seen.
    pub fn calls(&self) -> u64 {
        (self.script.count(Access::Write) + self.script.count(Access::Read)) as u64
    }

    /// What was against the rules.
    pub fn wrong(&self) -> Vec<String> {
        self.look(|seen| seen.wrong.clone())
    }
}

/// A call of the job that runs.
fn access(jobs: &Mutex<Jobs>, call: Call) -> Act {
    let mut state = lock(jobs);
    let reads = call.access == Access::Read;
    let is_discard = call.access == Access::Discard;
    state.calls.push(call);
    if is_discard {
        return Act::WORKS;
    }
    let meanwhile = if reads { None } else { state.meanwhile.take() };
    let act = state.faults.pop_front().map_or(Act::WORKS, Act::from);
    drop(state);
    if let Some(meanwhile) = meanwhile {
        meanwhile();
    }
    act
}

/// A call that must not wait. A caller looks afterwards whether the place that it has read was used again.
fn read_at_once(jobs: &Mutex<Jobs>, call: Call) -> Act {
    let mut jobs = lock(jobs);
    let AtOnce::Seeded { panics, .. } = jobs.at_once else { return Act::fails(ErrorKind::Unsupported) };
    match jobs.random.below(10) {
        0..=3 => Act::WORKS,
        4 => Act::Takes(call.len / 2),
        5 if panics => Act::from(Fault::Panic),
        6 => Act::fails(ErrorKind::Other),
        _ => Act::fails(ErrorKind::WouldBlock),
    }
}

fn lock(jobs: &Mutex<Jobs>) -> MutexGuard<'_, Jobs> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}
