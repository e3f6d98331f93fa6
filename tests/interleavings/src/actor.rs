//! The code of the library.

#[path = "../../../src/actor/message.rs"]
pub(crate) mod message;
#[path = "../../../src/actor/shared.rs"]
#[allow(dead_code, reason = "the models do not ask for the last read")]
pub(crate) mod shared;

pub(crate) use crate::sync;
