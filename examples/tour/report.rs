//! The output at the end: a table of the reads and a summary.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{BinaryBytes, HumanCount};
use streamspool::Location;

use crate::check::{Reads, Tally, Who};
use crate::decoder::Played;
use crate::remote::Fetched;

const COLUMNS: [(Who, &str); 4] = [
    (Who::Decoder, "decoder"),
    (Who::Random, "random"),
    (Who::LiveEdge, "live edge"),
    (Who::Framed, "framed"),
];

/// In the order of `Location::ALL`.
const LOCATIONS: [&str; 4] = ["  before the index", "  bisected by it", "  at it", "  after it"];

/// Prints the reads of each listener and of all of them.
pub(crate) fn table(tally: &Tally) -> io::Result<()> {
    let all = tally.all();
    if all.bytes() == 0 {
        return Ok(());
    }
    let mut columns: Vec<Reads> =
        COLUMNS.iter().map(|(who, _)| tally.by.get(who).cloned().unwrap_or_default()).collect();
    columns.push(all);
    let mut out = io::stdout().lock();
    writeln!(out)?;
    write_row(&mut out, "", COLUMNS.iter().map(|(_, name)| *name).chain(["all"]))?;
    let mut row =
        |name: &str, cell: &dyn Fn(&Reads) -> String| write_row(&mut out, name, columns.iter().map(cell));
    let count = |count: u64| HumanCount(count).to_string();
    let bytes = |bytes: u64| BinaryBytes(bytes).to_string();

    row("reads", &|reads| count(reads.waits.count()))?;
    for (location, name) in Location::ALL.iter().copied().zip(LOCATIONS) {
        row(name, &|reads| count(reads.at.get(&location).copied().unwrap_or(0)))?;
    }
    row("given up", &|reads| count(reads.gave_up))?;
    row("from memory", &|reads| bytes(reads.from_memory))?;
    row("from disk", &|reads| bytes(reads.from_disk))?;
    for percent in [50, 99] {
        let wait = |reads: &Reads| reads.waits.percentile(percent).map_or("-".to_owned(), wait);
        row(&format!("wait, p{percent}"), &wait)?;
    }
    writeln!(out)
}

fn write_row(out: &mut impl Write, name: &str, cells: impl Iterator<Item = impl Display>) -> io::Result<()> {
    write!(out, "{name:<19}")?;
    for cell in cells {
        write!(out, "{cell:>12}")?;
    }
    writeln!(out)
}

/// Prints the summary.
pub(crate) fn summary(
    tally: &Tally,
    loaded: u64,
    fetched: Option<&Fetched>,
    played: &Played,
) -> io::Result<()> {
    let all = tally.all();
    let mut out = io::stdout().lock();
    if let Some(fetched) = fetched {
        let (requests, bytes) = (HumanCount(fetched.requests()), BinaryBytes(fetched.bytes()));
        writeln!(out, "Fetched {bytes} of {}; requests: {requests}.", BinaryBytes(loaded))?;
    }
    writeln!(
        out,
        "Sent {}; read {} in {} reads, every byte as it was sent.",
        BinaryBytes(loaded),
        BinaryBytes(all.bytes()),
        HumanCount(all.waits.count()),
    )?;
    match played {
        Played::Whole { format, seconds, jumps, damaged } => {
            writeln!(out, "Played {seconds:.1} s of {format}, with {jumps} jumps.")?;
            if *damaged > 0 {
                writeln!(out, "Damaged: {} packets could not be decoded.", HumanCount(*damaged))?;
            }
        }
        Played::NotAudio { why } => {
            writeln!(out, "Not played: no audio that the decoder knows. The buffer still served all bytes.")?;
            writeln!(out, "  ({why})")?;
        }
        // This becomes an error of the tour.
        Played::Broken { .. } => {}
    }
    Ok(())
}

/// Prints that the saved file is correct.
pub(crate) fn saved(path: &Path, len: u64) -> io::Result<()> {
    writeln!(io::stdout(), "Saved to {}: {len} bytes, all as they were sent.", path.display())
}

/// A wait with about three digits.
fn wait(wait: Duration) -> String {
    let micros = wait.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        10_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}
