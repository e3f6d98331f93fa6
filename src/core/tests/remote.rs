//! A core with a source that the test plays, its streams and its disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::core::ranges::RangeSet;
use crate::core::{OpenedStream, Write};
use crate::progress::Ranges;
use crate::source::retry::Retry;
use crate::source::version::Version;
use crate::source::{OpenAt, Reopen};

pub(super) const SIZE: u64 = 3_000_000;

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What the test's source says of each stream.
pub(super) fn told(version: Option<&'static str>, size: Option<u64>) -> OpenedStream {
    let version = version.map(Version::strong);
    OpenedStream { start: None, size, version, reopen: Reopen::Anywhere }
}

pub(super) fn versioned() -> OpenedStream {
    told(Some("v1"), Some(SIZE))
}

/// A core with a source, and the source.
pub(super) struct Remote {
    pub(super) core: Core<Ticket>,
    pub(super) now: Instant,
    /// The openings that the core asked for, and their times.
    pub(super) openings: Vec<(OpenAt, Instant)>,
    /// The number of the last one.
    opened: Option<usize>,
    /// By stream: the number of openings before its last one.
    pub(super) opened_at: BTreeMap<usize, usize>,
    /// The requests that had just been answered at each opening, and the ranges that were loaded then.
    pub(super) at_opening: Vec<(Vec<usize>, Ranges)>,
    /// The next offset of each open stream; `None` while it is being opened.
    pub(super) streams: BTreeMap<usize, Option<u64>>,
    /// What was asked for by the last opening of each stream.
    pub(super) asked: BTreeMap<usize, OpenAt>,
    /// The most streams that may be open at once.
    most: usize,
    pub(super) answers: VecDeque<(usize, Result<Bytes, Error>)>,
    pub(super) published: Progress,
    pub(super) error: Option<Error>,
    next: usize,
    /// Bytes sent by all streams.
    pub(super) sent: u64,
    /// The bytes that were loaded at any time.
    pub(super) arrived: RangeSet,
    pub(super) disk: Vec<u8>,
    /// The blocks of the store that hold bytes.
    pub(super) places: BTreeSet<u64>,
    /// The running write.
    pub(super) writing: Option<Write>,
    /// The slices of the store that callers were lent and have not read yet.
    pub(super) lent: Vec<(Ticket, Lent)>,
    /// The generation of the last write of each slot.
    announced: BTreeMap<u64, u64>,
    /// The end of the settled bytes, as far as slices have reported it.
    settled: u64,
}

impl Remote {
    pub(super) fn new() -> Self {
        Self::with(PLAIN, Retry::default())
    }

    pub(super) fn with(limits: Limits, retry: Retry) -> Self {
        let now = Instant::now();
        let core = Core::source(limits, retry, 7, now);
        let published = core.published();
        Self {
            core,
            now,
            openings: Vec::new(),
            opened: None,
            opened_at: BTreeMap::new(),
            at_opening: Vec::new(),
            streams: BTreeMap::new(),
            asked: BTreeMap::new(),
            most: limits.streams,
            answers: VecDeque::new(),
            published,
            error: None,
            next: 0,
            sent: 0,
            arrived: RangeSet::default(),
            disk: Vec::new(),
            places: BTreeSet::new(),
            writing: None,
            lent: Vec::new(),
            announced: BTreeMap::new(),
            settled: 0,
        }
    }

    /// Loads the first `loaded` bytes for a read, and has a second read wait for the rest.
    pub(super) fn halfway(told: OpenedStream, loaded: u64) -> Self {
        let mut remote = Self::new();
        remote.read(0, loaded);
        remote.opened(told);
        remote.send(loaded);
        assert_eq!(remote.bytes(), source(0, loaded));
        remote.read(0, SIZE);
        assert!(remote.answers.is_empty());
        remote
    }

    // ---- the driver ----

    pub(super) fn event(&mut self, event: Event<Ticket>) {
        if let Some(action) = self.core.handle_event(self.now, event) {
            self.perform(action);
        }
        self.pump();
    }

