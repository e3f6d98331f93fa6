//! What the tour is told on the command line.

use std::path::PathBuf;

use clap::Parser;

/// How long a file of known size takes to arrive, unless a rate is given.
const SECONDS: u64 = 7;

/// The slowest pace taken by itself, and the pace of a pipe whose size nobody knows.
const SLOWEST: u64 = 64 << 10;
const PIPE: u64 = 512 << 10;

/// Streams an audio file through the buffer at a network's pace, while several tasks seek in it,
/// and checks every byte that they read.
#[derive(Debug, Parser)]
#[command(name = "tour")]
pub(crate) struct Args {
    /// What to stream: a file, or - for standard input [default: the tune of the crate]
    pub file: Option<PathBuf>,

    /// Also save the whole to PATH, and compare it with what was sent
    #[arg(long, value_name = "PATH")]
    pub save: Option<PathBuf>,

    /// Bytes per second at which it arrives, e.g. 96KiB [default: all in 7 s; 512KiB for a pipe]
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "fast")]
    rate: Option<u64>,

    /// The short form: as fast as it goes
    #[arg(long)]
    pub fast: bool,

    /// What the buffer may keep in memory before older bytes go to disk
    #[arg(long, value_name = "SIZE", value_parser = memory, default_value = "256KiB")]
    pub memory: usize,

    /// The size to expect, as a server's Content-Length would tell it [default: that of the file]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub size: Option<u64>,

    /// What the random ranges, jumps and chunks are drawn from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

impl Args {
    /// Bytes per second; `None` for no pace at all.
    pub(crate) fn pace(&self, size: Option<u64>) -> Option<u64> {
        if self.fast {
            return None;
        }
        let usual = size.map_or(PIPE, |size| (size / SECONDS).max(SLOWEST));
        Some(self.rate.unwrap_or(usual).max(1))
    }
}

/// A number of bytes, with or without a unit.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.strip_prefix(digits).unwrap_or_default().trim() {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        unit => return Err(format!("unknown unit {unit:?}: B, KiB, MiB or GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| "a number of bytes, such as 96KiB".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "too large".to_owned())
}

fn memory(text: &str) -> Result<usize, String> {
    size(text)?.try_into().map_err(|_| "more than this machine can address".to_owned())
}
