//! The real thing: file systems that fill up, limits of the process, SIGKILL, thousands of buffers
//! and offsets beyond 4 GiB. Linux only: limits and mounts are made as Linux makes them.
//!
//! A test that needs a process of its own, for its limits or to count what the process holds, runs
//! this binary again for itself alone; see [`child`].
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
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
mod memory_disks;
mod runtimes;
#[path = "../it/support/mod.rs"]
mod support;

use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Tells what a test found out, or why it could not try: past the harness, which keeps what passing
/// tests print to itself.
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
