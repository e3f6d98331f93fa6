//! The messages that a handle sends to the actor. Each message carries the channel for its reply.

use std::future::poll_fn;
use std::ops::{Deref, Range};
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use super::shared::Shared;
use super::sync::{mpsc, oneshot, quietly, unconstrained, yield_now};
use crate::core::Token;
use crate::core::lent::Found;
use crate::core::read::Read;
use crate::error::Error;
use crate::progress::Ranges;

pub(crate) struct Message {
    pub(crate) request: Request,
    pub(crate) reply: Reply,
}

/// What a caller asks for.
pub(crate) enum Request {
    /// A range. The reply has its bytes, or the first of them, or the slice of the store that has them.
    Read(Read),
    /// A range is to be loaded. The reply has no bytes.
    Load(Range<u64>),
    /// The size of the resource. The reply has no bytes, and comes after the size was published.
    Size,
    /// All resident bytes are to be spilled. The reply has no bytes.
    Spill,
    /// Limits are changed. The reply has no bytes, and comes when the buffer is within them.
    SetLimits { max_memory: Option<usize>, max_disk: Option<u64> },
    /// The ranges of loaded bytes. The actor sets them before it sends the reply, which has no bytes.
    Ranges(Arc<OnceLock<Ranges>>),
}

/// Where the reply is sent. If it is dropped without a reply, the caller gets
/// [`Closed`](crate::ErrorKind::Closed). So every end of the actor answers all requests.
///
/// A reply wakes its caller. The waker is foreign code, and its panic must not end the buffer for the other callers.
pub(crate) struct Reply(Option<oneshot::Sender<Result<Found, Error>>>);

impl Reply {
    /// Sends the reply. A caller that has dropped its request needs none.
    pub(crate) fn send(mut self, result: Result<Found, Error>) {
        let sender = self.0.take();
        quietly(|| sender.map(|sender| sender.send(result)));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let sender = self.0.take();
        quietly(|| drop(sender));
    }
}

/// Awaits the reply. Dropping it before the reply withdraws the request.
pub(crate) struct Answer<S: Deref<Target = Shared>> {
    /// `None` after the reply.
    receiver: Option<oneshot::Receiver<Result<Found, Error>>>,
    shared: S,
    /// The offset that the request is about, for the error if no reply comes. 0 if it is about none: then
    /// the handle replaces it.
    offset: u64,
}

/// Sends a request. The answer resolves to the reply, or to [`Closed`](crate::ErrorKind::Closed).
pub(crate) fn send<S: Deref<Target = Shared>>(
    requests: &mpsc::UnboundedSender<Message>,
    request: Request,
    shared: S,
) -> Answer<S> {
    let offset = match &request {
        Request::Read(read) => read.offset,
        Request::Load(range) => range.start,
        Request::Size | Request::Spill | Request::SetLimits { .. } | Request::Ranges(_) => 0,
    };
    if shared.is_closed() {
        // The answer is known, even if nothing polls the actor any more.
        return Answer { receiver: None, shared, offset };
    }
    let (reply, receiver) = oneshot::channel();
    // A closed channel returns the message. Dropping it answers it.
    let _ = requests.send(Message { request, reply: Reply(Some(reply)) });
    Answer { receiver: Some(receiver), shared, offset }
}

impl<S: Deref<Target = Shared> + Unpin> Future for Answer<S> {
    type Output = Result<Found, Error>;

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
        if let Some(receiver) = self.receiver.take() {
            // Close the channel first, then wake the actor, which checks the channel.
            drop(receiver);
            self.shared.withdraw();
        }
    }
}

/// The receiving end of the messages.
pub(crate) struct Inbox {
    messages: mpsc::UnboundedReceiver<Message>,
    shared: Arc<Shared>,
}

/// What [`Inbox::poll`] found.
pub(crate) enum Received {
    /// There are messages in the batch.
    Messages,
    /// No message. The next one wakes the actor, and so does every flag. `withdrawn` says whether
    /// requests were dropped since the last time.
    Nothing { withdrawn: bool },
    /// The last handle is gone, or the buffer is closed. Then the batch is to be dropped.
    Closed,
}

impl Inbox {
    pub(crate) fn new(messages: mpsc::UnboundedReceiver<Message>, shared: Arc<Shared>) -> Self {
        Self { messages, shared }
    }

    /// Fills `batch` if it is empty, with at most `most` messages. The oldest one is the last, to be
    /// popped first.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, batch: &mut Vec<Message>, most: usize) -> Received {
        if batch.is_empty() {
            match self.messages.poll_recv_many(cx, batch, most) {
                Poll::Ready(0) => return Received::Closed,
                Poll::Ready(_) => batch.reverse(),
                Poll::Pending => {
                    // Register the waker only before returning `Nothing`.
                    let withdrawn = self.shared.poll_withdrawn(cx);
                    let is_closed = self.shared.is_closed();
                    return if is_closed { Received::Closed } else { Received::Nothing { withdrawn } };
                }
            }
        }
        // Checked at each call: requests that were waiting at the close get no other answer.
        if self.shared.is_closed() { Received::Closed } else { Received::Messages }
    }
}

/// Answers every message that was or is being sent. A sender does three things: it reserves a place,
/// unless the channel is closed; it writes the message; it wakes the receiver. So there are three cases:
///
/// - The channel is closed before the place is reserved. Then the sender gets its message back.
/// - The message is written before the channel is closed. Then it is taken out here.
/// - The channel is closed between both. Then the message is half sent. It would stay in the channel,
///   unanswered, for as long as a handle exists. So `drop` takes out messages until the channel reports
///   its end, which it does only when no place is reserved. This waits for a few instructions of
///   another thread.
impl Drop for Inbox {
    fn drop(&mut self) {
        self.messages.close();
        // Unconstrained, because a task without budget finds every channel as if a message were half sent.
        let mut end = pin!(unconstrained(poll_fn(|cx| {
            while ready!(self.messages.poll_recv(cx)).is_some() {}
            Poll::Ready(())
        })));
        while end.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            yield_now();
        }
    }
}

impl Token for Reply {
    fn is_abandoned(&self) -> bool {
        self.0.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}
