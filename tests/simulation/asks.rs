//! What a task may ask of a handle, and which answers are right.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};

use streamspool::{BufferHandle, Bytes, Error, ErrorKind};

use crate::support::{data, is_data};

/// Whether a task was woken. Only a woken task is polled, so a wake-up that is lost shows.
pub struct Flag(AtomicBool);

impl Flag {
    pub fn raised() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }

    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Read { offset: u64, len: u64 },
    Some { offset: u64, len: u64 },
    Slice { offset: u64, end: u64 },
    Size,
    Load,
    Spill,
    Save,
    MaxMemory(usize),
    MaxDisk(u64),
}

#[derive(Debug)]
pub enum Answer {
    Bytes(Bytes),
    Number(u64),
    Done,
}

pub type Outcome = Result<Answer, Error>;

/// A request under way, polled by hand.
pub struct Ask {
    pub what: What,
    polled: Arc<Mutex<Polled>>,
    pub flag: Arc<Flag>,
    pub is_asked: bool,
    /// The number of the request, once it is asked.
    pub number: u64,
    save_to: PathBuf,
    /// What was known when it was asked.
    pub since: Since,
}

/// The future of a request, and its outcome if it was polled in the middle of a disk job.
struct Polled {
    future: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    outcome: Option<Outcome>,
}

/// What was known when something was asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Since {
    /// The first missing byte. 0 if bytes before it may be missing again.
    pub frontier: u64,
    /// The first byte that was kept.
    pub start: u64,
    /// Failures of the disk that had been told by then.
    pub failures: u64,
    /// Failures by then that may have been the last one of a series of attempts.
    pub series: u64,
}

/// What is true now.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub total: u64,
    pub declared: Option<u64>,
    pub pulled: u64,
    pub source_ended: bool,
    pub source_failed: bool,
    pub disk_failures: u64,
    pub is_closed: bool,
    /// For a buffer that discards bytes.
    pub window: Option<Window>,
    /// For a source that can be opened again.
    pub again: Option<Again>,
}

/// What a buffer keeps that discards bytes.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The first byte that is kept.
    pub start: u64,
    /// Bytes may have been discarded that cannot be fetched again.
    pub is_for_good: bool,
    /// The fewest bytes that memory and disk may hold together.
    pub least: u64,
}

/// What has happened so far to a source that can be opened again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Again {
    /// Failures, of which some may be silence.
    pub faults: u64,
    /// Failures that may have been the last one of a series of attempts.
    pub series: u64,
    /// No more bytes will come.
    pub has_failed: bool,
    /// Ends before the size that was known.
    pub early_ends: u64,
    /// Streams that did not belong to the bytes received before.
    pub changes: u64,
    /// A stream told a size that was not the declared one.
    pub wrong_size: bool,
}

impl What {
    /// Up to where it waits, and up to where it is answered.
    pub fn demand(&self, size_is_known: bool) -> Option<(u64, u64)> {
        match *self {
            Self::Read { len: 0, .. }
            | Self::Some { len: 0, .. }
            | Self::Spill
            | Self::MaxMemory(_)
            | Self::MaxDisk(_) => None,
            Self::Slice { offset, end } if offset == end => None,
            Self::Size if size_is_known => None,
            Self::Read { offset, len } => Some((offset.saturating_add(len), offset.saturating_add(len))),
            Self::Some { offset, len } => Some((offset.saturating_add(1), offset.saturating_add(len))),
            Self::Slice { end, .. } => Some((end, end)),
            Self::Size | Self::Load | Self::Save => Some((u64::MAX, u64::MAX)),
        }
    }

    /// The first byte that it is for.
    pub fn start(&self) -> u64 {
        match *self {
            Self::Read { offset, .. } | Self::Some { offset, .. } | Self::Slice { offset, .. } => offset,
            _ => 0,
        }
    }

