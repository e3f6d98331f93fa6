//! Threads for work that may block: started on demand, reused while idle, and ended after a while
//! without work.
//!
//! They are not the blocking threads of a runtime. Work on those waits for a free thread, and the
//! threads that are in use may belong to readers that wait for this very work. There is no maximum: a
//! disk that hangs must not hold up the others. Each store bounds its own work.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Span, dispatcher};

use crate::panics;

const NAME: &str = "streamspool-disk";

/// How long a thread waits for the next work before it ends.
const IDLE_TIME: Duration = Duration::from_secs(5);

static THREADS: Threads = Threads::new(IDLE_TIME);

/// What runs the disk work of a buffer, or of many buffers: the disk threads of the process, unless a test
/// gives another one.
#[derive(Clone, Default)]
pub(crate) struct Spawner(Option<Arc<Run>>);

/// Runs a job, anywhere and at any time.
type Run = dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync;

impl Spawner {
    /// A spawner that gives each job to `run`.
    pub(crate) fn new(run: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(run)))
    }

    /// Runs `work` where it may block. If it is dropped instead, because no thread can be started, the job resolves
    /// to an error.
    pub(crate) fn spawn<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Job<R> {
        let Some(run) = &self.0 else { return THREADS.spawn(work) };
        let (task, job) = task(work);
        run(Box::new(move || task(Ok(&|| {}))));
        job
    }

    /// Drops a value whose drop may take long: on a disk thread, or here if no thread can be started. The
    /// job resolves when it is dropped.
    pub(crate) fn drop_later<T: Send + 'static>(&self, value: T) -> Job<()> {
        self.spawn(move || drop(value))
    }
}

/// Work on another thread. Dropping the job does not stop the work.
pub(crate) struct Job<R>(oneshot::Receiver<io::Result<R>>);

impl<R> Future for Job<R> {
    type Output = io::Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(result.unwrap_or_else(|_| Err(io::Error::other("no disk thread has done the work"))))
    }
}

/// Work with the place where its result is sent. A thread calls it, with what is to be called when the work is
/// done and its result is not sent yet. If there is no thread for it, it is called with the error.
type Task = Box<dyn FnOnce(io::Result<&dyn Fn()>) + Send>;

/// Makes a task of `work`, and the job of its caller.
fn task<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> (Task, Job<R>) {
    let (reply, result) = oneshot::channel();
    let trace = Trace::current();
    let task = Box::new(move |thread: io::Result<&dyn Fn()>| {
        let result = match thread {
            Ok(done) => {
                let result = trace.enter(|| panics::catch("disk work", || Ok(work())));
                done();
                result
            }
            Err(error) => {
                panics::drop_quietly(work);
                Err(error)
            }
        };
        // The caller may have dropped its job. Then the result is dropped here, and its destructor is foreign code.
        panics::drop_quietly(reply.send(result));
    });
    (task, Job(result))
}

struct Threads {
    /// The threads without work, in the order of their last use. So the oldest ones can end.
    idle: Mutex<Vec<Arc<Slot>>>,
    idle_time: Duration,
}

/// Where a thread finds its next task.
#[derive(Default)]
struct Slot {
    task: Mutex<Option<Task>>,
    filled: Condvar,
}

/// A thread, as the task that it runs sees it.
struct Worker<'a> {
    threads: &'static Threads,
    slot: &'a Arc<Slot>,
    /// Whether it has rested since it took its task.
    has_rested: Cell<bool>,
}

impl Threads {
    const fn new(idle_time: Duration) -> Self {
        Self { idle: Mutex::new(Vec::new()), idle_time }
    }

