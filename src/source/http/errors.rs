//! Failures of requests: their kinds, and whether another request may help.

use std::error::Error;
use std::io;

use crate::source::SourceError;

pub(super) fn permanent(kind: io::ErrorKind, text: impl Into<String>) -> io::Error {
    SourceError::permanent(io::Error::new(kind, text.into())).into()
}

pub(super) fn transient(kind: io::ErrorKind, text: impl Into<String>) -> io::Error {
    SourceError::transient(io::Error::new(kind, text.into())).into()
}

/// Whether the same request may succeed at once on another connection: the server has closed the connection
/// before its answer, or the answer began with bytes that are no HTTP, as after surplus bytes of an earlier body.
pub(super) fn may_succeed_at_once(error: &reqwest::Error) -> bool {
    if error.is_connect() || error.is_timeout() {
        return false;
    }
    if let Some(error) = cause::<hyper::Error>(error)
        && (error.is_parse() || error.is_incomplete_message() || error.is_canceled() || error.is_closed())
    {
        return true;
    }
    let kind = cause::<io::Error>(error).map(io::Error::kind);
    matches!(
        kind,
        Some(
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        )
    )
}

/// A request that got no answer. It is permanent if no other attempt can get one.
pub(super) fn send_error(error: reqwest::Error) -> io::Error {
    if cause::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse) {
        let text = "the server's answer is not HTTP (some radio servers answer `ICY 200 OK`)";
        return SourceError::permanent(io::Error::new(io::ErrorKind::InvalidData, Chained::new(text, error)))
            .into();
    }
    if error.is_builder() || error.is_redirect() || is_tls_refusal(&error) {
        return SourceError::permanent(with_kind(error)).into();
    }
    SourceError::transient(with_kind(error)).into()
}

/// Whether the other side has no certificate that is valid for the address, or speaks no TLS that this side knows.
#[cfg(feature = "http")]
fn is_tls_refusal(error: &reqwest::Error) -> bool {
    use rustls::Error::{InvalidCertificate, InvalidMessage, PeerIncompatible};
    let found = cause::<rustls::Error>(error);
    matches!(found, Some(InvalidCertificate(_) | InvalidMessage(_) | PeerIncompatible(_)))
}

/// The client of the user may have another TLS, whose errors are not known here.
#[cfg(not(feature = "http"))]
fn is_tls_refusal(_: &reqwest::Error) -> bool {
    false
}

/// Removes the address from the error, because it may be secret, and takes the kind from the cause.
pub(super) fn with_kind(error: reqwest::Error) -> io::Error {
    let error = error.without_url();
    // A timeout of the client need not have an `io::Error` as its cause.
    let timeout = if error.is_timeout() { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
    let kind = cause::<io::Error>(&error).map_or(timeout, io::Error::kind);
    io::Error::new(kind, error)
}

/// The first cause of this type.
fn cause<E: Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        cause = match error.downcast_ref::<io::Error>() {
            // The cause of an `io::Error` is inside it; `source` would skip it.
            Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// A text for a reader, and the error behind it.
#[derive(Debug)]
struct Chained {
    text: &'static str,
    cause: reqwest::Error,
}

impl Chained {
    fn new(text: &'static str, cause: reqwest::Error) -> Self {
        Self { text, cause: cause.without_url() }
    }
}

impl std::fmt::Display for Chained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text)
    }
}

impl Error for Chained {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}