    /// The range that it is answered with, in parts if bytes may be discarded.
    pub fn range(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Read { offset, len } if len > 0 => Some((offset, offset.saturating_add(len))),
            Self::Slice { offset, end } if offset < end => Some((offset, end)),
            Self::Save => Some((0, u64::MAX)),
            _ => None,
        }
    }

    async fn ask(self, handle: BufferHandle, save_to: PathBuf) -> Outcome {
        Ok(match self {
            Self::Read { offset, len } => {
                Answer::Bytes(handle.read(offset, usize::try_from(len).unwrap_or(usize::MAX)).await?)
            }
            Self::Some { offset, len } => {
                Answer::Bytes(handle.read_some(offset, usize::try_from(len).unwrap_or(usize::MAX)).await?)
            }
            Self::Slice { offset, end } => Answer::Bytes(handle.slice(offset..end).await?),
            Self::Size => Answer::Number(handle.size().await?),
            Self::Load => Answer::Number(handle.load().await?),
            Self::Save => Answer::Number(handle.save(save_to).await?),
            Self::Spill => {
                handle.spill().await?;
                Answer::Done
            }
            Self::MaxMemory(bytes) => {
                handle.set_max_memory(bytes).await?;
                Answer::Done
            }
            Self::MaxDisk(bytes) => {
                handle.set_max_disk(bytes).await?;
                Answer::Done
            }
        })
    }
}

impl Facts {
    fn is_complete(&self, size: u64) -> bool {
        // A read past the declared size of a source that is opened anywhere does not wait for its proof.
        let kept = self.again.is_some() || self.declared.is_none_or(|declared| declared == self.total);
        size == self.total && kept && self.source_ended && !self.source_failed
    }
}

fn judge_exact(bytes: &Bytes, offset: u64, len: u64, facts: &Facts) {
    assert!(is_data(bytes, offset), "wrong bytes at {offset}");
    let got = bytes.len() as u64;
    if got != len {
        let exists = facts.total.saturating_sub(offset).min(len);
        assert!(got == exists && facts.is_complete(facts.total), "{got} bytes of {len} at {offset}");
    }
}

/// A read of some bytes gets one byte at least, or the end.
pub fn judge_some(bytes: &[u8], offset: u64, len: u64, facts: &Facts) {
    assert!(is_data(bytes, offset), "wrong bytes at {offset}");
    assert!(bytes.len() as u64 <= len, "{} bytes of {len} at {offset}", bytes.len());
    if bytes.is_empty() && len > 0 {
        assert!(offset >= facts.total && facts.is_complete(facts.total), "no bytes at {offset}");
    }
}

/// Whether a request that needed bytes from `start` up to `need` may get this error.
pub fn judge_error(error: &Error, start: u64, need: u64, since: Since, facts: &Facts) {
    assert!(error.to_string().contains(&format!("offset {}", error.offset())), "{error}");
    let lacks = need > since.frontier;
    let again = facts.again.unwrap_or_default();
    let declared = facts.declared.unwrap_or(0);
    // An earlier failure is retried.
    let gave_up = again.has_failed || again.series > since.series;
    let right = match error.kind() {
        ErrorKind::Source if facts.again.is_some() => lacks && again.faults > 0 && gave_up,
        ErrorKind::Changed => lacks && again.changes > 0,
        ErrorKind::Truncated if facts.again.is_some() => {
            lacks && gave_up && (again.early_ends > 0 || again.wrong_size)
        }
        ErrorKind::Oversized if again.wrong_size => lacks && declared == error.offset(),
        ErrorKind::Source => lacks && facts.source_failed && error.offset() == facts.total,
        ErrorKind::Truncated => {
            let early = facts.declared.is_some_and(|declared| declared > facts.total);
            lacks && early && facts.source_ended && error.offset() == facts.total
        }
        ErrorKind::Oversized => {
            let declared = error.offset();
            lacks && facts.declared == Some(declared) && facts.pulled > declared
        }
        ErrorKind::Spill => facts.disk_failures > since.failures,
        ErrorKind::Closed => facts.is_closed,
        // The first byte that was kept at some time since it was asked, which is after the byte that is gone.
        ErrorKind::Discarded => facts.window.is_some_and(|window| {
            let kept = error.kept_from().unwrap_or(0);
            let is_kept = (since.start.max(error.offset() + 1)..=window.start).contains(&kept);
            window.is_for_good && is_kept && (start..need).contains(&error.offset())
        }),
        _ => false,
    };
    assert!(right, "{error}, for a need of {need}; {since:?}, {facts:?}");
}

