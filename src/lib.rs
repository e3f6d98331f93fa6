//! Seek in a stream that only goes forward.
//!
//! An HTTP body, a pipe or the output of a decoder arrives once, from front to back. A player, a server
//! of ranges or a parser reads at any offset, while the stream still arrives. `streamspool` wraps any
//! [`Stream`](futures::Stream) of [`Bytes`] and keeps all bytes that have arrived: the newest ones in
//! memory, the older ones in an unnamed temporary file. Any task can
//! [`read(offset, len)`](BufferHandle::read) any range at any time. A read of bytes that have not
//! arrived yet waits for them.
//!
//! A [`Source`] can be opened at any offset and more than once, such as a file or a resource of a server.
//! `streamspool` opens it again after a failure, and proves that it still yields the same bytes. A read far
//! ahead opens a stream of its own there, if the source has [versions](Version): it waits for the bytes that
//! it needs, and not for all bytes before them.
//!
//! # Quick start
//!
//! ```
//! use std::io::SeekFrom;
//! use streamspool::{Bytes, StreamBuffer};
//! use tokio::io::{AsyncReadExt, AsyncSeekExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! // Any stream of `io::Result<Bytes>`; this one yields "0123456789".
//! let stream = futures::stream::iter(["01", "234", "56789"].map(|s| Ok(Bytes::from(s))));
//! let buffer = StreamBuffer::spawn(stream);
//!
//! assert_eq!(buffer.read(4, 3).await?, "456"); // forward: waits until the bytes have arrived
//! assert_eq!(buffer.read(0, 2).await?, "01"); // back: the bytes were kept
//!
//! let mut reader = buffer.reader(); // AsyncRead + AsyncBufRead + AsyncSeek
//! reader.seek(SeekFrom::End(-2)).await?;
//! let mut last = String::new();
//! reader.read_to_string(&mut last).await?;
//! assert_eq!(last, "89");
//! # Ok(())
//! # }
//! ```
//!
//! The [guides](docs::guides) show more: HTTP bodies and ranges, synchronous decoders, your own store, and
//! one buffer for each resource of a server. [`docs::design`] describes how the crate works, and
//! [`docs::reliability`] how it is tested.
//!
//! # Sources
//!
//! ## A stream
//!
//! A stream is pulled once, from front to back. Clients such as `reqwest` yield an HTTP body as a stream
//! of `Bytes` with their own error type:
//!
//! ```
//! use std::io;
//! use futures::TryStreamExt;
//! use streamspool::{BufferHandle, Bytes, StreamBuffer};
//!
//! fn buffer_body<E>(
//!     body: impl futures::Stream<Item = Result<Bytes, E>> + Send + 'static,
//!     content_length: Option<u64>,
//! ) -> BufferHandle
//! where
//!     E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
//! {
//!     StreamBuffer::builder().size(content_length).spawn(body.map_err(io::Error::other))
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let body = futures::stream::iter([Ok::<_, std::fmt::Error>(Bytes::from_static(b"abc"))]);
//! # assert_eq!(buffer_body(body, Some(3)).read(1, 2).await.unwrap(), "bc");
//! # }
//! ```
//!
//! ## An `AsyncRead`
//!
//! [`spawn_reader`](Builder::spawn_reader) takes a socket, the output of a decoder, or anything else that is
//! [`AsyncRead`](tokio::io::AsyncRead):
//!
//! ```
//! use streamspool::StreamBuffer;
//! use tokio::io::AsyncReadExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let reader = tokio::io::repeat(b'a').take(1000);
//! let buffer = StreamBuffer::builder().spawn_reader(reader);
//! assert_eq!(buffer.slice(997..).await?, "aaa");
//! # Ok(())
//! # }
//! ```
//!
//! ## A child process
//!
//! The output of a process that fails ends like that of a process that succeeds. With the feature `process`,
//! `Builder::spawn_child` takes a child process, and its output ends only if the process exits with success.
//!
//! ## A source that can be opened again
//!
//! [`spawn_source`](StreamBuffer::spawn_source) takes a [`Source`]. It is opened when a byte is needed. If
//! its stream breaks, it is opened again at the first byte that is missing. [`source_fn`] makes a source of
//! a closure. The stream of this one breaks after each 4 bytes:
//!
//! ```
//! use std::io;
//! use streamspool::{Bytes, Opened, StreamBuffer, Version, source_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), streamspool::Error> {
//! let source = source_fn(|at| async move {
//!     let all = Bytes::from_static(b"0123456789");
//!     let start = at.offset as usize;
//!     let end = all.len().min(start + 4);
//!     let broken = io::Error::from(io::ErrorKind::ConnectionReset);
//!     let stream = futures::stream::iter([Ok(all.slice(start..end)), Err(broken)]);
//!     Ok(Opened::new(stream).size(10).version(Version::strong("v1")))
//! });
//! let buffer = StreamBuffer::spawn_source(source);
//! assert_eq!(buffer.read(0, 10).await?, "0123456789");
//! # Ok(())
//! # }
//! ```
//!
//! The [`Version`] proves that each stream belongs to the same bytes. Without versions, the buffer compares
//! the last bytes that it has with the new stream. [`retry`](Builder::retry) sets how often and how fast it
//! tries again. With the feature `http`, `HttpSource` is a source for a resource of an HTTP server.
//!
//! With versions, distant reads do not wait for each other. A read far ahead of all streams, or behind them,
//! opens the source where its bytes are. The loaded bytes then [have holes](#meaning-with-holes), which are
//! filled when a caller needs them. [`streams`](Builder::streams) sets how many streams may be open at once.
//! This source prints where it is opened:
//!
//! ```
//! use streamspool::{Bytes, Opened, StreamBuffer, Version, source_fn};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), streamspool::Error> {
//! let source = source_fn(|at| async move {
//!     println!("opened at {}", at.offset); // 0, then 31999990
//!     let rest = futures::stream::iter((at.offset..32_000_000).step_by(1000).map(|from| {
//!         let to = 32_000_000.min(from + 1000);
//!         Ok((from..to).map(|offset| offset as u8).collect::<Bytes>())
//!     }));
//!     Ok(Opened::new(rest).size(32_000_000).version(Version::strong("v1")))
//! });
//! let buffer = StreamBuffer::builder().read_ahead(0).spawn_source(source);
//! buffer.read(0, 1000).await?;
//! buffer.read(31_999_990, 10).await?;
//! assert_eq!(buffer.ranges().await?.resident, [0..1000, 31_999_990..32_000_000]);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! No feature is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `http` | `HttpSource`, a resource of an HTTP server, with TLS |
//! | `http-client` | `HttpSource` with a client of yours, and without TLS of its own |
//! | `object_store` | `ObjectSource`, an object of S3, Google Cloud Storage, Azure or a folder |
//! | `process` | `Builder::spawn_child`, the output of a child process |
//! | `symphonia` | a [`BlockingReader`] is a `MediaSource` of Symphonia |
//! | `checksums` | `ChecksummedStore`, which finds bytes that a disk has lost or changed |
//!
//! # The contract
//!
//! The tests cite these rules by their numbers.
//!
//! ## Reading
//!
//! 1. An exact read returns exactly its range. It returns less only because the stream ended; past the end
//!    it is empty. No read returns a byte that the source did not send.
//! 2. [`read_some`](BufferHandle::read_some) and the [`BufferReader`] wait for one byte, not for more.
//! 3. A read of length 0 is answered at once and pulls nothing. A range past [`u64::MAX`] means "to the
//!    end". However large a length is, memory is allocated only for bytes that exist.
//! 4. A read that can be answered is answered, whatever other requests wait for.
//! 5. Replies of more than 1 KiB are slices of resident memory where the range lies in one segment of it. A
//!    segment is a block of 256 KiB, or a part of a block that was read while it was filled, or that several
//!    streams filled. Replies of up to 1 KiB are copies, unless they are a large part of a small block, and
//!    so are the newest bytes of a block, up to 4 KiB, while a stream fills it. The actor sends pieces of
//!    memory and slices of the store, and the caller's task copies them. So no read waits while the bytes of
//!    another one are copied. The caller's task reads a slice without waiting, if the store can do that. Otherwise a
//!    disk thread reads it, up to 1 MiB at a time; at most eight such reads run at once. If the place of a slice was
//!    used again before the slice was read, the caller asks the actor again.
//!
//! ## Pulling
//!
//! 6. The source is pulled only while a caller needs bytes: up to the furthest waiting read, and
//!    [`read_ahead`](Builder::read_ahead) bytes past the furthest byte delivered. If a source has several
//!    streams, each is pulled only while a request waits for its bytes, or for read-ahead (rule 26).
//! 7. Dropping a request's future withdraws its demand. At most one more chunk is pulled for it. Bytes that
//!    were pulled stay, other requests are not affected, and abandoned reads do not pile up.
//! 8. Empty chunks are harmless, and a source that is always ready does not starve requests. After its end
//!    or its error a stream is not polled again.
//!
//! ## Keeping
//!
//! 9. Memory holds the bytes that arrived last: at most [`max_memory`](Builder::max_memory) plus 1 MiB plus one chunk,
//!    however slow the disk is and however many streams are open. Many short ranges count 128 bytes more each. The
//!    list of loaded ranges is not counted. Older blocks are moved to the file, in the order of their arrival (rule
//!    29). A small stream costs little more memory than its size, and no file. A reply that is a slice keeps its whole
//!    block of up to 256 KiB alive while the caller holds it. That memory is not counted.
//! 10. Bytes are readable at all times, also while they are written to the file.
//! 11. The file has no name, is private to the user (where the file system has permissions), and is made
//!     when it is first needed. By default it [avoids a tmpfs](TempFileStore#where-the-file-is).
//! 12. [`spill`](BufferHandle::spill) moves all resident bytes to the store.
//!     [`save`](BufferHandle::save) writes the whole resource to a path, complete or not at all. It follows
//!     a symbolic link at the path, and a file that it replaces passes on its permissions.
//!     [`save_new`](BufferHandle::save_new) saves only to a path that does not exist. A path that cannot be
//!     saved to is refused before anything is loaded; on Linux this includes a file that the system lets no program
//!     replace.
//! 13. The [store](SpillStore) can be replaced.
//!
//! ## Ending
//!
//! 14. The declared [size](Builder::size) is checked, and nothing is allocated from it: it must equal the
//!     size that the source tells, or the offset at which the resource ends. So a read past it waits until
//!     one of them is known. An early end of a source that can be opened again is retried first (rule 24).
//! 15. An error or a panic of the source is final, is shared by all requests that it concerns, and keeps
//!     its kind. It closes all streams. Bytes that arrived before stay readable, also after a hole, and
//!     requests that need missing bytes get the error. Transient failures of a source that can be opened
//!     again are retried first, and are not final (rule 24). A failure is never an end of file: kinds that
//!     decoders misread [are mapped](Error#as-an-ioerror), for errors of the store and of a save too. The output of
//!     a child process (`spawn_child`) ends only if the process exits with success; any other exit is an error of the
//!     source. A source whose end is known and whose bytes are all loaded is [`Complete`](State::Complete); if its
//!     first bytes were discarded for good (rule 27), it has [`Ended`](State::Ended).
//! 16. A failed write to the store loses no byte. If memory exceeds its limit then, no stream is opened or
//!     pulled, and waiting requests get the error; if only a [`spill`](BufferHandle::spill) needed the write,
//!     reading goes on. Until a write succeeds, [`Progress::store_failing`] and
//!     [`store_error`](BufferHandle::store_error) report the failure. The next request that needs missing
//!     bytes retries the write at once. While bytes are needed, it is also retried in the background, with
//!     delays that grow up to 15 s. A failed read from the store fails only that read.
//! 17. After [`close`](BufferHandle::close), the end of the runtime, or any other end of the actor, every request is
//!     answered with [`Closed`](ErrorKind::Closed). When the last handle is dropped, the source and the file are
//!     dropped too. A disk thread closes the file and frees large memory. A panic in a destructor of a source, a chunk,
//!     a store or an error, or in the waker of a caller, changes none of this. The end of the buffer kills the child
//!     process of `spawn_child`.
//! 18. A seek to a negative position is invalid input; a seek past the end is legal. A seek cancels the
//!     reader's read in flight.
//! 19. `Debug` never prints contents. Every error says which operation failed and at which offset. The
//!     message does not include the cause, which is the error's `source()`.
//!
//! ## Observing
//!
//! 20. [`progress`](BufferHandle::progress) and [`subscribe`](BufferHandle::subscribe) report how many bytes
//!     are loaded, in memory and in the store, the first missing byte, the number of open streams, the
//!     [`State`] with the attempt that is waited for, and whether the store fails.
//!     [`ranges`](BufferHandle::ranges) returns the loaded ranges. [`error`](BufferHandle::error) and
//!     [`store_error`](BufferHandle::store_error) return the failure that lasts now. Spans and events of
//!     `tracing` name the buffer.
//!
//! ## Sources that can be opened again
//!
//! 21. A source says how it can be opened again: [`Never`](Reopen::Never), [`FromStart`](Reopen::FromStart) or
//!     [`Anywhere`](Reopen::Anywhere). A stream that starts before the requested offset downgrades `Anywhere` to
//!     `FromStart`. A stream that starts at 0 as requested does not show whether the source obeys offsets.
//!     [`Source::open`] is called only while a request waits for a missing byte or for the size, while
//!     `read_ahead(u64::MAX)` loads all bytes, or for a reader that will soon wait (rule 26). It is called for the
//!     first missing byte that is needed. Only an `Anywhere` source with versions can have holes and several streams:
//!     at most [`streams`](Builder::streams) are open or being opened at once, and no more than memory and the store
//!     can hold blocks. All others are loaded from front to back by one stream. A stream of an `Anywhere` source from
//!     which the buffer wanted no byte for 30 s is closed, and the next read opens the source again. If an HTTP server
//!     refuses a range, or answers it so that the place of the bytes is in doubt, the whole resource is asked for.
//! 22. Bytes of different versions are never mixed. After each opening, new bytes count only if they are proven to
//!     belong to the same resource: by an equal [`Version`], or, without versions, by an equal size (where it is known)
//!     and by up to 64 KiB of received bytes that compare equal. For this comparison, a source without versions keeps
//!     its last 64 KiB in memory, outside `max_memory`, and is opened that much earlier. If its very first opening was
//!     past offset 0, that stream is dropped and the source is opened at 0, because nothing would prove the bytes
//!     before it. A stream that lacks the known version is a transient failure. After two openings in a row that lack
//!     it, the source counts as one without versions, until it tells this version again: the last bytes before the first
//!     missing one that are in memory, up to 64 KiB, are compared. If none is there, the source has failed. A stream
//!     that returns when nothing can prove it is dropped, and that is no failure: the source is opened where a proof is
//!     possible. Without a known
//!     version, one stream is open at a time, and it must bring all of the last 64 KiB kept. A source without versions
//!     keeps its first 4 KiB too, so that a stream that starts again with other bytes is `Changed` at once. If the
//!     resource is another one, all streams are closed, waiting and later requests for missing bytes get
//!     [`Changed`](ErrorKind::Changed), and loaded bytes stay readable.
//! 23. A stream may start before the requested offset. Its bytes that are loaded already are skipped, and
//!     compared where the kept bytes allow it. If it starts after that offset, the resource has `Changed`.
//!     Bytes past the size that the source told are cut off.
//! 24. A transient failure is retried while a request waits for missing bytes. Transient are: all kinds of
//!     [`io::Error`](std::io::Error) except `NotFound`, `PermissionDenied`, `InvalidInput`, `InvalidData` and
//!     `Unsupported`; an end before the known size; and an opening or a needed stream that is silent for
//!     [`stall_timeout`](Retry::stall_timeout). A [`SourceError`] inside the `io::Error` overrides its kind and can ask
//!     for a longer delay. Panics are permanent. The delay starts at 100 ms and doubles up to 15 s, less a random part
//!     of up to one half. During a delay nothing is opened, and open streams go on. Failures of streams and openings
//!     that were under way when a delay began belong to the same round, and do not count again. A series ends when each
//!     stream that was opened since its last counted failure has brought a *new* byte; bytes of older streams end none.
//!     A stream that has brought new bytes and breaks waits only for the first delay, unless the source asked for more;
//!     other ranges are retried with it. After 10 rounds, the waiting requests that no open stream with new bytes
//!     serves fail with the last error, and the next request starts a new series. An HTTP part that ends before the
//!     requested range, at a place that the server chose, is no failure if it brought new bytes: the next part is
//!     requested at once. A delay beyond all time never ends. If all failures of a series were early ends and the size
//!     is known, this error is [`Truncated`](ErrorKind::Truncated). An end at [`OpenAt::end`] is no failure (rule 25).
//!     [`Retry`] changes these numbers. If the source tells a size that differs from the declared one, the buffer fails
//!     at once, with `Truncated` or [`Oversized`](ErrorKind::Oversized). Only this, permanent failures and `Changed`
//!     are final. Without a timer in the runtime, the first failure fails the waiting requests.
//! 25. Where several streams are possible (rule 21), a waiting request gets a stream of its own if that is faster than
//!     waiting: if its first missing byte is behind all streams, or further ahead of them than the *jump distance*.
//!     This is the number of bytes that a stream brings while another one is opened: the rate times the time to the
//!     first byte. Both are medians of the last five measurements, without the time in which the buffer wanted no
//!     bytes. A rate is measured over at least the time that an opening takes, so that a burst is not taken for it. The
//!     distance is never less than 64 KiB, and 128 KiB until both are measured. Readers that share few streams take
//!     turns. The turn of a stream starts with its first byte. It is over when the stream has brought eight jump
//!     distances of new bytes (at least 512 KiB), or after 2 s or eight openings, whichever is longer. Then the stream
//!     moves to the request that has waited longest, if no stream serves that request. During its turn a stream moves
//!     only if its readers have stopped: no request waits for it, and it has answered none for half the time of an
//!     opening. A reader that is slower than its stream pauses between its requests, so its read-ahead is completed
//!     first. A new reader, or one that has sought, does not wait for that. Of several streams that may move, one that
//!     does not read ahead moves first, and then the one whose reader has the most bytes left. A stream runs through
//!     loaded ranges that are shorter than the jump distance: it receives and skips their bytes. It stops before a
//!     longer one, before one at whose end another stream goes on, and where nothing is missing after it. If such a
//!     stop is among the next 64 loaded ranges at the opening, [`OpenAt::end`] is its offset.
//! 26. Read-ahead counts from the ends of the last ranges delivered, one for each of up to 64 readers; for a source
//!     that cannot jump, from the furthest byte delivered. A range that continues another one takes its place. If there
//!     are more readers, one that misses no byte within its read-ahead is the first to leave. A stream that is open
//!     reads ahead. Read-ahead opens, moves or retries a stream only with `read_ahead(u64::MAX)`, or for a reader that
//!     reads in order, is slower than its stream, and has less than half of its read-ahead left (at most one turn):
//!     this reader gets a stream that is not needed elsewhere, before it has to wait. So a hole that no open stream
//!     reaches is filled only by reads, [`load`](BufferHandle::load), [`load_range`](BufferHandle::load_range), `save`
//!     and `read_ahead(u64::MAX)`.
//!
//! ## Limits
//!
//! 27. The store holds at most [`max_disk`](Builder::max_disk) bytes, in whole blocks of 256 KiB; the places of blocks
//!     that are discarded are used again. `max_disk(0)` makes no file. When the store is full, blocks make space for
//!     new ones. Bytes of an `Anywhere` source with versions are discarded block by block, first the one that arrived
//!     or was read least recently, and are missing again: a request fetches them again. All other bytes are discarded
//!     from the front and for good: a read or a load that starts before [`Progress::start`] fails with
//!     [`Discarded`](ErrorKind::Discarded), and [`Error::kept_from`] is the first offset that is kept.
//!     [`skip_discarded`](BufferReader::skip_discarded) moves a reader there. Bytes that no read has got are discarded
//!     only while a request waits for missing bytes and memory is full. A stream that only reads ahead pauses instead.
//!     A discarded byte is not fetched again by read-ahead. An exact read gets its bytes in parts, as they arrive, so it
//!     may be longer than the limits, and reads do not discard each other's bytes. A [`load`](BufferHandle::load) or [`load_range`](BufferHandle::load_range) of a
//!     known range of more than `max_memory` and `max_disk` together fails with
//!     [`InvalidInput`](ErrorKind::InvalidInput). A smaller one ends when each of its bytes has arrived once, even if
//!     other requests have discarded some of them since. [`spill`](BufferHandle::spill) moves as many bytes as fit.
//! 28. [`set_max_memory`](BufferHandle::set_max_memory) and [`set_max_disk`](BufferHandle::set_max_disk) change
//!     the limits at any time, and resolve when the new limit is met and the store was told which places are
//!     free ([`SpillStore::discard`]). A lower limit on disk discards bytes whether they were read or not. A read
//!     of them that has begun is decided anew, unless it ends before. If a write fails, the call gets its error, and
//!     the limit is changed all the same.
//! 29. Bytes are moved to the store by blocks of 256 KiB, which may have gaps. A block that no stream is
//!     filling may be written, in the order in which the blocks began to arrive. If memory has no room for
//!     one more block, the blocks that streams are filling are written too, so that memory full of partly
//!     filled blocks stops nothing. Each byte is written once each time that it arrives. Without a limit on
//!     disk it is at its own offset, and the file has the same holes as the resource.
//!
//! ## Meaning with holes
//!
//! Loaded bytes have holes only where a stream has jumped over bytes, where the first stream did not start at
//! offset 0 (rules 21 and 25), or where bytes were discarded that can be fetched again (rule 27).
//!
//! - [`Progress::loaded`] is the number of loaded bytes, each counted once: `resident + spilled`.
//!   [`Progress::start`] is the first offset that is kept, and [`Progress::frontier`] the first missing byte
//!   from there. [`Progress::locate`] knows only these two, so it calls a range after a hole `AfterIndex`,
//!   even if the range is loaded. [`ranges`](BufferHandle::ranges) returns all.
//! - A request waits for its own missing bytes and for no others. A read at or past the known end is empty,
//!   whatever is missing before it.
//! - [`State::Complete`] means that the size is known and no byte is missing or discarded. [`State::Ended`] means that
//!   the size is known, and that the bytes before `start` were discarded for good.
//! - [`size`](BufferHandle::size) and a seek from the end use the known size. If no size is known, a source
//!   that has loaded nothing is opened at 0 to look; otherwise bytes are pulled from the end of the last
//!   loaded range to the end of the resource, and holes stay.
//! - [`load`](BufferHandle::load) and `save` fill all holes, and `load_range` those of its range.
//!
//! ## Blocking callers
//!
//! Rules 30 and 31 are kept free for pools of buffers, which do not exist yet.
//!
//! 32. [`blocking_read`](BufferHandle::blocking_read) and the [`BlockingReader`] work on any thread that may
//!     block: in `spawn_blocking` and `block_in_place`, and on threads of your own, with or without a runtime.
//!     On a thread that runs async tasks of tokio they return `InvalidInput`, even if the bytes are loaded,
//!     and request nothing. They never panic, and they do not deadlock while the buffer is served. A wait
//!     ends when the buffer is closed.
//!
//! # Cancel safety
//!
//! A future is *cancel safe* in this crate if dropping it at any await point withdraws its request and
//! changes nothing else: no byte is lost or repeated, and the same request made again gives the same
//! result. Every async method of this crate is cancel safe, and its documentation says so.

mod actor;
mod builder;
mod core;
mod error;
mod handle;
mod panics;
mod progress;
mod source;
mod store;

pub use bytes::Bytes;

pub use crate::actor::StreamBuffer;
pub use crate::builder::Builder;
pub use crate::error::{Error, ErrorKind};
pub use crate::handle::{
    BlockingReader, BufferHandle, BufferReader, Chunks, ProgressUpdates, WeakBufferHandle,
};
pub use crate::progress::{Location, Progress, Ranges, State};
#[cfg(feature = "object_store")]
pub use crate::source::ObjectSource;
#[cfg(feature = "http-client")]
pub use crate::source::{FirstAnswer, HttpAnswer, HttpSource};
pub use crate::source::{OpenAt, Opened, Reopen, Retry, Source, SourceError, Version, source_fn};
#[cfg(feature = "checksums")]
pub use crate::store::ChecksummedStore;
pub use crate::store::{SeekStore, SpillStore, TempFileStore};

#[cfg(any(doc, doctest))]
pub mod docs;

/// The README's example is a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
