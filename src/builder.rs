//! Options in, a handle and its actor out.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tracing::debug_span;

use crate::actor::StreamBuffer;
use crate::actor::message::Reply;
use crate::actor::shared::Shared;
use crate::actor::streams::Streams;
use crate::actor::timer;
use crate::core::{Core, Limits};
use crate::handle::BufferHandle;
use crate::source::reader::chunks_of;
use crate::source::{Retry, Source};
use crate::store::io::StoreIo;
use crate::store::threads::Spawner;
use crate::store::{Guarded, SpillStore, TempFileStore};

/// Enough for a song or a picture: such small resources never touch the disk.
const MAX_MEMORY: usize = 5 * 1024 * 1024;

/// Enough for the next seconds of a player, and a small loss if no caller reads it.
const READ_AHEAD: u64 = 1024 * 1024;

/// One stream for a reader that goes on, and one for a read elsewhere.
const STREAMS: usize = 2;

/// Options of a buffer; made by [`StreamBuffer::builder`].
///
/// # Examples
///
/// ```
/// use streamspool::StreamBuffer;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), streamspool::Error> {
/// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
/// # let content_length = Some(10);
/// let buffer = StreamBuffer::builder()
///     .size(content_length)    // it is checked; with it, `size` need not load all bytes
///     .max_memory(16 << 20)    // 16 MiB in memory, older bytes in a file
///     .read_ahead(u64::MAX)    // load all bytes, even if no caller reads
///     .spawn(stream);
/// assert_eq!(buffer.size().await?, 10);
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until it builds or spawns"]
pub struct Builder {
    name: Option<String>,
    limits: Limits,
    retry: Retry,
    store: Option<Arc<dyn SpillStore>>,
    spawner: Spawner,
}

impl Builder {
    fn new() -> Self {
        let limits = Limits {
            declared: None,
            max_memory: MAX_MEMORY,
            max_disk: u64::MAX,
            read_ahead: READ_AHEAD,
            streams: STREAMS,
        };
        Self { name: None, limits, retry: Retry::default(), store: None, spawner: Spawner::default() }
    }

    /// The size that the stream is expected to have, in bytes, if you know: a `u64` or an
    /// `Option<u64>`, such as a `Content-Length`.
    ///
    /// The size is checked, and no memory is allocated from it. A stream that ends before it fails with
    /// [`Truncated`](crate::ErrorKind::Truncated), and one that goes on after it with
    /// [`Oversized`](crate::ErrorKind::Oversized). A [`Source`] that tells another size fails with one of
    /// them at once.
    pub fn size(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.limits.declared = bytes.into();
        self
    }

