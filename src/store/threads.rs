//! Threads for work that may block.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::task::{JoinHandle, spawn_blocking};

/// Runs `work` on a thread that may block.
pub(crate) fn spawn<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Job<R> {
    Job(spawn_blocking(work))
}

/// Work on another thread. Dropping the job does not stop the work.
pub(crate) struct Job<R>(JoinHandle<R>);

impl<R> Future for Job<R> {
    type Output = io::Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(cx).map_err(io::Error::other)
    }
}
