//! Clients that we did not write, on top of the library: browsers, decoders, codecs and archives
//! that know nothing of a stream that only goes forward, and must not notice that they read one.
//!
//! Those in Rust come with the build. The others are Debian's `chromium`, `chromium-driver` and
//! `ffmpeg`: where one is missing, its test says so and is skipped, unless
//! `STREAMSPOOL_REQUIRE_CLIENTS=1` makes that a failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets what it did not expect has failed"
)]

mod archive;
mod browser;
mod codecs;
mod decoder;
mod faults;
mod media;
mod ranges;
mod saving;
mod sources;
mod support;
mod table;
