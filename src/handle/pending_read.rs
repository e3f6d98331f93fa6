//! A request that is polled instead of awaited. The reader and the chunks are built on it.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt;

use super::BufferHandle;
use crate::actor::message::AnswerFuture;
use crate::actor::shared::Shared;
use crate::core::lent::Found;
use crate::core::question::{Answer, Question};
use crate::core::read::{Read, Want};
use crate::error::Error;

/// At most one request: a read, or a question for the size.
#[derive(Default)]
pub(super) struct PendingRead {
    /// The offset of the read. Its answer is only for a caller that reads from there.
    read: Option<(u64, AnswerFuture<Found, Arc<Shared>>)>,
    size: Option<AnswerFuture<u64, Arc<Shared>>>,
}

impl PendingRead {
    /// Polls for the first bytes of a range. Settled bytes need no request, but a request that is under way is
    /// used. A pending request for another offset is withdrawn first.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        handle: &BufferHandle,
        read: Read,
    ) -> Poll<Result<Found, Error>> {
        debug_assert_ne!(read.want, Want::Exact, "a part of an exact read would look like the whole");
        if read.borrow
            && self.read.is_none()
            && self.size.is_none()
            && let Some(lent) = handle.settled(read.offset, read.len)
        {
            return Poll::Ready(Ok(Found::Lent(lent)));
        }
        self.size = None;
        self.read = self.read.take().filter(|(offset, _)| *offset == read.offset);
        let ask = || handle.send(Question::Read(read), Answer::found, Arc::clone(&handle.shared));
        let (_, answer) = self.read.get_or_insert_with(|| (read.offset, ask()));
        let found = ready!(answer.poll_unpin(cx));
        self.read = None;
        Poll::Ready(found)
    }

    /// Polls for the size. A pending read is withdrawn first.
    pub(super) fn poll_size(
        &mut self,
        cx: &mut Context<'_>,
        handle: &BufferHandle,
    ) -> Poll<Result<u64, Error>> {
        self.read = None;
        let ask = || handle.send(Question::Size, Answer::end, Arc::clone(&handle.shared));
        let size = ready!(self.size.get_or_insert_with(ask).poll_unpin(cx));
        self.size = None;
        Poll::Ready(size)
    }

    /// Withdraws the pending request.
    pub(super) fn cancel(&mut self) {
        *self = Self::default();
    }
}
