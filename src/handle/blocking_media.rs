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
/// If Symphonia knows the length of a stream, it reads the tags at the end before it plays. So the reader
/// returns the length only after all bytes are loaded, and playing starts with the first bytes. Symphonia can
/// seek without the length (`SeekMode::Accurate`).
///
/// Ogg is an exception. Symphonia seeks in Ogg only if it knows the length when it opens the stream. So for a
/// stream that starts with `OggS`, the reader always returns the [known size](crate::Progress::size). Then
/// Symphonia reads the end of the stream before it plays. If the size is not known, Symphonia plays at once and
/// cannot seek. To find the size of such a stream first, call
/// [`BufferHandle::size`](crate::BufferHandle::size).
impl MediaSource for BlockingReader {
    /// Always `true`: a read of any offset waits for its bytes. With a limit on disk, bytes may be discarded.
    fn is_seekable(&self) -> bool {
        true
    }

    /// The length, if Symphonia should know it now. This waits for the first four bytes. On a thread that runs
    /// async tasks, the result is `None` until all bytes are loaded.
    fn byte_len(&self) -> Option<u64> {
        let buffer = self.handle();
        let is_told = buffer.progress().state == State::Complete
            || buffer.blocking_read(0, 4).is_ok_and(|magic| magic == "OggS");
        buffer.progress().size.filter(|_| is_told)
    }
}
