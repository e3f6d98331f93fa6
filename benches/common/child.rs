//! A child process: this benchmark once more, told by a variable to do one piece of work. So memory and threads
//! of other work do not count.

use std::process::Command;

use super::KIB;

/// The variable.
const ASKED: &str = "STREAMSPOOL_BENCH_CHILD";

/// Has a child process do this work. Returns what it prints.
pub(crate) fn ask(work: &str) -> String {
    let this = std::env::current_exe().expect("a path");
    let output = Command::new(this).env(ASKED, work).output().expect("a child process");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The work to do, if this is a child process.
pub(crate) fn asked() -> Option<String> {
    std::env::var(ASKED).ok()
}

/// A size that the system reports for this process, in bytes.
pub(crate) fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux system");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    kib * KIB as f64
}
