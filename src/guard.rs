//! Foreign code, the source and the store, may panic. Here its panic becomes an error.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs foreign code; a panic in it is an error that names the culprit and its message.
///
/// Whoever calls this must not use the foreign object again in a way that its broken state could
/// harm: a source is dropped after its panic, a store is documented to survive one.
pub(crate) fn guarded<T>(culprit: &str, foreign: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(foreign)).unwrap_or_else(|panic| Err(panicked(culprit, &*panic)))
}

/// The error that a panic of foreign code becomes.
pub(crate) fn panicked(culprit: &str, panic: &(dyn Any + Send)) -> io::Error {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)");
    io::Error::other(format!("the {culprit} panicked: {message}"))
}
