//! Seek in a stream that only goes forward.
//!
//! An HTTP body, a pipe or a decoder's output comes once, from front to back. A player, a
//! range-serving server or a parser wants to jump about in it while it still arrives. `streamspool`
//! wraps any [`Stream`](futures::Stream) of [`Bytes`], keeps what has arrived (the newest bytes in
//! memory, the older ones in an unnamed temporary file) and answers
//! [`read(offset, len)`](BufferHandle::read) for any range, at any time, from any task.
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
//! assert_eq!(buffer.read(4, 3).await?, "456"); // ahead: waits until it is there
//! assert_eq!(buffer.read(0, 2).await?, "01"); // back: it has been kept
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
//! More is in the [guides](docs::guides): HTTP bodies and ranges, synchronous decoders, a store of your
//! own, a buffer for each resource of a server. [`docs::design`] tells how it works, and
//! [`docs::reliability`] how it has been tried.
//!
//! # Sources
//!
//! An HTTP body. Clients such as `reqwest` give a stream of `Bytes` with an error of their own:
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
//! A child's output, or anything else that is [`AsyncRead`](tokio::io::AsyncRead), through
//! `tokio_util`'s `ReaderStream`:
//!
//! ```
//! use std::process::Stdio;
//! use streamspool::StreamBuffer;
//! use tokio::process::Command;
//! use tokio_util::io::ReaderStream;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! # if cfg!(unix) {
//! let mut child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
//! let output = child.stdout.take().expect("it is piped");
//! let buffer = StreamBuffer::spawn(ReaderStream::new(output));
//! assert_eq!(buffer.slice(1..4).await?, "ell");
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # The contract
//!
//! The tests cite these rules by their numbers.
//!
//! Reading
//!
//! 1. An exact read returns exactly its range, or less only because the stream ended; past the end
//!    it is empty. Never a byte that the source did not send.
//! 2. [`read_some`](BufferHandle::read_some) and the [`BufferReader`] wait for one byte, not more.
//! 3. A length of 0 answers at once and pulls nothing; a range past [`u64::MAX`] means "to the
//!    end"; a huge length allocates for what exists.
//! 4. A read that can be answered is answered, whatever others wait for.
//! 5. Replies are slices of resident blocks wherever the range lies in one. The actor never copies
//!    more than a block for one request: it hands out pieces, and the caller's task joins them.
//!
//! Pulling
//!
//! 6. The source is pulled only while somebody needs it: up to the furthest waiting read, and
//!    [`read_ahead`](Builder::read_ahead) bytes past the furthest byte delivered.
//! 7. Dropping a request's future withdraws its demand: at most one more chunk is pulled for it,
//!    what has been pulled stays, others notice nothing, and abandoned reads do not pile up.
//! 8. Empty chunks are harmless, and a source that is always ready starves nobody. After its end or
//!    its error a source is not polled again.
//!
//! Keeping
//!
//! 9. Memory holds the newest bytes, at most [`max_memory`](Builder::max_memory) plus 1 MiB plus
//!    one chunk, however slow the disk; older full blocks go to the file, first in, first out. A
//!    small stream costs little over its size, and no file.
//! 10. Bytes are readable all the time, also while they are written to the file.
//! 11. The file has no name, is private to the user (where the file system has permissions), and is
//!     made when first needed. By default it [avoids a tmpfs](TempFileStore#where-the-file-is).
//! 12. [`spill`](BufferHandle::spill) moves everything resident to disk;
//!     [`save`](BufferHandle::save) writes the whole to a path, complete or not at all, and
//!     [`save_new`](BufferHandle::save_new) does so only if nothing has this path. A path that cannot
//!     be saved to is refused before anything is loaded.
//! 13. The [store](SpillStore) can be replaced.
//!
//! Ending
//!
//! 14. The declared [size](Builder::size) is checked, and nothing is allocated from it.
//! 15. A source's error, or its panic, is sticky and shared and keeps its kind: what came before
//!     stays readable, what needs more gets the error. It is never an end of file: kinds that decoders
//!     misread [are mapped](Error#as-an-ioerror), for errors of the store and of a save too.
//! 16. A failed write to the store loses nothing and heals with the next read that needs more; a
//!     failed read from it fails that read alone.
//! 17. [`close`](BufferHandle::close), the end of the runtime, and whatever else ends the actor
//!     answer every request with [`Closed`](ErrorKind::Closed). When the last handle goes, so do
//!     the source and the file. A disk thread closes the file and frees large memory. A destructor of a
//!     source, a chunk, a store or an error that panics changes none of this.
//! 18. A negative seek is invalid input; one past the end is legal. A seek cancels the reader's read
//!     in flight.
//! 19. `Debug` never prints contents; every error says what failed and at which offset. The message
//!     does not include the cause, which is the error's `source()`.
//!
//! Seeing
//!
//! 20. [`progress`](BufferHandle::progress) and [`subscribe`](BufferHandle::subscribe) tell how far
//!     the buffer has come; spans and events of `tracing` name it.
//!
//! # Cancel safety
//!
//! A future is *cancel safe* here if dropping it at any await point withdraws its request and
//! changes nothing else: no byte is lost or repeated, and asking again gives the same answer. Every
//! async method of this crate is, and says so.
//!
//! # Map of the code
//!
//! The core decides, the spill store holds, the actor moves, the handle asks.
//!
//! | file | role |
//! |---|---|
//! | `builder.rs` | options in, handle and actor out |
//! | `handle.rs` | asks: sends a message and awaits its reply |
//! | `fetch.rs` | the same, polled; under the reader and the chunks |
//! | `reader.rs`, `chunks.rs`, `save/` | what stands on a handle |
//! | `message.rs` | what can be asked |
//! | `signal.rs` | what passes between actor and handles beside that: closed, withdrawn, failed |
//! | `actor.rs` | the only event loop: takes in requests and chunks, does what the core decides |
//! | `core/mod.rs` | every decision: **where a read is answered, where it is parked** |
//! | `core/index.rs` | the four [`Location`]s of a range |
//! | `core/waiters.rs` | parked reads, by the byte that they wait for |
//! | `core/memory.rs` | resident blocks, by offset |
//! | `core/spool.rs` | what goes to disk, and when |
//! | `disk.rs`, `rooms.rs` | the store as the actor uses it: at once, or on a blocking thread; room for that |
//! | `spill.rs` | the store and the temporary file |
//! | `guard.rs` | panics of foreign code become errors |
//! | `progress.rs`, `error.rs` | what a buffer tells |
//!
//! # Invariants
//!
//! - Only the actor touches the source, the store and the index; there is no lock. All that is
//!   shared with a handle is the request channel, the progress and the flags of `signal.rs`.
//! - The core knows no tokio, no I/O and no clock, and every decision is made there. Nothing below
//!   `handle` knows of the actor. A test holds the direction of all imports.
//! - Each byte that was absorbed is in one place by the watermarks: `[0, spilled)` in the store,
//!   `[spilled, loaded)` in memory. `spilled` moves only after a write has succeeded.
//! - Every request owns the sending end of its reply channel, and dropping that is an answer too:
//!   there is no way to end the actor without answering everybody.
//! - One request costs the actor a bounded amount of work, whatever it asks for.
//! - No unsafe code, and nothing that panics on what a user, a source or a store does.

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
pub use crate::handle::{BufferHandle, BufferReader, Chunks, ProgressUpdates, WeakBufferHandle};
pub use crate::progress::{Location, Progress, State};
#[cfg(feature = "http")]
pub use crate::source::HttpSource;
pub use crate::source::{OpenAt, Opened, Reopen, Retry, Source, SourceError, Version, source_fn};
pub use crate::store::{SeekStore, SpillStore, TempFileStore};

#[cfg(any(doc, doctest))]
pub mod docs;

/// The README's example is a doctest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
