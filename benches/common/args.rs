//! The command line.

use super::WORKERS;

/// The arguments after the `--` of `cargo bench`, and those that cargo adds itself.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    /// Run everything briefly, without measuring. This is the case under `cargo test`, which does not pass
    /// `--bench`.
    pub(crate) quick: bool,
    /// Threads of the runtime.
    pub(crate) workers: usize,
    /// The length of the ranges that are read, in MiB.
    pub(crate) range: Option<usize>,
    /// The most streams of a buffer.
    pub(crate) streams: Option<usize>,
    rounds: Option<usize>,
    /// Run only rows whose name contains one of these words.
    filters: Vec<String>,
}

impl Args {
    pub(crate) fn from_env() -> Self {
        let mut args = Self {
            quick: true,
            workers: WORKERS,
            range: None,
            streams: None,
            rounds: None,
            filters: Vec::new(),
        };
        let mut words = std::env::args().skip(1);
        let mut forced = false;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => args.quick = false,
                "--quick" => forced = true,
                "--rounds" => {
                    args.rounds = Some(words.next().and_then(|n| n.parse().ok()).expect("--rounds N"));
                }
                "--range" => {
                    args.range = Some(words.next().and_then(|n| n.parse().ok()).expect("--range N"));
                }
                "--streams" => {
                    args.streams = Some(words.next().and_then(|n| n.parse().ok()).expect("--streams N"));
                }
                "--workers" => {
                    args.workers = words.next().and_then(|n| n.parse().ok()).expect("--workers N");
                }
                flag if flag.starts_with("--") => {}
                filter => args.filters.push(filter.to_owned()),
            }
        }
        args.quick |= forced;
        args
    }

    pub(crate) fn rounds(&self, usual: usize) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { usual }).max(1)
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }

    /// `full` for a measurement, `tiny` for a brief run.
    pub(crate) fn scale(&self, full: usize, tiny: usize) -> usize {
        if self.quick { tiny } else { full }
    }
}
