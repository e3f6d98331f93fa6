//! The buffer as a decoder wants it: like a file, blocking, and witnessed.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use streamspool::{BufferHandle, BufferReader, Error, State};
use symphonia::core::io::MediaSource;
use tokio_util::io::SyncIoBridge;

use crate::check::{Promise, Witness};

/// The first error of the buffer. Decoders take many an error for the end of the file, and the buffer
/// knows better.
pub(crate) type Fault = Arc<OnceLock<Error>>;

pub(crate) struct Media {
    reader: SyncIoBridge<BufferReader>,
    buffer: BufferHandle,
    witness: Witness,
    fault: Fault,
    /// Whether the decoder is told the length while it is still a promise.
    tells_len: bool,
}

impl Media {
    /// To be called where blocking is allowed.
    pub(crate) fn new(buffer: &BufferHandle, witness: Witness, fault: Fault) -> io::Result<Self> {
        let reader = SyncIoBridge::new(buffer.reader());
        let mut media = Self { reader, buffer: buffer.clone(), witness, fault, tells_len: false };
        // Symphonia seeks in Ogg only if it knew the length from the beginning.
        let mut magic = [0; 4];
        media.tells_len = media.read_exact(&mut magic).is_ok() && &magic == b"OggS";
        if media.tells_len {
            media.seek(SeekFrom::End(0))?;
        }
        media.rewind()?;
        Ok(media)
    }

    /// Keeps what the buffer has to say.
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

    /// Told the length, Symphonia looks for tags at the very end before it plays the first note, and
    /// would wait until all has arrived. So it learns the length once the end is there.
    fn byte_len(&self) -> Option<u64> {
        let progress = self.buffer.progress();
        progress.size.filter(|_| self.tells_len || progress.state == State::Complete)
    }
}
