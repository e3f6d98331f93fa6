//! Slices of the store that have to be waited for.

use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::{Either, select};
use tokio::task::coop::{consume_budget, has_budget_remaining};

use super::BufferHandle;
use crate::core::lent::Lent;
use crate::error::Error;

impl BufferHandle {
    /// Reads the first bytes of a slice on a disk thread, at most 1 MiB. `None` if the slice is not valid any more.
    /// The future holds no handle. It resolves to `Closed` at the end of the buffer, even if the disk hangs.
    pub(super) fn wait_for_slice(
        &self,
        lent: Lent,
    ) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send + Sync + use<> {
        let (lender, mut snapshots) = (self.lender.clone(), self.snapshots.clone());
        async move {
            let offset = lent.range.start;
            let read = pin!(lender.read(lent));
            // The actor drops the sender of the snapshots when it ends.
            let ended = pin!(async { while snapshots.changed().await.is_ok() {} });
            match select(read, ended).await {
                Either::Left((bytes, _)) => bytes,
                Either::Right(_) => Err(Error::closed(offset)),
            }
        }
    }
}

/// The bytes of a slice that use up one unit of the budget of a task. tokio gives 128 units to each poll of a task.
const UNIT: usize = 4 * 1024;

/// Ready if the caller may read this many bytes of a slice now. Otherwise other tasks have their turn first: the reader
/// of a slice waits for nothing, so it uses up the budget of its task.
pub(super) fn poll_budget(cx: &mut Context<'_>, bytes: usize) -> Poll<()> {
    ready!(pin!(consume_budget()).poll(cx));
    // The last units may be missing: then the next call waits.
    let _ = (1..bytes / UNIT).all(|_| has_budget_remaining() && pin!(consume_budget()).poll(cx).is_ready());
    Poll::Ready(())
}