    pub(super) fn pump(&mut self) {
        while let Some(action) = self.core.poll_action() {
            self.perform(action);
        }
        let has_error = self.core.feeds.error().is_some() || self.published.state == State::Failed;
        assert_eq!(self.error.is_some(), has_error, "the failure that lasts is published");
    }

    fn perform(&mut self, action: Action<Ticket>) {
        match action {
            Action::Reply { token, result } => match result {
                Ok(Found::Lent(lent)) => {
                    self.settled = self.settled.max(lent.settled);
                    self.lent.push((token, lent));
                }
                Ok(Found::Bytes(pieces)) => self.answers.push_back((token.id, Ok(pieces.join()))),
                Err(error) => self.answers.push_back((token.id, Err(error))),
            },
            Action::Publish(snapshot) => {
                self.published = snapshot.progress;
                self.error = snapshot.source_error;
            }
            Action::OpenStream { stream, at } => {
                self.opened_at.insert(stream, self.openings.len());
                self.openings.push((at.clone(), self.now));
                let answered = self.answers.iter().map(|(id, _)| *id).collect();
                self.at_opening.push((answered, self.core.ranges()));
                self.asked.insert(stream, at);
                self.opened = Some(stream);
                self.streams.insert(stream, None);
                assert!(self.streams.len() <= self.most, "{} streams at once", self.streams.len());
            }
            Action::CloseStream(stream) => {
                self.streams.remove(&stream);
            }
            Action::Absorbed { .. } => self.note_arrived(),
            Action::WriteStore(write) => {
                assert!(self.writing.is_none(), "two writes at once");
                self.spoil(&write);
                for place in write.places() {
                    self.announced.insert(place.start / BLOCK as u64, write.generation.unwrap_or(0));
                }
                self.writing = Some(write);
            }
            Action::ReadStore { token, range, position } => {
                let bytes = self.read_store(&range, position);
                self.answers.push_back((token.id, Ok(bytes)));
            }
        }
    }

    fn read_store(&self, range: &std::ops::Range<u64>, position: u64) -> Bytes {
        let (start, len) = (position as usize, (range.end - range.start) as usize);
        Bytes::copy_from_slice(&self.disk[start..start + len])
    }

    /// While a write runs, its places may have any bytes.
    fn spoil(&mut self, write: &Write) {
        let written = write.bytes.iter().map(|(at, bytes)| *at as usize..*at as usize + bytes.len());
        let discarded = write.discarded.iter().map(|place| place.start as usize..place.end as usize);
        for place in written.chain(discarded) {
            let end = self.disk.len().min(place.end);
            self.disk[place.start.min(end)..end].fill(0xEE);
        }
    }

    /// A caller reads the slice that it was lent, as the handle does: it asks again if the slice is not valid
    /// any more. Returns whether it was.
    pub(super) fn read_lent(&mut self, number: usize) -> bool {
        let (token, lent) = self.lent.swap_remove(number);
        let slots = lent.position / BLOCK as u64..(lent.position + lent.len() - 1) / BLOCK as u64 + 1;
        let is_valid = self.announced.range(slots).all(|(_, last)| *last <= lent.generation);
        if is_valid {
            let bytes = self.read_store(&lent.range, lent.position);
            self.answers.push_back((token.id, Ok(bytes)));
        } else {
            let len = lent.range.end - lent.range.start;
            let read = Read { offset: lent.range.start, len, want: Want::Piece, borrow: false };
            self.event(Event::Read { read, token });
        }
        is_valid
    }

    /// A caller reads up to 1000 settled bytes, without a request. The result is `None` if they are not valid any
    /// more, or if there are none.
    pub(super) fn read_settled(&self, offset: u64) -> Option<Bytes> {
        let range = offset..self.settled.min(offset.saturating_add(1000));
        let slots =
            range.start / BLOCK as u64..range.end.div_ceil(BLOCK as u64).max(range.start / BLOCK as u64);
        let is_valid = self.announced.range(slots).all(|(_, last)| *last == 0);
        (is_valid && !range.is_empty()).then(|| self.read_store(&range, range.start))
    }

