//! The source of the driver: its openings and its streams. A one-way stream is a source that was opened once.

use std::collections::BTreeMap;

use super::*;
use crate::core::OpenedStream;
use crate::core::pull::Permit;
use crate::core::ranges::RangeSet;
use crate::progress::Ranges;
use crate::source::version::Version;
use crate::source::{OpenAt, Reopen};

/// The size of most resources.
pub(in super::super) const SIZE: u64 = 3_000_000;

pub(in super::super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What an opening says of its stream.
pub(in super::super) fn told(version: Option<&'static str>, size: Option<u64>) -> OpenedStream {
    let version = version.map(Version::strong);
    OpenedStream { start: None, size, version, reopen: Reopen::Anywhere }
}

pub(in super::super) fn versioned() -> OpenedStream {
    told(Some("v1"), Some(SIZE))
}

/// A stream or its opening.
pub(in super::super) struct Stream {
    /// The offset of its next byte; `None` while it is being opened.
    pub(in super::super) at: Option<u64>,
    /// What was asked for.
    pub(in super::super) asked: OpenAt,
    /// The number of openings before its own.
    pub(in super::super) opened_at: usize,
    /// The new bytes that it has brought.
    pub(in super::super) brought: u64,
}

pub(in super::super) struct Source {
    pub(in super::super) streams: BTreeMap<usize, Stream>,
    /// The most streams that may be open at once.
    most: usize,
    /// The openings that the core asked for, and their times.
    pub(in super::super) openings: Vec<(OpenAt, Instant)>,
    /// The number of the stream of the last one.
    opened: usize,
    /// The requests that had just been answered at the last opening, and the ranges that were loaded then.
    pub(in super::super) at_opening: (Vec<usize>, Ranges),
    /// Bytes sent by all streams.
    pub(in super::super) sent: u64,
    /// The stream that sent the last chunk.
    arriving_from: usize,
    /// The bytes that were loaded at any time. Not kept for a one-way stream.
    arrived: RangeSet,
}

impl Source {
    pub(super) fn new(is_one_way: bool, most: usize) -> Self {
        let stream = Stream { at: Some(0), asked: OpenAt::new(0), opened_at: 0, brought: 0 };
        let streams = is_one_way.then_some((0, stream)).into_iter().collect();
        let (openings, at_opening) = (Vec::new(), (Vec::new(), Ranges::default()));
        let arrived = RangeSet::default();
        Self { streams, most, openings, opened: 0, at_opening, sent: 0, arriving_from: 0, arrived }
    }

    pub(super) fn open(
        &mut self,
        stream: usize,
        at: OpenAt,
        now: Instant,
        answered: Vec<usize>,
        loaded: Ranges,
    ) {
        let opened_at = self.openings.len();
        self.openings.push((at.clone(), now));
        (self.opened, self.at_opening) = (stream, (answered, loaded));
        self.streams.insert(stream, Stream { at: None, asked: at, opened_at, brought: 0 });
        assert!(self.streams.len() <= self.most, "{} streams at once", self.streams.len());
    }

    pub(super) fn close(&mut self, stream: usize) {
        assert!(self.streams.remove(&stream).is_some(), "closed twice");
    }
}

impl World {
    // ---- openings ----

    pub(in super::super) fn is_opening(&self) -> bool {
        self.source.streams.values().any(|stream| stream.at.is_none())
    }

    /// The number of the first opening that runs.
    pub(in super::super) fn the_opening(&self) -> usize {
        self.ids().into_iter().find(|id| self.at_of(*id).is_none()).expect("an opening runs")
    }

    /// The first opening that runs succeeds.
    pub(in super::super) fn opened(&mut self, told: OpenedStream) {
        self.opened_as(self.the_opening(), told);
    }

    pub(in super::super) fn opened_as(&mut self, stream: usize, told: OpenedStream) {
        let Stream { at, asked, .. } = self.source.streams.get_mut(&stream).expect("it is being opened");
        *at = Some(told.start.unwrap_or(asked.offset));
        self.event(Event::Opened(stream, told));
    }

    /// The first opening that runs fails.
    pub(in super::super) fn open_fails(&mut self, error: io::Error) {
        self.open_fails_as(self.the_opening(), error);
    }

    pub(in super::super) fn open_fails_as(&mut self, stream: usize, error: io::Error) {
        self.event(Event::OpenFailed(stream, error));
    }

    /// The number of the stream that was opened last.
    pub(in super::super) fn last_opened(&self) -> usize {
        self.source.opened
    }

    pub(in super::super) fn last_opening(&self) -> OpenAt {
        self.source.openings.last().expect("the source was opened").0.clone()
    }

    /// How often the source was opened.
    pub(in super::super) fn openings(&self) -> usize {
        self.source.openings.len()
    }

    // ---- streams ----

    /// The numbers of all streams and openings.
    pub(in super::super) fn ids(&self) -> Vec<usize> {
        self.source.streams.keys().copied().collect()
    }

    pub(in super::super) fn has_stream(&self, stream: usize) -> bool {
        self.source.streams.contains_key(&stream)
    }

    /// The offset of the next byte of this stream, if it is open.
    pub(in super::super) fn at_of(&self, stream: usize) -> Option<u64> {
        self.source.streams.get(&stream)?.at
    }

    /// What the opening of this stream asked for.
    pub(in super::super) fn asked_of(&self, stream: usize) -> &OpenAt {
        &self.source.streams[&stream].asked
    }

    /// The offset of the first open stream.
    pub(in super::super) fn at(&self) -> Option<u64> {
        self.source.streams.values().find_map(|stream| stream.at)
    }

    /// The number of the first open stream.
    pub(in super::super) fn the_stream(&self) -> usize {
        // A test may have a one-way stream go on after its end.
        let open = self.ids().into_iter().find(|id| self.at_of(*id).is_some());
        open.or(self.is_one_way.then_some(0)).expect("a stream is open")
    }

    /// The number of the open stream whose next byte is at this offset.
    pub(in super::super) fn stream_at(&self, offset: u64) -> usize {
        self.ids().into_iter().find(|id| self.at_of(*id) == Some(offset)).expect("a stream is there")
    }

    /// Whether the first open stream is to be polled.
    pub(in super::super) fn wants(&mut self) -> bool {
        self.at().is_some() && self.wants_of(self.the_stream())
    }

    /// Whether this stream is to be polled.
    pub(in super::super) fn wants_of(&mut self, stream: usize) -> bool {
        self.core.permit(self.now, stream).is_some()
    }

    /// The first stream that is to be polled.
    pub(in super::super) fn wanted(&mut self) -> Option<usize> {
        self.ids().into_iter().find(|id| self.wants_of(*id))
    }

    /// A test may have a one-way stream go on that is not wanted: that is shorter than to ask for its bytes first.
    fn permit(&mut self, stream: usize) -> Permit<'_, Ticket> {
        (self.told, self.is_checked) = (self.now, false);
        if self.is_one_way {
            return Permit { core: &mut self.core, stream };
        }
        self.core.permit(self.now, stream).expect("bytes are wanted")
    }

    /// The first stream sends its next `len` bytes.
    pub(in super::super) fn send(&mut self, len: impl TryInto<u64>) {
        self.send_of(self.the_stream(), len);
    }

    /// This stream sends its next `len` bytes.
    pub(in super::super) fn send_of(&mut self, stream: usize, len: impl TryInto<u64>) {
        let at = if self.is_one_way { Some(self.source.sent) } else { self.at_of(stream) };
        let at = at.expect("it is open");
        self.send_bytes_of(stream, source(at, at + len.try_into().ok().expect("a length")));
    }

    pub(in super::super) fn send_bytes(&mut self, bytes: Bytes) {
        self.send_bytes_of(self.the_stream(), bytes);
    }

    pub(in super::super) fn send_bytes_of(&mut self, stream: usize, bytes: Bytes) {
        let len = bytes.len() as u64;
        if let Some(at) = self.source.streams.get_mut(&stream).and_then(|stream| stream.at.as_mut()) {
            *at = at.saturating_add(len);
        }
        self.source.sent += len;
        self.source.arriving_from = stream;
        let before = self.loaded();
        self.permit(stream).chunk(bytes);
        if !self.is_one_way {
            self.note_arrived(self.loaded() - before);
        }
        self.react();
    }

    /// Blocks arrive while they are wanted, `most` bytes in all.
    pub(in super::super) fn send_while_wanted(&mut self, most: usize) {
        let to = self.source.sent + most as u64;
        while self.source.sent < to && self.wants() {
            self.send(64 * KIB);
        }
    }

    fn loaded(&self) -> u64 {
        let Ranges { resident, spilled } = self.ranges();
        resident.iter().chain(&spilled).map(|range| range.end - range.start).sum()
    }

    /// New bytes of the last chunk were taken in.
    pub(super) fn note_arrived(&mut self, new: u64) {
        if self.is_one_way {
            return;
        }
        if let Some(stream) = self.source.streams.get_mut(&self.source.arriving_from) {
            stream.brought += new;
        }
        let Ranges { resident, spilled } = self.ranges();
        resident.into_iter().chain(spilled).for_each(|range| self.source.arrived.insert(range));
    }

    /// Whether this byte was loaded at any time.
    pub(in super::super) fn has_arrived(&self, offset: u64) -> bool {
        self.source.arrived.look_up(offset).0
    }

    /// Whether any byte was loaded at any time.
    pub(in super::super) fn has_bytes(&self) -> bool {
        self.source.arrived.iter().next().is_some()
    }

    /// The end of the furthest byte that was loaded at any time.
    pub(in super::super) fn arrived_end(&self) -> u64 {
        self.source.arrived.end()
    }

    /// The first offset from here on whose byte is not loaded.
    pub(in super::super) fn first_missing(&self, mut offset: u64) -> u64 {
        let Ranges { resident, spilled } = self.ranges();
        while let Some(range) = resident.iter().chain(&spilled).find(|range| range.contains(&offset)) {
            offset = range.end;
        }
        offset
    }

    pub(in super::super) fn breaks(&mut self) {
        self.breaks_of(self.the_stream());
    }

    pub(in super::super) fn breaks_of(&mut self, stream: usize) {
        let cause = io::Error::new(io::ErrorKind::ConnectionReset, "gone");
        self.permit(stream).fail(cause);
        self.react();
    }

    pub(in super::super) fn ends(&mut self) {
        self.ends_of(self.the_stream());
    }

    pub(in super::super) fn ends_of(&mut self, stream: usize) {
        self.permit(stream).end();
        self.react();
    }

    /// The only stream is closed because it was not used for 30 s.
    pub(in super::super) fn closes_unused(&mut self) {
        assert_eq!(self.wait(), Duration::from_secs(30));
        assert!(self.source.streams.is_empty());
    }

    // ---- all that is ready ----

    /// A caller reads `len` bytes, and the source is opened for that read. The opening reports `told`.
    pub(in super::super) fn open_and_read(&mut self, offset: u64, len: u64, told: OpenedStream) {
        self.read(offset, len);
        let stream = self.the_opening();
        self.opened(told);
        self.send_of(stream, len);
        assert!(self.next_bytes() == source(offset, offset + len), "wrong bytes at {offset}");
    }

    /// An opening, a stream that is wanted or a write goes on; a stream sends this much at most. Returns whether there
    /// was one.
    pub(in super::super) fn work(&mut self, chunk: u64) -> bool {
        if self.is_opening() {
            self.opened(versioned());
        } else if let Some(stream) = self.wanted() {
            let left = SIZE - self.at_of(stream).expect("it is open");
            self.send_of(stream, left.min(chunk));
        } else if self.disk.is_writing() {
            self.write_succeeds();
        } else {
            return false;
        }
        true
    }

    /// All goes on until this request is answered, without time passing.
    pub(in super::super) fn work_for(&mut self, ask: &Ask, chunk: u64) {
        for _ in 0..10_000 {
            if !self.is_waiting(ask) {
                return;
            }
            assert!(self.work(chunk), "the request waits for time or for ever");
        }
        panic!("the request waits for ever");
    }
}
