//! The blocking reader as a source of Symphonia's decoders.

use symphonia_core::io::MediaSource;

use super::BlockingReader;
use super::blocking_thread::wait;

/// How a file of the Core Audio Format starts.
const CAF: &[u8] = b"caff";

/// How an Ogg stream, a Matroska file and a `WebM` file start.
const OGG_AND_MATROSKA: [&[u8]; 2] = [b"OggS", b"\x1a\x45\xdf\xa3"];

/// With the feature `symphonia`.
///
/// Give the reader to Symphonia as it is: `MediaSourceStream::new(Box::new(reader), Default::default())`.
/// Decode on a thread that may block.
///
/// # The length
///
/// If Symphonia knows the length of a stream, it reads the tags at the end before it plays. Most formats can be
/// played and seeked without the length (`SeekMode::Accurate`), so that playing starts with the first bytes. Others
/// need the length when they are opened. So the first bytes of the stream decide:
///
/// | format | the length that Symphonia gets |
/// |---|---|
/// | Ogg, Matroska, `WebM` | the [known size](crate::Progress::size); without it, Symphonia plays at once, but it cannot seek in Ogg, and Matroska ends with an error instead of its end |
/// | CAF | the size, and if it is not known, the reader waits for it: Symphonia opens CAF only with the length |
/// | all others | none |
///
/// A reader that was made when all bytes were loaded always returns the length. So for tags at the end, for
/// durations that are estimated from the length, and for `SeekMode::Coarse`, call
/// [`BufferHandle::load`](crate::BufferHandle::load) before
/// [`blocking_reader`](crate::BufferHandle::blocking_reader). If the source tells no size, call
/// [`BufferHandle::size`](crate::BufferHandle::size) to find it: it is known once all bytes are loaded.
impl MediaSource for BlockingReader {
    /// Always `true`: a read of any offset waits for its bytes. With a limit on disk, bytes may be discarded.
    fn is_seekable(&self) -> bool {
        true
    }

    /// The length, if Symphonia should know it. This waits for the first four bytes, and for the size of CAF. On
    /// a thread that runs async tasks, the result is `None`, unless all bytes were loaded when the reader was made.
    fn byte_len(&self) -> Option<u64> {
        let buffer = self.handle();
        if self.was_complete {
            return buffer.progress().size;
        }
        // An error has no effect here: the next read returns it.
        let magic = buffer.blocking_read(0, 4).ok()?;
        if magic == CAF {
            return wait(buffer.size())?.ok();
        }
        buffer.progress().size.filter(|_| OGG_AND_MATROSKA.contains(&&magic[..]))
    }
}
