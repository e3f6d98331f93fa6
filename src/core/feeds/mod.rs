//! The feeds: which streams of the source are open, what is proven of them, and when the source is opened
//! again.
//!
//! A one-way stream is a source that was opened once and can never be opened again. It needs no time.

mod pace;
mod proof;
mod report;
mod series;
mod stream;

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use self::pace::Pace;
use self::proof::{Kept, Proof};
pub(crate) use self::report::OpenedStream;
pub(super) use self::report::{Admission, Consequence, End, Fault};
use self::series::{Failure, Series};
use self::stream::{Overdue, Stream};
use super::chunk::Chunk;
use super::extent::Extent;
use super::layout::Layout;
use crate::error::Error;
use crate::source::error::SourceError;
use crate::source::retry::Retry;
use crate::source::version::Version;
use crate::source::{OpenAt, Reopen};

/// The most islands that are looked at for the end of an opening. A stop behind them is found when the stream gets there.
const ISLANDS_MOST: usize = 64;

/// How long a stream may be unused before it is closed: a paused player holds no connection.
const UNUSED_MOST: Duration = Duration::from_secs(30);

#[expect(clippy::struct_excessive_bools, reason = "independent facts about the source")]
pub(super) struct Feeds {
    /// By number. The actor keeps the streams under the same numbers.
    streams: Vec<Option<Stream>>,
    /// The most streams that may be open at once.
    most: usize,
    /// Whether the source was given as a stream, and not as a source that is opened by the buffer.
    is_one_way: bool,
    /// How the source can be opened again.
    reopen: Reopen,
    /// Whether the source ignores the requested offset, as far as its streams have shown.
    ignores_offsets: bool,
    /// Whether the source must be opened at offset 0, because it has no versions: see
    /// [`Admission::Dropped`].
    from_start: bool,
    series: Series,
    pace: Pace,
    /// Whether a byte was ever taken in, even if it is discarded now. Then the version stays.
    has_bytes: bool,
    /// The version of the bytes that were received.
    version: Option<Version>,
    /// How many openings in a row have told no version, although one is known.
    untold: u32,
    /// Bytes that were received, if no version proves that a new stream has them too.
    kept: Kept,
}

impl Feeds {
    /// The feed of a stream that is open already, and cannot be opened again.
    pub(super) fn one_way(now: Instant) -> Self {
        let mut feeds = Self::source(Retry::never(), 1, 0);
        (feeds.is_one_way, feeds.reopen) = (true, Reopen::Never);
        feeds.streams = vec![Some(Stream::one_way(now))];
        feeds
    }

    /// The feeds of a source that is opened when a byte is needed. `seed` is for the jitter of delays.
    pub(super) fn source(retry: Retry, most: usize, seed: u64) -> Self {
        Self {
            streams: Vec::new(),
            most: most.max(1),
            is_one_way: false,
            reopen: Reopen::Anywhere,
            ignores_offsets: false,
            from_start: false,
            series: Series::new(retry, seed),
            pace: Pace::default(),
            has_bytes: false,
            version: None,
            untold: 0,
            kept: Kept::default(),
        }
    }

    pub(super) fn is_one_way(&self) -> bool {
        self.is_one_way
    }

    /// The last failure of the source, until a new byte arrives.
    pub(super) fn error(&self) -> Option<&Error> {
        self.series.error()
    }

    /// Whether the last series of attempts has failed, and no request has come since.
    pub(super) fn gave_up(&self) -> bool {
        self.series.gave_up()
    }

    /// A request needs missing bytes: a new series of attempts may start.
    pub(super) fn request(&mut self) {
        self.series.request();
    }

    /// The number, the time and the delay of the scheduled attempt. A delay beyond all time is never over.
    pub(super) fn retrying(&self) -> Option<(u32, Option<Instant>, Duration)> {
        self.series.next()
    }

    // ---- the streams ----

    fn stream(&self, id: usize) -> Option<&Stream> {
        self.streams.get(id)?.as_ref()
    }

    fn stream_mut(&mut self, id: usize) -> Option<&mut Stream> {
        self.streams.get_mut(id)?.as_mut()
    }

    /// All numbers of streams. Some may not be in use.
    pub(super) fn ids(&self) -> Range<usize> {
        0..self.streams.len()
    }

    /// The number of streams that are open or being opened.
    pub(super) fn count(&self) -> usize {
        self.streams.iter().flatten().count()
    }

    pub(super) fn is_open(&self, id: usize) -> bool {
        self.stream(id).is_some_and(Stream::is_open)
    }

