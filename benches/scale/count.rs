//! What the tasks of one stream count.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The sum of what was counted up to now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    /// Polls of the tasks that own the sources.
    pub(crate) sources: u64,
    /// Polls of the readers' tasks.
    pub(crate) readers: u64,
    /// Bytes that the readers have got.
    pub(crate) delivered: u64,
}

/// The counters of one stream. Each stream has its own, so that the counting costs little.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sources: AtomicU64,
    pub(crate) readers: AtomicU64,
    pub(crate) delivered: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, by: usize) {
        counter.fetch_add(by as u64, Ordering::Relaxed);
    }

    pub(crate) fn sum(all: &[Arc<Self>]) -> Counted {
        let sum = |of: fn(&Self) -> &AtomicU64| all.iter().map(|one| of(one).load(Ordering::Relaxed)).sum();
        Counted {
            sources: sum(|one| &one.sources),
            readers: sum(|one| &one.readers),
            delivered: sum(|one| &one.delivered),
        }
    }
}

/// Counts the polls of a task: each wake-up polls it once.
pub(crate) async fn count_polls(
    counters: Arc<Counters>,
    of: fn(&Counters) -> &AtomicU64,
    task: impl Future<Output = ()>,
) {
    let mut task = pin!(task);
    poll_fn(|cx| {
        Counters::add(of(&counters), 1);
        task.as_mut().poll(cx)
    })
    .await;
}
