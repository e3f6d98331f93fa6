//! The disk work of buffers, which runs when the test says.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use streamspool::Builder;
use tokio::sync::Notify;
use tokio::task::yield_now;

type Job = Box<dyn FnOnce() + Send>;

/// The disk jobs of the buffers that a test has given to it, in the order in which they were started. By default they
/// wait until the test runs them on its own thread, or drops them.
#[derive(Clone, Default)]
pub struct Disk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    jobs: Mutex<VecDeque<Job>>,
    goes_on: AtomicBool,
    changed: Notify,
}

impl Disk {
    /// A disk whose jobs run one after the other, in a task of this runtime. So a paused clock waits for them.
    pub fn running() -> Self {
        let disk = Self::default();
        disk.go_on();
        tokio::spawn({
            let disk = disk.clone();
            async move {
                loop {
                    while disk.0.goes_on.load(Ordering::SeqCst) && disk.run_next() {
                        yield_now().await;
                    }
                    disk.0.changed.notified().await;
                }
            }
        });
        disk
    }

    /// The buffer starts its jobs here.
    pub fn serve(&self, builder: Builder) -> Builder {
        let disk = self.clone();
        builder.disk_spawner(move |job| {
            disk.jobs().push_back(job);
            disk.0.changed.notify_one();
        })
    }

    /// From now on jobs wait for the test: the disk hangs.
    pub fn hold(&self) {
        self.0.goes_on.store(false, Ordering::SeqCst);
    }

    /// The task goes on with the jobs that wait, and with later ones.
    pub fn go_on(&self) {
        self.0.goes_on.store(true, Ordering::SeqCst);
        self.0.changed.notify_one();
    }

    /// How many jobs wait.
    pub fn waiting(&self) -> usize {
        self.jobs().len()
    }

    /// Lets other tasks run until a job waits.
    pub async fn until_waiting(&self) {
        while self.waiting() == 0 {
            yield_now().await;
        }
    }

    /// Takes a job out, by its place among those that wait. The caller runs it, or drops it without running it.
    pub fn take(&self, number: usize) -> Option<Job> {
        self.jobs().remove(number)
    }

    /// Runs the job that has waited longest. Returns whether there was one.
    pub fn run_next(&self) -> bool {
        // The job may start another one, so the queue is not locked while it runs.
        let job = self.take(0);
        job.map(|job| job()).is_some()
    }

    /// Runs jobs until none waits. Returns how many there were.
    pub fn run_all(&self) -> usize {
        std::iter::from_fn(|| self.run_next().then_some(())).count()
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
