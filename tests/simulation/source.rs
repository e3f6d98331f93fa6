//! The source of a run, which does what the run says: one stream, or a source that can be opened again, of which up
//! to three streams are open at once. It tells the checks what it is asked for.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;
use streamspool::{Bytes, OpenAt, Opened, Source, SourceError, Version};

use crate::checks::Checks;
use crate::steps::{Answer, Break, Kind, Refusal, Setup, Start};
use crate::support::data;

/// The most bytes that a stream sends after the end of the resource.
pub const SURPLUS: u64 = 50;

/// The run's end of the source.
#[derive(Clone)]
pub struct Server(Arc<Mutex<State>>);

/// The buffer's end of a source that can be opened again.
pub struct Resource(Server);

pub struct State {
    pub setup: Setup,
    /// The version that streams get which are opened now.
    version: u8,
    pub checks: Checks,
    /// The openings and streams that the buffer holds, the oldest first.
    pub held: Vec<Connection>,
    next: u64,
    /// The last opening has not told the known version.
    is_untold: bool,
    /// The buffer holds the source itself, beside its openings and streams.
    pub is_kept: bool,
}

/// An opening, and then the stream that it has led to.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    /// The offset that the buffer has asked for.
    pub asked: u64,
    /// The answer to the opening, once the run has given it.
    answer: Option<Answer>,
    waker: Option<Waker>,
    /// The stream, once the opening has succeeded.
    pub stream: Option<Flow>,
}

/// A stream.
#[derive(Debug, Default)]
pub struct Flow {
    /// The number of its opening.
    pub opening: u64,
    pub version: u8,
    /// It told its version.
    pub told_version: bool,
    pub told_size: Option<u64>,
    /// It starts before the offset that was asked for: the source ignores offsets.
    pub started_early: bool,
    /// The offset of the next byte that the buffer takes.
    pub at: u64,
    /// The start of the last chunk. Its bytes may wait for memory.
    pub last: u64,
    /// The offset after the chunks that were sent.
    pub sent: u64,
    chunks: VecDeque<usize>,
    ends: Option<Break>,
    /// It has ended: it must not be polled again.
    pub ended: bool,
}

impl Flow {
    /// Whether it has a chunk or an end.
    pub fn has_more(&self) -> bool {
        !self.chunks.is_empty() || self.ends.is_some()
    }
}

impl Connection {
    /// Whether the run has not answered the opening yet.
    pub fn is_opening(&self) -> bool {
        self.stream.is_none() && self.answer.is_none()
    }

    /// Whether nothing more comes unless the run sends something.
    fn is_silent(&self) -> bool {
        match &self.stream {
            None => self.answer.is_none(),
            Some(flow) => !flow.has_more() && !flow.ended,
        }
    }

