//! The actor moves: it takes in requests, chunks and finished disk work, tells the core about them, and
//! carries out the core's actions.

pub(crate) mod message;
pub(crate) mod shared;
mod streams;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::coop;
use tokio_stream::Stream;
use tracing::{Instrument, Span, debug, warn};

use self::message::{Inbox, Message, Reply, Request};
use self::shared::{Shared, Snapshot};
use self::streams::Streams;
use crate::core::memory::{BLOCK, Pieces};
use crate::core::{Action, Core, Event, Limits, Token};
use crate::error::Error;
use crate::store::SpillStore;
use crate::store::io::{StoreIo, StoreRead};
use crate::store::threads::{self, Job};

/// The most requests that are taken from the channel at a time. Many at a time make each one cheap.
/// This many keep the source waiting for less than a millisecond, or two if all are long reads of the
/// store.
const BATCH: usize = 64;

/// The most bytes that are pulled in a turn from a stream that is always ready: one block, which takes
/// about 20 microseconds of copying.
const PULL_MOST: usize = BLOCK;

/// The least that a chunk counts for in `PULL_MOST`. It bounds how often a stream is polled in a turn.
const PULL_LEAST: usize = 4 * 1024;

/// The most actions that are carried out before new requests and chunks get their turn.
const BURST: usize = 64;

/// From this many bytes on, memory is freed on a disk thread. It takes about 150 microseconds.
const FREE_LATER: usize = 2 * 1024 * 1024;

/// The actor: owns the stream, the spilled file and the index of one buffer, and serves its handles.
///
/// [`Builder::build`](crate::Builder::build) makes it and [`run`](Self::run) runs it;
/// [`spawn`](Self::spawn) does both. Dropping it closes the buffer, whether it was run or not.
pub struct StreamBuffer {
    inbox: Inbox,
    streams: Streams,
    core: Core<Reply>,
    store: StoreIo<Reply>,
    snapshots: watch::Sender<Snapshot>,
    shared: Arc<Shared>,
    span: Span,
}

impl StreamBuffer {
    pub(crate) fn new(
        requests: mpsc::UnboundedReceiver<Message>,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        limits: Limits,
        store: Arc<dyn SpillStore>,
        shared: Arc<Shared>,
        span: Span,
    ) -> (watch::Receiver<Snapshot>, Self) {
        let core = Core::new(limits);
        let (snapshots, seen) = watch::channel(Snapshot { progress: core.published(), failure: None });
        let (inbox, streams, store) = (Inbox(requests), Streams::new(stream), StoreIo::new(store));
        (seen, Self { inbox, streams, core, store, snapshots, shared, span })
    }

