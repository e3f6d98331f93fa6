//! The disk of the driver: it takes its time, fails when told to, and holds wrong bytes where it may.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::core::Write;
use crate::core::lent::Lent;

#[derive(Default)]
pub(in super::super) struct Disk {
    /// By the number of their place.
    blocks: BTreeMap<u64, Vec<u8>>,
    /// The end of the furthest write that succeeded.
    pub(in super::super) end: u64,
    /// Whether the store has or had a limit, so that places are used again.
    pub(in super::super) is_limited: bool,
    /// The places that hold bytes.
    pub(in super::super) places: BTreeSet<u64>,
    /// The running write.
    writing: Option<Write>,
    /// The places that writes have discarded.
    pub(in super::super) discarded: Vec<Range<u64>>,
    /// The generation of the last write of each place.
    announced: BTreeMap<u64, u64>,
    /// The slices that callers were lent and have not read yet.
    pub(super) lent: Vec<(Ticket, Lent)>,
    /// How often the store was read.
    pub(in super::super) reads: Cell<usize>,
}

impl Disk {
    pub(super) fn new(is_limited: bool) -> Self {
        Self { is_limited, ..Self::default() }
    }

    pub(in super::super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Whether the running write discards places.
    pub(in super::super) fn is_discarding(&self) -> bool {
        self.writing.as_ref().is_some_and(|write| !write.discarded.is_empty())
    }

    /// How many slices callers have not read yet.
    pub(in super::super) fn lent(&self) -> usize {
        self.lent.len()
    }

    pub(super) fn start(&mut self, write: Write) {
        assert!(self.writing.is_none(), "two writes at once");
        let len: usize = write.bytes.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(len <= SLACK / 2, "a write of more than half of the slack");
        assert!(len > 0 || !write.discarded.is_empty(), "a write of nothing");
        // While a write runs, its places may have any bytes.
        for place in write.places() {
            self.announced.insert(place.start / BLOCK as u64, write.generation.unwrap_or(0));
            if place.start < self.end {
                self.fill(&place, 0xEE);
            }
        }
        self.writing = Some(write);
    }

    fn discard(&mut self, write: &Write) {
        for place in &write.discarded {
            self.places.remove(&(place.start / BLOCK as u64));
            self.blocks.remove(&(place.start / BLOCK as u64));
        }
        self.discarded.extend(write.discarded.iter().cloned());
    }

    fn fill(&mut self, place: &Range<u64>, byte: u8) {
        let len = usize::try_from(place.end - place.start).unwrap();
        self.put(place.start, &vec![byte; len]);
    }

    fn put(&mut self, mut place: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let from = (place % BLOCK as u64) as usize;
            let part = bytes.len().min(BLOCK - from);
            let block = self.blocks.entry(place / BLOCK as u64).or_default();
            block.resize(block.len().max(from + part), 0);
            block[from..from + part].copy_from_slice(&bytes[..part]);
            (place, bytes) = (place + part as u64, &bytes[part..]);
        }
    }

    pub(super) fn read(&self, mut position: u64, len: u64) -> Bytes {
        self.reads.set(self.reads.get() + 1);
        let (mut bytes, end) = (Vec::with_capacity(len as usize), position + len);
        while position < end {
            let from = (position % BLOCK as u64) as usize;
            let part = (BLOCK - from).min((end - position) as usize);
            bytes.extend_from_slice(&self.blocks[&(position / BLOCK as u64)][from..from + part]);
            position += part as u64;
        }
        bytes.into()
    }

    /// All bytes from the first place to the end of the furthest write.
    pub(in super::super) fn all(&self) -> Bytes {
        self.read(0, self.end)
    }

    pub(super) fn lend(&mut self, token: Ticket, lent: Lent) {
        self.lent.push((token, lent));
    }

    pub(super) fn is_valid(&self, lent: &Lent) -> bool {
        let places = lent.position / BLOCK as u64..(lent.position + lent.len() - 1) / BLOCK as u64 + 1;
        self.announced.range(places).all(|(_, last)| *last <= lent.generation)
    }
}

impl World {
    /// The running write succeeds.
    pub(in super::super) fn write_succeeds(&mut self) {
        let write = self.disk.writing.take().expect("a write is running");
        self.disk.discard(&write);
        for (place, bytes) in &write.bytes {
            self.disk.put(*place, bytes);
            let end = place + bytes.len() as u64;
            self.disk.end = self.disk.end.max(end);
            self.disk.places.insert(place / BLOCK as u64);
        }
        // As the actor does: the store has dropped the bytes before the core knows.
        drop(write.bytes);
        self.event(Event::Written);
    }

    /// The running write fails half-way.
    pub(in super::super) fn write_fails(&mut self) {
        let write = self.disk.writing.take().expect("a write is running");
        self.disk.discard(&write);
        for (place, bytes) in &write.bytes {
            self.disk.fill(&(*place..*place + bytes.len() as u64 / 2), 0xEE);
        }
        let error = Error::spill_write(write.offset, io::ErrorKind::StorageFull.into());
        drop(write);
        self.event(Event::WriteFailed(error));
    }

    /// Every write succeeds, until none is due.
    pub(in super::super) fn write_all(&mut self) {
        self.pump();
        while self.disk.is_writing() {
            self.write_succeeds();
            self.pump();
        }
    }
}

/// The offset and the bytes of a write without gaps.
pub(super) fn joined(writes: &[(u64, Bytes)]) -> (u64, Vec<u8>) {
    let mut bytes = Vec::new();
    let start = writes.first().expect("a write has bytes").0;
    for (offset, part) in writes {
        assert_eq!(*offset, start + bytes.len() as u64, "a gap in a write");
        bytes.extend_from_slice(part);
    }
    (start, bytes)
}
