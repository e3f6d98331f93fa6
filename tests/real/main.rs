//! Tests with real systems: file systems that fill up, limits of the process, SIGKILL, thousands of buffers
//! and offsets beyond 4 GiB. They run on Linux only, because they use its limits and mounts.
//!
//! A test that sets limits, or counts the resources of its process, runs this binary again in a separate
//! process; see [`child`].
#![cfg(target_os = "linux")]
#![cfg(test)]
#![allow(
    clippy::missing_panics_doc,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::explicit_write,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a test says what it expects by panicking, and shares its support with others"
)]

mod child;
mod crowds;
mod disks;
mod far;
mod limits;
mod lost_writes;
mod memory_disks;
mod runtimes;
mod saves;
#[path = "../it/support/mod.rs"]
mod support;
mod windows;

use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Prints the result of a test, or the reason why it could not run. The harness hides the output of tests
/// that pass, so this bypasses it.
fn tell(what: &str) {
    use std::io::Write;
    writeln!(std::io::stderr(), "{what}").unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn names(dir: &std::path::Path) -> Vec<String> {
    dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