    /// The running write succeeds.
    pub(super) fn write_succeeds(&mut self) {
        let write = self.writing.take().expect("a write is running");
        self.discard(&write);
        for (offset, bytes) in write.bytes {
            let (start, end) = (offset as usize, offset as usize + bytes.len());
            if self.disk.len() < end {
                self.disk.resize(end, 0);
            }
            self.disk[start..end].copy_from_slice(&bytes);
            self.places.insert(offset / BLOCK as u64);
        }
        self.event(Event::Written);
    }

    /// Stale bytes must not be read as if they were there.
    fn discard(&mut self, write: &Write) {
        for place in &write.discarded {
            self.places.remove(&(place.start / BLOCK as u64));
            let end = self.disk.len().min(place.end as usize);
            self.disk[(place.start as usize).min(end)..end].fill(0);
        }
    }

    pub(super) fn write_fails(&mut self) {
        let write = self.writing.take().expect("a write is running");
        self.discard(&write);
        let offset = write.offset;
        self.event(Event::WriteFailed(Error::spill_write(offset, io::ErrorKind::StorageFull.into())));
    }

    /// Goes to the next deadline. Returns how long that took.
    pub(super) fn wait(&mut self) -> Duration {
        let deadline = self.core.next_deadline(self.now).expect("a deadline");
        let before = std::mem::replace(&mut self.now, deadline);
        self.event(Event::DeadlinePassed);
        deadline - before
    }

    /// Goes to the time of the next attempt.
    pub(super) fn wait_for_retry(&mut self) {
        let (_, at, _) = self.core.feeds.retrying().expect("an attempt is scheduled");
        self.now = at.expect("it comes");
        self.event(Event::DeadlinePassed);
    }

    // ---- requests ----

    pub(super) fn ticket(&mut self) -> Ticket {
        self.next += 1;
        Ticket { id: self.next, gone: Rc::default() }
    }

    /// A caller asks for a range. Returns its number.
    pub(super) fn ask(&mut self, read: Read) -> usize {
        let token = self.ticket();
        let id = token.id;
        self.event(Event::Read { read, token });
        id
    }

    /// A caller asks for an exact range. Returns its number.
    pub(super) fn read(&mut self, offset: u64, len: u64) -> usize {
        self.ask(Read { offset, len, want: Want::Exact, borrow: false })
    }

    /// A caller asks that a range is loaded. Returns its number.
    pub(super) fn load(&mut self, range: std::ops::Range<u64>) -> usize {
        let token = self.ticket();
        let id = token.id;
        self.event(Event::Load { range, token });
        id
    }

    pub(super) fn answer(&mut self) -> (usize, Result<Bytes, Error>) {
        self.answers.pop_front().expect("an answer")
    }

    pub(super) fn bytes(&mut self) -> Bytes {
        self.answer().1.expect("bytes")
    }

    pub(super) fn error(&mut self) -> Error {
        self.answer().1.expect_err("an error")
    }

    // ---- openings ----

    pub(super) fn is_opening(&self) -> bool {
        self.streams.values().any(Option::is_none)
    }

    /// The number of the only opening.
    fn the_opening(&self) -> usize {
        *self.streams.iter().find(|(_, at)| at.is_none()).expect("an opening runs").0
    }

    /// The only opening succeeds.
    pub(super) fn opened(&mut self, told: OpenedStream) {
        self.opened_as(self.the_opening(), told);
    }

    pub(super) fn opened_as(&mut self, stream: usize, told: OpenedStream) {
        let start = told.start.unwrap_or(self.asked[&stream].offset);
        self.streams.insert(stream, Some(start));
        self.event(Event::Opened(stream, told));
    }

    /// The only opening fails.
    pub(super) fn open_fails(&mut self, error: io::Error) {
        self.open_fails_as(self.the_opening(), error);
    }

