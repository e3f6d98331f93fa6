//! What a handle may ask of the actor. Every message carries the channel for its reply.

use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::{mpsc, oneshot};

use crate::core::memory::Pieces;
use crate::core::{Read, Token};
use crate::error::Error;
use crate::signal::Signal;

/// What is asked.
pub(crate) struct Message {
    pub(crate) request: Request,
    pub(crate) reply: Reply,
}

pub(crate) enum Request {
    /// A range; answered with its bytes.
    Read(Read),
    /// Everything resident is to go to disk; answered with no bytes once it is there.
    Spill,
}

/// Where the answer goes. Dropping it without an answer tells the asker that the buffer is closed,
/// so whatever ends the actor answers everybody.
pub(crate) type Reply = oneshot::Sender<Result<Pieces, Error>>;

/// Awaits the answer. Dropping it before withdraws the request.
pub(crate) struct Answer<S: Deref<Target = Signal>> {
    /// Until it is there.
    receiver: Option<oneshot::Receiver<Result<Pieces, Error>>>,
    signal: S,
    /// What the request is about, for the error where nobody answers it.
    offset: u64,
}

impl Message {
    pub(crate) fn new<S: Deref<Target = Signal>>(request: Request, signal: S) -> (Self, Answer<S>) {
        let offset = match &request {
            Request::Read(read) => read.offset,
            Request::Spill => 0,
        };
        let (reply, receiver) = oneshot::channel();
        (Self { request, reply }, Answer { receiver: Some(receiver), signal, offset })
    }
}

impl<S: Deref<Target = Signal>> Answer<S> {
    /// Waits no longer: what has not been answered by now is never.
    pub(crate) fn close(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            receiver.close();
        }
    }
}

impl<S: Deref<Target = Signal> + Unpin> Future for Answer<S> {
    type Output = Result<Pieces, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.receiver {
            Some(receiver) => ready!(Pin::new(receiver).poll(cx)),
            None => return Poll::Ready(Err(Error::closed(self.offset))),
        };
        self.receiver = None;
        Poll::Ready(answer.unwrap_or_else(|_| Err(Error::closed(self.offset))))
    }
}

impl<S: Deref<Target = Signal>> Drop for Answer<S> {
    fn drop(&mut self) {
        // First out of sight, and then told: who is told looks.
        if self.receiver.take().is_some() {
            self.signal.withdraw();
        }
    }
}

/// The receiving end of the requests.
///
/// A message that was sent while the receiver went would stay in the channel, unanswered, for as
/// long as there is a handle. So whoever has sent one asks whether the channel has been closed
/// meanwhile, and what came before that is taken out here: `try_recv`, unlike the receiver's own
/// drop, waits for those that are half sent.
pub(crate) struct Inbox(pub(crate) mpsc::UnboundedReceiver<Message>);

impl Drop for Inbox {
    fn drop(&mut self) {
        self.0.close();
        while self.0.try_recv().is_ok() {}
    }
}

impl Token for Reply {
    fn is_abandoned(&self) -> bool {
        self.is_closed()
    }
}
