//! A failure of a source in words for a person: what happened, and what to do. The full error has the details.

use std::io::ErrorKind as IoKind;

use serde_json::{Value, json};
use streamspool::{Error, ErrorKind};

use crate::sources::Origin;

/// The first kind among the causes that says something.
fn kind(error: &Error) -> Option<IoKind> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if let Some(kind) = kind.filter(|kind| *kind != IoKind::Other) {
            return Some(kind);
        }
        cause = error.source();
    }
    None
}

/// What happened, as a sentence.
pub(crate) fn what(error: &Error, origin: &Origin) -> &'static str {
    let kind = kind(error);
    match (error.kind(), kind, origin) {
        (ErrorKind::Changed, ..) => "The source was replaced by another version.",
        (ErrorKind::Truncated, ..) => "The source ended too early.",
        (ErrorKind::Oversized, ..) => "The source has more bytes than it said.",
        (_, _, Origin::Command(_)) => "The command has failed.",
        (_, Some(IoKind::NotFound), Origin::Http { .. }) => "The server does not have this file.",
        (_, Some(IoKind::PermissionDenied), Origin::Http { .. }) => {
            "The server does not allow access to this file."
        }
        (_, Some(IoKind::TimedOut), Origin::Http { .. }) => "The server does not answer.",
        (_, Some(IoKind::ConnectionRefused), _) => "The server can't be reached.",
        (
            _,
            Some(
                IoKind::ConnectionReset
                | IoKind::ConnectionAborted
                | IoKind::UnexpectedEof
                | IoKind::BrokenPipe,
            ),
            Origin::Http { .. },
        ) => "The connection to the server broke.",
        // A body that ends before its length is no error of the system.
        (_, _, Origin::Http { .. }) if error.offset() > 0 => "The connection to the server broke.",
        (_, _, Origin::Http { .. }) => "The server did not send the file.",
        (_, _, Origin::File(_)) => "The file could not be read.",
        _ => "The source has failed.",
    }
}

/// What happened, and what to do, for the page.
pub(crate) fn to_json(error: &Error, origin: &Origin) -> Value {
    let kind = kind(error);
    let advice = match (error.kind(), kind, origin) {
        (ErrorKind::Changed, ..) => "Start over to read the new version.",
        (_, Some(IoKind::NotFound), Origin::Http { .. }) => {
            "Check the address that the server was started with."
        }
        (_, Some(IoKind::PermissionDenied), Origin::Http { .. }) => {
            "The address may have expired, or it needs a header: see the option --header."
        }
        (_, _, Origin::Http { once: true, .. }) => {
            "With --one-way the source is requested only once. Start over to request it again."
        }
        (_, _, Origin::Command(_)) => {
            "The details show what the command has written. Start over to run it again."
        }
        _ if origin.can_start_over() => "Start over to read it again.",
        _ => "It can be read only once: start the server again.",
    };
    json!({ "what": what(error, origin), "advice": advice })
}
