//! Whole reads and writes of a store, made of its calls, which may be short, be interrupted or panic.

use std::io::{self, Error, ErrorKind};

use bytes::{Bytes, BytesMut};

use super::SpillStore;
use crate::core::Write;
use crate::panics;

/// The most times in a row that a call is repeated after an interruption. A store that is interrupted
/// each time must not occupy a thread for ever.
const REPEAT_MOST: usize = 100;

/// Discards the places that are not needed any more. Then writes each part at its place.
pub(super) fn write_all(store: &dyn SpillStore, write: &Write) -> io::Result<()> {
    for place in &write.discarded {
        // If the store panics here, it only does not free the space.
        let _ = panics::catch("spill store", || {
            store.discard(place.clone());
            Ok(())
        });
    }
    for (offset, bytes) in &write.bytes {
        let (mut offset, mut rest) = (*offset, &bytes[..]);
        while !rest.is_empty() {
            match repeat(|| store.write_at(offset, rest)) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    rest = rest.get(taken..).ok_or_else(|| overclaimed(taken, rest.len()))?;
                    offset += taken as u64;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Reads exactly `len` bytes at `offset`.
pub(super) fn read_range(store: &dyn SpillStore, offset: u64, len: usize) -> io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(len);
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match repeat(|| store.read_at(offset + done as u64, rest)) {
            Ok(0) => {
                // Not `UnexpectedEof`: decoders take that for the end of the stream.
                let message = format!("the store ends at offset {}", offset + done as u64);
                return Err(Error::new(ErrorKind::InvalidData, message));
            }
            Ok(read) if read > rest.len() => return Err(overclaimed(read, rest.len())),
            Ok(read) => done += read,
            Err(error) => return Err(error),
        }
    }
    Ok(bytes.freeze())
}

/// Fills `buf` from `offset` if that needs no waiting. The error is only a kind, because the caller does not
/// report it.
pub(super) fn try_read(store: &dyn SpillStore, offset: u64, buf: &mut [u8]) -> Result<(), ErrorKind> {
    let len = buf.len();
    match panics::catch("spill store", || store.try_read_at(offset, buf)) {
        Ok(read) if read == len => Ok(()),
        Ok(_) => Err(ErrorKind::WouldBlock),
        Err(error) => {
            let kind = error.kind();
            panics::drop_quietly(error);
            Err(kind)
        }
    }
}

/// Calls the store, and again if the call was interrupted.
fn repeat<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..REPEAT_MOST {
        match panics::catch("spill store", &mut call) {
            Err(error) if error.kind() == ErrorKind::Interrupted => panics::drop_quietly(error),
            result => return result,
        }
    }
    panics::catch("spill store", call)
}

/// A store that reports more bytes than were asked for is broken, so its answer is an error.
fn overclaimed(claimed: usize, asked: usize) -> Error {
    let message = format!("the store claims {claimed} bytes where {asked} were asked for");
    Error::new(ErrorKind::InvalidData, message)
}
