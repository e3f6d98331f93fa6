//! A request that is polled rather than awaited: what the reader and the chunks are built on.

use std::task::{Context, Poll, ready};

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::core::Read;
use crate::core::memory::Pieces;
use crate::error::Error;
use crate::handle::BufferHandle;
use crate::message::{Answer, Message, Request};

/// At most one read under way.
pub(crate) struct Fetch {
    requests: PollSender<Message>,
    answer: Option<Answer>,
}

impl Fetch {
    pub(crate) fn new(handle: &BufferHandle) -> Self {
        Self { requests: PollSender::new(handle.requests()), answer: None }
    }

    /// Asks for `read`, unless a read is under way already, and polls for the answer.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, read: Read) -> Poll<Result<Pieces, Error>> {
        let closed = |_| Error::closed(read.offset);
        if self.answer.is_none() {
            ready!(self.requests.poll_reserve(cx)).map_err(|_| Error::closed(read.offset))?;
            let (message, answer) = Message::new(Request::Read(read));
            self.requests.send_item(message).map_err(|_| Error::closed(read.offset))?;
            let answer = self.answer.insert(answer);
            if self.requests.get_ref().is_none_or(mpsc::Sender::is_closed) {
                // Perhaps it came too late to be taken in, and nobody would ever answer it.
                answer.close();
            }
        }
        let Some(answer) = &mut self.answer else { return Poll::Pending };
        let result = ready!(answer.poll_unpin(cx));
        self.answer = None;
        Poll::Ready(result.map_err(closed)?)
    }

    /// Withdraws the read under way.
    pub(crate) fn cancel(&mut self) {
        self.answer = None;
        self.requests.abort_send();
    }
}