    pub(super) fn open_fails_as(&mut self, stream: usize, error: io::Error) {
        self.event(Event::OpenFailed(stream, error));
    }

    /// The number of the stream that was opened last.
    pub(super) fn last_opened(&self) -> usize {
        self.opened.expect("the source was opened")
    }

    pub(super) fn last_opening(&self) -> OpenAt {
        self.openings.last().expect("the source was opened").0.clone()
    }

    pub(super) fn finish_openings(&self, openings: usize) {
        assert_eq!(self.openings.len(), openings);
    }

    // ---- streams ----

    /// The offset of the only open stream.
    pub(super) fn at(&self) -> Option<u64> {
        self.streams.values().copied().flatten().next()
    }

    fn the_stream(&self) -> usize {
        *self.streams.iter().find(|(_, at)| at.is_some()).expect("a stream is open").0
    }

    /// The number of the open stream whose next byte is at this offset.
    pub(super) fn stream_at(&self, offset: u64) -> usize {
        *self.streams.iter().find(|(_, at)| **at == Some(offset)).expect("a stream is there").0
    }

    pub(super) fn wants(&mut self) -> bool {
        self.at().is_some() && self.wants_of(self.the_stream())
    }

    /// Whether this stream is to be polled.
    pub(super) fn wants_of(&mut self, stream: usize) -> bool {
        self.core.permit(self.now, stream).is_some()
    }

    /// The only stream sends its next `len` bytes.
    pub(super) fn send(&mut self, len: u64) {
        self.send_of(self.the_stream(), len);
    }

    /// This stream sends its next `len` bytes.
    pub(super) fn send_of(&mut self, stream: usize, len: u64) {
        let at = self.streams[&stream].expect("it is open");
        self.send_bytes_of(stream, source(at, at + len));
    }

    pub(super) fn send_bytes(&mut self, bytes: Bytes) {
        self.send_bytes_of(self.the_stream(), bytes);
    }

    pub(super) fn send_bytes_of(&mut self, stream: usize, bytes: Bytes) {
        let at = self.streams.get_mut(&stream).expect("it is open");
        *at = at.map(|at| at.saturating_add(bytes.len() as u64));
        self.sent += bytes.len() as u64;
        self.core.permit(self.now, stream).expect("bytes are wanted").chunk(bytes);
        self.note_arrived();
        self.pump();
    }

    fn note_arrived(&mut self) {
        let Ranges { resident, spilled } = self.core.ranges();
        resident.into_iter().chain(spilled).for_each(|range| self.arrived.insert(range));
    }

    pub(super) fn breaks(&mut self) {
        self.breaks_of(self.the_stream());
    }

    pub(super) fn breaks_of(&mut self, stream: usize) {
        let error = io::ErrorKind::ConnectionReset.into();
        self.core.permit(self.now, stream).expect("bytes are wanted").fail(error);
        self.pump();
    }

    /// The only stream is closed because it was not used for 30 s.
    pub(super) fn breaks_idle(&mut self) {
        assert_eq!(self.wait(), Duration::from_secs(30));
        assert!(self.streams.is_empty());
    }

    pub(super) fn ends(&mut self) {
        self.ends_of(self.the_stream());
    }

    pub(super) fn ends_of(&mut self, stream: usize) {
        self.core.permit(self.now, stream).expect("bytes are wanted").end();
        self.pump();
    }

    /// Loads the rest of the resource with one stream, and compares all of it.
    pub(super) fn finish(&mut self) {
        while self.published.state != State::Complete {
            let at = self.at().expect("a stream is open");
            self.send(100_000.min(SIZE - at));
        }
        let parts: Vec<Bytes> = self.answers.drain(..).map(|(_, answer)| answer.unwrap()).collect();
        assert_eq!(parts.concat().len() as u64, SIZE);
        assert!(parts.concat() == source(0, SIZE), "wrong bytes");
    }
}
