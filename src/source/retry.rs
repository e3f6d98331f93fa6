//! How often and how fast a failed source is opened again.

use std::time::Duration;

/// How a buffer opens its source again after a transient failure. Give it to
/// [`Builder::retry`](crate::Builder::retry).
///
/// An attempt is made only while a read or a load waits for missing bytes. The delay before an
/// attempt doubles each time; a random part of up to one half is taken off it. New bytes of the streams that were
/// opened since the failure start the count and the delay again. After the last attempt the waiting reads fail with
/// the error of the source, and the next read starts a new series.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use streamspool::{Retry, StreamBuffer};
///
/// let retry = Retry::default().attempts(3).stall_timeout(Duration::from_secs(10));
/// let builder = StreamBuffer::builder().retry(retry);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    pub(crate) attempts: u32,
    pub(crate) first_delay: Duration,
    pub(crate) max_delay: Duration,
    pub(crate) stall_timeout: Duration,
}

impl Default for Retry {
    /// 10 attempts, the first after 100 ms, at most 15 s apart; silence for 30 s is a failure.
    fn default() -> Self {
        Self {
            attempts: 10,
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// No attempts: the first transient failure fails the reads that wait. Silence is still a failure.
    #[must_use]
    pub fn never() -> Self {
        Self::default().attempts(0)
    }

    /// The number of attempts in a row that bring no new byte; 10 by default. Streams that fail together count as one.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The delay before the first attempt; 100 ms by default.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// The longest delay before an attempt; 15 s by default. A delay that the source asks for with
    /// [`SourceError::retry_after`](crate::SourceError::retry_after) may be longer.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// How long an opening, or a stream that is needed, may be silent before that counts as a
    /// transient failure; 30 s by default.
    #[must_use]
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout;
        self
    }
}
