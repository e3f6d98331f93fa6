//! Comparison of two ways to do the same work.

use std::time::Duration;

/// The results of a comparison.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) ours: Duration,
    pub(crate) theirs: Duration,
    /// Their time divided by ours: how many times as fast we are. The median of the rounds.
    pub(crate) ratio: f64,
    /// The lowest and the highest ratio of the rounds.
    pub(crate) spread: (f64, f64),
}

/// Runs both once to warm up, and then in turn, so that a change of the machine's speed affects both.
///
/// Each side returns its own time, so that it can exclude preparation and clean-up.
pub(crate) async fn compare(
    rounds: usize,
    mut ours: impl AsyncFnMut() -> Duration,
    mut theirs: impl AsyncFnMut() -> Duration,
) -> Compared {
    let mut taken = Vec::new();
    for round in 0..=rounds {
        let pair = (ours().await, theirs().await);
        if round > 0 {
            taken.push(pair);
        }
    }
    let ratios: Vec<f64> =
        taken.iter().map(|(ours, theirs)| theirs.as_secs_f64() / ours.as_secs_f64()).collect();
    Compared {
        ours: median(taken.iter().map(|(ours, _)| *ours)),
        theirs: median(taken.iter().map(|(_, theirs)| *theirs)),
        ratio: median(ratios.iter().copied()),
        spread: spread(&ratios),
    }
}

/// The value in the middle.
pub(crate) fn median<T: PartialOrd>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    values.swap_remove(values.len() / 2)
}

/// The value that one in a hundred exceeds.
pub(crate) fn p99(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    percentile(&values, 990)
}

/// The value that all but `per_mille` in a thousand of the sorted values exceed.
pub(crate) fn percentile(sorted: &[Duration], per_mille: usize) -> Duration {
    sorted[(sorted.len() - 1) * per_mille / 1000]
}

/// The lowest and the highest value.
pub(crate) fn spread(values: &[f64]) -> (f64, f64) {
    (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied().fold(0.0, f64::max))
}