    fn spawn<R: Send + 'static>(&'static self, work: impl FnOnce() -> R + Send + 'static) -> Job<R> {
        let (task, job) = task(work);
        self.run(task);
        job
    }

    /// Gives a task to an idle thread, or to a new one if there is none.
    fn run(&'static self, task: Task) {
        let idle = self.lock().pop();
        if let Some(slot) = idle {
            return slot.fill(task);
        }
        let slot = Arc::<Slot>::default();
        let its = Arc::clone(&slot);
        match thread::Builder::new().name(NAME.into()).spawn(move || self.work(&its)) {
            Ok(_) => slot.fill(task),
            Err(error) => {
                // The kind of the cause is not passed on: it is `WouldBlock`, and readers would try again.
                task(Err(io::Error::other(format!("no disk thread can be started: {error}"))));
            }
        }
    }

    /// The life of a thread.
    fn work(&'static self, slot: &Arc<Slot>) {
        while let Some(task) = self.next(slot) {
            let worker = Worker { threads: self, slot, has_rested: Cell::new(false) };
            // Only a waker can panic here.
            let _ = panics::catch("disk thread", || {
                // The thread rests before the reply, so that work that follows from the reply finds it idle.
                task(Ok(&|| worker.rest()));
                Ok(())
            });
            worker.rest();
        }
    }

    /// The next task, or `None` if there was none for a while.
    fn next(&self, slot: &Arc<Slot>) -> Option<Task> {
        slot.wait(self.idle_time).or_else(|| {
            let mut idle = self.lock();
            let before = idle.len();
            idle.retain(|other| !Arc::ptr_eq(other, slot));
            let is_removed = idle.len() < before;
            drop(idle);
            // A slot that was not in the list any more is about to be filled.
            if is_removed { None } else { slot.wait(Duration::MAX) }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker<'_> {
    /// The work is done, so the thread can get another task from now on.
    fn rest(&self) {
        if !self.has_rested.replace(true) {
            self.threads.lock().push(Arc::clone(self.slot));
        }
    }
}

impl Slot {
    fn fill(&self, task: Task) {
        *self.lock() = Some(task);
        self.filled.notify_one();
    }

    fn wait(&self, most: Duration) -> Option<Task> {
        let waited = self.filled.wait_timeout_while(self.lock(), most, |task| task.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Task>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The span and the subscriber of a job's caller. `tracing` uses them for the job, so that the
/// events of a store belong to its buffer.
struct Trace {
    span: Span,
    dispatch: Dispatch,
}

impl Trace {
    fn current() -> Self {
        Self { span: Span::current(), dispatch: dispatcher::get_default(Dispatch::clone) }
    }

    fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        if self.dispatch.is::<NoSubscriber>() {
            // A scope without a subscriber would hide one that is installed later.
            return f();
        }
        dispatcher::with_default(&self.dispatch, || self.span.in_scope(f))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, mpsc};
    use std::task::{Wake, Waker};
    use std::thread::ThreadId;
    use std::time::Instant;

    use futures::FutureExt;

    use super::*;

    fn threads(idle_time: Duration) -> &'static Threads {
        Box::leak(Box::new(Threads::new(idle_time)))
    }

    fn wait<R: Send + 'static>(job: Job<R>) -> io::Result<R> {
        tokio::runtime::Builder::new_current_thread().build()?.block_on(job)
    }

    /// A spawner whose jobs wait until the test runs or drops them.
    fn queue() -> (Spawner, mpsc::Receiver<Box<dyn FnOnce() + Send>>) {
        let (queue, jobs) = mpsc::channel();
        (Spawner::new(move |job| queue.send(job).unwrap()), jobs)
    }

    fn id() -> ThreadId {
        thread::current().id()
    }

    #[test]
    fn work_that_follows_from_other_work_runs_on_the_same_thread() {
        let threads = threads(Duration::MAX);
        let first = wait(threads.spawn(id)).unwrap();
        for _ in 0..1000 {
            assert_eq!(wait(threads.spawn(id)).unwrap(), first);
        }
        let name = wait(threads.spawn(|| thread::current().name().map(str::to_owned))).unwrap();
        assert_eq!(name.as_deref(), Some(NAME));
    }

    #[test]
    fn any_number_of_jobs_runs_at_once() {
        let (threads, all) = (threads(Duration::MAX), Arc::new(Barrier::new(100)));
        let jobs: Vec<_> = (0..100)
            .map(|_| {
                let all = Arc::clone(&all);
                threads.spawn(move || all.wait().is_leader())
            })
            .collect();
        for job in jobs {
            wait(job).unwrap();
        }
        assert_eq!(threads.lock().len(), 100);
    }

    #[test]
    fn a_thread_without_work_ends() {
        struct Ends(mpsc::Sender<()>);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.send(()).unwrap();
            }
        }
        thread_local! {
            static ENDS: Cell<Option<Ends>> = const { Cell::new(None) };
        }
        let threads = threads(Duration::from_millis(1));
        let (sender, ended) = mpsc::channel();
        wait(threads.spawn(|| ENDS.set(Some(Ends(sender))))).unwrap();
        ended.recv_timeout(Duration::from_secs(60)).expect("it ends");
        assert!(threads.lock().is_empty());
        wait(threads.spawn(|| ())).unwrap();
    }

    #[test]
    fn work_that_comes_while_a_thread_ends_is_done() {
        let threads = threads(Duration::ZERO);
        for n in 0..3000 {
            assert_eq!(wait(threads.spawn(move || n)).unwrap(), n);
        }
    }

    #[test]
    fn a_panic_becomes_an_error_and_the_thread_goes_on() {
        let threads = threads(Duration::MAX);
        let first = wait(threads.spawn(id)).unwrap();
        let error = wait(threads.spawn(|| panic!("as the test asked"))).unwrap_err();
        assert_eq!(error.to_string(), "the disk work panicked: as the test asked");
        assert_eq!(wait(threads.spawn(id)).unwrap(), first);
    }

    #[test]
    fn a_waker_that_panics_takes_no_thread_along() {
        struct Panics(mpsc::Sender<()>);
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                self.0.send(()).unwrap();
                panic!("as the test asked");
            }
        }
        let threads = threads(Duration::MAX);
        let (sender, receiver) = mpsc::channel();
        let mut job = threads.spawn(move || {
            receiver.recv().unwrap();
            id()
        });
        let (woken, is_woken) = mpsc::channel();
        let waker = Waker::from(Arc::new(Panics(woken)));
        assert!(job.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        sender.send(()).unwrap();
        is_woken.recv().unwrap();
        let first = wait(job).unwrap();
        for _ in 0..10 {
            assert_eq!(wait(threads.spawn(id)).unwrap(), first);
        }
    }

    #[test]
    fn a_task_that_panics_takes_no_thread_along() {
        let threads = threads(Duration::MAX);
        threads.run(Box::new(|_| panic!("as the test asked")));
        let until = Instant::now() + Duration::from_secs(60);
        while threads.lock().is_empty() {
            assert!(Instant::now() < until, "the thread gets no more work");
            thread::yield_now();
        }
        wait(threads.spawn(|| ())).unwrap();
        assert_eq!(threads.lock().len(), 1);
    }

    #[test]
    fn a_job_runs_when_and_where_its_spawner_runs_it() {
        let (spawner, jobs) = queue();
        let mut first = spawner.spawn(id);
        let second = spawner.clone().spawn(|| panic!("as the test asked"));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(first.poll_unpin(&mut cx).is_pending());
        jobs.try_recv().unwrap()();
        assert_eq!(wait(first).unwrap(), id());
        jobs.try_recv().unwrap()();
        assert_eq!(wait(second).unwrap_err().to_string(), "the disk work panicked: as the test asked");
        assert!(jobs.try_recv().is_err());
    }

    #[test]
    fn a_job_that_its_spawner_drops_fails_and_drops_what_it_holds() {
        let (spawner, jobs) = queue();
        let held = Arc::new(());
        let (work, value) = (Arc::clone(&held), Arc::clone(&held));
        for job in [spawner.spawn(move || drop(work)), spawner.drop_later(value)] {
            drop(jobs.try_recv().unwrap());
            assert_eq!(wait(job).unwrap_err().to_string(), "no disk thread has done the work");
        }
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn a_spawner_runs_a_job_whose_caller_has_left() {
        let (spawner, jobs) = queue();
        let (sender, receiver) = mpsc::channel();
        drop(spawner.spawn(move || sender.send(1)));
        jobs.try_recv().unwrap()();
        assert_eq!(receiver.recv().unwrap(), 1);
    }

    #[test]
    fn work_is_done_though_its_job_is_dropped() {
        let (sender, receiver) = mpsc::channel();
        drop(threads(Duration::MAX).spawn(move || sender.send(1)));
        assert_eq!(receiver.recv().unwrap(), 1);
    }
}
