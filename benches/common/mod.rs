//! What the benchmarks share: their arguments, their bytes, their clock and their table.

#![allow(dead_code, reason = "not every benchmark uses all of it")]

pub(crate) mod args;
pub(crate) mod compare;
pub(crate) mod data;
pub(crate) mod table;

pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;

/// What a runtime of an application looks like, on the two cores that the goals are set for.
pub(crate) const WORKERS: usize = 2;

/// Runs `work` in a runtime, on the main thread: what is timed must be [`spawned`] from it.
pub(crate) fn run<T>(workers: usize, work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(workers).enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

/// Runs `work` on a worker, as a task among others. On the main thread every wake-up would be one
/// across threads.
pub(crate) async fn spawned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(work).await.expect("the work ends")
}
