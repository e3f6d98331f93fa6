//! Pulling: permits, the events of the source, and what follows from them.

use std::io;
use std::time::Instant;

use bytes::Bytes;

use super::chunk::Chunk;
use super::demand::Need;
use super::extent::Ending;
use super::feeds::{Admission, Consequence, End, Fault, OpenedStream};
use super::question::Question;
use super::{Action, Core, Token};

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
        self.arriving.is_empty() && !self.extent.has_ended() && self.writeback.has_room(&self.layout)
    }

    pub(super) fn opened(&mut self, stream: usize, opened: OpenedStream) {
        self.searched.restart();
        let admission = self.feeds.opened(self.now, stream, opened, &mut self.extent, &self.layout);
        self.follow_end();
        match admission {
            Ok(Admission::Admitted) => self.pass_loaded(stream),
            Ok(Admission::Dropped) if self.layout.is_whole(self.extent.end()) => {
                self.finish(Ending::Complete);
            }
            Ok(Admission::Dropped) => self.close(stream),
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
        let consequence = self.feeds.fail(self.now, stream, fault, &self.extent, &self.layout);
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
            let taken = self.arriving.get(..bytes).unwrap_or_default();
            self.feeds.absorbed(self.now, stream, taken, answers, &mut self.extent);
            self.arriving.advance(bytes);
            self.follow_end();
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
        let is_whole = self.layout.is_whole(self.extent.end());
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
        if at >= self.extent.end() || is_loaded && self.feeds.stops_before(stream, &(at..end), &self.extent) {
            if self.layout.end() == self.extent.end() {
                self.prove_size();
            }
            self.close(stream);
        }
    }

    fn prove_size(&mut self) {
        self.extent.prove();
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

    /// Wakes the requests that a new end or size concerns.
    fn follow_end(&mut self) {
        let end = self.extent.end();
        if end > self.followed_end {
            // Requests were cut to the old end.
            self.waiters.wake_if(|_| true);
        } else if end < self.followed_end {
            self.waiters.wake(end..u64::MAX);
        }
        self.followed_end = end;
        if self.extent.reported().is_some() && self.published.size.is_none() {
            // Without this, they would wait if the offset of the end was known already.
            self.wake_size();
        }
    }

    fn fail_if_oversized(&mut self) {
        if let Some(error) = self.extent.excess().filter(|_| self.arriving.is_empty()) {
            self.finish(Ending::Failed(error));
        }
    }

    pub(super) fn finish(&mut self, ending: Ending) {
        if !self.extent.finish(ending) {
            return;
        }
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
        if let Err(fault) = core.feeds.receive(core.now, stream, &mut chunk, &core.extent) {
            return core.fault(stream, fault);
        }
        let at = core.feeds.at(stream).unwrap_or_default();
        chunk.truncate(core.extent.allow(at, chunk.len()));
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
        match core.feeds.ended(stream, &mut core.extent, &core.layout) {
            End::Resource => {
                core.follow_end();
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