    /// The number of streams that are open.
    pub(super) fn open_count(&self) -> usize {
        self.streams.iter().flatten().filter(|stream| stream.is_open()).count()
    }

    /// The offset of the next byte of an open stream. For an opening: the requested offset.
    pub(super) fn at(&self, id: usize) -> Option<u64> {
        self.stream(id).map(|stream| stream.at)
    }

    /// The offset at which the stream started.
    pub(super) fn from(&self, id: usize) -> Option<u64> {
        self.stream(id).map(|stream| stream.from)
    }

    /// The number of new bytes that the stream has brought since it was opened.
    pub(super) fn brought(&self, id: usize) -> u64 {
        self.stream(id).map_or(0, |stream| stream.brought)
    }

    /// When the stream was used last.
    pub(super) fn used(&self, id: usize) -> Option<Instant> {
        self.stream(id).map(|stream| stream.used)
    }

    /// Whether the turn of the stream is over: it may move, even if a request waits for it.
    pub(super) fn turn_is_over(&self, id: usize, now: Instant) -> bool {
        self.stream(id).is_none_or(|stream| stream.turn_is_over(now, &self.pace))
    }

    /// Whether the stream has answered a request so recently that its caller may ask for the next bytes.
    pub(super) fn expects_request(&self, id: usize, now: Instant) -> bool {
        let until = self.stream(id).and_then(|stream| stream.expects_until(&self.pace));
        until.is_some_and(|until| until > now)
    }

    /// The next time after `now` at which a stream may be free to move because of the time.
    pub(super) fn next_move(&self, now: Instant) -> Option<Instant> {
        let times = |stream: &Stream| [stream.turn_end(&self.pace), stream.expects_until(&self.pace)];
        let times = self.streams.iter().flatten().flat_map(times);
        times.flatten().filter(|at| *at > now).min()
    }

    /// Forgets a stream. Returns whether there was one.
    pub(super) fn drop_stream(&mut self, id: usize) -> bool {
        self.streams.get_mut(id).and_then(Option::take).is_some()
    }

    // ---- jumping ----

    /// Whether the source can be opened at any offset, with a proof that its bytes are the same.
    pub(super) fn can_jump(&self) -> bool {
        self.reopen == Reopen::Anywhere && self.version.is_some() && !self.has_lost_version()
    }

    /// The number of new bytes in a turn of a stream.
    pub(super) fn turn(&self) -> u64 {
        self.pace.turn()
    }

    /// A request up to this far ahead of a stream waits for it. One that is further ahead gets its own
    /// stream.
    pub(super) fn reach(&self) -> u64 {
        if self.can_jump() { self.pace.distance() } else { u64::MAX }
    }

    /// The most streams that may be open now.
    pub(super) fn most(&self) -> usize {
        if self.can_jump() { self.most } else { 1 }
    }

    /// Whether a stream that works brings the missing byte at `offset`: it is open, has brought new bytes, and
    /// is near enough.
    pub(super) fn is_brought(&self, offset: u64) -> bool {
        let works = |id: &usize| self.is_open(*id) && self.brought(*id) > 0;
        self.ids().filter(works).any(|id| self.reaches(id, offset))
    }

    /// Whether a missing byte at `offset` is near enough ahead of this stream.
    pub(super) fn reaches(&self, id: usize, offset: u64) -> bool {
        self.at(id).and_then(|at| offset.checked_sub(at)).is_some_and(|gap| gap <= self.reach())
    }

    /// Whether any stream stops before this island: it is long, or reaches to the end of the resource.
    fn is_stop(&self, island: &Range<u64>, extent: &Extent) -> bool {
        let is_last = extent.reported() == Some(island.end);
        self.can_jump() && (island.end - island.start >= self.reach() || is_last)
    }

    /// Whether this stream stops before this island: as any stream does, or because another stream goes on at
    /// the end of the island.
    pub(super) fn stops_before(&self, id: usize, island: &Range<u64>, extent: &Extent) -> bool {
        let is_at_end = |(other, stream): (usize, &Option<Stream>)| {
            let at_end = stream.as_ref().is_some_and(|stream| stream.is_open() && stream.at == island.end);
            other != id && at_end
        };
        self.is_stop(island, extent) || self.can_jump() && (0..).zip(&self.streams).any(is_at_end)
    }

    /// The start of the first island before which a stream from `from` on will stop, if there is one.
    fn end_for(&self, from: u64, extent: &Extent, layout: &Layout) -> Option<u64> {
        let mut at = from;
        // Otherwise each opening before many short islands would walk over all of them.
        for _ in 0..ISLANDS_MOST {
            let (_, start) = layout.look_up(at);
            let (true, end) = layout.look_up(start) else { break };
            if self.is_stop(&(start..end), extent) {
                return Some(start);
            }
            at = end;
        }
        None
    }

