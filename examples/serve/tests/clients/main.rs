//! Clients by other authors, on the library and on the server: browsers, decoders, codecs and archives. They
//! expect a resource in which they can seek. They must not notice that the source is a stream that only goes forward.
//!
//! Cargo builds the clients in Rust. `.ci/run` installs the others: browsers, ffmpeg, players, fsspec and axe-core. If
//! one is missing, its tests print that they were skipped. `STREAMSPOOL_REQUIRE_CLIENTS=1` makes that a failure.

#![cfg(test)]

mod archive;
mod browser;
mod codecs;
mod decoder;
mod faults;
mod looks;
mod marionette;
mod media;
mod options;
mod origin;
mod page;
mod players;
mod ranges;
mod resuming;
mod saving;
mod sources;
mod starting_over;
mod strangers;
mod support;
mod table;
mod webdriver;
