//! Two ways to do the same work, in turn.

use std::time::Duration;

/// What two ways took, round by round.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) ours: Duration,
    pub(crate) theirs: Duration,
    /// Theirs through ours: how many times as fast we are.
    pub(crate) ratio: f64,
    pub(crate) spread: (f64, f64),
}

/// Runs both once untimed, and then in turn: what changes on the machine meanwhile meets both.
///
/// Each of the two says itself what it took, so that it can prepare and clean up off the clock.
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

/// The middle one.
pub(crate) fn median<T: PartialOrd>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    values.swap_remove(values.len() / 2)
}

/// What only one in a hundred exceeds.
pub(crate) fn p99(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[(values.len() - 1) * 99 / 100]
}

pub(crate) fn spread(values: &[f64]) -> (f64, f64) {
    (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied().fold(0.0, f64::max))
}
