//! The actor moves: it takes in requests, chunks and finished disk work, tells the core about them, and
//! carries out the core's actions.

pub(crate) mod message;
pub(crate) mod shared;
pub(crate) mod streams;
mod sync;
pub(crate) mod timer;
mod work;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tracing::{Instrument, Span, debug, warn};

use self::message::{Inbox, Message, Received, Reply};
use self::shared::Shared;
use self::streams::Streams;
use self::timer::{NoTimer, Timer};
use self::work::Work;
use crate::core::memory::BLOCK;
use crate::core::question::Question;
use crate::core::{Action, Core, Event, Token};
use crate::error::Error;
use crate::panics;
use crate::progress::Snapshot;
use crate::store::io::StoreIo;
use crate::store::lender::Lender;
use crate::store::threads::Job;

/// The most requests that are taken from the channel at a time. Many at a time make each one cheap.
const BATCH: usize = 64;

/// The most bytes that are pulled before waiting reads are answered: one block.
const PULL_MOST: usize = BLOCK;

/// From this many bytes on, memory is freed on a disk thread. It takes about 150 microseconds.
const FREE_LATER: usize = 2 * 1024 * 1024;

/// The actor: owns the source, its streams, the spilled file and the index of one buffer, and serves its
/// handles.
///
/// [`Builder::build`](crate::Builder::build) makes it and [`run`](Self::run) runs it;
/// [`spawn`](Self::spawn) does both. Dropping it closes the buffer, whether it was run or not.
pub struct StreamBuffer {
    inbox: Inbox,
    streams: Streams,
    core: Core<Reply>,
    store: StoreIo,
    snapshots: watch::Sender<Snapshot>,
    shared: Arc<Shared>,
    span: Span,
    timer: Timer,
    /// The time of the current event, for the core. The clock is read only for events that need it.
    now: Instant,
}

/// How a turn ended.
enum Turn {
    /// There is more to do.
    Busy,
    /// There is nothing to do until the task is woken.
    Idle,
    /// The last handle is gone, or the buffer is closed.
    Closed,
}

impl StreamBuffer {
    pub(crate) fn new(
        requests: mpsc::UnboundedReceiver<Message>,
        streams: Streams,
        core: Core<Reply>,
        store: StoreIo,
        shared: Arc<Shared>,
        span: Span,
    ) -> (watch::Receiver<Snapshot>, Arc<Lender>, Self) {
        let snapshot = Snapshot { progress: core.published(), source_error: None, store_error: None };
        let (snapshots, published) = watch::channel(snapshot);
        let inbox = Inbox::new(requests, Arc::clone(&shared));
        let (timer, now) = (Timer::default(), timer::now());
        let lender = store.lender();
        let actor = Self { inbox, streams, core, store, snapshots, shared, span, timer, now };
        (published, lender, actor)
    }

    /// Serves the handles until the last one is dropped, or one of them closes the buffer.
    ///
    /// Bytes are pulled and requests are answered only while this future is polled. It yields to other tasks, even if
    /// the source is always ready. It needs no tokio runtime: disk work is done on threads of its own.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the buffer: every waiting request is answered with
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let (buffer, actor) = streamspool::StreamBuffer::builder().build(stream);
    /// let read = async move { buffer.read(2, 3).await };
    /// // Here in the same task. The actor ends because the read drops the last handle.
    /// let (bytes, ()) = tokio::join!(read, actor.run());
    /// assert_eq!(bytes?, "234");
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(self) -> impl Future<Output = ()> + Send {
        let span = self.span.clone();
        // In a box: otherwise each of the futures below would have space for a copy of the actor. An
        // `async fn` has space for two, because it is made before the box.
        Box::new(self).serve().instrument(span)
    }

    async fn serve(mut self: Box<Self>) {
        debug!("serving");
        let mut batch = Vec::new();
        poll_fn(|cx| self.poll_serve(cx, &mut batch)).await;
        // Requests that came in together with the close get the same answer as the waiting ones.
        drop(batch);
        self.shut_down().await;
    }