    /// The number of bytes to keep in memory before the oldest are spilled; 5 MiB by default.
    ///
    /// Bytes are spilled in blocks of 256 KiB, in the order of their arrival. Memory may exceed the limit by
    /// 1 MiB and one chunk of the source. Pulling pauses before memory exceeds that, however slow the disk
    /// is. [`usize::MAX`] keeps everything in memory. Replies that a caller holds do not count: each may keep
    /// a block alive, see [`BufferHandle::read`].
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.limits.max_memory = bytes;
        self
    }

    /// The number of bytes that the spill store may hold, in whole blocks of 256 KiB; [`u64::MAX`], no limit,
    /// by default.
    ///
    /// When the store is full, bytes are discarded. Of a stream, and of a source that cannot be opened
    /// anywhere or has no versions, the oldest bytes are discarded for good: a read of them fails with
    /// [`Discarded`](crate::ErrorKind::Discarded). So the buffer keeps the last bytes of an endless stream. Of
    /// other sources, the blocks that were not read for the longest time are discarded, and a read fetches
    /// them again. Read-ahead pauses before it discards bytes that no read has got.
    ///
    /// 0 makes no file: bytes are discarded when they leave memory. A [`load`](BufferHandle::load) of more
    /// than `max_memory` and `max_disk` together fails. [`BufferHandle::set_max_disk`] changes the limit.
    ///
    /// # Examples
    ///
    /// A radio whose last ten minutes can be heard again: 128 kbit/s are 16,000 bytes a second.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let radio = futures::stream::pending();
    /// let buffer = streamspool::StreamBuffer::builder().max_disk(10 * 60 * 16_000).spawn(radio);
    /// # }
    /// ```
    pub fn max_disk(mut self, bytes: u64) -> Self {
        self.limits.max_disk = bytes;
        self
    }

    /// The number of bytes to pull past the furthest byte that was read; 1 MiB by default.
    ///
    /// 0 pulls only the bytes that a read waits for. [`u64::MAX`] pulls everything as fast as the source
    /// sends it, also without a read. With any other value no byte is pulled before the first read.
    ///
    /// If a [`Source`] can have several [streams](Self::streams), read-ahead counts for each reader. It uses the
    /// streams that are open. It opens one only with [`u64::MAX`], or for a slow reader in order that will soon have to
    /// wait.
    pub fn read_ahead(mut self, bytes: u64) -> Self {
        self.limits.read_ahead = bytes;
        self
    }

    /// How a [`Source`] is opened again after a failure; [`Retry::default`] unless set. A stream cannot be opened
    /// again, so this has no effect on it.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The most streams of a [`Source`] that may be open at once; 2 by default, and at least 1. A stream that
    /// is being opened counts.
    ///
    /// A read that is far ahead of all streams, or behind them, gets a stream of its own. If this many are in
    /// use, readers share them in [turns](crate#sources-that-can-be-opened-again): a stream moves to the reader that
    /// has waited longest, after it has brought at least 512 KiB, or when its readers have stopped. With 1 stream, a far
    /// read closes that stream and opens the source elsewhere. Two streams are enough for one player. A server with
    /// many slow readers waits less with 3 or 4.
    ///
    /// With [`max_disk`](Self::max_disk), at most two streams are open at once, and one more for each 256 KiB of
    /// [`max_memory`](Self::max_memory) and of `max_disk`.
    ///
    /// All this is true only of sources that can be opened [`Anywhere`](crate::Reopen) and whose openings yield a
    /// [`Version`](crate::Version). All others have one stream, which loads from front to back.
    pub fn streams(mut self, most: usize) -> Self {
        self.limits.streams = most.max(1);
        self
    }

    /// The directory for the temporary file. It replaces an earlier [`store`](Self::store).
    ///
    /// [`TempFileStore`] says which directory is the default, and which file systems read back fastest.
    pub fn spill_dir(self, dir: impl Into<PathBuf>) -> Self {
        self.store(TempFileStore::in_dir(dir))
    }

    /// The store of the bytes that memory has no room for. The default is a [`TempFileStore`].
    ///
    /// Each buffer needs a store of its own. Two buffers on one store, for example on two clones of an
    /// `Arc`, overwrite each other's bytes and read wrong ones: each writes from offset 0. This is not
    /// detected; [`SpillStore`] says why.
    pub fn store(mut self, store: impl SpillStore) -> Self {
        self.store = Some(Arc::new(Guarded::new(store)));
        self
    }

    /// Gives each job of the disk, which may block, to `run`. By default they run on threads of the process.
    ///
    /// This is for the tests of this repository: it is not part of the stable API, and may change in any
    /// release. `run` may run a job on any thread and at any time. A job that is dropped counts as failed.
    #[doc(hidden)]
    pub fn disk_spawner(mut self, run: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static) -> Self {
        self.spawner = Spawner::new(run);
        self
    }

    /// What to call this buffer in tracing spans, beside its number.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Makes the handle and its actor, which does nothing until it is [run](StreamBuffer::run).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let (buffer, actor) = streamspool::StreamBuffer::builder().build(stream);
    /// let task = tokio::spawn(actor.run());
    /// assert_eq!(buffer.read(2, 3).await?, "234");
    /// drop(buffer);
    /// task.await.expect("the actor ends by itself");
    /// # Ok(())
    /// # }
    /// ```
    pub fn build<S>(self, stream: S) -> (BufferHandle, StreamBuffer)
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        self.build_actor(Streams::one_way(Box::pin(stream)), Core::one_way)
    }

    /// Makes the handle, and runs its actor as a task of the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn<S>(self, stream: S) -> BufferHandle
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let (handle, actor) = self.build(stream);
        tokio::spawn(actor.run());
        handle
    }

    /// Makes the handle and its actor for a [`Source`], which is opened when a byte is needed, again after a
    /// failure, and for reads far ahead.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// use streamspool::{Bytes, OpenAt, Opened, StreamBuffer, source_fn};
    ///
    /// let source = source_fn(async |at: OpenAt| {
    ///     let all = Bytes::from_static(b"0123456789");
    ///     Ok(Opened::new(futures::stream::iter([Ok(all.slice(at.offset as usize..))])).size(10))
    /// });
    /// let (buffer, actor) = StreamBuffer::builder().build_source(source);
    /// tokio::spawn(actor.run());
    /// assert_eq!(buffer.read(2, 3).await?, "234");
    /// # Ok(())
    /// # }
    /// ```
    pub fn build_source(self, source: impl Source) -> (BufferHandle, StreamBuffer) {
        let retry = self.retry;
        self.build_actor(Streams::source(Arc::new(source)), |limits, seed, now| {
            Core::source(limits, retry, seed, now)
        })
    }

    /// Makes the handle for a [`Source`], and runs its actor as a task of the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn_source(self, source: impl Source) -> BufferHandle {
        let (handle, actor) = self.build_source(source);
        tokio::spawn(actor.run());
        handle
    }

    /// Makes the handle for anything that is [`AsyncRead`], and runs its actor as a task of the current tokio
    /// runtime.
    ///
    /// The end of the reader is taken for the end of the resource. The end of a pipe does not say whether the
    /// process that wrote it has succeeded: for a child process, use `spawn_child` (feature `process`).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// let (mut input, output) = tokio::io::duplex(1024);
    /// let buffer = streamspool::StreamBuffer::builder().spawn_reader(output);
    /// tokio::io::AsyncWriteExt::write_all(&mut input, b"0123456789").await.unwrap();
    /// drop(input);
    /// assert_eq!(buffer.slice(7..).await?, "789");
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn_reader(self, reader: impl AsyncRead + Send + 'static) -> BufferHandle {
        self.spawn(chunks_of(reader))
    }

    /// Makes the handle for the standard output of a child process, and runs its actor as a task of the current
    /// tokio runtime.
    ///
    /// Needs the feature `process`. The output of a child that fails may lack its last bytes, although the pipe
    /// ends as always. So the resource ends only when the pipe has ended and the child has exited with success. If
    /// the child exits with another status or is killed by a signal, that is an error of the source: reads of
    /// missing bytes fail with [`Source`](crate::ErrorKind::Source), and bytes that arrived before stay readable.
    ///
    /// The child is killed when the buffer ends: after [`close`](BufferHandle::close), and when the last handle
    /// is dropped. Only the child itself is killed. If it is a shell, the processes that it has started may go on,
    /// until they write to the pipe. While the buffer pulls nothing, the child waits as soon as the pipe is full.
    ///
    /// - The standard output must be piped, and not taken. Otherwise reads fail with an error of the kind
    ///   [`InvalidInput`](io::ErrorKind::InvalidInput).
    /// - If the standard error is piped and not taken, the buffer reads it, and the message of the error ends with
    ///   its last 1024 bytes. Otherwise it goes where the [`Command`](tokio::process::Command) sends it: by default,
    ///   where that of this process goes. A message in a log or on a terminal says why the child has failed.
    /// - A standard input that is piped and not taken is closed.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::process::Stdio;
    ///
    /// use tokio::process::Command;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # if cfg!(unix) {
    /// let mut command = Command::new("sh");
    /// command.args(["-c", "printf 0123456789; echo disk full >&2; exit 3"]);
    /// let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    /// let buffer = streamspool::StreamBuffer::builder().spawn_child(child);
    /// assert_eq!(buffer.read(2, 3).await?, "234");
    ///
    /// let error = buffer.load().await.unwrap_err();
    /// let cause = error.io_error().map(ToString::to_string);
    /// assert_eq!(cause.as_deref(), Some("the child process ended with exit status: 3: disk full"));
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "process")]
    pub fn spawn_child(self, child: tokio::process::Child) -> BufferHandle {
        self.spawn(crate::source::child::output_of(child))
    }

    fn build_actor(
        self,
        streams: Streams,
        core: impl FnOnce(Limits, u64, Instant) -> Core<Reply>,
    ) -> (BufferHandle, StreamBuffer) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let span = debug_span!("streamspool", id, name = self.name);
        let store = self.store.unwrap_or_else(|| Arc::new(TempFileStore::new()));
        // A random seed for the jitter: many programs must not retry in step.
        let seed = RandomState::new().hash_one(id);
        let core = core(self.limits, seed, timer::now());
        // The channel has no bound of its own: each request is awaited by its caller, which bounds them
        // too. A bounded channel would reserve places for readers that are not polled any more, and
        // enough of those would lock out all others.
        let (requests, received) = mpsc::unbounded_channel();
        let shared = Arc::<Shared>::default();
        let store = StoreIo::new(store, self.spawner, span.clone());
        let (snapshots, lender, actor) =
            StreamBuffer::new(received, streams, core, store, Arc::clone(&shared), span);
        (BufferHandle::new(requests, snapshots, shared, lender), actor)
    }
}

impl StreamBuffer {
    /// Options, all at their defaults.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Buffers `stream` with all defaults, as a task of the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), streamspool::Error> {
    /// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
    /// let buffer = streamspool::StreamBuffer::spawn(stream);
    /// assert_eq!(buffer.read(2, 3).await?, "234");
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn<S>(stream: S) -> BufferHandle
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        Self::builder().spawn(stream)
    }
}

impl StreamBuffer {
    /// Buffers a [`Source`] with all defaults, as a task of the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Examples
    ///
    /// See [`Source`].
    pub fn spawn_source(source: impl Source) -> BufferHandle {
        Self::builder().spawn_source(source)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
