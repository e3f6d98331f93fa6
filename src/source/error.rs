//! Whether a failure of a source is worth another attempt.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

/// An error of a [`Source`](crate::Source) that says whether another attempt may help.
///
/// Put it into an [`io::Error`]. It also counts if it is the cause of another error there. It overrides the kind
/// of the `io::Error`. Its message and its cause are those of the error that it was made of.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::time::Duration;
/// use streamspool::SourceError;
///
/// fn status_error(status: u16) -> io::Error {
///     let text = format!("the server answered {status}");
///     match status {
///         503 => SourceError::transient(text).retry_after(Duration::from_secs(5)).into(),
///         _ => SourceError::permanent(text).into(),
///     }
/// }
/// assert_eq!(status_error(503).to_string(), "the server answered 503");
/// ```
#[derive(Debug)]
pub struct SourceError {
    cause: Box<dyn Error + Send + Sync>,
    is_transient: bool,
    retry_after: Option<Duration>,
}

impl SourceError {
    /// Another attempt may succeed.
    pub fn transient(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: cause.into(), is_transient: true, retry_after: None }
    }

    /// No other attempt will succeed.
    pub fn permanent(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: cause.into(), is_transient: false, retry_after: None }
    }

    /// The next attempt is made after this time at the earliest.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

impl From<SourceError> for io::Error {
    fn from(error: SourceError) -> Self {
        let kind = error.cause.downcast_ref::<io::Error>().map_or(io::ErrorKind::Other, io::Error::kind);
        io::Error::new(kind, error)
    }
}

/// Whether a failure allows further attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Permanent,
    Transient { retry_after: Option<Duration> },
}

/// Decides by a [`SourceError`] in the chain of causes, or else by the kind of the error.
pub(crate) fn verdict(error: &io::Error) -> Verdict {
    let mut cause = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<SourceError>() {
            let transient = Verdict::Transient { retry_after: error.retry_after };
            return if error.is_transient { transient } else { Verdict::Permanent };
        }
        cause = match error.downcast_ref::<io::Error>() {
            // The cause of an `io::Error` is inside it; `source` would skip it.
            Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidData
        | io::ErrorKind::Unsupported => Verdict::Permanent,
        _ => Verdict::Transient { retry_after: None },
    }
}

#[cfg(test)]
mod tests {
    use io::ErrorKind;

    use super::*;

    #[test]
    fn the_kind_decides_unless_a_source_error_overrides_it() {
        // Rule 24.
        let transient = Verdict::Transient { retry_after: None };
        for (kind, expected) in [
            (ErrorKind::NotFound, Verdict::Permanent),
            (ErrorKind::PermissionDenied, Verdict::Permanent),
            (ErrorKind::InvalidInput, Verdict::Permanent),
            (ErrorKind::InvalidData, Verdict::Permanent),
            (ErrorKind::Unsupported, Verdict::Permanent),
            (ErrorKind::ConnectionReset, transient),
            (ErrorKind::UnexpectedEof, transient),
            (ErrorKind::Interrupted, transient),
            (ErrorKind::Other, transient),
        ] {
            assert_eq!(verdict(&kind.into()), expected, "{kind:?}");
            assert_eq!(verdict(&io::Error::new(kind, "text")), expected, "{kind:?}");
            let overridden = SourceError::permanent(io::Error::from(kind)).into();
            assert_eq!(verdict(&overridden), Verdict::Permanent, "{kind:?}");
            assert_eq!(overridden.kind(), kind);
            let delay = Duration::from_secs(3);
            let overridden = SourceError::transient(io::Error::from(kind)).retry_after(delay).into();
            assert_eq!(verdict(&overridden), Verdict::Transient { retry_after: Some(delay) }, "{kind:?}");
        }
    }

    #[test]
    fn a_source_error_is_found_behind_other_errors() {
        // Rule 24.
        let inner: io::Error = SourceError::permanent("gone").into();
        let outer = io::Error::other(io::Error::new(ErrorKind::ConnectionReset, inner));
        assert_eq!(verdict(&outer), Verdict::Permanent);
    }
}
