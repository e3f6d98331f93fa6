//! The blocking reader as a source of Symphonia's decoders.

use symphonia_core::io::MediaSource;

use super::BlockingReader;
use crate::progress::State;

/// With the feature `symphonia`.
///
/// Give the reader to Symphonia as it is: `MediaSourceStream::new(Box::new(reader), Default::default())`.
/// Decode on a thread that may block.
///
/// # The length
///
/// If Symphonia knows the length, it looks for tags at the end of the stream before it plays. So it is told
/// the length only once all bytes are loaded, and playing starts with the first bytes. Seeks need no length
/// (`SeekMode::Accurate`).
///
/// Ogg is the exception: Symphonia seeks in it only if it knew the length from the beginning. So it is told
/// the [known size](crate::Progress::size) of a stream that starts with `OggS`, and reads the end before it
/// plays. If the size is not known, it plays at once and cannot seek. To find the size of such a stream
/// first, call [`BufferHandle::size`](crate::BufferHandle::size).
impl MediaSource for BlockingReader {
    /// Always, as all bytes that were read are kept.
    fn is_seekable(&self) -> bool {
        true
    }

    /// The length that Symphonia should know now. Waits for the first four bytes. On a thread that runs
    /// async tasks it is `None` until all bytes are loaded.
    fn byte_len(&self) -> Option<u64> {
        let buffer = self.handle();
        let is_told = buffer.progress().state == State::Complete
            || buffer.blocking_read(0, 4).is_ok_and(|magic| magic == "OggS");
        buffer.progress().size.filter(|_| is_told)
    }
}
