//! A store and a source that fail by a seed: the same seed, the same faults.
//!
//! Both look over the buffer's shoulder too. What it does wrong with them is noted, not panicked
//! about: a panic in a source or a store is one of the faults that a buffer survives.

use std::collections::BTreeMap;
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use streamspool::{Bytes, SpillStore};

use super::jobs::{Origin, current};
use super::{BLOCK, KIB, MIB, Random, byte_at, jobs};

/// The largest chunk that a source sends.
pub const HUGE: usize = 64 * MIB;

/// The stream of every seeded source, made once, so that a chunk of any size costs nothing.
static TABLE: LazyLock<Bytes> = LazyLock::new(|| (0..(HUGE + 4 * MIB) as u64).map(byte_at).collect());

/// Bytes `[from, to)` of the stream.
pub fn expected(from: u64, to: u64) -> Bytes {
    TABLE.slice(from as usize..to as usize)
}

/// Whether these are the bytes of the stream from `offset` on.
pub fn is_data(bytes: &[u8], offset: u64) -> bool {
    let end = offset.saturating_add(bytes.len() as u64);
    bytes.is_empty() || (end <= TABLE.len() as u64 && bytes == expected(offset, end))
}

/// A panic of foreign code that prints nothing: thousands of them are wanted.
fn panic_quietly() -> ! {
    resume_unwind(Box::new("as the seed asked"))
}

fn no_space() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space, says the seed")
}

/// The test's end of a [`FaultyStore`].
#[derive(Clone)]
pub struct Disk {
    shared: Arc<(Mutex<DiskState>, Condvar)>,
    /// The test that made it.
    origin: Origin,
}

#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct DiskState {
    /// For blocking calls, which the test lets pass one at a time.
    random: Random,
    /// For reads without waiting, which are made on the actor.
    random_at_once: Random,
    /// How many of 100 calls have a fault; 0 when the store is well.
    pub rate: u64,
    /// The store has room for this many bytes, if any.
    pub capacity: Option<u64>,
    /// Calls wait until the test lets them pass, so the disk is as slow as the test wants it.
    pub gated: bool,
    /// The calls that wait, by their jobs: in the order in which the actor started them.
    parked: BTreeMap<u64, ()>,
    /// Bytes `[0, stored)` were taken.
    pub stored: u64,
    /// A call has failed since, so that bytes may be written a second time.
    may_redo: bool,
    /// Calls that ended in an error or a panic.
    pub failures: u64,
    /// All faults, the harmless ones too: short, interrupted, unwilling to read at once.
    pub faults: u64,
    pub calls: u64,
    pub bytes: u64,
    pub wrong: Vec<String>,
    pub dropped: bool,
}

/// Keeps nothing: it checks what is written, and makes up again what is read.
pub struct FaultyStore(Disk);

enum Access {
    Write,
    Read,
}

impl Disk {
    pub fn new(seed: u64, rate: u64) -> Self {
        let state = DiskState {
            random: Random(seed ^ 0xD15C),
            random_at_once: Random(seed ^ 0xCAC4E),
            rate,
            capacity: None,
            gated: false,
            parked: BTreeMap::new(),
            stored: 0,
            may_redo: false,
            failures: 0,
            faults: 0,
            calls: 0,
            bytes: 0,
            wrong: Vec::new(),
            dropped: false,
        };
        Self { shared: Arc::new((Mutex::new(state), Condvar::new())), origin: Origin::here() }
    }

    pub fn store(&self) -> FaultyStore {
        FaultyStore(self.clone())
    }

    pub fn state(&self) -> MutexGuard<'_, DiskState> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one of the waiting calls pass, by its number.
    pub fn pass(&self, number: u64) {
        let mut state = self.state();
        let number = number as usize % state.parked.len().max(1);
        let job = state.parked.keys().nth(number).copied();
        if job.and_then(|job| state.parked.remove(&job)).is_some() {
            self.origin.unpark(1);
        }
        drop(state);
        self.shared.1.notify_all();
    }

