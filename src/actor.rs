//! The actor moves: it takes in requests and chunks, tells the core, and does what the core decides.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::coop;
use tokio_stream::Stream;
use tracing::{Instrument, Span, debug, warn};

use crate::core::memory::BLOCK;
use crate::core::{Action, Core, Limits, Token};
use crate::disk::{Disk, FileRead};
use crate::error::Error;
use crate::guard::{guarded, panicked};
use crate::message::{Inbox, Message, Reply, Request};
use crate::progress::Progress;
use crate::signal::Signal;
use crate::spill::SpillStore;

/// How many requests are taken from the channel at a time. Taking many makes each one cheap; this
/// many keep the source waiting for well under a millisecond, or two if all are long reads of the file.
const BATCH: usize = 64;

/// How many bytes are pulled in a turn from a source that has them at hand: a block's worth, some 20
/// microseconds of copying.
const PULL_MOST: usize = BLOCK;

/// What a chunk counts for at the least in that: it bounds how often a source is polled in a turn.
const PULL_LEAST: usize = 4 * 1024;

/// How many actions are carried out before new requests and chunks get their turn.
const BURST: usize = 64;

pub(crate) type Source = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The actor: owns the stream, the spilled file and the index of one buffer, and serves its handles.
///
/// Made by [`Builder::build`](crate::Builder::build), and run with [`run`](Self::run);
/// [`spawn`](Self::spawn) does both. Dropping it, run or not, closes the buffer.
pub struct StreamBuffer {
    requests: Inbox,
    source: Option<Source>,
    core: Core<Reply>,
    disk: Disk,
    progress: watch::Sender<Progress>,
    /// What `progress` says; to look there takes a lock.
    told: Progress,
    signal: Arc<Signal>,
    span: Span,
}

impl StreamBuffer {
    pub(crate) fn new(
        requests: mpsc::UnboundedReceiver<Message>,
        source: Source,
        limits: Limits,
        store: Arc<dyn SpillStore>,
        signal: Arc<Signal>,
        span: Span,
    ) -> (watch::Receiver<Progress>, Self) {
        let mut core = Core::new(limits);
        let told = Progress::new(core.status());
        let (progress, seen) = watch::channel(told);
        let disk = Disk::new(store);
        let requests = Inbox(requests);
        let actor = Self { requests, source: Some(source), core, disk, progress, told, signal, span };
        (seen, actor)
    }

