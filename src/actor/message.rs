//! The messages that a handle sends to the actor. Each message carries the channel for its reply.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use super::shared::Shared;
use super::sync::{mpsc, oneshot, quietly, unconstrained, yield_now};
use crate::core::Token;
use crate::core::question::{Answer, Asked, Question};
use crate::error::Error;

/// A question, and the channel for its answer.
pub(crate) type Message = Asked<Reply>;

/// Where the reply is sent. If it is dropped without a reply, the caller gets
/// [`Closed`](crate::ErrorKind::Closed). So every end of the actor answers all requests.
///
/// A reply wakes its caller. The waker is foreign code, and its panic must not end the buffer for the other callers.
pub(crate) struct Reply(Option<oneshot::Sender<Result<Answer, Error>>>);

impl Reply {
    /// Sends the reply. A caller that has dropped its request needs none.
    pub(crate) fn send(mut self, result: Result<Answer, Error>) {
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

/// Resolves to the answer, or to [`Closed`](crate::ErrorKind::Closed). Dropping it before that withdraws the question.
pub(crate) struct AnswerFuture<V, S: Deref<Target = Shared>> {
    /// `None` after the reply.
    receiver: Option<oneshot::Receiver<Result<Answer, Error>>>,
    /// Takes the value out of the answer. It is `None` for an answer to another kind of question.
    value: fn(Answer) -> Option<V>,
    shared: S,
    /// For the error if no reply comes.
    offset: u64,
}

/// Sends a question about this offset.
pub(crate) fn send<V, S: Deref<Target = Shared>>(
    requests: &mpsc::UnboundedSender<Message>,
    question: Question,
    offset: u64,
    value: fn(Answer) -> Option<V>,
    shared: S,
) -> AnswerFuture<V, S> {
    let mut answer = AnswerFuture { receiver: None, value, shared, offset };
    // Otherwise the answer is known, even if nothing polls the actor any more.
    if !answer.shared.is_closed() {
        let (reply, receiver) = oneshot::channel();
        // A closed channel returns the message. Dropping it answers it.
        let _ = requests.send(Asked { question, token: Reply(Some(reply)) });
        answer.receiver = Some(receiver);
    }
    answer
}

impl<V, S: Deref<Target = Shared> + Unpin> Future for AnswerFuture<V, S> {
    type Output = Result<V, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = match &mut self.receiver {
            Some(receiver) => ready!(Pin::new(receiver).poll(cx)).ok(),
            None => None,
        };
        self.receiver = None;
        let value = reply.transpose()?.and_then(self.value);
        Poll::Ready(value.ok_or_else(|| Error::closed(self.offset)))
    }
}

impl<V, S: Deref<Target = Shared>> Drop for AnswerFuture<V, S> {
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
