//! The command line of the tour.

use std::path::PathBuf;

use clap::Parser;

/// Seconds that a file of known size takes to arrive without `--rate`.
const SECONDS: u64 = 7;

/// The lowest rate without `--rate`, and the rate of a pipe, whose size is unknown.
const SLOWEST: u64 = 64 << 10;
const PIPE: u64 = 512 << 10;

/// Streams an audio file through a buffer as slowly as a network, while several tasks seek in it. Checks
/// every byte that they read.
#[derive(Debug, Parser)]
#[command(name = "tour")]
pub(crate) struct Args {
    /// What to stream: a file, an http or https address, or - for standard input [default: the tune of the
    /// repository]
    #[arg(value_name = "FILE|URL")]
    pub input: Option<PathBuf>,

    /// Also save the stream to PATH, and compare the file with the bytes that were sent
    #[arg(long, value_name = "PATH")]
    pub save: Option<PathBuf>,

    /// Bytes per second, e.g. 96KiB [default: all in 7 s; 512KiB for a pipe]. No effect on an address
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "fast")]
    rate: Option<u64>,

    /// The short form: send without a rate limit
    #[arg(long)]
    pub fast: bool,

    /// The memory limit of the buffer. Older bytes go to disk
    #[arg(long, value_name = "SIZE", value_parser = memory, default_value = "256KiB")]
    pub memory: usize,

    /// The declared size, like a server's Content-Length [default: the size of the file]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub size: Option<u64>,

    /// The seed of the random ranges, jumps and chunks
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

impl Args {
    /// The address, if the input is one.
    pub(crate) fn url(&self) -> Option<&str> {
        let text = self.input.as_deref()?.to_str()?;
        (text.starts_with("http://") || text.starts_with("https://")).then_some(text)
    }

    /// Bytes per second. `None` means no limit.
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
