//! What a task may ask of a handle, and what it may be told.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};

use streamspool::{BufferHandle, Bytes, Error, ErrorKind};

use crate::support::faults::{expected, is_data};
use crate::support::{BLOCK, Random};

/// Whether somebody was woken. Only the woken are polled, so a wake-up that is lost shows.
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

#[derive(Clone, Debug)]
pub enum What {
    Read { offset: u64, len: u64 },
    Some { offset: u64, len: u64 },
    Slice { offset: u64, end: u64 },
    Size,
    Load,
    Spill,
    Save(PathBuf),
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
    future: Pin<Box<dyn Future<Output = Outcome>>>,
    pub flag: Arc<Flag>,
    pub is_asked: bool,
    /// What was known when it was asked.
    pub since: Since,
}

/// The state of the world when something was asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Since {
    pub loaded: u64,
    /// Failures of the disk that had been told by then.
    pub failures: u64,
}

/// What is true now, to judge an outcome by.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub total: u64,
    pub declared: Option<u64>,
    pub pulled: u64,
    pub source_ended: bool,
    pub source_failed: bool,
    pub disk_failures: u64,
    pub is_closed: bool,
}

impl What {
    /// Something to ask, mostly near to where things happen.
    pub fn any(random: &mut Random, loaded: u64, total: u64, save_to: Option<PathBuf>) -> Self {
        let offset = match random.below(12) {
            0..=3 => loaded.saturating_sub(random.below(5000)),
            4 => loaded + random.below(5000),
            5 => random.below(4) * BLOCK as u64 + random.below(3),
            6 => u64::MAX - random.below(3),
            7 => total.saturating_sub(2) + random.below(4),
            _ => random.below(total + 1),
        };
        let most = [2, 50, 5000, 300_000, 3_000_000][random.below(5) as usize];
        let len = if random.below(40) == 0 { u64::MAX } else { random.below(most) };
        match random.below(40) {
            0..=17 => Self::Read { offset, len },
            18..=31 => Self::Some { offset, len },
            32..=34 => Self::Slice { offset, end: offset.saturating_add(len) },
            35 => Self::Size,
            36 => Self::Load,
            37 => save_to.map_or(Self::Load, Self::Save),
            _ => Self::Spill,
        }
    }

    /// Up to where it waits, and up to where it is answered.
    pub fn demand(&self, size_is_known: bool) -> Option<(u64, u64)> {
        match *self {
            Self::Read { len: 0, .. } | Self::Some { len: 0, .. } | Self::Spill => None,
            Self::Slice { offset, end } if offset == end => None,
            Self::Size if size_is_known => None,
            Self::Read { offset, len } => Some((offset.saturating_add(len), offset.saturating_add(len))),
            Self::Some { offset, len } => Some((offset.saturating_add(1), offset.saturating_add(len))),
            Self::Slice { end, .. } => Some((end, end)),
            Self::Size | Self::Load | Self::Save(_) => Some((u64::MAX, u64::MAX)),
        }
    }

    async fn ask(self, handle: BufferHandle) -> Outcome {
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
            Self::Save(path) => Answer::Number(handle.save(path).await?),
            Self::Spill => {
                handle.spill().await?;
                Answer::Done
            }
        })
    }

    /// Whether this may be told.
    pub fn judge(&self, outcome: &Outcome, since: Since, facts: &Facts) {
        match (self, outcome) {
            (_, Err(error)) => {
                let need = match self {
                    Self::Spill => 0,
                    what => what.demand(false).map_or(0, |(need, _)| need),
                };
                judge_error(error, need, since, facts);
            }
            (Self::Read { offset, len }, Ok(Answer::Bytes(bytes))) => {
                judge_exact(bytes, *offset, *len, facts);
            }
            (Self::Slice { offset, end }, Ok(Answer::Bytes(bytes))) => {
                judge_exact(bytes, *offset, end - offset, facts);
            }
            (Self::Some { offset, len }, Ok(Answer::Bytes(bytes))) => judge_some(bytes, *offset, *len, facts),
            (Self::Size, Ok(Answer::Number(size))) => {
                assert!(facts.declared == Some(*size) || facts.is_complete(*size), "a size of {size}");
            }
            (Self::Load, Ok(Answer::Number(size))) => {
                assert!(facts.is_complete(*size), "loaded {size} of {}", facts.total);
            }
            (Self::Save(path), Ok(Answer::Number(size))) => {
                assert!(facts.is_complete(*size), "saved {size} of {}", facts.total);
                assert!(std::fs::read(path).unwrap() == expected(0, *size), "other bytes were saved");
            }
            (Self::Spill, Ok(Answer::Done)) => {}
            (what, outcome) => panic!("{outcome:?} for {what:?}"),
        }
    }
}

impl Facts {
    fn is_complete(&self, size: u64) -> bool {
        let kept = self.declared.is_none_or(|declared| declared == self.total);
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

/// What a read of some may get: one byte at least, or the end.
pub fn judge_some(bytes: &[u8], offset: u64, len: u64, facts: &Facts) {
    assert!(is_data(bytes, offset), "wrong bytes at {offset}");
    assert!(bytes.len() as u64 <= len, "{} bytes of {len} at {offset}", bytes.len());
    if bytes.is_empty() && len > 0 {
        assert!(offset >= facts.total && facts.is_complete(facts.total), "no bytes at {offset}");
    }
}

/// Whether a request that needed bytes up to `need` may get this error.
pub fn judge_error(error: &Error, need: u64, since: Since, facts: &Facts) {
    assert!(error.to_string().contains(&format!("offset {}", error.offset())), "{error}");
    let lacks = need > since.loaded;
    let right = match error.kind() {
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
        _ => false,
    };
    assert!(right, "{error}, for a need of {need}; {since:?}, {facts:?}");
}

impl Ask {
    pub fn new(what: What, handle: BufferHandle, since: Since) -> Self {
        let future = Box::pin(what.clone().ask(handle));
        Self { what, future, flag: Flag::raised(), is_asked: false, since }
    }

    pub fn poll(&mut self) -> Poll<Outcome> {
        self.is_asked = true;
        self.flag.take();
        let waker = Arc::clone(&self.flag).into();
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}
