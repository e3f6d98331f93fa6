//! The buffer as the decoder sees it: a blocking file. A witness reports its reads.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use streamspool::{BufferHandle, BufferReader, Error, State};
use symphonia::core::io::MediaSource;
use tokio_util::io::SyncIoBridge;

use crate::check::{Promise, Witness};

/// The first error of the buffer. It is kept here, because decoders take many errors for the end of the file.
pub(crate) type Fault = Arc<OnceLock<Error>>;

pub(crate) struct Media {
    reader: SyncIoBridge<BufferReader>,
    buffer: BufferHandle,
    witness: Witness,
    fault: Fault,
    /// Whether the decoder gets the length before all bytes are loaded.
    tells_len: bool,
}

impl Media {
    /// Call this on a thread that may block.
    pub(crate) fn new(buffer: &BufferHandle, witness: Witness, fault: Fault) -> io::Result<Self> {
        let reader = SyncIoBridge::new(buffer.reader());
        let mut media = Self { reader, buffer: buffer.clone(), witness, fault, tells_len: false };
        // Symphonia seeks in Ogg only if it knows the length from the beginning.
        let mut magic = [0; 4];
        media.tells_len = media.read_exact(&mut magic).is_ok() && &magic == b"OggS";
        if media.tells_len {
            media.seek(SeekFrom::End(0))?;
        }
        media.rewind()?;
        Ok(media)
    }

    /// Keeps the first error of the buffer.
    fn kept<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Some(error) = result.as_ref().err().and_then(Error::of) {
            let _ = self.fault.set(error.clone());
        }
        result
    }
}

impl Read for Media {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let asking = self.witness.asks(self.reader.as_ref().position(), into.len(), Promise::Some);
        let result = self.reader.read(into);
        let len = self.kept(result)?;
        let got = into.get(..len).unwrap_or_default();
        self.witness.got_blocking(asking, Bytes::copy_from_slice(got)).map_err(io::Error::other)?;
        Ok(len)
    }
}

impl Seek for Media {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let result = self.reader.seek(to);
        self.kept(result)
    }
}

impl MediaSource for Media {
    fn is_seekable(&self) -> bool {
        true
    }

    /// If Symphonia knows the length, it looks for tags at the end before it plays, and so waits for the
    /// whole stream. So it gets the length only when all bytes are loaded.
    fn byte_len(&self) -> Option<u64> {
        let progress = self.buffer.progress();
        progress.size.filter(|_| self.tells_len || progress.state == State::Complete)
    }
}
