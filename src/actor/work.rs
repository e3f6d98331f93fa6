//! How much the actor does in one poll.

/// The most bytes that the actor copies in one poll. At about 10 GB/s this takes 200 microseconds.
/// Other tasks of the thread wait that long.
const BYTES_MOST: usize = 2 * 1024 * 1024;

/// A request costs about as much as copying this many bytes.
const REQUEST: usize = 4 * 1024;

/// The most polls of a channel or a stream. tokio allows 128 such operations for one poll of a task.
/// The actor leaves one half to the other futures of the same task.
const POLLS_MOST: usize = 64;

/// The work done in the current poll.
#[derive(Default)]
pub(super) struct Work {
    bytes: usize,
    polls: usize,
    has_reads: bool,
    answered: usize,
}

impl Work {
    /// These bytes were copied.
    pub(super) fn bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// A request was taken in, or a reply was sent.
    pub(super) fn request(&mut self) {
        self.bytes(REQUEST);
    }

    /// A read was taken in.
    pub(super) fn read(&mut self) {
        self.has_reads = true;
    }

    pub(super) fn has_reads(&self) -> bool {
        self.has_reads
    }

    /// A request was answered that had waited.
    pub(super) fn answer(&mut self) {
        self.answered += 1;
    }

    /// Whether several requests were answered that had waited.
    pub(super) fn has_answered_several(&self) -> bool {
        self.answered > 1
    }

    /// A channel or a stream was polled, and was ready.
    pub(super) fn poll(&mut self) {
        self.polls += 1;
    }

    /// Whether the poll is to end here.
    pub(super) fn is_spent(&self) -> bool {
        self.bytes >= BYTES_MOST || self.polls >= POLLS_MOST
    }
}
