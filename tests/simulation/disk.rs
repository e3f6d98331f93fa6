//! The disk of a run: a store, and the jobs that call it. A job waits until a step of the run has it run, on the thread
//! of the run. All that the simulation knows of how disk work is held up is in this file.
//!
//! On a real disk a job may take any time from when the buffer has started it. So no place of the store may be read
//! and changed by two jobs that wait at the same time, whichever of them runs first.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use streamspool::{Builder, SpillStore};

use crate::steps::{Kind, Setup};
pub use crate::support::store::{AtOnce, Fault, Seen};
use crate::support::store::{Control, TestStore};

/// The run's end of the disk.
pub struct Disk {
    control: Control,
    jobs: Arc<Mutex<Jobs>>,
}

/// The buffer's end of the store.
struct Store {
    store: TestStore,
    control: Control,
    jobs: Arc<Mutex<Jobs>>,
    reuses_places: bool,
}

#[derive(Default)]
struct Jobs {
    /// The jobs that wait, each with the time at which it was started.
    waiting: VecDeque<(u64, Box<dyn FnOnce() + Send>)>,
    /// Goes on by one when a job is started, and when one runs.
    now: u64,
    /// When the job was started that runs.
    started: u64,
    /// How the next calls of the job go wrong that runs.
    faults: VecDeque<Fault>,
    /// What was read and changed since the oldest job was started that waits.
    calls: Vec<Call>,
    /// What was against the rules. A panic would be one more fault that a buffer survives.
    wrong: Vec<String>,
}

/// A place that was read or changed.
#[derive(Debug)]
struct Call {
    time: u64,
    is_read: bool,
    place: Range<u64>,
}

impl Disk {
    pub fn new(setup: &Setup) -> Self {
        let control = Control::new(setup.at_once);
        if setup.kind == Kind::Reopenable {
            control.take_any_order();
        }
        if setup.max_disk.is_some() {
            control.reuse_places();
        }
        Self { control, jobs: Arc::default() }
    }

    /// The buffer has this disk.
    pub fn serve(&self, builder: Builder, setup: &Setup) -> Builder {
        let (control, jobs) = (self.control.clone(), Arc::clone(&self.jobs));
        let (store, reuses_places) = (control.store(), setup.max_disk.is_some());
        let builder = builder.store(Store { store, control, jobs: Arc::clone(&jobs), reuses_places });
        builder.disk_spawner(move |job| {
            let mut jobs = lock(&jobs);
            jobs.now += 1;
            let now = jobs.now;
            jobs.waiting.push_back((now, job));
        })
    }

    /// How many jobs wait.
    pub fn waiting(&self) -> usize {
        lock(&self.jobs).waiting.len()
    }

    /// Runs a job that waits, by its place among them. Its first calls go wrong like this. Returns what it did.
    pub fn run(&self, number: usize, faults: &[Fault]) -> Option<String> {
        let mut jobs = lock(&self.jobs);
        let (started, job) = jobs.waiting.remove(number)?;
        jobs.now += 1;
        let now = jobs.now;
        (jobs.started, jobs.faults) = (started, faults.iter().copied().collect());
        // It calls the store, and may start another job.
        drop(jobs);
        job();
        let mut jobs = lock(&self.jobs);
        jobs.faults.clear();
        let calls: Vec<_> = jobs.calls.iter().filter(|call| call.time == now).collect();
        let done = format!("the job of {started}: {calls:?}");
        let oldest = jobs.waiting.front().map_or(u64::MAX, |job| job.0);
        jobs.calls.retain(|call| call.time > oldest);
        Some(done)
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

    /// Runs all jobs, also those that follow from them.
    pub fn run_all(&self) {
        while self.run(0, &[]).is_some() {}
    }

    /// The space on the disk.
    pub fn limit(&self, capacity: Option<u64>) {
        self.control.limit(capacity);
    }

    pub fn look<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        self.control.look(look)
    }

    /// What was against the rules.
    pub fn wrong(&self) -> Vec<String> {
        [self.look(|seen| seen.wrong.clone()), lock(&self.jobs).wrong.clone()].concat()
    }
}

impl Jobs {
    /// A place is read or changed. `since` is when the job was started that does it.
    fn note(&mut self, since: u64, is_read: bool, place: Range<u64>) {
        let is_other = |call: &&Call| {
            let touches = call.place.start < place.end && place.start < call.place.end;
            touches && call.time > since && call.is_read != is_read
        };
        if let Some(other) = self.calls.iter().find(is_other) {
            let what = if is_read { "read" } else { "changed" };
            self.wrong.push(format!("{place:?} is {what} in the time of another job: {other:?}"));
        }
        self.calls.push(Call { time: self.now, is_read, place });
    }
}

impl Store {
    /// A call of the job that runs begins.
    fn begin(&self, is_read: bool, offset: u64, len: usize) {
        let mut jobs = lock(&self.jobs);
        let started = jobs.started;
        jobs.note(started, is_read, offset..offset + len as u64);
        self.control.fault(jobs.faults.pop_front());
    }
}

impl SpillStore for Store {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.begin(false, offset, bytes.len());
        self.store.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.begin(true, offset, buf.len());
        self.store.read_at(offset, buf)
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        // A caller looks afterwards whether the place that it has read was used again.
        if !self.reuses_places {
            let mut jobs = lock(&self.jobs);
            let now = jobs.now;
            jobs.note(now, true, offset..offset + buf.len() as u64);
        }
        self.store.try_read_at(offset, buf)
    }

    fn discard(&self, range: Range<u64>) {
        let mut jobs = lock(&self.jobs);
        let started = jobs.started;
        jobs.note(started, false, range.clone());
        drop(jobs);
        self.store.discard(range);
    }
}

fn lock(jobs: &Mutex<Jobs>) -> MutexGuard<'_, Jobs> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}