    // ---- openings ----

    /// Whether the source may be opened now: no delay is left.
    pub(super) fn may_open(&self, now: Instant) -> bool {
        !self.is_one_way && self.series.may_open(now)
    }

    /// Where to open the source, if a byte at `offset` is needed.
    pub(super) fn start_for(&self, offset: u64, layout: &Layout) -> u64 {
        let anywhere = self.can_jump() || !self.has_bytes && !self.from_start;
        if anywhere { offset } else { layout.first_missing(0) }
    }

    /// The number for one more stream.
    pub(super) fn free_id(&self) -> usize {
        self.streams.iter().position(Option::is_none).unwrap_or(self.streams.len())
    }

    /// Starts an opening, in place of the stream with this number. `offset` is missing.
    pub(super) fn open(
        &mut self,
        now: Instant,
        id: usize,
        offset: u64,
        extent: &Extent,
        layout: &mut Layout,
    ) -> OpenAt {
        let round = self.series.attempt();
        self.drop_stream(id);
        self.keep_for_opening(layout);
        let mut at = OpenAt::new(offset - self.kept.overlap());
        // A source that is asked for a version it does not tell any more may send all bytes from the start on.
        at.version = self.version.clone().filter(|_| !self.has_lost_version());
        at.end = self.end_for(offset, extent, layout);
        let stream = Some(Stream::opening(now, at.offset, at.end, round));
        match self.streams.get_mut(id) {
            Some(place) => *place = stream,
            None => self.streams.push(stream),
        }
        at
    }

    /// The opening succeeded. Checks that the stream belongs to the bytes received so far.
    pub(super) fn opened(
        &mut self,
        now: Instant,
        id: usize,
        opened: OpenedStream,
        extent: &mut Extent,
        layout: &Layout,
    ) -> Result<Admission, Fault> {
        let Some(offset) = self.at(id) else { return Ok(Admission::Admitted) };
        let OpenedStream { start, size, version, reopen } = opened;
        extent.check(size).map_err(Fault::WrongSize)?;
        let start = start.unwrap_or(offset);
        if start > offset {
            return Err(Fault::Changed("the stream starts after the requested offset"));
        }
        let Some(proof) = self.prove(start, size, version.as_ref(), extent, layout)? else {
            return Ok(Admission::Dropped);
        };
        // A stream that starts early ignores offsets. One that starts at 0 as asked does not show the contrary.
        self.ignores_offsets = start < offset || self.ignores_offsets && offset == 0;
        let from_start = self.ignores_offsets && reopen == Reopen::Anywhere;
        self.reopen = if from_start { Reopen::FromStart } else { reopen };
        match proof {
            // There are no bytes of another version.
            Proof::First => {
                (self.version, self.untold) = (version.clone(), 0);
                extent.restart(size);
            }
            // An equal version proves the size too.
            Proof::Version => extent.report(size),
            Proof::Kept => {}
        }
        if start > 0 && !self.has_bytes && !self.can_jump() {
            if self.reopen == Reopen::Never {
                extent.restart(None);
                let message = "the source cannot be opened again, and its stream does not start at offset 0";
                return Err(Fault::Io(SourceError::permanent(message).into()));
            }
            self.from_start = true;
            return Ok(Admission::Dropped);
        }
        if let Some(stream) = self.stream_mut(id) {
            stream.opened(now, start, (size, version));
        }
        Ok(Admission::Admitted)
    }

    // ---- a stream ----

    /// Whether the buffer wants bytes of the stream now.
    pub(super) fn want(&mut self, now: Instant, id: usize, wanted: bool) {
        if !self.is_one_way
            && let Some(stream) = self.streams.get_mut(id).and_then(Option::as_mut)
        {
            stream.want(now, wanted, &mut self.pace);
        }
    }

