//! Shared by the benchmarks: arguments, bytes, child processes, comparison, messages and table.

#![allow(dead_code, reason = "not every benchmark uses all of it")]

pub(crate) mod args;
pub(crate) mod child;
pub(crate) mod compare;
pub(crate) mod data;
pub(crate) mod echo;
pub(crate) mod table;

pub(crate) const KIB: usize = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;

/// Worker threads of the runtime. The goals are set for a machine with two cores.
pub(crate) const WORKERS: usize = 2;

/// Runs `work` on the main thread of a runtime. Timed work must be [`spawned`] from it.
pub(crate) fn run<T>(workers: usize, work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(workers).enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

/// Runs `work` as a task on a worker. On the main thread, every wake-up would cross threads.
pub(crate) async fn spawned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(work).await.expect("the work ends")
}
