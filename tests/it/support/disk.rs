//! The disk work of buffers, which runs when the test says.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use streamspool::Builder;
use tokio::time::timeout;

type Job = Box<dyn FnOnce() + Send>;

/// The disk jobs of the buffers that a test has given to it. They wait, in the order in which they were started,
/// until the test runs them on its own thread, or drops them.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<VecDeque<Job>>>);

impl Disk {
    /// The buffer starts its jobs here.
    pub fn serve(&self, builder: Builder) -> Builder {
        let disk = self.clone();
        builder.disk_spawner(move |job| disk.jobs().push_back(job))
    }

    /// How many jobs wait.
    pub fn waiting(&self) -> usize {
        self.jobs().len()
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

    /// Awaits a future on this task, and runs each job that starts meanwhile.
    pub async fn while_running<F: Future>(&self, future: F) -> F::Output {
        self.drive(future, |job| job()).await
    }

    /// Awaits a future on this task, and drops each job that starts meanwhile.
    pub async fn while_dropping<F: Future>(&self, future: F) -> F::Output {
        self.drive(future, drop).await
    }

    async fn drive<F: Future>(&self, future: F, each: impl Fn(Job)) -> F::Output {
        let mut future = pin!(future);
        let driven = poll_fn(|cx| {
            let polled = future.as_mut().poll(cx);
            if let Some(job) = self.take(0) {
                each(job);
            }
            // Other tasks start jobs, and take in their results.
            cx.waker().wake_by_ref();
            polled
        });
        timeout(Duration::from_secs(60), driven).await.expect("no hang")
    }

    fn jobs(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
