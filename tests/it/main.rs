//! The contract, rule by rule, against real files, real tasks and a source that the test drives.
//!
//! Rules are cited by their number in the crate's documentation.
#![cfg(test)]
#![allow(
    clippy::missing_panics_doc,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::similar_names,
    missing_docs,
    unreachable_pub,
    reason = "a test says what it expects by panicking"
)]

mod article;
mod blocking;
mod cancelling;
mod crowds;
mod disk_threads;
mod drops;
mod edges;
mod errors;
mod every_poll;
mod failing;
mod layering;
mod lending;
mod lifecycle;
mod limits;
#[cfg(all(unix, feature = "process"))]
mod processes;
mod pulling;
mod random;
mod reading;
mod reliability;
mod resuming;
mod saving;
mod seeing;
mod seeking;
mod spilling;
mod stores;
mod support;
mod turns;
mod wakers;
