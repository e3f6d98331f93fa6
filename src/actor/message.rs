//! The messages that a handle sends to the actor. Each message carries the channel for its reply.

use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::{mpsc, oneshot};

use super::shared::Shared;
use crate::core::Token;
use crate::core::memory::Pieces;
use crate::core::read::Read;
use crate::error::Error;

pub(crate) struct Message {
    pub(crate) request: Request,
    pub(crate) reply: Reply,
}

/// What a caller asks for.
pub(crate) enum Request {
    /// A range. The reply has its bytes, or the first of them.
    Read(Read),
    /// The end of the stream. The reply has no bytes.
    Load,
    /// All resident bytes are to be spilled. The reply has no bytes.
    Spill,
}

/// Where the reply is sent. If it is dropped without a reply, the caller gets
/// [`Closed`](crate::ErrorKind::Closed). So every end of the actor answers all requests.
pub(crate) type Reply = oneshot::Sender<Result<Pieces, Error>>;

/// Awaits the reply. Dropping it before the reply withdraws the request.
pub(crate) struct Answer<S: Deref<Target = Shared>> {
    /// `None` after the reply.
    receiver: Option<oneshot::Receiver<Result<Pieces, Error>>>,
    shared: S,
    /// The offset that the request is about, for the error if no reply comes. 0 if it is about none: then
    /// the handle replaces it.
    offset: u64,
}

impl Message {
    pub(crate) fn new<S: Deref<Target = Shared>>(request: Request, shared: S) -> (Self, Answer<S>) {
        let offset = match &request {
            Request::Read(read) => read.offset,
            Request::Load | Request::Spill => 0,
        };
        let (reply, receiver) = oneshot::channel();
        (Self { request, reply }, Answer { receiver: Some(receiver), shared, offset })
    }
}

impl<S: Deref<Target = Shared>> Answer<S> {
    /// Accepts no further reply: one that has not been sent yet is replaced by `Closed`.
    pub(crate) fn close(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            receiver.close();
        }
    }
}

impl<S: Deref<Target = Shared> + Unpin> Future for Answer<S> {
    type Output = Result<Pieces, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = match &mut self.receiver {
            Some(receiver) => ready!(Pin::new(receiver).poll(cx)),
            None => return Poll::Ready(Err(Error::closed(self.offset))),
        };
        self.receiver = None;
        Poll::Ready(reply.unwrap_or_else(|_| Err(Error::closed(self.offset))))
    }
}

impl<S: Deref<Target = Shared>> Drop for Answer<S> {
    fn drop(&mut self) {
        // Close the channel first, then wake the actor, which checks the channel.
        if self.receiver.take().is_some() {
            self.shared.withdraw();
        }
    }
}

/// The receiving end of the messages.
///
/// A message that is sent while the receiver is dropped could stay in the channel without a reply for
/// as long as a handle exists. Two steps prevent this. A sender checks after each send whether the
/// channel was closed meanwhile. And `drop` takes out all messages sent before the channel was closed:
/// `try_recv`, unlike the receiver's own drop, waits for messages that are half sent.
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
