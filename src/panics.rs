//! A panic in foreign code (a source, a store) becomes an error. A panic in a foreign destructor is ignored.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs foreign code. A panic in it becomes an error that names the culprit and the panic's message.
///
/// After a panic the caller must not use the foreign object in a way that its broken state could
/// harm: a source is dropped after its panic, and a store is documented to survive one.
pub(crate) fn catch<T>(culprit: &str, foreign: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(foreign)).unwrap_or_else(|payload| Err(error(culprit, payload)))
}

/// Drops a foreign value. Its destructor may panic; the panic is ignored.
pub(crate) fn drop_quietly<T>(value: T) {
    quietly(|| drop(value));
}

/// Runs code that calls foreign code, such as the waker of a caller. A panic of it is ignored.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(drop_payload).ok()
}

/// The error that a caught panic becomes.
pub(crate) fn error(culprit: &str, payload: Box<dyn Any + Send>) -> io::Error {
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)");
    let error = io::Error::other(format!("the {culprit} panicked: {message}"));
    drop_payload(payload);
    error
}

/// Drops the payload of a caught panic, whose destructor is foreign code too. A payload that panics
/// again while it is dropped is leaked, so that this ends.
fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}