    /// Whether the buffer has polled it since then, so that it is woken by what comes next.
    pub fn is_awaited(&self) -> bool {
        self.waker.is_some()
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Server {
    pub fn new(setup: Setup) -> Self {
        let (checks, held) = (Checks::new(&setup), Vec::new());
        let (version, next, is_untold, is_kept) = (0, 0, false, false);
        Self(Arc::new(Mutex::new(State { setup, version, checks, held, next, is_untold, is_kept })))
    }

    /// A source that can be opened again.
    pub fn resource(&self) -> Resource {
        self.state().is_kept = true;
        Resource(self.clone())
    }

    /// A one-way stream. It was opened at byte 0, and tells nothing of itself.
    pub fn stream(&self) -> Streaming {
        let mut state = self.state();
        let id = state.hold(0);
        state.accept(id, (Start::AsAsked, false, false));
        drop(state);
        Streaming(Held { server: self.clone(), id })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn checks<R>(&self, look: impl FnOnce(&mut Checks) -> R) -> R {
        look(&mut self.state().checks)
    }

    // ---- what the run does ----

    pub fn answer(&self, number: usize, answer: Answer) {
        let mut state = self.state();
        if let Some(connection) = state.held.get_mut(number)
            && connection.is_opening()
        {
            connection.answer = Some(answer);
            connection.wake();
        }
    }

    pub fn send(&self, number: usize, sizes: &[usize]) {
        let mut state = self.state();
        let setup = state.setup;
        if let Some(connection) = state.held.get_mut(number)
            && let Some(flow) = &mut connection.stream
            && flow.ends.is_none()
            && !flow.ended
        {
            // A shortened list of steps must not send bytes that do not exist.
            let most = setup.size + if setup.kind == Kind::Reopenable { SURPLUS } else { 0 };
            let sizes = sizes.iter().scan(most.saturating_sub(flow.sent), |left, size| {
                let size = (*size as u64).min(*left);
                *left -= size;
                Some(size as usize)
            });
            let sizes: Vec<_> = sizes.collect();
            flow.sent += sizes.iter().sum::<usize>() as u64;
            flow.chunks.extend(sizes);
            connection.wake();
        }
    }

    pub fn break_off(&self, number: usize, how: Break) {
        let mut state = self.state();
        let setup = state.setup;
        if let Some(connection) = state.held.get_mut(number)
            && let Some(flow) = &mut connection.stream
            && !flow.ended
            && (setup.kind == Kind::Reopenable || flow.sent == setup.size)
        {
            flow.ends.get_or_insert(how);
            connection.wake();
        }
    }

    /// The resource becomes another one. Streams that are open go on with the old one.
    pub fn change(&self, by: u8) {
        self.state().version ^= by;
    }

    /// The resource is the one again that the buffer has bytes of.
    pub fn restore(&self) {
        let mut state = self.state();
        state.version = state.checks.kept.unwrap_or(state.version);
    }
}

impl State {
    fn connection(&mut self, id: u64) -> &mut Connection {
        self.held.iter_mut().find(|connection| connection.id == id).expect("it is held")
    }

    fn open(&mut self, at: &OpenAt) -> u64 {
        self.checks.opening(at, &self.held);
        self.hold(at.offset)
    }

    /// One opening more is held.
    fn hold(&mut self, asked: u64) -> u64 {
        self.next += 1;
        self.held.push(Connection { id: self.next, asked, answer: None, waker: None, stream: None });
        self.next
    }

    fn drop_connection(&mut self, id: u64) {
        if self.held.iter().any(|connection| connection.id == id && connection.is_silent()) {
            self.checks.dropped_silent();
        }
        self.held.retain(|connection| connection.id != id);
    }

    /// Opens the stream of this answer. Returns what the source says of it, but for the stream.
    fn accept(&mut self, id: u64, answer: (Start, bool, bool)) -> (u64, Option<u64>, Option<Version>) {
        let ((start, version, size), setup, number) = (answer, self.setup, self.version);
        let asked = self.connection(id).asked;
        let at = match start {
            _ if setup.ignores_offsets => 0,
            Start::AsAsked => asked,
            Start::Early(by) => asked.saturating_sub(by),
            Start::Late(by) => asked.saturating_add(by),
        };
        // After two openings in a row without the known version, a source counts as one without versions. The tests of
        // the core show that (`proof.rs`).
        let told_version = (version || self.is_untold) && setup.has_versions;
        self.is_untold = !told_version && self.checks.knows_version();
        let told_size = size.then(|| self.checks.size_of(number, setup.size));
        let started_early = at < asked;
        let mut flow = Flow {
            opening: id,
            version: number,
            told_version,
            told_size,
            started_early,
            at,
            last: at,
            sent: at,
            ..Flow::default()
        };
        let is_open = |other: &Connection| other.stream.as_ref().is_some_and(|stream| !stream.ended);
        let others = self.held.iter().any(|other| other.id != id && is_open(other));
        // A stream that is refused is closed at once.
        flow.ended = !self.checks.opened(asked, &flow, others);
        self.connection(id).stream = Some(flow);
        (at, told_size, told_version.then(|| version_of(number)))
    }

    /// The next thing that a stream has.
    fn poll_stream(&mut self, id: u64, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let Self { held, checks, setup, .. } = self;
        let is_alone = held.len() == 1;
        let connection = held.iter_mut().find(|connection| connection.id == id).expect("it is held");
        let Some(flow) = &mut connection.stream else { panic!("it was opened") };
        checks.polled(flow);
        if let Some(size) = flow.chunks.pop_front() {
            let (start, end) = (flow.at, flow.at + size as u64);
            (flow.last, flow.at) = (start, end);
            checks.chunk(flow, start..end, is_alone);
            let difference = checks.difference(flow.version);
            let bytes = data(start, size);
            return Poll::Ready(Some(Ok(match difference {
                0 => bytes,
                // Every byte of another version differs.
                difference => bytes.iter().map(|byte| byte ^ difference).collect(),
            })));
        }
        let Some(ends) = flow.ends else {
            connection.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        // Nothing tells an early end from the end of the resource, unless its size is known to be larger.
        let proven = checks.size.filter(|_| checks.has_bytes());
        let known = proven.or(flow.told_size).or(setup.declared);
        let is_end = flow.at >= setup.size || known.is_some_and(|size| flow.at < size);
        let ends = if ends == Break::End && !is_end { Break::Reset } else { ends };
        flow.ended = true;
        checks.ended(flow, ends);
        Poll::Ready(match ends {
            Break::End => None,
            Break::Reset => Some(Err(io::ErrorKind::ConnectionReset.into())),
            Break::Permanent => Some(Err(SourceError::permanent("gone").into())),
            // Prints nothing: thousands of them are wanted.
            Break::Panic => resume_unwind(Box::new("as the test asked")),
        })
    }
}

pub fn version_of(number: u8) -> Version {
    Version::strong(vec![number])
}

impl Source for Resource {
    fn open(&self, at: OpenAt) -> impl Future<Output = io::Result<Opened>> + Send {
        let id = self.0.state().open(&at);
        Opening { held: Some(Held { server: self.0.clone(), id }) }
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        self.0.state().is_kept = false;
    }
}

/// An opening or a stream that the buffer holds.
struct Held {
    server: Server,
    id: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.server.state().drop_connection(self.id);
    }
}

struct Opening {
    held: Option<Held>,
}

impl Future for Opening {
    type Output = io::Result<Opened>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let held = self.held.take().expect("an opening is not polled after its end");
        let mut state = held.server.state();
        let reopen = state.setup.reopen;
        let connection = state.connection(held.id);
        let Some(answer) = connection.answer.take() else {
            connection.waker = Some(cx.waker().clone());
            drop(state);
            self.held = Some(held);
            return Poll::Pending;
        };
        let refusal = match answer {
            Answer::Stream { start, version, size } => {
                let (at, size, version) = state.accept(held.id, (start, version, size));
                drop(state);
                let opened = Opened::new(Streaming(held)).starting_at(at).reopen(reopen);
                return Poll::Ready(Ok(opened.size(size).version(version)));
            }
            Answer::Refuse(refusal) => refusal,
        };
        state.checks.refused();
        // The guard first: the opening locks the state when it is dropped.
        drop(state);
        drop(held);
        Poll::Ready(Err(match refusal {
            Refusal::Transient => io::ErrorKind::ConnectionRefused.into(),
            Refusal::Busy => SourceError::transient("busy").retry_after(Duration::from_secs(20)).into(),
            Refusal::Permanent => io::ErrorKind::NotFound.into(),
            Refusal::Panic => resume_unwind(Box::new("as the test asked")),
        }))
    }
}

/// A stream that the buffer holds.
pub struct Streaming(Held);

impl Stream for Streaming {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.server.state().poll_stream(self.0.id, cx)
    }
}
