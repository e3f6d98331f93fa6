//! The buffer as the decoder sees it: a blocking file. A witness reports its reads.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use streamspool::{BlockingReader, BufferHandle, Error};
use symphonia::core::io::MediaSource;

use crate::check::{Promise, Witness};

/// The first error of the buffer. It is kept here, because decoders take many errors for the end of the file.
pub(crate) type Fault = Arc<OnceLock<Error>>;

/// A decoder without a witness takes the reader as it is.
pub(crate) struct Media {
    reader: BlockingReader,
    witness: Witness,
    fault: Fault,
}

impl Media {
    pub(crate) fn new(buffer: &BufferHandle, witness: Witness, fault: Fault) -> Self {
        Self { reader: buffer.blocking_reader(), witness, fault }
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
        let asking = self.witness.asks(self.reader.position(), into.len(), Promise::Some);
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
        self.reader.is_seekable()
    }

    fn byte_len(&self) -> Option<u64> {
        self.reader.byte_len()
    }
}
