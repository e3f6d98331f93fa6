//! The channels and atomics that actor and handles share.
//!
//! `tests/interleavings` compiles `shared.rs` and `message.rs` a second time, with its own version of
//! this module. There loom tries every order in which the threads can run.

pub(super) use std::sync::atomic::{AtomicBool, Ordering};
pub(super) use std::thread::yield_now;

pub(super) use futures::task::AtomicWaker;
pub(super) use tokio::sync::{mpsc, oneshot};
pub(super) use tokio::task::coop::unconstrained;

pub(super) use crate::panics::quietly;
