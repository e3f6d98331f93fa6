//! Compares the bytes that a side returns with the original.

use streamspool::Bytes;

use crate::common::data::{PAGE, expected};

/// Compares the bytes of a stream with the original, if there is one.
pub(crate) struct Check<'a> {
    all: Option<&'a Bytes>,
    done: usize,
}

impl<'a> Check<'a> {
    pub(crate) fn new(all: Option<&'a Bytes>) -> Self {
        Self { all, done: 0 }
    }

    /// The next bytes of the stream.
    pub(crate) fn next(&mut self, bytes: &[u8]) {
        let start = self.done;
        self.done += bytes.len();
        assert!(self.all.is_none_or(|all| *bytes == all[start..self.done]), "wrong bytes at {start}");
    }

    /// The stream has ended.
    pub(crate) fn end(self) {
        assert!(self.all.is_none_or(|all| all.len() == self.done), "the stream ends at {}", self.done);
    }
}

/// Always compares the first eight bytes, so that every side also reads bytes that it returns as a slice.
/// Compares all of them if `check` is set.
pub(crate) fn verify(bytes: &[u8], all: &Bytes, at: usize, check: bool) {
    assert!(bytes.len() == PAGE && bytes[..8] == expected(at), "wrong bytes at {at}");
    assert!(!check || *bytes == all[at..at + PAGE], "wrong bytes at {at}");
}
