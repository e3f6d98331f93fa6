//! The feed: whether the source is open, what is proven of its stream, and when it is opened again.
//!
//! A one-way stream is a source that was opened once and can never be opened again. It needs no time.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::chunk::Chunk;
use crate::error::Error;
use crate::source::error::{Verdict, verdict};
use crate::source::retry::Retry;
use crate::source::version::Version;
use crate::source::{OpenAt, Reopen};

/// The bytes before each position of a stream that are kept to prove that a new stream has the same
/// bytes, if the source has no versions.
const OVERLAP: usize = 64 * 1024;

/// How long a stream may be unused before it is closed: a paused player holds no connection.
const UNUSED_MOST: Duration = Duration::from_secs(30);

/// What an opening says of its stream.
#[derive(Clone, Debug)]
pub(crate) struct OpenedStream {
    /// The offset of the first byte; the requested one if `None`.
    pub(crate) start: Option<u64>,
    pub(crate) size: Option<u64>,
    pub(crate) version: Option<Version>,
    pub(crate) reopen: Reopen,
}

/// What went wrong with an opening or a stream.
pub(super) enum Fault {
    /// The source or its stream failed.
    Io(io::Error),
    /// The stream ended before the size that is known, or before bytes that were received earlier.
    EarlyEnd,
    /// The resource is not the one that the buffer has bytes of.
    Changed(&'static str),
    /// The size that the source tells is not the declared one.
    WrongSize(Error),
}

/// What follows from a fault.
pub(super) enum Consequence {
    /// The source is opened again later, if a byte is needed then.
    Retry,
    /// The series of attempts is over: waiting requests fail. The next request starts a new series.
    GiveUp(Error),
    /// No more bytes will come.
    Fail(Error),
}

enum State {
    /// Closed. It is opened when a byte is needed, but not before `until`.
    Closed { until: Option<Instant>, delay: Duration },
    /// An opening runs since this time.
    Opening { since: Instant, offset: u64 },
    /// A stream is open.
    Open {
        /// The offset of the next byte of the stream.
        at: u64,
        /// Since when a needed stream is silent.
        silent: Option<Instant>,
        /// Since when no byte of the stream is needed.
        unused: Option<Instant>,
        /// What the opening said of the resource. It counts once a new byte is accepted: before that,
        /// the stream may not be proven.
        told: (Option<u64>, Option<Version>),
    },
}

impl State {
    const CLOSED: Self = Self::Closed { until: None, delay: Duration::ZERO };

    fn open(at: u64, size: Option<u64>, version: Option<Version>) -> Self {
        Self::Open { at, silent: None, unused: None, told: (size, version) }
    }
}

pub(super) struct Feed {
    state: State,
    /// Whether the source was given as a stream, and not as a source that is opened by the buffer.
    is_one_way: bool,
    /// How the source can be opened again.
    reopen: Reopen,
    retry: Retry,
    backoff: Backoff,
    /// The version of the bytes that were received.
    version: Option<Version>,
    /// The size of the resource, as the source told it.
    size: Option<u64>,
    /// The last bytes that were received, if no version proves that a new stream has them too.
    overlap: VecDeque<u8>,
    /// The last failure, until a new byte arrives.
    error: Option<Error>,
    /// Whether all failures of the series were early ends.
    ends_only: bool,
    /// The last series of attempts has failed, and no request has come since.
    gave_up: bool,
}

impl Feed {
    /// The feed of a stream that is open already, and cannot be opened again.
    pub(super) fn one_way() -> Self {
        let state = State::open(0, None, None);
        Self { state, is_one_way: true, reopen: Reopen::Never, ..Self::source(Retry::never(), 0) }
    }

    /// The feed of a source that is opened when a byte is needed. `seed` is for the jitter of delays.
    pub(super) fn source(retry: Retry, seed: u64) -> Self {
        Self {
            state: State::CLOSED,
            is_one_way: false,
            reopen: Reopen::Anywhere,
            retry,
            backoff: Backoff::new(retry.first_delay, retry.max_delay, seed),
            version: None,
            size: None,
            overlap: VecDeque::new(),
            error: None,
            ends_only: true,
            gave_up: false,
        }
    }

    /// Whether time matters: only for sources that can be opened.
    pub(super) fn keeps_time(&self) -> bool {
        !self.is_one_way
    }

