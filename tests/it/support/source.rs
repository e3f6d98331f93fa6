//! Sources: one that the test feeds step by step, and others that are always ready.

use std::collections::VecDeque;
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use streamspool::Bytes;

use super::data;
use super::demand::pull_to;

enum Step {
    Chunk(Bytes),
    Fail(io::Error),
    Panic,
    End,
}

/// The test's end of a source.
pub struct Feed {
    state: Arc<Mutex<State>>,
    fed: u64,
}

/// The buffer's end of the source.
pub struct Source {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    steps: VecDeque<Step>,
    waker: Option<Waker>,
    seen: Seen,
    /// How far the source may be pulled, if the test checks that.
    need: Option<Need>,
}

/// What the source has seen so far.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Seen {
    /// Steps that the buffer has taken, and the bytes in them.
    pub taken: usize,
    pub pulled: u64,
    /// The source was asked for more bytes than it had.
    pub stalled: bool,
    pub ended: bool,
    pub failed: bool,
    pub polled_after_end: bool,
    pub dropped: bool,
    /// The first needless poll: how far the source had been pulled, and how far that was allowed.
    pub needless: Option<(u64, u64)>,
    /// The offset at which the last needed chunk started.
    pub last_start: Option<u64>,
}

/// What the source may be pulled for.
#[derive(Debug, Default)]
pub struct Need {
    pub read_ahead: u64,
    /// For each caller: the offset that it waits for, and the end of the bytes that it may get then.
    pub callers: Vec<(u64, u64)>,
    /// The end of the furthest range delivered.
    pub delivered: Option<u64>,
    /// A caller that waits may have got a part already.
    pub in_parts: bool,
    /// A caller has left since the actor last looked, so one more chunk may be pulled (rule 7).
    pub excuse: bool,
    /// The buffer waits for that chunk.
    is_awaited: bool,
}

impl Need {
    pub fn new(read_ahead: u64) -> Self {
        Self { read_ahead, ..Self::default() }
    }

    /// How far a source may be pulled that has sent `pulled` bytes.
    pub fn allowed(&self, pulled: u64) -> u64 {
        // A caller whose offset is reached may have been answered already.
        let answered = self.callers.iter().filter(|(until, _)| self.in_parts || *until <= pulled);
        let delivered = self.delivered.max(answered.map(|(_, end)| *end.min(&pulled)).max());
        pull_to(self.read_ahead, delivered, self.callers.iter().map(|(until, _)| *until))
    }

    /// A source that has sent `pulled` bytes is polled. `is_ready` says whether it has a chunk. Returns whether
    /// the poll is needed, and how far the source was allowed to be pulled if the poll is against the rules.
    pub fn polled(&mut self, pulled: u64, is_ready: bool) -> (bool, Option<u64>) {
        let allowed = self.allowed(pulled);
        let is_needed = pulled < allowed;
        let needless = (!is_needed && !self.excuse).then_some(allowed);
        self.is_awaited = !is_needed && !is_ready;
        self.excuse &= is_needed || !is_ready;
        (is_needed, needless)
    }

    /// The actor has looked, so it knows of all callers that have left. It may still take a chunk for which it
    /// already waits.
    pub fn looked(&mut self) {
        self.excuse = std::mem::take(&mut self.is_awaited);
    }
}

/// A source that yields what the test feeds it, and waits meanwhile.
pub fn source() -> (Feed, Source) {
    let state = Arc::<Mutex<State>>::default();
    (Feed { state: Arc::clone(&state), fed: 0 }, Source { state })
}

impl Feed {
    /// Offers the next `len` bytes of [`data`] as one chunk.
    pub fn chunk(&mut self, len: usize) {
        self.bytes(data(self.fed, len));
    }

    /// Offers a chunk of its own content.
    pub fn bytes(&mut self, bytes: Bytes) {
        self.fed += bytes.len() as u64;
        self.send(Step::Chunk(bytes));
    }

    pub fn fail(&self, error: io::Error) {
        self.send(Step::Fail(error));
    }

    pub fn panic(&self) {
        self.send(Step::Panic);
    }

    pub fn end(&self) {
        self.send(Step::End);
    }

    fn send(&self, step: Step) {
        let mut state = lock(&self.state);
        if state.seen.dropped {
            // A buffer that has dropped its source takes no more chunks. Some tests still offer more.
            return;
        }
        state.steps.push_back(step);
        if let Some(waker) = state.waker.take() {
            state.seen.stalled = false;
            drop(state);
            waker.wake();
        }
    }

    /// How many bytes were offered.
    pub fn fed(&self) -> u64 {
        self.fed
    }

    /// From now on, checks that each chunk that is pulled is needed.
    pub fn watch(&self, need: Need) {
        lock(&self.state).need = Some(need);
    }

    /// Changes how far the source may be pulled.
    pub fn need(&self, change: impl FnOnce(&mut Need)) {
        if let Some(need) = &mut lock(&self.state).need {
            change(need);
        }
    }

    pub fn seen(&self) -> Seen {
        lock(&self.state).seen
    }

    /// How many steps the buffer has taken.
    pub fn taken(&self) -> usize {
        self.seen().taken
    }

    pub fn is_dropped(&self) -> bool {
        self.seen().dropped
    }

    pub fn was_polled_after_end(&self) -> bool {
        self.seen().polled_after_end
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream for Source {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = lock(&self.state);
        let State { steps, waker, seen, need } = &mut *state;
        if seen.ended {
            seen.polled_after_end = true;
            return Poll::Ready(None);
        }
        let mut is_needed = true;
        if let Some(need) = need {
            let (needed, needless) = need.polled(seen.pulled, !steps.is_empty());
            is_needed = needed;
            if let Some(allowed) = needless {
                seen.needless.get_or_insert((seen.pulled, allowed));
            }
        }
        let Some(step) = steps.pop_front() else {
            seen.stalled = true;
            *waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if is_needed {
            seen.last_start = Some(seen.pulled);
        }
        seen.taken += 1;
        if let Step::Chunk(bytes) = step {
            seen.pulled += bytes.len() as u64;
            return Poll::Ready(Some(Ok(bytes)));
        }
        seen.ended = true;
        seen.failed = !matches!(step, Step::End);
        drop(state);
        match step {
            Step::Fail(error) => Poll::Ready(Some(Err(error))),
            // `resume_unwind` prints nothing. There are thousands of these panics.
            Step::Panic => resume_unwind(Box::new("as the test asked")),
            _ => Poll::Ready(None),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.seen.dropped = true;
        // The steps that were not taken are dropped with the source.
        let steps = std::mem::take(&mut state.steps);
        drop(state);
        drop(steps);
    }
}

/// `size` bytes of [`data`] in chunks of `chunk` bytes, always ready.
pub fn ready(size: u64, chunk: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let starts = (0..size).step_by(chunk);
    futures::stream::iter(starts.map(move |start| Ok(data(start, chunk.min((size - start) as usize)))))
}

/// The same in chunks of random sizes, some of them empty.
pub fn ragged(size: u64, seed: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let mut random = super::Random(seed);
    let mut start = 0;
    futures::stream::iter(std::iter::from_fn(move || {
        if start == size {
            return None;
        }
        let most = [1, 100, 4096, 70_000, 600_000][random.below(5) as usize];
        let end = size.min(start + random.below(most));
        let chunk = data(start, (end - start) as usize);
        start = end;
        Some(Ok(chunk))
    }))
}
