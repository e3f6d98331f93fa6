//! A request that is polled instead of awaited. The reader and the chunks are built on it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt;

use super::BufferHandle;
use crate::actor::message::AnswerFuture;
use crate::actor::shared::Shared;
use crate::core::lent::{Found, Lent};
use crate::core::question::{Answer, Question};
use crate::core::read::{Read, Want};
use crate::error::Error;

/// A read of a slice on a disk thread. In a box, because few readers have one.
type SliceRead = Pin<Box<dyn Future<Output = Result<Option<Bytes>, Error>> + Send + Sync>>;

/// At most one request: a read, or a question for the size.
#[derive(Default)]
pub(super) struct PendingRead {
    /// The offset of the read. Its answer is only for a caller that reads from there.
    read: Option<(u64, AnswerFuture<Found, Arc<Shared>>)>,
    size: Option<AnswerFuture<u64, Arc<Shared>>>,
    /// The offset of the slice that is read on a disk thread.
    slice: Option<(u64, SliceRead)>,
}

impl PendingRead {
    /// Polls for the first bytes of a range. A pending request for another offset is withdrawn first.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        handle: &BufferHandle,
        read: Read,
    ) -> Poll<Result<Found, Error>> {
        debug_assert_ne!(read.want, Want::Exact, "a part of an exact read would look like the whole");
        self.size = None;
        self.read = self.read.take().filter(|(offset, _)| *offset == read.offset);
        let ask = || handle.send(Question::Read(read), Answer::found, Arc::clone(&handle.shared));
        let (_, answer) = self.read.get_or_insert_with(|| (read.offset, ask()));
        let found = ready!(answer.poll_unpin(cx));
        self.read = None;
        Poll::Ready(found)
    }

    /// Polls for the first bytes of a slice that has to be waited for. `None` if it is not valid any more.
    pub(super) fn poll_slice(
        &mut self,
        cx: &mut Context<'_>,
        handle: &BufferHandle,
        lent: &Lent,
    ) -> Poll<Result<Option<Bytes>, Error>> {
        let offset = lent.range.start;
        self.slice = self.slice.take().filter(|(of, _)| *of == offset);
        let wait = || (offset, Box::pin(handle.wait_for_slice(lent.clone())) as SliceRead);
        let bytes = ready!(self.slice.get_or_insert_with(wait).1.poll_unpin(cx));
        self.slice = None;
        Poll::Ready(bytes)
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

    /// Whether a slice is read on a disk thread.
    pub(super) fn is_reading_slice(&self) -> bool {
        self.slice.is_some()
    }

    /// Withdraws the pending request.
    pub(super) fn cancel(&mut self) {
        *self = Self::default();
    }
}
