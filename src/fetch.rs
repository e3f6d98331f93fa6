//! A request that is polled rather than awaited: what the reader and the chunks are built on.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt;

use crate::core::Read;
use crate::core::memory::Pieces;
use crate::error::Error;
use crate::handle::BufferHandle;
use crate::message::{Answer, Request};
use crate::signal::Signal;

/// At most one read under way.
#[derive(Default)]
pub(crate) struct Fetch {
    answer: Option<Answer<Arc<Signal>>>,
}

impl Fetch {
    /// Asks for `read`, unless a read is under way already, and polls for the answer.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        handle: &BufferHandle,
        read: Read,
    ) -> Poll<Result<Pieces, Error>> {
        let ask = || handle.request(Request::Read(read), handle.signal());
        let result = ready!(self.answer.get_or_insert_with(ask).poll_unpin(cx));
        self.answer = None;
        Poll::Ready(result)
    }

    /// Withdraws the read under way.
    pub(crate) fn cancel(&mut self) {
        self.answer = None;
    }
}
