//! The version of a resource.

use std::fmt;

use bytes::Bytes;

/// A version of a resource: equal versions mean equal bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Version(Bytes);

impl Version {
    /// A validator that changes whenever a byte of the resource changes: a strong `ETag`, the version
    /// of an object, or a `Last-Modified` date that RFC 9110 (8.8.2.2) calls strong.
    pub fn strong(validator: impl Into<Bytes>) -> Self {
        Self(validator.into())
    }

    /// The validator, as it was given.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", self.0.escape_ascii())
    }
}