    /// Takes turns until there is nothing to do, or the work of one poll is done. Then other tasks, and
    /// other futures of the same task, get their time. Ready when the buffer is to be shut down.
    #[expect(clippy::inline_always, reason = "a part of the path of a read that is answered at once")]
    #[inline(always)]
    fn poll_serve(&mut self, cx: &mut Context<'_>, batch: &mut Vec<Message>) -> Poll<()> {
        let mut work = Work::default();
        let polled = self.poll_turns(cx, batch, &mut work);
        if work.has_reads() {
            self.shared.note_read(timer::now());
        }
        polled
    }

    fn poll_turns(&mut self, cx: &mut Context<'_>, batch: &mut Vec<Message>, work: &mut Work) -> Poll<()> {
        while !work.is_spent() {
            match self.poll_turn(cx, batch, work) {
                Turn::Busy => {}
                Turn::Idle => {
                    // Callers that waited together will soon ask again, each alone: tokio runs a task that
                    // was woken by a request before the other callers. Woken here, the actor runs after
                    // all of them, and takes their requests in together.
                    if work.has_answered_several() {
                        cx.waker().wake_by_ref();
                    }
                    return Poll::Pending;
                }
                Turn::Closed => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One turn: carries out due actions, then polls every input once, so that no input that is always
    /// ready keeps the actor from the others. Actions come first, because the polls then register the wakers
    /// of the disk work that the actions have started.
    #[expect(clippy::inline_always, reason = "a part of the path of a read that is answered at once")]
    #[inline(always)]
    fn poll_turn(&mut self, cx: &mut Context<'_>, batch: &mut Vec<Message>, work: &mut Work) -> Turn {
        self.read_clock();
        self.act(work);
        let Some(more) = self.poll_requests(cx, batch, work) else { return Turn::Closed };
        self.poll_store(cx);
        self.poll_streams(cx, work);
        if more || !self.core.is_idle() {
            return Turn::Busy;
        }
        // Only an idle core waits for a deadline.
        self.read_clock();
        let deadline = self.core.next_deadline(self.now);
        let Poll::Ready(passed) = self.timer.poll(cx, deadline) else { return Turn::Idle };
        if let Err(NoTimer) = passed {
            warn!("the runtime has no timer: failures are not retried in the background");
            self.handle(Event::NoTimer);
        } else {
            self.handle(Event::DeadlinePassed);
        }
        Turn::Busy
    }

    /// Takes in requests, as many as the work of this poll allows. Returns whether there may be more;
    /// `None` if the last handle is gone, or the buffer is closed.
    ///
    /// The channel is polled once more after its messages were taken in. Most of the time it is empty then
    /// and registers the waker, which saves a turn.
    fn poll_requests(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Vec<Message>,
        work: &mut Work,
    ) -> Option<bool> {
        for _ in 0..2 {
            let is_new = batch.is_empty();
            match self.inbox.poll(cx, batch, BATCH) {
                Received::Messages if is_new => work.poll(),
                Received::Messages => {}
                Received::Nothing { withdrawn } => {
                    if withdrawn {
                        self.handle(Event::Withdrawn);
                    }
                    return Some(false);
                }
                Received::Closed => return None,
            }
            while let Some(message) = batch.pop() {
                self.take(message, work);
                if work.is_spent() {
                    return Some(true);
                }
            }
        }
        Some(true)
    }

    /// Tells the core of a request.
    fn take(&mut self, message: Message, work: &mut Work) {
        work.request();
        if message.is_abandoned() {
            return;
        }
        if matches!(message.question, Question::Read(_)) {
            work.read();
        }
        if let Some(action) = self.core.handle_event(self.now, Event::Asked(message)) {
            self.perform(action, work);
        }
    }

    /// Takes in a finished write of the store.
    fn poll_store(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready((offset, result)) = self.store.poll_written(cx) {
            self.handle(match result {
                Ok(()) => Event::Written,
                Err(error) => {
                    let error = Error::spill_write(offset, error);
                    warn!(error = &error as &dyn std::error::Error, "spilling failed");
                    Event::WriteFailed(error)
                }
            });
        }
    }

    fn poll_streams(&mut self, cx: &mut Context<'_>, work: &mut Work) {
        for stream in self.core.streams() {
            self.poll_opening(cx, stream, work);
            self.poll_chunks(cx, stream, work);
        }
    }

    fn poll_opening(&mut self, cx: &mut Context<'_>, stream: usize, work: &mut Work) {
        if let Poll::Ready(result) = self.streams.poll_opening(cx, stream) {
            work.poll();
            self.handle(match result {
                Ok(opened) => Event::Opened(stream, opened),
                Err(error) => {
                    debug!(error = &error as &dyn std::error::Error, "the source could not be opened");
                    Event::OpenFailed(stream, error)
                }
            });
        }
    }

    /// Pulls chunks of a stream that are ready and needed, up to a block. Waiting reads are answered after
    /// that, so that they are woken once for many bytes.
    fn poll_chunks(&mut self, cx: &mut Context<'_>, stream: usize, work: &mut Work) {
        let mut pulled = 0;
        while pulled < PULL_MOST
            && !work.is_spent()
            && let Some(permit) = self.core.permit(self.now, stream)
            && let Poll::Ready(item) = self.streams.poll_chunk(cx, stream)
        {
            work.poll();
            match item {
                Some(Ok(chunk)) => {
                    pulled += chunk.len();
                    work.bytes(chunk.len().min(BLOCK));
                    permit.chunk(chunk);
                }
                Some(Err(error)) => {
                    debug!(error = &error as &dyn std::error::Error, "the source failed");
                    permit.fail(error);
                }
                None => permit.end(),
            }
        }
    }

    /// Reads the clock, if time matters for the source. A one-way stream needs none.
    fn read_clock(&mut self) {
        if self.core.keeps_time() {
            self.now = timer::now();
        }
    }

    /// Tells the core of an event that calls for no action at once.
    fn handle(&mut self, event: Event<Reply>) {
        if matches!(event, Event::WriteFailed(_) | Event::DeadlinePassed) {
            self.now = timer::now();
        }
        let action = self.core.handle_event(self.now, event);
        debug_assert!(action.is_none(), "only a read is answered at once");
    }

    /// Carries out due actions, as many as the work of this poll allows.
    fn act(&mut self, work: &mut Work) {
        while !self.core.is_idle()
            && !work.is_spent()
            && let Some(action) = self.core.poll_action()
        {
            // New requests and chunks get their turn after each block.
            let is_absorbed = matches!(action, Action::Absorbed { .. });
            if matches!(action, Action::Reply { .. }) {
                work.answer();
            }
            self.perform(action, work);
            if is_absorbed {
                return;
            }
        }
    }

    #[expect(clippy::inline_always, reason = "a part of the path of a read that is answered at once")]
    #[inline(always)]
    fn perform(&mut self, action: Action<Reply>, work: &mut Work) {
        match action {
            Action::Reply { token, result } => {
                work.request();
                token.send(result);
            }
            Action::WriteStore(write) => self.store.write(write),
            Action::Publish(snapshot) => {
                // The wakers of subscribers are foreign code, as those of callers are.
                panics::quietly(|| self.snapshots.send_replace(snapshot));
            }
            Action::OpenStream { stream, at } => {
                debug!(stream, offset = at.offset, "opening the source");
                self.streams.open(stream, at);
            }
            Action::CloseStream(stream) => {
                debug!(stream, progress = ?self.core.published(), "closing the stream");
                self.streams.close(stream);
            }
            Action::Absorbed { bytes } => work.bytes(bytes),
        }
    }

    async fn shut_down(mut self: Box<Self>) {
        debug!("closing");
        self.streams.close_all();
        let (memory, store) = (self.free_memory(), self.store.finish());
        // Dropping the reply channels answers all waiting requests with `Closed`.
        drop(self);
        store.await;
        if let Some(memory) = memory {
            let _ = memory.await;
        }
    }

    /// Frees the memory on a disk thread, if that takes long.
    fn free_memory(&mut self) -> Option<Job<()>> {
        let is_large = self.core.held() >= FREE_LATER;
        is_large.then(|| self.store.spawner().drop_later(self.core.take_memory()))
    }
}

impl Drop for StreamBuffer {
    /// The actor has ended, or is dropped by its caller, such as a runtime that shuts down.
    fn drop(&mut self) {
        self.free_memory();
    }
}

impl fmt::Debug for StreamBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBuffer").field("progress", &self.core.published()).finish_non_exhaustive()
    }
}