    /// No more faults, room for everything, and no call waits.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.rate, state.capacity, state.gated) = (0, None, false);
        self.origin.unpark(std::mem::take(&mut state.parked).len());
        drop(state);
        self.shared.1.notify_all();
    }

    pub fn is_parked(&self) -> bool {
        !self.state().parked.is_empty()
    }

    /// Waits for its turn; then how many bytes the call may do, or how it fails.
    fn enter(&self, access: &Access, offset: u64, len: usize) -> io::Result<usize> {
        let mut state = self.state();
        if state.gated {
            state.parked.insert(current(), ());
            self.origin.park(1);
            let waits = |state: &mut DiskState| state.parked.contains_key(&current());
            state = self.shared.1.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        }
        state.calls += 1;
        let mut most = len;
        if let (Access::Write, Some(capacity)) = (access, state.capacity) {
            most = usize::try_from(capacity.saturating_sub(offset)).unwrap_or(usize::MAX).min(len);
            if most == 0 {
                state.fail();
                return Err(no_space());
            }
        }
        if state.random.below(100) >= state.rate {
            return Ok(most);
        }
        state.faults += 1;
        match state.random.below(8) {
            0 | 1 => Ok(1 + state.random.below(most as u64) as usize),
            2 => Err(io::ErrorKind::Interrupted.into()),
            3 => {
                state.fail();
                drop(state);
                panic_quietly();
            }
            4 => {
                state.fail();
                Ok(0)
            }
            _ => {
                state.fail();
                Err(no_space())
            }
        }
    }
}

impl DiskState {
    fn fail(&mut self) {
        self.failures += 1;
        self.faults += 1;
        self.may_redo = true;
    }

    fn note(&mut self, wrong: String) {
        self.wrong.push(wrong);
    }

    fn serve(&mut self, offset: u64, buf: &mut [u8]) {
        let end = offset + buf.len() as u64;
        if end > self.stored {
            self.note(format!("read to {end}, where only {} was written", self.stored));
            return;
        }
        buf.copy_from_slice(&expected(offset, end));
    }
}

impl SpillStore for FaultyStore {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let most = self.0.enter(&Access::Write, offset, bytes.len())?;
        let mut state = self.0.state();
        let end = offset + most as u64;
        if !is_data(bytes, offset) {
            state.note(format!("wrong bytes written at {offset}"));
        }
        if offset > state.stored || (offset < state.stored && !state.may_redo) {
            let stored = state.stored;
            state.note(format!("a write at {offset}, where {stored} is next"));
        }
        if end > state.stored {
            state.may_redo = false;
            state.bytes += end - state.stored;
            state.stored = end;
        }
        Ok(most)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let most = self.0.enter(&Access::Read, offset, buf.len())?;
        self.0.state().serve(offset, &mut buf[..most]);
        Ok(most)
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.state();
        let kind = state.random_at_once.below(10);
        let most = match kind {
            0..=3 => buf.len(),
            4 => buf.len() / 2,
            5 if state.rate > 0 => {
                drop(state);
                panic_quietly();
            }
            6 => return Err(io::ErrorKind::Other.into()),
            _ => return Err(io::ErrorKind::WouldBlock.into()),
        };
        state.serve(offset, &mut buf[..most]);
        Ok(most)
    }
}

impl Drop for FaultyStore {
    fn drop(&mut self) {
        self.0.state().dropped = true;
    }
}

/// How a source ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    End,
    Fail,
    Panic,
    /// Nothing comes any more, and no end either.
    Stall,
    /// Empty chunks for ever.
    Empty,
}

/// Sizes of chunks.
#[derive(Clone, Copy, Debug)]
pub enum Chunking {
    OneByte,
    Small,
    Network,
    Blocks,
    Ragged,
    /// 64 MiB at once.
    Huge,
}

/// The test's end of a [`FaultySource`].
#[derive(Clone)]
pub struct Tap {
    shared: Arc<Mutex<TapState>>,
}

