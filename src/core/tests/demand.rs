//! Rule 6, restated for the tests: how far a source may be pulled.

/// Up to the furthest offset that a caller waits for, and `read_ahead` bytes past the furthest byte
/// delivered. Read-ahead starts with the first delivery, except for `u64::MAX`.
pub(crate) fn pull_to(read_ahead: u64, delivered: Option<u64>, waiting: impl Iterator<Item = u64>) -> u64 {
    let ahead = match (read_ahead, delivered) {
        (u64::MAX, _) => u64::MAX,
        (_, None) => 0,
        (read_ahead, Some(end)) => end.saturating_add(read_ahead),
    };
    waiting.fold(ahead, u64::max)
}