    /// Whether an opening runs, or a stream is open.
    pub(super) fn is_pulled(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// The size of the resource, as the source told it.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// The last failure of the source, until a new byte arrives.
    pub(super) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Whether the last series of attempts has failed, and no request has come since.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// A request needs missing bytes: a new series of attempts may start.
    pub(super) fn request(&mut self) {
        self.gave_up = false;
    }

    /// The number and the delay of the attempt that is waited for.
    pub(super) fn retrying(&self) -> Option<(u32, Duration)> {
        match self.state {
            State::Closed { until: Some(_), delay } => Some((self.backoff.attempt(), delay)),
            _ => None,
        }
    }

    // ---- openings ----

    /// Starts an opening, if none runs, no stream is open and no delay is left.
    pub(super) fn open(&mut self, now: Instant, loaded: u64) -> Option<OpenAt> {
        match self.state {
            State::Closed { until, .. } if until.is_none_or(|until| until <= now) => {}
            _ => return None,
        }
        let mut at = OpenAt::new(loaded - self.overlap.len() as u64);
        at.version.clone_from(&self.version);
        self.state = State::Opening { since: now, offset: at.offset };
        Some(at)
    }

    /// The opening succeeded. Checks that the stream belongs to the bytes received so far.
    pub(super) fn opened(
        &mut self,
        opened: OpenedStream,
        loaded: u64,
        declared: Option<u64>,
    ) -> Result<(), Fault> {
        let State::Opening { offset, .. } = self.state else { return Ok(()) };
        let OpenedStream { start, size, version, reopen } = opened;
        if let (Some(declared), Some(size)) = (declared, size)
            && declared != size
        {
            let is_short = size < declared;
            let wrong = if is_short { Error::truncated(size, declared) } else { Error::oversized(declared) };
            return Err(Fault::WrongSize(wrong));
        }
        let start = start.unwrap_or(offset);
        if start > offset {
            return Err(Fault::Changed("the stream starts after the requested offset"));
        }
        if loaded > 0 {
            self.check(size, version.as_ref(), loaded)?;
        }
        // A stream that starts early ignores offsets.
        self.reopen = if start < offset && reopen == Reopen::Anywhere { Reopen::FromStart } else { reopen };
        if loaded == 0 {
            // There are no bytes of another version.
            (self.size, self.version) = (size, None);
        } else if self.version.is_some() {
            // An equal version proves the size too.
            self.size = self.size.or(size);
        }
        self.state = State::open(start, size, version);
        Ok(())
    }

    /// Whether a stream with this size and version can belong to the bytes received so far.
    fn check(&self, size: Option<u64>, version: Option<&Version>, loaded: u64) -> Result<(), Fault> {
        if let (Some(known), Some(size)) = (self.size, size)
            && known != size
        {
            return Err(Fault::Changed("its size differs"));
        }
        if size.is_some_and(|size| size < loaded) {
            return Err(Fault::Changed("it is shorter than the bytes received before"));
        }
        match (&self.version, version) {
            (Some(known), Some(version)) if known != version => Err(Fault::Changed("its version differs")),
            (Some(_), None) => {
                let message = "the source gave no version, so its bytes cannot be proven";
                Err(Fault::Io(io::Error::other(message)))
            }
            // Without a known version the overlap is compared.
            _ => Ok(()),
        }
    }

    // ---- the stream ----

    /// The stream yielded a chunk. Bytes that were received before are compared as far as they are kept,
    /// and cut off: only new bytes are left in `chunk`.
    pub(super) fn receive(&mut self, chunk: &mut Chunk, loaded: u64) -> Result<(), Fault> {
        let State::Open { at, silent, told, .. } = &mut self.state else { return Ok(()) };
        *silent = None;
        let (start, size) = (*at, self.size.or(told.0));
        *at += chunk.len() as u64;
        if start < loaded {
            let surplus = usize::try_from(loaded - start).unwrap_or(usize::MAX).min(chunk.len());
            if !self.matches(start, chunk.get(..surplus).unwrap_or_default(), loaded) {
                return Err(Fault::Changed("bytes that were received before differ"));
            }
            chunk.advance(surplus);
        }
        if let Some(size) = size {
            chunk.truncate(usize::try_from(size.saturating_sub(loaded)).unwrap_or(usize::MAX));
        }
        Ok(())
    }

    /// Whether bytes from `start` equal the kept ones, which end at `loaded`.
    fn matches(&self, start: u64, bytes: &[u8], loaded: u64) -> bool {
        let kept_from = loaded - self.overlap.len() as u64;
        let skipped = usize::try_from(kept_from.saturating_sub(start)).unwrap_or(usize::MAX);
        let Some(bytes) = bytes.get(skipped..).filter(|bytes| !bytes.is_empty()) else { return true };
        let from = usize::try_from(start.saturating_sub(kept_from)).unwrap_or(usize::MAX);
        self.overlap.iter().skip(from).take(bytes.len()).eq(bytes)
    }

    /// New bytes of the stream were taken in.
    pub(super) fn absorbed(&mut self, bytes: &[u8]) {
        if self.is_one_way || bytes.is_empty() {
            return;
        }
        self.error = None;
        self.ends_only = true;
        self.backoff.reset();
        if let State::Open { told: (size, version), .. } = &mut self.state {
            self.size = self.size.or(*size);
            self.version = version.take().or_else(|| self.version.take());
        }
        if self.version.is_some() || self.reopen == Reopen::Never {
            self.overlap = VecDeque::new();
            return;
        }
        let bytes = bytes.get(bytes.len().saturating_sub(OVERLAP)..).unwrap_or_default();
        let excess = (self.overlap.len() + bytes.len()).saturating_sub(OVERLAP);
        self.overlap.drain(..excess);
        self.overlap.extend(bytes);
    }

    /// Whether an end of the stream now is the end of the resource.
    pub(super) fn is_whole(&self, loaded: u64, declared: Option<u64>) -> bool {
        let State::Open { at, told: (told, _), .. } = &self.state else { return false };
        // All bytes that prove the stream have compared equal, so what it told counts.
        *at >= loaded && self.size.or(*told).or(declared).is_none_or(|size| loaded >= size)
    }

    // ---- faults ----

    /// Something went wrong: the opening or the stream is given up.
    pub(super) fn fail(
        &mut self,
        now: Instant,
        fault: Fault,
        loaded: u64,
        declared: Option<u64>,
    ) -> Consequence {
        self.state = State::CLOSED;
        self.ends_only &= matches!(fault, Fault::EarlyEnd);
        let mut retry_after = None;
        let error = match fault {
            Fault::Changed(why) => return Consequence::Fail(Error::changed(loaded, why)),
            Fault::WrongSize(error) => return Consequence::Fail(error),
            Fault::EarlyEnd => match self.size.or(declared) {
                Some(size) if self.ends_only => Error::truncated(loaded, size),
                _ => Error::source_failed(loaded, early_end()),
            },
            Fault::Io(cause) => {
                let verdict = verdict(&cause);
                let error = Error::source_failed(loaded, cause);
                match verdict {
                    Verdict::Permanent => return Consequence::Fail(error),
                    Verdict::Transient { retry_after: asked } => retry_after = asked,
                }
                error
            }
        };
        if self.reopen == Reopen::Never {
            return Consequence::Fail(error);
        }
        if self.backoff.attempt() >= self.retry.attempts {
            return self.give_up(error);
        }
        let delay = self.backoff.next_delay().max(retry_after.unwrap_or_default());
        self.error = Some(error);
        // A delay beyond all time is never over.
        self.state = State::Closed { until: now.checked_add(delay).or(Some(now)), delay };
        Consequence::Retry
    }

    fn give_up(&mut self, error: Error) -> Consequence {
        self.state = State::CLOSED;
        self.backoff.reset();
        (self.gave_up, self.ends_only) = (true, true);
        self.error = Some(error.clone());
        Consequence::GiveUp(error)
    }

    /// There is no timer: no attempt is made again, and the one that is waited for is given up.
    pub(super) fn no_timer(&mut self) -> Option<Consequence> {
        self.retry.attempts = 0;
        match (&self.state, self.error.clone()) {
            (State::Closed { until: Some(_), .. }, Some(error)) => Some(self.give_up(error)),
            _ => None,
        }
    }

    // ---- time ----

    /// When to look at the feed again. `wanted` says whether the stream would be polled now, and
    /// `demanded` whether a request waits for a missing byte.
    pub(super) fn next_deadline(&mut self, now: Instant, wanted: bool, demanded: bool) -> Option<Instant> {
        if self.is_one_way {
            return None;
        }
        match &mut self.state {
            State::Closed { until, .. } => until.filter(|_| demanded),
            State::Opening { since, .. } => since.checked_add(self.retry.stall_timeout),
            State::Open { silent, unused, .. } if wanted => {
                *unused = None;
                silent.get_or_insert(now).checked_add(self.retry.stall_timeout)
            }
            State::Open { silent, unused, .. } => {
                *silent = None;
                let since = *unused.get_or_insert(now);
                since.checked_add(UNUSED_MOST).filter(|_| self.reopen == Reopen::Anywhere)
            }
        }
    }

    /// The deadline has passed. Returns whether the stream or the opening is to be dropped, and why if
    /// that is a fault.
    pub(super) fn deadline_passed(&mut self, now: Instant) -> (bool, Option<Fault>) {
        let timeout = self.retry.stall_timeout;
        let over = |since: Instant, time: Duration| since.checked_add(time).is_some_and(|end| end <= now);
        match self.state {
            State::Opening { since, .. } if over(since, timeout) => {
                (true, Some(silence("the source did not open", timeout)))
            }
            State::Open { silent: Some(since), .. } if over(since, timeout) => {
                (true, Some(silence("the source sent nothing", timeout)))
            }
            State::Open { unused: Some(since), .. }
                if self.reopen == Reopen::Anywhere && over(since, UNUSED_MOST) =>
            {
                self.state = State::CLOSED;
                (true, None)
            }
            _ => (false, None),
        }
    }
}

fn silence(what: &str, timeout: Duration) -> Fault {
    Fault::Io(io::Error::new(io::ErrorKind::TimedOut, format!("{what} for {timeout:?}")))
}

fn early_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended early")
}
