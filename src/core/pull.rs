//! Pulling: permits, the events of the source, and what follows from them.

use std::io;
use std::time::Instant;

use bytes::Bytes;

use super::chunk::Chunk;
use super::demand::Need;
use super::feeds::{Admission, Consequence, End, Fault, OpenedStream};
use super::question::Question;
use super::{Action, Core, Ending, Token};
use crate::error::Error;

/// Permission to poll one stream once. It takes the result of the poll; a poll without a result needs
/// no report.
pub(crate) struct Permit<'a, T> {
    pub(super) core: &'a mut Core<T>,
    pub(super) stream: usize,
}

impl<T: Token> Core<T> {
    /// Whether to poll this stream now: more of its bytes are needed, and there is room for them.
    pub(crate) fn permit(&mut self, now: Instant, stream: usize) -> Option<Permit<'_, T>> {
        self.now = now;
        // For speed only: after reads that were answered at once, nothing has changed.
        let decided = self.wanted_idle.filter(|_| !self.dirty);
        if decided.is_none() && !self.feeds.is_open(stream) {
            return None;
        }
        let wanted = decided.unwrap_or_else(|| self.wants_chunk(stream));
        self.feeds.want(now, stream, wanted);
        wanted.then_some(Permit { core: self, stream })
    }

    /// Whether bytes of this stream are needed, and there is room for them.
    pub(super) fn wants_chunk(&mut self, stream: usize) -> bool {
        self.can_take_chunk() && self.need(stream) > Need::Nothing
    }

    /// Whether a chunk can be taken in, whichever stream brings it.
    pub(super) fn can_take_chunk(&self) -> bool {
        self.arriving.is_empty() && !self.has_ended() && self.writeback.has_room(&self.layout)
    }

    pub(super) fn opened(&mut self, stream: usize, opened: OpenedStream) {
        let declared = self.limits.declared;
        self.searched.restart();
        match self.feeds.opened(self.now, stream, opened, declared, &self.layout) {
            Ok(Admission::Admitted) => {
                self.learn_size();
                self.pass_loaded(stream);
            }
            Ok(Admission::Dropped) => {
                self.learn_size();
                if self.layout.is_whole(self.end) {
                    return self.finish(Ending::Complete);
                }
                self.close(stream);
            }
            Err(fault) => self.fault(stream, fault),
        }
    }

    /// The stream is not polled again.
    pub(super) fn close(&mut self, stream: usize) {
        self.stop(stream);
        self.closing.push(stream);
    }

    /// The opening or the stream failed.
    pub(super) fn fault(&mut self, stream: usize, fault: Fault) {
        let consequence = self.feeds.fail(self.now, stream, fault, self.limits.declared, &self.layout);
        self.close(stream);
        self.follow(consequence);
    }

    pub(super) fn follow(&mut self, consequence: Consequence) {
        match consequence {
            Consequence::Retry => {}
            Consequence::Fail(error) => self.finish(Ending::Failed(error)),
            Consequence::GiveUp(error) => self.fail_unserved(&error),
        }
    }

    // ---- chunks ----

    /// Takes in one block's worth of the chunk that is arriving, if memory has room.
    pub(super) fn absorb(&mut self) -> Option<Action<T>> {
        if self.arriving.is_empty() || !self.writeback.has_room(&self.layout) {
            return None;
        }
        let stream = self.arriving_from;
        let at = self.feeds.at(stream)?;
        let (is_loaded, border) = self.layout.look_up(at);
        let most = usize::try_from(border - at).unwrap_or(usize::MAX);
        let bytes = if is_loaded {
            let skipped = self.arriving.len().min(most);
            self.feeds.skipped(stream, skipped as u64);
            self.arriving.advance(skipped);
            0
        } else {
            let new = self.arriving.get(..most).unwrap_or(&self.arriving);
            let makes_hole = at > self.layout.end();
            let bytes = self.layout.append(stream, at, new);
            let answers = self.waiters.wake(at..at + bytes as u64);
            self.feeds.absorbed(self.now, stream, self.arriving.get(..bytes).unwrap_or_default(), answers);
            self.arriving.advance(bytes);
            if at + bytes as u64 > self.end && self.feeds.size().is_none() {
                // A stream at `end` brought no byte, so the resource seemed to end there or before. These
                // bytes show that this stream only broke.
                self.ends_at(u64::MAX);
            }
            self.learn_size();
            if makes_hole || self.layout.end() == u64::MAX {
                // The end of the resource is after these bytes, and not in the hole before them. At the
                // largest offset it is known.
                self.wake_size();
            }
            bytes
        };
        self.pass_loaded(stream);
        if self.arriving.is_empty() {
            // An empty slice would keep the whole chunk alive.
            self.arriving = Chunk::default();
        }
        self.fail_if_oversized();
        Some(Action::Absorbed { bytes })
    }

    /// Whether no byte is missing. Then all streams are closed, and the source has ended if no byte will be
    /// fetched again.
    pub(super) fn stop_if_whole(&mut self) -> bool {
        let is_whole = self.layout.is_whole(self.end);
        if is_whole && !self.may_fetch_again() {
            self.finish(Ending::Complete);
        } else if is_whole {
            self.prove_size();
            for stream in self.feeds.ids() {
                if self.feeds.at(stream).is_some() {
                    self.close(stream);
                }
            }
        }
        is_whole
    }

    /// Stops the stream if it has reached the end of the resource, or an island before which it stops. The
    /// buffer is complete if no byte is missing.
    fn pass_loaded(&mut self, stream: usize) {
        if self.stop_if_whole() {
            return;
        }
        let Some(at) = self.feeds.at(stream) else { return };
        let (is_loaded, end) = self.layout.look_up(at);
        if at >= self.end || is_loaded && self.feeds.stops_before(stream, &(at..end)) {
            if self.layout.end() == self.end {
                self.prove_size();
            }
            self.close(stream);
        }
    }

    /// The resource ends at `end`, because the byte before it has arrived.
    fn prove_size(&mut self) {
        self.feeds.ends_at(self.end);
        self.wake_size();
    }

    /// Requests for the size can be answered, and reads at `u64::MAX`, which wait for the end alone.
    fn wake_size(&mut self) {
        self.waiters.wake_endless(|asked| match &asked.question {
            Question::Size => true,
            Question::Read(read) => read.offset == u64::MAX,
            _ => false,
        });
    }

    // ---- the end of the resource ----

    /// Takes in the size, if the source has told one.
    fn learn_size(&mut self) {
        // Before the first byte, an earlier stream may have been one of another resource, with another size.
        let unknown = if self.feeds.has_bytes() { self.end } else { u64::MAX };
        self.ends_at(self.feeds.size().unwrap_or(unknown));
        if self.feeds.size().is_some() && self.published.size.is_none() {
            // Without this, they would wait if the offset of the end was known already.
            self.wake_size();
        }
    }

    /// The resource has no bytes from `end` on, as far as is known: requests for them need not wait.
    fn ends_at(&mut self, end: u64) {
        if end > self.end {
            // Requests were cut to the old end.
            self.waiters.wake_if(|_| true);
        } else if end < self.end {
            self.waiters.wake(end..u64::MAX);
        }
        self.end = end;
    }

    /// Whether no stream is polled any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ending.is_some() || self.excess
    }

    fn fail_if_oversized(&mut self) {
        if let (true, true, Some(declared)) = (self.excess, self.arriving.is_empty(), self.limits.declared) {
            self.finish(Ending::Failed(Error::oversized(declared)));
        }
    }

    pub(super) fn finish(&mut self, ending: Ending) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(ending);
        self.arriving = Chunk::default();
        for stream in self.feeds.ids() {
            if self.feeds.drop_stream(stream) {
                self.closing.push(stream);
            }
        }
        self.layout.close_all();
        self.waiters.wake_all();
    }
}

