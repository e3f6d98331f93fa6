//! A request that is polled rather than awaited: what the reader and the chunks are built on.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use tokio_util::sync::PollSender;

use crate::core::Read;
use crate::core::memory::Pieces;
use crate::error::Error;
use crate::handle::BufferHandle;
use crate::message::{Answer, Message, Request};
use crate::signal::Signal;

/// At most one read under way.
pub(crate) struct Fetch {
    requests: PollSender<Message>,
    signal: Arc<Signal>,
    answer: Option<Answer<Arc<Signal>>>,
}

impl Fetch {
    pub(crate) fn new(handle: &BufferHandle) -> Self {
        let (requests, signal) = handle.line();
        Self { requests: PollSender::new(requests), signal, answer: None }
    }

    /// Asks for `read`, unless a read is under way already, and polls for the answer.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, read: Read) -> Poll<Result<Pieces, Error>> {
        let answer = if let Some(answer) = &mut self.answer {
            answer
        } else {
            ready!(self.requests.poll_reserve(cx)).map_err(|_| Error::closed(read.offset))?;
            let (message, answer) = Message::new(Request::Read(read), Arc::clone(&self.signal));
            self.requests.send_item(message).map_err(|_| Error::closed(read.offset))?;
            self.answer.insert(answer)
        };
        let result = ready!(answer.poll_unpin(cx));
        self.answer = None;
        Poll::Ready(result.unwrap_or_else(|| Err(Error::closed(read.offset))))
    }

    /// Withdraws the read under way.
    pub(crate) fn cancel(&mut self) {
        self.answer = None;
        self.requests.abort_send();
    }
}