    /// The stream yielded a chunk. Bytes that were received before are compared as far as they are kept.
    /// Bytes after the end of the resource are cut off.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        id: usize,
        chunk: &mut Chunk,
        extent: &Extent,
    ) -> Result<(), Fault> {
        if self.is_one_way {
            return Ok(());
        }
        let Some(stream) = self.streams.get_mut(id).and_then(Option::as_mut) else { return Ok(()) };
        stream.received(now, chunk.len() as u64, &mut self.pace);
        let at = stream.at;
        // A caller may read, and a source may send, at any offset. No resource has a byte at `u64::MAX`, so
        // sums of offsets and lengths do not overflow.
        let end = extent.reported().or(stream.told.0).unwrap_or(u64::MAX);
        chunk.truncate(usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX));
        if self.kept.differ(at, chunk) {
            return Err(Fault::Changed("bytes that were received before differ"));
        }
        Ok(())
    }

    /// Bytes of the stream that are loaded already were skipped.
    pub(super) fn skipped(&mut self, id: usize, bytes: u64) {
        if let Some(stream) = self.stream_mut(id) {
            stream.at += bytes;
        }
    }

    /// New bytes of the stream were taken in. `answers` says whether a request has waited for them.
    pub(super) fn absorbed(
        &mut self,
        now: Instant,
        id: usize,
        bytes: &[u8],
        answers: bool,
        extent: &mut Extent,
    ) {
        let Some(stream) = self.streams.get_mut(id).and_then(Option::as_mut) else { return };
        let at = stream.at;
        stream.absorbed(now, bytes.len() as u64, answers);
        self.has_bytes = true;
        extent.reaches(stream.at);
        if self.is_one_way {
            return;
        }
        let (size, version) = (stream.told.0, stream.told.1.take());
        // No resource goes on after the largest offset.
        let size = size.or((stream.at == u64::MAX).then_some(u64::MAX));
        extent.report(size);
        self.version = version.or_else(|| self.version.take());
        let round = stream.round;
        let has_brought_none = |stream: &Stream| stream.round == round && stream.brought == 0;
        self.series.succeeded(now, round, || !self.streams.iter().flatten().any(has_brought_none));
        if self.version.is_some() || self.reopen == Reopen::Never {
            self.kept = Kept::default();
        } else {
            self.kept.extend(at, bytes);
        }
    }

    /// The stream has ended. Returns what that means.
    pub(super) fn ended(&mut self, id: usize, extent: &mut Extent, layout: &Layout) -> End {
        let Some(stream) = self.stream(id) else { return End::Early };
        let at = stream.at;
        // All bytes that prove the stream have compared equal, so the size that it told counts.
        let told = stream.told.0.filter(|_| at >= layout.end());
        if at >= extent.expected_or(told).unwrap_or(layout.end()) {
            extent.report(told);
            // A stream that was opened past the end has no bytes. Then the size stays unknown.
            extent.report((at == layout.end()).then_some(at));
            extent.seems_to_end(at);
            return End::Resource;
        }
        if stream.end.is_some_and(|end| at >= end) { End::Stream } else { End::Early }
    }

    // ---- faults ----

    /// Something went wrong: the opening or the stream is given up.
    pub(super) fn fail(
        &mut self,
        now: Instant,
        id: usize,
        fault: Fault,
        extent: &Extent,
        layout: &Layout,
    ) -> Consequence {
        let at = self.at(id).map_or(0, |at| layout.first_missing(at));
        let (round, has_brought) =
            self.stream(id).map_or((0, false), |stream| (stream.round, stream.brought > 0));
        let failure = Failure { fault, at, size: extent.expected(), round, has_brought };
        self.series.failed(now, failure, self.reopen)
    }

    /// There is no timer: see [`Series::no_timer`].
    pub(super) fn no_timer(&mut self) -> Option<Consequence> {
        self.series.no_timer()
    }

    // ---- time ----

    /// How long a stream may be unused. Only one that can be opened again at its offset is closed.
    fn unused_most(&self) -> Option<Duration> {
        (self.reopen == Reopen::Anywhere).then_some(UNUSED_MOST)
    }

    /// When to look at a stream again, if nothing happens before.
    pub(super) fn deadline_of(&self, id: usize) -> Option<Instant> {
        let deadline = self.stream(id)?.next_deadline(self.series.stall_timeout(), self.unused_most())?;
        Some(deadline.0)
    }

    /// Whether a stream or its opening is to be given up now: `Err` if that is a fault.
    pub(super) fn overdue(&self, now: Instant, id: usize) -> Option<Result<(), Fault>> {
        let timeout = self.series.stall_timeout();
        Some(match self.stream(id)?.overdue(now, timeout, self.unused_most())? {
            Overdue::Opening => Err(silence("the source did not open", timeout)),
            Overdue::Silent => Err(silence("the source sent nothing", timeout)),
            Overdue::Unused => Ok(()),
        })
    }
}

fn silence(what: &str, timeout: Duration) -> Fault {
    Fault::Io(io::Error::new(io::ErrorKind::TimedOut, format!("{what} for {timeout:?}")))
}
