//! A Markdown table, printed line by line.

use std::fmt::Write as _;
use std::time::Duration;

use super::{KIB, MIB};

/// Prints a line of cells.
pub(crate) fn line<S: AsRef<str>>(cells: impl IntoIterator<Item = S>) {
    let mut line = String::from("|");
    for cell in cells {
        let _ = write!(line, " {} |", cell.as_ref());
    }
    println!("{line}");
}

/// Prints the head of a table.
pub(crate) fn head(cells: &[&str]) {
    line(cells);
    line(cells.iter().map(|_| "---"));
}

/// A time with three significant digits or so.
pub(crate) fn time(time: Duration) -> String {
    let ns = time.as_secs_f64() * 1e9;
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}

/// A rate in bytes per second.
pub(crate) fn rate(bytes: usize, time: Duration) -> String {
    format!("{:.2} GB/s", bytes as f64 / time.as_secs_f64() / 1e9)
}

/// A size in KiB or MiB.
pub(crate) fn size(bytes: f64) -> String {
    if bytes < MIB as f64 {
        format!("{:.1} KiB", bytes / KIB as f64)
    } else {
        format!("{:.1} MiB", bytes / MIB as f64)
    }
}
