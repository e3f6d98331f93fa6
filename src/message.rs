//! What a handle may ask of the actor. Every message carries the channel for its reply.

use tokio::sync::{mpsc, oneshot};

use crate::core::memory::Pieces;
use crate::core::{Read, Token};
use crate::error::Error;

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

/// Where the answer comes from. Dropping it withdraws the request.
pub(crate) type Answer = oneshot::Receiver<Result<Pieces, Error>>;

impl Message {
    pub(crate) fn new(request: Request) -> (Self, Answer) {
        let (reply, answer) = oneshot::channel();
        (Self { request, reply }, answer)
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
