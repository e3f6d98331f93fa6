//! The actor moves: it takes in requests and chunks, tells the core, and does what the core decides.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::ready;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, Stream};
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinError, JoinHandle, JoinSet, coop, spawn_blocking};
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, warn};

use crate::core::memory::Pieces;
use crate::core::{Action, Core, Limits, Token};
use crate::error::Error;
use crate::guard::{guarded, panicked};
use crate::message::{Inbox, Message, Reply, Request};
use crate::progress::Progress;
use crate::spill::{SpillStore, read_range, try_read_range, write_blocks};

/// How many requests are taken from the channel at a time. Taking many makes each one cheap; this
/// many keep the source waiting for well under a millisecond.
const BATCH: usize = 64;

/// How many actions are carried out before new requests and chunks get their turn.
const BURST: usize = 64;

/// The longest range that is read from the store on the actor itself, if that takes no waiting:
/// about 20 microseconds of copying from the page cache.
const READ_AT_ONCE: usize = 256 * 1024;

/// How many blocking reads are under way at once. More would take threads of the runtime's pool from
/// others, and a disk no further.
const READS_AT_ONCE: usize = 8;

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
    closing: CancellationToken,
    span: Span,
}

impl StreamBuffer {
    pub(crate) fn new(
        requests: mpsc::UnboundedReceiver<Message>,
        source: Source,
        limits: Limits,
        store: Arc<dyn SpillStore>,
        closing: CancellationToken,
        span: Span,
    ) -> (watch::Receiver<Progress>, Self) {
        let mut core = Core::new(limits);
        let (progress, seen) = watch::channel(Progress::new(core.status()));
        let disk = Disk::new(store);
        let requests = Inbox(requests);
        let actor = Self { requests, source: Some(source), core, disk, progress, closing, span };
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
        let closing = self.closing.clone();
        let mut closed = std::pin::pin!(closing.cancelled());
        let mut batch = Vec::new();
        loop {
            // Work for this task that waits for nothing.
            let more = self.act();
            self.publish();
            if self.core.is_done() {
                self.drop_source();
            }
            let wants_chunk = self.core.wants_chunk();
            tokio::select! {
                () = &mut closed => break,
                taken = self.requests.0.recv_many(&mut batch, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    for message in batch.drain(..) {
                        self.take(message);
                    }
                }
                result = written(&mut self.disk.writing) => match result {
                    Ok(()) => self.core.spilled(),
                    Err(error) => {
                        let error = Error::spill_write(self.core.status().spilled, error);
                        warn!(%error, "spilling failed");
                        self.core.spill_failed(&error);
                    }
                },
                Some(done) = self.disk.reading.join_next_with_id() => self.disk.has_read(done),
                chunk = next_chunk(&mut self.source), if wants_chunk => self.arrived(chunk),
                () = ready(()), if more => {}
            }
            // A source that is always ready must not keep this thread from other tasks.
            coop::consume_budget().await;
        }
        self.shut_down().await;
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
            Request::Spill => self.core.spill(reply),
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

    /// Does a bounded share of what is due. Returns whether there is more.
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
            Action::ReadFile { token, offset, len, rest } => {
                self.publish();
                self.disk.read(FileRead { token, offset, len, rest });
            }
            Action::WriteBlocks { offset, blocks } => self.disk.write(offset, blocks),
        }
    }

    /// Tells of progress where there is any; before a reply, so that who gets the one sees the other.
    fn publish(&mut self) {
        let now = Progress::new(self.core.status());
        self.progress.send_if_modified(|seen| {
            let changed = *seen != now;
            *seen = now;
            changed
        });
    }

    /// Lets go of a source that is not to be polled again, and of the connection behind it.
    fn drop_source(&mut self) {
        if let Some(source) = self.source.take() {
            debug!(progress = ?*self.progress.borrow(), "the source is done");
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
        f.debug_struct("StreamBuffer").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}

/// The next chunk; an error where the source panics.
async fn next_chunk(source: &mut Option<Source>) -> Option<io::Result<Bytes>> {
    let next = AssertUnwindSafe(source.as_mut()?.next()).catch_unwind();
    next.await.unwrap_or_else(|panic| Some(Err(panicked("source", &*panic))))
}

/// How the write under way ends; never, where there is none.
async fn written(writing: &mut Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    let Some(job) = writing else { return std::future::pending().await };
    let result = job.await;
    *writing = None;
    result.unwrap_or_else(|gone| Err(io::Error::other(gone)))
}

/// A range to be read back, and where it goes.
struct FileRead {
    token: Reply,
    offset: u64,
    len: usize,
    /// What follows it, resident.
    rest: Pieces,
}

impl FileRead {
    fn finish(self, result: io::Result<Bytes>) {
        let Self { token, offset, len, rest } = self;
        let result = match result {
            Ok(bytes) => {
                let mut pieces = Pieces::default();
                pieces.push(bytes);
                pieces.extend(rest);
                Ok(pieces)
            }
            Err(error) => Err(Error::spill_read(offset, len as u64, error)),
        };
        let _ = token.send(result);
    }
}

/// The store, and the blocking work on it.
struct Disk {
    store: Arc<dyn SpillStore>,
    writing: Option<JoinHandle<io::Result<()>>>,
    reading: JoinSet<io::Result<Bytes>>,
    /// Who waits for them. Kept here and not with the job, so that a disk that hangs keeps nobody
    /// from learning that the actor is gone.
    readers: HashMap<task::Id, FileRead>,
    /// Reads that wait for others to end.
    queue: VecDeque<FileRead>,
}

impl Disk {
    fn new(store: Arc<dyn SpillStore>) -> Self {
        let (reading, readers) = (JoinSet::new(), HashMap::new());
        Self { store, writing: None, reading, readers, queue: VecDeque::new() }
    }

    /// Reads at once what takes no waiting, and the rest on a blocking thread.
    fn read(&mut self, read: FileRead) {
        if read.len <= READ_AT_ONCE
            && let Some(bytes) = try_read_range(&*self.store, read.offset, read.len)
        {
            return read.finish(Ok(bytes));
        }
        self.queue.push_back(read);
        self.start_reads();
    }

    fn start_reads(&mut self) {
        while self.reading.len() < READS_AT_ONCE {
            let Some(read) = self.queue.pop_front() else { break };
            if read.token.is_abandoned() {
                continue;
            }
            let (store, offset, len) = (Arc::clone(&self.store), read.offset, read.len);
            let job = self.reading.spawn_blocking(move || read_range(&*store, offset, len));
            self.readers.insert(job.id(), read);
        }
    }

    /// Answers who waited for a read that has ended, and starts the next.
    fn has_read(&mut self, done: Result<(task::Id, io::Result<Bytes>), JoinError>) {
        let (id, result) = done.unwrap_or_else(|gone| (gone.id(), Err(io::Error::other(gone))));
        if let Some(read) = self.readers.remove(&id) {
            read.finish(result);
        }
        self.start_reads();
    }

    fn write(&mut self, offset: u64, blocks: Vec<Bytes>) {
        let store = Arc::clone(&self.store);
        self.writing = Some(spawn_blocking(move || write_blocks(&*store, offset, &blocks)));
    }

    /// Waits for what is under way, so that the store is gone when the actor is.
    async fn finish(mut self) {
        self.queue.clear();
        self.readers.clear();
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
        while self.reading.join_next().await.is_some() {}
    }
}