impl<T: Token> Permit<'_, T> {
    /// The stream yielded a chunk.
    pub(crate) fn chunk(self, chunk: Bytes) {
        let Self { core, stream } = self;
        let mut chunk = Chunk::from(chunk);
        core.dirty = true;
        if let Err(fault) = core.feeds.receive(core.now, stream, &mut chunk) {
            return core.fault(stream, fault);
        }
        let at = core.feeds.at(stream).unwrap_or_default();
        let allowed = core.limits.declared.map_or(u64::MAX, |size| size.saturating_sub(at));
        if chunk.len() as u64 > allowed {
            chunk.truncate(usize::try_from(allowed).unwrap_or(usize::MAX));
            core.excess = true;
        }
        // An empty slice would keep the whole chunk alive.
        if !chunk.is_empty() {
            (core.arriving, core.arriving_from) = (chunk, stream);
        }
        core.fail_if_oversized();
        // The first block at once: it saves a turn, and the permit says that there is room.
        core.absorb();
    }

    /// The stream ended.
    pub(crate) fn end(self) {
        let Self { core, stream } = self;
        core.dirty = true;
        match core.feeds.ended(stream, core.limits.declared, &core.layout) {
            End::Resource { most } => {
                core.ends_at(core.feeds.size().unwrap_or(most));
                core.pass_loaded(stream);
            }
            End::Stream => core.close(stream),
            End::Early => core.fault(stream, Fault::EarlyEnd),
        }
    }

    /// The stream failed.
    pub(crate) fn fail(self, cause: io::Error) {
        let Self { core, stream } = self;
        core.dirty = true;
        core.fault(stream, Fault::Io(cause));
    }
}
