//! A request that is polled instead of awaited. The reader and the chunks are built on it.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt;

use super::BufferHandle;
use crate::actor::message::{Answer, Request};
use crate::actor::shared::Shared;
use crate::core::lent::Found;
use crate::core::read::{Read, Want};
use crate::error::Error;

/// At most one read that is under way, or one question for the size.
#[derive(Default)]
pub(super) struct PendingRead {
    pending: Option<(Asked, Answer<Arc<Shared>>)>,
}

/// What the pending request asks for. A reply is only for the caller that asks for the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Piece { offset: u64 },
    Size,
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
            && self.pending.is_none()
            && let Some(lent) = handle.settled(read.offset, read.len)
        {
            return Poll::Ready(Ok(Found::Lent(lent)));
        }
        self.poll(cx, handle, Asked::Piece { offset: read.offset }, || Request::Read(read))
    }

    /// Polls until the size is published. A pending request for bytes is withdrawn first.
    pub(super) fn poll_size(
        &mut self,
        cx: &mut Context<'_>,
        handle: &BufferHandle,
    ) -> Poll<Result<(), Error>> {
        self.poll(cx, handle, Asked::Size, || Request::Size)
            .map_ok(drop)
            .map_err(|error| handle.at_end(error))
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        handle: &BufferHandle,
        asked: Asked,
        request: impl FnOnce() -> Request,
    ) -> Poll<Result<Found, Error>> {
        if self.pending.as_ref().is_some_and(|(pending, _)| *pending != asked) {
            self.pending = None;
        }
        let ask = || (asked, handle.request(request(), Arc::clone(&handle.shared)));
        let (_, answer) = self.pending.get_or_insert_with(ask);
        let result = ready!(answer.poll_unpin(cx));
        self.pending = None;
        Poll::Ready(result)
    }

    /// Withdraws the pending request.
    pub(super) fn cancel(&mut self) {
        self.pending = None;
    }
}