impl Polled {
    fn poll(polled: &Mutex<Self>, flag: &Arc<Flag>) -> Poll<Outcome> {
        let mut polled = polled.lock().unwrap();
        if let Some(outcome) = polled.outcome.take() {
            return Poll::Ready(outcome);
        }
        flag.take();
        let waker = Arc::clone(flag).into();
        polled.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

impl Ask {
    pub fn new(what: What, handle: BufferHandle, save_to: &Path, since: Since) -> Self {
        let save_to = save_to.to_path_buf();
        let future = Box::pin(what.clone().ask(handle, save_to.clone()));
        let polled = Arc::new(Mutex::new(Polled { future, outcome: None }));
        Self { what, polled, flag: Flag::raised(), is_asked: false, number: 0, save_to, since }
    }

    pub fn poll(&mut self) -> Poll<Outcome> {
        self.is_asked = true;
        Polled::poll(&self.polled, &self.flag)
    }

    /// What polls it in the middle of a disk job. The outcome is returned by the next poll.
    pub fn poll_later(&self) -> Box<dyn FnOnce() + Send> {
        let (polled, flag) = (Arc::clone(&self.polled), Arc::clone(&self.flag));
        Box::new(move || {
            if let Poll::Ready(outcome) = Polled::poll(&polled, &flag) {
                polled.lock().unwrap().outcome = Some(outcome);
            }
        })
    }

    /// Whether an outcome waits for the next poll.
    pub fn is_answered(&self) -> bool {
        self.polled.lock().unwrap().outcome.is_some()
    }

    /// Fails if this answer is wrong.
    pub fn judge(&self, outcome: &Outcome, facts: &Facts) {
        match (&self.what, outcome) {
            (What::Load, Err(error)) if error.kind() == ErrorKind::InvalidInput => {
                let size = facts.total.max(facts.declared.unwrap_or(0));
                assert!(facts.window.is_some_and(|window| size > window.least), "{error}, {facts:?}");
            }
            (what, Err(error)) => {
                let need = what.demand(false).map_or(0, |(need, _)| need);
                judge_error(error, what.start(), need, self.since, facts);
            }
            // Discarded bytes must not be delivered to a request that came later.
            (what, Ok(Answer::Bytes(bytes))) if what.start() < self.since.start => {
                assert!(bytes.is_empty() && what.demand(true).is_none(), "{outcome:?}, {facts:?}");
            }
            (What::Read { offset, len }, Ok(Answer::Bytes(bytes))) => {
                judge_exact(bytes, *offset, *len, facts);
            }
            (What::Slice { offset, end }, Ok(Answer::Bytes(bytes))) => {
                judge_exact(bytes, *offset, end - offset, facts);
            }
            (What::Some { offset, len }, Ok(Answer::Bytes(bytes))) => judge_some(bytes, *offset, *len, facts),
            (What::Size, Ok(Answer::Number(size))) => {
                assert!(facts.declared == Some(*size) || facts.is_complete(*size), "a size of {size}");
            }
            (What::Load, Ok(Answer::Number(size))) => {
                assert!(facts.is_complete(*size), "loaded {size} of {}", facts.total);
            }
            (What::Save, Ok(Answer::Number(size))) => {
                assert!(facts.is_complete(*size), "saved {size} of {}", facts.total);
                let saved = std::fs::read(&self.save_to).unwrap();
                assert!(saved == data(0, *size as usize), "other bytes were saved");
            }
            (What::Spill | What::MaxMemory(_) | What::MaxDisk(_), Ok(Answer::Done)) => {}
            (what, outcome) => panic!("{outcome:?} for {what:?}"),
        }
    }
}
