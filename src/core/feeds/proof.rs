//! Proof: why the bytes of a stream belong to the bytes that were taken in before.

use std::collections::VecDeque;
use std::io;

use super::{Fault, Feeds};
use crate::core::extent::Extent;
use crate::core::layout::Layout;
use crate::source::error::SourceError;
use crate::source::version::Version;

/// How many of the last bytes are kept, to prove that a new stream has the same bytes.
const TAIL: usize = 64 * 1024;

/// How many of the first bytes are kept. A stream that starts again with other bytes, as a radio does, differs
/// here. Without them, all of its bytes up to the last kept ones would be received first.
const HEAD: usize = 4 * 1024;

/// After this many openings in a row without a version, a source counts as one that tells none. One such opening
/// may be from another server of the same resource.
const UNTOLD_MOST: u32 = 2;

/// Why a stream is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// No byte was taken in, and no other stream is open. So there is nothing to mix its bytes with.
    First,
    /// Its version is the known one.
    Version,
    /// It brings all bytes that are kept before it brings a new byte, and they are compared.
    Kept,
}

impl Feeds {
    /// What proves a stream that starts at `start`, and tells this size and version. With `None` its bytes cannot
    /// be compared: it was asked for when the known version would have proven it, or when there were fewer bytes.
    ///
    /// Without a known version, only one stream is open: the version that a stream tells is known from its first
    /// new byte on, and no other stream may depend on the kept bytes then.
    pub(super) fn prove(
        &mut self,
        start: u64,
        size: Option<u64>,
        version: Option<&Version>,
        extent: &Extent,
        layout: &Layout,
    ) -> Result<Option<Proof>, Fault> {
        let is_alone = self.open_count() == 0;
        if is_alone && !self.has_bytes {
            return Ok(Some(Proof::First));
        }
        if let (Some(known), Some(size)) = (extent.reported(), size)
            && known != size
        {
            return Err(Fault::Changed("its size differs"));
        }
        if size.is_some_and(|size| size < layout.end()) {
            return Err(Fault::Changed("it is shorter than the bytes received before"));
        }
        match (&self.version, version) {
            (Some(known), Some(version)) if known == version => {
                self.untold = 0;
                Ok(Some(Proof::Version))
            }
            (Some(_), Some(_)) => Err(Fault::Changed("its version differs")),
            (known, _) => {
                self.untold += u32::from(known.is_some());
                if is_alone && self.kept.are_passed_from(start) {
                    return Ok(Some(Proof::Kept));
                }
                self.unproven(layout)
            }
        }
    }

    /// A stream has neither the known version, nor bytes that can be compared.
    fn unproven(&self, layout: &Layout) -> Result<Option<Proof>, Fault> {
        if self.version.is_none() {
            return Ok(None);
        }
        if !self.has_lost_version() {
            let message = "the source gave no version, so its bytes cannot be proven";
            return Err(Fault::Io(io::Error::other(message)));
        }
        if layout.last_resident(TAIL as u64).is_empty() {
            let message = "the source gives no version any more, and no byte to compare is in memory";
            return Err(Fault::Io(SourceError::permanent(message).into()));
        }
        Ok(None)
    }

    /// Whether the source has told versions before and does not any more. Then it is read as a source without
    /// versions, until it tells the known one again.
    pub(super) fn has_lost_version(&self) -> bool {
        self.version.is_some() && self.untold >= UNTOLD_MOST
    }

    /// Chooses the kept bytes for an opening. With a known version, bytes are kept only once it is lost.
    pub(super) fn keep_for_opening(&mut self, layout: &mut Layout) {
        if self.version.is_none() {
            return;
        }
        self.kept = Kept::default();
        let range = layout.last_resident(TAIL as u64);
        if self.has_lost_version() && !range.is_empty() {
            let (start, end) = (range.start, range.end);
            let mut at = start;
            for piece in layout.slice(range, end) {
                self.kept.extend(at, &piece);
                at += piece.len() as u64;
            }
        }
    }
}

/// The first and the last bytes of a source without versions, while all bytes are loaded from the start on.
#[derive(Default)]
pub(super) struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// The offset after the last byte.
    end: u64,
}

impl Kept {
    /// The number of the last bytes that are kept.
    pub(super) fn overlap(&self) -> u64 {
        self.tail.len() as u64
    }

    /// The offset of the first of the last bytes.
    fn tail_start(&self) -> u64 {
        self.end - self.overlap()
    }

    /// Whether a stream from `start` on brings all of the last bytes.
    fn are_passed_from(&self, start: u64) -> bool {
        self.end > 0 && start <= self.tail_start()
    }

    /// These bytes follow, at `at`.
    pub(super) fn extend(&mut self, at: u64, bytes: &[u8]) {
        let room = HEAD.saturating_sub(self.head.len());
        if at == self.head.len() as u64 {
            self.head.extend(bytes.iter().take(room));
        }
        self.end = at + bytes.len() as u64;
        let bytes = bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default();
        let excess = (self.tail.len() + bytes.len()).saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.tail.extend(bytes);
    }

    /// Whether bytes at `at` differ from the kept ones.
    pub(super) fn differ(&self, at: u64, bytes: &[u8]) -> bool {
        let is_equal = |start: u64, kept: &mut dyn Iterator<Item = u8>| {
            let skipped = usize::try_from(start.saturating_sub(at)).unwrap_or(usize::MAX);
            let from = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
            let bytes = bytes.get(skipped..).unwrap_or_default();
            kept.skip(from).zip(bytes).all(|(kept, byte)| kept == *byte)
        };
        let is_head = is_equal(0, &mut self.head.iter().copied());
        !is_head || !is_equal(self.tail_start(), &mut self.tail.iter().copied())
    }
}