#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct TapState {
    random: Random,
    chunking: Chunking,
    pub ending: Ending,
    pub total: u64,
    /// How many chunks it may send; it stalls behind them.
    permits: usize,
    /// What the living need, for each: up to where it waits, and up to where it may be answered.
    pub demands: Vec<(u64, u64)>,
    /// How far reading ahead goes, whoever waits.
    pub ahead: u64,
    pub read_ahead: u64,
    /// Somebody has left since the buffer last looked: one more chunk is legal.
    pub excuse: bool,
    /// That chunk is still awaited.
    pub is_awaited: bool,
    /// Bytes sent.
    pub pulled: u64,
    /// Where the last chunk started that was sent without an excuse.
    pub last_start: u64,
    pub chunks: u64,
    pub ended: bool,
    pub failed: bool,
    /// It was asked, and had nothing.
    pub stalled: bool,
    pub dropped: bool,
    pub wrong: Vec<String>,
    waker: Option<Waker>,
}

pub struct FaultySource(Tap);

impl Tap {
    pub fn new(seed: u64, chunking: Chunking, ending: Ending, total: u64, read_ahead: u64) -> Self {
        let state = TapState {
            random: Random(seed ^ 0x50_CE),
            chunking,
            ending,
            total,
            permits: 0,
            demands: Vec::new(),
            ahead: 0,
            read_ahead,
            excuse: false,
            is_awaited: false,
            pulled: 0,
            last_start: 0,
            chunks: 0,
            ended: false,
            failed: false,
            stalled: false,
            dropped: false,
            wrong: Vec::new(),
            waker: None,
        };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    pub fn source(&self) -> FaultySource {
        jobs::watch();
        FaultySource(self.clone())
    }

    pub fn state(&self) -> MutexGuard<'_, TapState> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets it send this many chunks more.
    pub fn feed(&self, chunks: usize) {
        let mut state = self.state();
        state.permits = state.permits.saturating_add(chunks);
        if let Some(waker) = state.waker.take() {
            state.stalled = false;
            drop(state);
            waker.wake();
        }
    }
}

impl TapState {
    /// How far it may be pulled now.
    fn allowed(&self) -> u64 {
        if self.read_ahead == u64::MAX {
            return u64::MAX;
        }
        let of = |&(need, end): &(u64, u64)| {
            let answered = end.min(self.pulled).saturating_add(self.read_ahead);
            if need > self.pulled { need } else { answered }
        };
        self.demands.iter().map(of).max().unwrap_or(0).max(self.ahead)
    }

    fn size(&mut self) -> u64 {
        let random = &mut self.random;
        let most = match self.chunking {
            Chunking::OneByte => 1,
            Chunking::Small => random.below(50),
            Chunking::Network => [0, 1460, 16 * KIB as u64, 65_536][random.below(4) as usize],
            Chunking::Blocks => BLOCK as u64 - 1 + random.below(3),
            Chunking::Ragged => {
                let most = [2, 100, 5000, 70_000, 600_000][random.below(5) as usize];
                random.below(most)
            }
            Chunking::Huge => HUGE as u64,
        };
        most.min(self.total - self.pulled)
    }
}

impl Stream for FaultySource {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.state();
        if state.ended {
            state.wrong.push("polled after its end".into());
            return Poll::Ready(None);
        }
        let needless = state.pulled >= state.allowed();
        if needless && !state.excuse {
            let (pulled, allowed) = (state.pulled, state.allowed());
            state.wrong.push(format!("pulled at {pulled}, though nobody needs more than {allowed}"));
        }
        if state.permits == 0 || (state.pulled == state.total && state.ending == Ending::Stall) {
            state.stalled = true;
            state.is_awaited = needless;
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if needless {
            state.excuse = false;
        } else {
            state.last_start = state.pulled;
        }
        state.permits = state.permits.saturating_sub(1);
        state.chunks += 1;
        if state.pulled < state.total {
            let from = state.pulled;
            let to = from + state.size();
            state.pulled = to;
            return Poll::Ready(Some(Ok(expected(from, to))));
        }
        if state.ending == Ending::Empty {
            return Poll::Ready(Some(Ok(Bytes::new())));
        }
        state.ended = true;
        state.failed = state.ending != Ending::End;
        match state.ending {
            Ending::Fail => Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into()))),
            Ending::Panic => {
                drop(state);
                panic_quietly();
            }
            _ => Poll::Ready(None),
        }
    }
}

impl Drop for FaultySource {
    fn drop(&mut self) {
        self.0.state().dropped = true;
    }
}
