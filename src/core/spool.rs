//! What goes to disk and when: first in, first out, one write under way at a time.

use bytes::Bytes;

use super::Token;
use super::memory::{BLOCK, Memory};
use super::waiters::Waiters;

/// How far memory may go over its budget while the disk takes in the rest. Four blocks: one that is
/// open, and others to fill while a write is under way.
const SLACK: usize = 1024 * 1024;

/// The most that one write job takes: half of the slack, so that the other half fills meanwhile.
const WRITE_MOST: usize = 512 * 1024;

pub(super) struct Spool<T> {
    /// Bytes of memory to stay within.
    budget: usize,
    /// Where the write under way ends.
    writing: Option<u64>,
    /// Whether the last write failed, and memory is over its budget because of it. Pulling stops
    /// until a read that needs more has it tried again.
    failed: bool,
    /// How far purges want the disk to be, whoever still waits for them.
    purge_to: u64,
    /// Who waits for all before an offset to be on disk.
    purges: Waiters<T>,
}

impl<T: Token> Spool<T> {
    pub(super) fn new(budget: usize) -> Self {
        Self { budget, writing: None, failed: false, purge_to: 0, purges: Waiters::new() }
    }

    /// Asks that everything before `to` goes to disk.
    pub(super) fn purge(&mut self, to: u64, token: T) {
        self.failed = false;
        self.purge_to = to;
        self.purges.park(to, token);
    }

    /// The next one whose purge is done, now that all before `spilled` is on disk.
    pub(super) fn next_purged(&mut self, spilled: u64) -> Option<T> {
        self.purges.pop(spilled)
    }

    /// What to write next, and where it starts.
    pub(super) fn next_write(&mut self, memory: &mut Memory) -> Option<(u64, Vec<Bytes>)> {
        if self.writing.is_some() || self.failed {
            return None;
        }
        let to = memory.excess(self.budget).max(self.purge_to);
        if to <= memory.start() {
            return None;
        }
        let blocks = memory.oldest(to, WRITE_MOST);
        let start = memory.start();
        self.writing = Some(start + blocks.iter().map(|block| block.len() as u64).sum::<u64>());
        Some((start, blocks))
    }

    /// The write under way is done. Returns where it ended.
    pub(super) fn written(&mut self) -> Option<u64> {
        self.writing.take()
    }

    /// The write under way failed. Returns those whose purge fails with it.
    pub(super) fn write_failed(&mut self, memory: &Memory) -> impl Iterator<Item = T> + use<T> {
        self.writing = None;
        // Where only a purge asked for the write, memory is fine and reading goes on.
        self.failed = memory.excess(self.budget) > memory.start();
        self.purge_to = 0;
        self.purges.take_beyond(memory.start())
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.purges.len()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Lets a failed write be tried again.
    pub(super) fn retry(&mut self) {
        self.failed = false;
    }

    /// Whether one more block may come in.
    pub(super) fn has_room(&self, memory: &Memory) -> bool {
        !self.failed && memory.allocated().saturating_add(BLOCK) <= self.budget.saturating_add(SLACK)
    }
}