    /// Serves the handles until the last one is gone, or one of them closes the buffer.
    ///
    /// Nothing is pulled and no request is answered but by polling this. It yields to other tasks,
    /// whatever the source does.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, when bytes are spilled or read back.
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
    /// // Here in the same task; the actor ends because the handle goes with its read.
    /// let (bytes, ()) = tokio::join!(read, actor.run());
    /// assert_eq!(bytes?, "234");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run(self) {
        let span = self.span.clone();
        self.serve().instrument(span).await;
    }

    async fn serve(mut self) {
        debug!("serving");
        let mut batch = Vec::new();
        while poll_fn(|cx| self.poll_turn(cx, &mut batch)).await {
            // A source that is always ready must not keep this thread from other tasks.
            coop::consume_budget().await;
        }
        // Requests that came in together with the close are answered like those that waited.
        drop(batch);
        self.shut_down().await;
    }

    /// Does what is due, and looks once at everything that something may have come from, so that
    /// nothing that is always ready keeps the actor from the rest. Ready with whether to go on;
    /// `batch` is empty then.
    fn poll_turn(&mut self, cx: &mut Context<'_>, batch: &mut Vec<Message>) -> Poll<bool> {
        let mut more = self.catch_up();
        match self.poll_requests(cx, batch) {
            Some(full) => more |= full,
            None => return Poll::Ready(false),
        }
        if let Poll::Ready(result) = self.disk.poll_written(cx) {
            self.wrote(result);
        }
        self.disk.poll_reads(cx);
        self.pull(cx);
        if more || !self.core.is_settled() { Poll::Ready(true) } else { Poll::Pending }
    }

    /// Takes in requests, a batch of them at most. Returns whether there may be more; `None` where
    /// nobody is left to send one, or the buffer is closed.
    fn poll_requests(&mut self, cx: &mut Context<'_>, batch: &mut Vec<Message>) -> Option<bool> {
        let mut room = BATCH;
        while room > 0 {
            let Poll::Ready(taken) = self.requests.0.poll_recv_many(cx, batch, room) else {
                // Only one who goes to sleep needs to be woken by it.
                if self.signal.poll(cx) {
                    self.core.withdrawn();
                }
                return (!self.signal.is_closed()).then_some(false);
            };
            if taken == 0 || self.signal.is_closed() {
                return None;
            }
            for message in batch.drain(..) {
                self.take(message);
            }
            room -= taken;
        }
        Some(true)
    }

    /// Pulls what the source has at hand and somebody needs, up to a block. Who waits for it is answered
    /// after that, and so is woken for much rather than for little.
    fn pull(&mut self, cx: &mut Context<'_>) {
        let mut pulled = 0;
        while let Some(source) = &mut self.source
            && pulled < PULL_MOST
            && self.core.wants_chunk()
        {
            let Poll::Ready(chunk) = poll_chunk(source, cx) else { break };
            let len = chunk.as_ref().and_then(|chunk| chunk.as_ref().ok()).map_or(0, Bytes::len);
            pulled += len.max(PULL_LEAST);
            self.arrived(chunk);
            self.core.absorb();
        }
    }

    /// Tells the core how a write ended.
    fn wrote(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.core.spilled(),
            Err(error) => {
                let error = Error::spill_write(self.core.status().spilled, error);
                warn!(%error, "spilling failed");
                self.core.spill_failed(&error);
            }
        }
    }

    /// Tells the core of a request.
    fn take(&mut self, message: Message) {
        let Message { request, reply } = message;
        if reply.is_abandoned() {
            return;
        }
        match request {
            Request::Read(read) => {
                if let Some(action) = self.core.read(read, reply) {
                    self.perform(action);
                }
            }
            Request::Spill => {
                self.disk.shrink();
                self.core.spill(reply);
            }
        }
    }

    /// Tells the core what the source yielded.
    fn arrived(&mut self, chunk: Option<io::Result<Bytes>>) {
        match chunk {
            Some(Ok(chunk)) => self.core.append(chunk),
            None => self.core.end(),
            Some(Err(error)) => {
                let error = Error::source_failed(self.core.status().loaded, error);
                debug!(%error, "the source failed");
                self.core.fail(error);
            }
        }
    }

    /// Does a bounded share of what has become due since the last time. Returns whether there is more.
    fn catch_up(&mut self) -> bool {
        if self.core.is_settled() {
            return false;
        }
        self.disk.settle(false);
        let more = self.act();
        self.publish();
        if self.core.is_done() {
            self.drop_source();
        }
        if !more {
            self.core.settle();
            self.disk.settle(true);
        }
        more
    }

    /// Carries out some of the actions that are due. Returns whether there may be more.
    fn act(&mut self) -> bool {
        for _ in 0..BURST {
            match self.core.next_action() {
                Some(action) => self.perform(action),
                // One block a turn: it costs as much as many replies.
                None => return self.core.absorb(),
            }
        }
        true
    }

    fn perform(&mut self, action: Action<Reply>) {
        match action {
            Action::Reply { token, result } => {
                self.publish();
                // Who has left by now needs no answer.
                let _ = token.send(result);
            }
            Action::ReadFile { token, offset, len, enough, rest } => {
                self.publish();
                self.disk.read(FileRead { token, offset, len, enough, rest });
            }
            Action::WriteBlocks { offset, blocks } => self.disk.write(offset, blocks),
        }
    }

    /// Tells of progress where there is any; before a reply, so that who gets the one sees the other.
    fn publish(&mut self) {
        if self.core.is_settled() {
            return;
        }
        let now = Progress::new(self.core.status());
        if now != self.told {
            if let Some(error) = self.core.failure() {
                self.signal.fail(error.clone());
            }
            self.told = now;
            self.progress.send_replace(now);
        }
    }

    /// Lets go of a source that is not to be polled again, and of the connection behind it.
    fn drop_source(&mut self) {
        if let Some(source) = self.source.take() {
            debug!(progress = ?self.told, "the source is done");
            let _ = guarded("source", move || {
                drop(source);
                Ok(())
            });
        }
    }

    async fn shut_down(mut self) {
        debug!("closing");
        self.drop_source();
        let Self { requests, core, disk, progress, .. } = self;
        // Every request that waits is answered by the drop of its reply channel.
        drop((requests, core, progress));
        disk.finish().await;
    }
}

impl fmt::Debug for StreamBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBuffer").field("progress", &self.told).finish_non_exhaustive()
    }
}

/// The next chunk; an error where the source panics.
fn poll_chunk(source: &mut Source, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
    catch_unwind(AssertUnwindSafe(|| source.as_mut().poll_next(cx)))
        .unwrap_or_else(|panic| Poll::Ready(Some(Err(panicked("source", &*panic)))))
}
