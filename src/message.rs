//! What a handle may ask of the actor. Every message carries the channel for its reply.

use tokio::sync::oneshot;

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

impl Token for Reply {
    fn is_abandoned(&self) -> bool {
        self.is_closed()
    }
}
