//! What openings and streams report, and what follows from it.

use std::io;

use crate::error::Error;
use crate::source::Reopen;
use crate::source::version::Version;

/// What an opening says of its stream.
#[derive(Clone, Debug)]
pub(crate) struct OpenedStream {
    /// The offset of the first byte; the requested one if `None`.
    pub(crate) start: Option<u64>,
    pub(crate) size: Option<u64>,
    pub(crate) version: Option<Version>,
    pub(crate) reopen: Reopen,
}

/// What went wrong with an opening or a stream.
pub(in crate::core) enum Fault {
    /// The source or its stream failed.
    Io(io::Error),
    /// The stream ended before the size that is known, or before bytes that were received earlier.
    EarlyEnd,
    /// The resource has changed: bytes of this stream must not be mixed with the bytes of the buffer.
    Changed(&'static str),
    /// The size that the source tells is not the declared one.
    WrongSize(Error),
}

/// What an opening leads to.
pub(in crate::core) enum Admission {
    /// The stream is pulled.
    Admitted,
    /// The stream is dropped, and that is no failure: nothing proves it, or it starts after offset 0 and has no
    /// version that could later prove the bytes before it. The source is opened where a proof is possible.
    Dropped,
}

/// What follows from a fault.
pub(in crate::core) enum Consequence {
    /// The source is opened again later, if a byte is needed then.
    Retry,
    /// The series of attempts is over: waiting requests fail. The next request starts a new series.
    GiveUp(Error),
    /// No more bytes will come.
    Fail(Error),
}

/// What the end of a stream is.
pub(in crate::core) enum End {
    /// The end of the resource.
    Resource,
    /// The end that the core gave to this stream. The resource goes on.
    Stream,
    /// A fault.
    Early,
}
