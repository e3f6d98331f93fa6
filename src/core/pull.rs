//! Pulling: permits, the events of the source, and what follows from them.

use std::io;
use std::time::Instant;

use bytes::Bytes;

use super::chunk::Chunk;
use super::feeds::{Consequence, Fault, OpenedStream};
use super::{Action, Core, Ending, Token};
use crate::error::Error;

/// Permission to poll the stream once. It takes the result of the poll; a poll without a result needs
/// no report.
pub(crate) struct Permit<'a, T> {
    pub(super) core: &'a mut Core<T>,
}

impl<T: Token> Core<T> {
    /// Whether to poll the stream now: more bytes are needed, and there is room for them.
    pub(crate) fn permit(&mut self, now: Instant) -> Option<Permit<'_, T>> {
        self.now = now;
        (self.feed.is_open() && self.wants_chunk()).then_some(Permit { core: self })
    }

    /// Whether bytes that are not loaded are needed, and there is room for them.
    pub(super) fn wants_chunk(&mut self) -> bool {
        self.can_take_chunk() && self.is_needed()
    }

    fn can_take_chunk(&self) -> bool {
        self.arriving.is_empty() && !self.has_ended() && self.writeback.has_room(&self.layout)
    }

    /// Starts an opening of the source, if a request needs it.
    pub(super) fn next_opening(&mut self) -> Option<Action<T>> {
        if self.feed.is_open() || !self.can_take_chunk() || !self.is_demanded() {
            return None;
        }
        self.feed.open(self.now, self.layout.loaded()).map(Action::OpenStream)
    }

    /// Whether a request waits for a missing byte. Only then the source is opened.
    pub(super) fn is_demanded(&mut self) -> bool {
        let loaded = self.layout.loaded();
        let loads_all = self.limits.read_ahead == u64::MAX && !self.feed.gave_up();
        loads_all || self.waiters.furthest().is_some_and(|until| until > loaded) || self.needs_size()
    }

    pub(super) fn opened(&mut self, opened: OpenedStream) {
        match self.feed.opened(opened, self.layout.loaded(), self.limits.declared) {
            Ok(()) => self.complete_if_whole(),
            Err(fault) => self.fault(fault),
        }
    }

    /// The opening or the stream failed.
    pub(super) fn fault(&mut self, fault: Fault) {
        self.close_stream = true;
        let consequence = self.feed.fail(self.now, fault, self.layout.loaded(), self.limits.declared);
        self.follow(consequence);
    }

    pub(super) fn follow(&mut self, consequence: Consequence) {
        match consequence {
            Consequence::Retry => {}
            Consequence::Fail(error) => self.finish(Ending::Failed(error)),
            Consequence::GiveUp(error) => self.fail_needy(&error),
        }
    }

    /// Takes in one block's worth of the chunk that is arriving, if memory has room.
    pub(super) fn absorb(&mut self) -> Option<Action<T>> {
        if self.arriving.is_empty() || !self.writeback.has_room(&self.layout) {
            return None;
        }
        let bytes = self.layout.append(&self.arriving);
        self.feed.absorbed(self.arriving.get(..bytes).unwrap_or_default());
        self.arriving.advance(bytes);
        if self.arriving.is_empty() {
            // An empty slice would keep the whole chunk alive.
            self.arriving = Chunk::default();
        }
        self.fail_if_oversized();
        self.complete_if_whole();
        Some(Action::Absorbed { bytes })
    }

    // ---- the end of the stream ----

    /// Whether the stream must not be polled again.
    pub(super) fn has_ended(&self) -> bool {
        self.ending.is_some() || self.excess
    }

    fn fail_if_oversized(&mut self) {
        if let (true, true, Some(declared)) = (self.excess, self.arriving.is_empty(), self.limits.declared) {
            self.finish(Ending::Failed(Error::oversized(declared)));
        }
    }

    /// All bytes are loaded if the source told the size, and they have arrived.
    fn complete_if_whole(&mut self) {
        if self.feed.size() == Some(self.layout.loaded()) {
            self.finish(Ending::Complete);
        }
    }

    pub(super) fn finish(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.ending = Some(ending);
            // A stream that sent too much was closed when it did.
            self.close_stream |= !self.excess;
            self.layout.finish();
        }
    }
}

impl<T: Token> Permit<'_, T> {
    /// The stream yielded a chunk.
    pub(crate) fn chunk(self, chunk: Bytes) {
        let core = self.core;
        let mut chunk = Chunk::from(chunk);
        core.dirty = true;
        let loaded = core.layout.loaded();
        if let Err(fault) = core.feed.receive(&mut chunk, loaded) {
            return core.fault(fault);
        }
        let allowed = core.limits.declared.map_or(u64::MAX, |size| size.saturating_sub(loaded));
        if chunk.len() as u64 > allowed {
            chunk.truncate(usize::try_from(allowed).unwrap_or(usize::MAX));
            core.excess = true;
            core.close_stream = true;
        }
        // An empty slice would keep the whole chunk alive.
        if !chunk.is_empty() {
            core.arriving = chunk;
        }
        core.fail_if_oversized();
        // The first block at once: it saves a turn, and the permit says that there is room.
        core.absorb();
    }

    /// The stream ended.
    pub(crate) fn end(self) {
        let core = self.core;
        core.dirty = true;
        if core.feed.is_whole(core.layout.loaded(), core.limits.declared) {
            core.finish(Ending::Complete);
        } else {
            core.fault(Fault::EarlyEnd);
        }
    }

    /// The stream failed.
    pub(crate) fn fail(self, cause: io::Error) {
        let core = self.core;
        core.dirty = true;
        core.fault(Fault::Io(cause));
    }
}
