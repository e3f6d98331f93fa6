//! What the tests ask of the core beyond its protocol. The list is to stay short.

use super::*;
use crate::progress::Ranges;

impl World {
    /// The progress that is true now, published or not. It judges what is published, and when.
    pub(in super::super) fn progress(&mut self) -> Progress {
        self.core.progress()
    }

    /// Whether a failure of the source lasts now, published or not.
    pub(super) fn has_source_error(&self) -> bool {
        self.core.source_error().is_some()
    }

    /// The ranges of loaded bytes, which the protocol shows too.
    pub(in super::super) fn ranges(&self) -> Ranges {
        self.core.layout.ranges()
    }

    /// Bytes of memory for loaded bytes. The bound of rule 9 counts them, and not the bytes that they hold.
    pub(in super::super) fn allocated(&self) -> usize {
        self.core.layout.allocated()
    }

    /// Bytes of the blocks that have left and are not used again yet. Rule 9 counts them too.
    pub(in super::super) fn spare(&self) -> usize {
        self.core.layout.spare()
    }

    /// Bytes of memory with those of the arriving chunk, which the protocol shows too.
    pub(in super::super) fn memory(&self) -> usize {
        self.core.held()
    }

    /// The number of the attempt that was scheduled last; 0 if none is. Progress shows it only while a request waits.
    pub(in super::super) fn attempt(&self) -> u32 {
        self.core.feeds.retrying().map_or(0, |(attempt, ..)| attempt)
    }

    /// How far ahead of a stream a request waits for it. The core measures it.
    pub(in super::super) fn reach(&self) -> u64 {
        self.core.feeds.reach()
    }

    /// Whether the missing byte at `offset` is within the read-ahead of a reader. The core keeps the readers.
    pub(in super::super) fn is_ahead(&self, offset: u64) -> bool {
        self.core.delivered.is_ahead(offset, self.core.read_ahead)
    }
}
