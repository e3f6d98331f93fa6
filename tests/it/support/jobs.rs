//! The disk jobs of each test, so that it can wait until the disk is at rest.
//!
//! The crate tells `tracing` when a job is started, runs and has ended. All tests of a binary share one
//! process, so jobs are counted by the thread that started them: a test that waits for rest runs on a
//! current-thread runtime. A call that the test itself holds up in its store counts as at rest.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const TARGET: &str = "streamspool::disk";

/// Longer than any disk work of a test takes.
const HANGS: Duration = Duration::from_secs(60);

static JOBS: LazyLock<Mutex<Jobs>> = LazyLock::new(Mutex::default);
static CHANGED: Condvar = Condvar::new();

thread_local! {
    /// The job that runs on this disk thread.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

#[derive(Default)]
struct Jobs {
    /// The origin of each job under way.
    under_way: HashMap<u64, Origin>,
    of: HashMap<Origin, Counts>,
}

#[derive(Default)]
struct Counts {
    under_way: usize,
    /// Calls of a store that the test holds up, one for each job at most.
    parked: usize,
    ended: u64,
    /// Jobs wait with their work until the test waits for rest.
    stepped: bool,
    /// The test waits for rest.
    resting: bool,
}

/// The thread that started a job: the thread of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(ThreadId);

impl Origin {
    /// This thread.
    pub fn here() -> Self {
        watch();
        Self(thread::current().id())
    }

    /// Waits until every job has ended or is held up by the test. Returns how many have ended so far.
    pub fn rest(self) -> u64 {
        self.count(|counts| counts.resting = true);
        let is_busy = |jobs: &mut Jobs| {
            let counts = jobs.of.entry(self).or_default();
            counts.under_way > counts.parked
        };
        let waited = CHANGED.wait_timeout_while(jobs(), HANGS, is_busy);
        let (mut jobs, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "the disk hangs");
        let counts = jobs.of.entry(self).or_default();
        counts.resting = false;
        counts.ended
    }

    /// How many jobs have ended so far.
    pub fn ended(self) -> u64 {
        jobs().of.entry(self).or_default().ended
    }

    /// Whether jobs do their work only while the test waits for rest, so that none ends at a moment
    /// that the test has not chosen.
    #[allow(dead_code, reason = "only the simulation steps by hand")]
    pub fn step(self, stepped: bool) {
        self.count(|counts| counts.stepped = stepped);
    }

    /// This many calls more are held up by the test.
    pub fn park(self, calls: usize) {
        self.count(|counts| counts.parked += calls);
    }

    /// This many calls go on.
    pub fn unpark(self, calls: usize) {
        self.count(|counts| counts.parked -= calls);
    }

    fn count(self, change: impl FnOnce(&mut Counts)) {
        change(jobs().of.entry(self).or_default());
        CHANGED.notify_all();
    }
}

/// The job that this thread works at. A job that was started later has a higher number.
pub fn current() -> u64 {
    CURRENT.get()
}

/// Starts to count the jobs of this process, before the first of them. All sources do this.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Watch).expect("it is the only one"));
}

fn jobs() -> MutexGuard<'static, Jobs> {
    JOBS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn started(job: u64) {
    let origin = Origin(thread::current().id());
    let mut jobs = jobs();
    jobs.under_way.insert(job, origin);
    jobs.of.entry(origin).or_default().under_way += 1;
}

fn running(job: u64) {
    CURRENT.set(job);
    let waits = |jobs: &mut Jobs| {
        let counts = jobs.under_way.get(&job).and_then(|origin| jobs.of.get(origin));
        counts.is_some_and(|counts| counts.stepped && !counts.resting)
    };
    drop(CHANGED.wait_while(jobs(), waits).unwrap_or_else(PoisonError::into_inner));
}

fn ended(job: u64) {
    let mut jobs = jobs();
    if let Some(origin) = jobs.under_way.remove(&job) {
        let counts = jobs.of.entry(origin).or_default();
        counts.under_way -= 1;
        counts.ended += 1;
    }
    CHANGED.notify_all();
}

struct Watch;

#[derive(Default)]
struct Fields {
    job: u64,
    message: String,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "job" {
            self.job = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}

impl Subscriber for Watch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET && metadata.is_event()
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        match fields.message.as_str() {
            "started" => started(fields.job),
            "running" => running(fields.job),
            "ended" => ended(fields.job),
            other => panic!("{other} of a job"),
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