    /// Serves the handles until the last one is dropped, or one of them closes the buffer.
    ///
    /// Bytes are pulled and requests are answered only while this future is polled. It yields to other
    /// tasks, even if the source is always ready. It needs no tokio runtime: disk work is done on
    /// threads of its own.
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
        // Requests that came in together with the close get the same answer as the waiting ones.
        drop(batch);
        self.shut_down().await;
    }

    /// One turn: carries out due actions, then polls every input once, so that no input that is always
    /// ready keeps the actor from the others. Actions come first: the wakers of the disk work that they
    /// start are registered by the polls. Ready with whether to go on; `batch` is empty then.
    fn poll_turn(&mut self, cx: &mut Context<'_>, batch: &mut Vec<Message>) -> Poll<bool> {
        self.act();
        let Some(full) = self.poll_requests(cx, batch) else { return Poll::Ready(false) };
        self.poll_store(cx);
        self.poll_streams(cx);
        if full || !self.core.is_idle() { Poll::Ready(true) } else { Poll::Pending }
    }

    /// Takes in requests, a batch of them at most. Returns whether there may be more; `None` if the
    /// last handle is gone, or the buffer is closed.
    fn poll_requests(&mut self, cx: &mut Context<'_>, batch: &mut Vec<Message>) -> Option<bool> {
        let mut room = BATCH;
        while room > 0 {
            let Poll::Ready(taken) = self.inbox.0.poll_recv_many(cx, batch, room) else {
                // Register the waker only before returning `Pending`.
                if self.shared.poll(cx) {
                    self.handle(Event::Withdrawn);
                }
                return (!self.shared.is_closed()).then_some(false);
            };
            if taken == 0 || self.shared.is_closed() {
                return None;
            }
            for message in batch.drain(..) {
                self.take(message);
            }
            room -= taken;
        }
        Some(true)
    }

    /// Tells the core of a request.
    fn take(&mut self, message: Message) {
        let Message { request, reply: token } = message;
        if token.is_abandoned() {
            return;
        }
        let event = match request {
            Request::Read(read) => Event::Read { read, token },
            Request::Load => Event::Load { token },
            Request::Spill => {
                self.store.shrink();
                Event::Spill { token }
            }
        };
        self.handle(event);
    }

    /// Takes in finished writes and reads of the store.
    fn poll_store(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready((offset, result)) = self.store.poll_written(cx) {
            self.handle(match result {
                Ok(()) => Event::Written,
                Err(error) => {
                    let error = Error::spill_write(offset, error);
                    warn!(%error, "spilling failed");
                    Event::WriteFailed(error)
                }
            });
        }
        while let Poll::Ready((token, result)) = self.store.poll_read(cx) {
            reply(token, result);
        }
    }

    /// Pulls chunks that are ready and needed, up to a block. Waiting reads are answered after that, so
    /// that they are woken once for many bytes.
    fn poll_streams(&mut self, cx: &mut Context<'_>) {
        let mut pulled = 0;
        while pulled < PULL_MOST
            && let Some(permit) = self.core.permit()
            && let Poll::Ready(item) = self.streams.poll_chunk(cx)
        {
            pulled += PULL_LEAST;
            match item {
                Some(Ok(chunk)) => {
                    pulled += chunk.len().saturating_sub(PULL_LEAST);
                    permit.chunk(chunk);
                }
                Some(Err(error)) => {
                    debug!(%error, "the source failed");
                    permit.fail(error);
                }
                None => permit.end(),
            }
        }
    }

    fn handle(&mut self, event: Event<Reply>) {
        if let Some(action) = self.core.handle_event(event) {
            self.perform(action);
        }
    }

    /// Carries out due actions, a bounded number of them.
    fn act(&mut self) {
        for _ in 0..BURST {
            let Some(action) = self.core.poll_action() else { return };
            // One block a turn: it costs as much as many replies.
            let is_absorbed = matches!(action, Action::Absorbed { .. });
            self.perform(action);
            if is_absorbed {
                return;
            }
        }
    }

    fn perform(&mut self, action: Action<Reply>) {
        match action {
            Action::Reply { token, result } => reply(token, result),
            Action::ReadStore { token, range, enough } => {
                let keep = self.core.is_within_limit();
                if let Some((token, result)) = self.store.read(StoreRead { token, range, enough }, keep) {
                    reply(token, result);
                }
            }
            Action::WriteStore { offset, blocks } => self.store.write(offset, blocks),
            Action::Publish { progress, failure } => {
                self.snapshots.send_replace(Snapshot { progress, failure });
            }
            Action::CloseStream => {
                debug!(progress = ?self.core.published(), "the source is done");
                self.streams.close();
            }
            Action::Absorbed { .. } => {}
        }
    }

    async fn shut_down(mut self) {
        debug!("closing");
        self.streams.close();
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
        (self.core.held() >= FREE_LATER).then(|| threads::drop_later(self.core.take_memory()))
    }
}

impl Drop for StreamBuffer {
    /// The actor has ended, or is dropped by its caller, such as a runtime that shuts down.
    fn drop(&mut self) {
        self.free_memory();
    }
}

/// Every reply leaves here.
fn reply(token: Reply, result: Result<Pieces, Error>) {
    // A caller that has dropped its request needs no reply.
    let _ = token.send(result);
}

impl fmt::Debug for StreamBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamBuffer").field("progress", &self.core.published()).finish_non_exhaustive()
    }
}
