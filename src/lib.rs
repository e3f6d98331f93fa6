//! Seek in a stream that only goes forward.

mod actor;
mod builder;
mod chunks;
mod core;
mod error;
mod fetch;
mod guard;
mod handle;
mod message;
mod progress;
mod reader;
mod save;
mod spill;

pub use bytes::Bytes;

pub use crate::actor::StreamBuffer;
pub use crate::builder::Builder;
pub use crate::chunks::Chunks;
pub use crate::error::{Error, ErrorKind};
pub use crate::handle::BufferHandle;
pub use crate::progress::{Location, Progress, State};
pub use crate::reader::BufferReader;
pub use crate::spill::{SeekStore, SpillStore, TempFileStore};
