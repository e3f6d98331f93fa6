//! The code blocks of `src/docs/guides.md` as documentation tests, and the parts that the guides share.
//!
//! The page is rendered with the library's documentation. Its code is compiled and run here, because it
//! needs an HTTP client, a server and a decoder, which the library's own tests do not.

mod server;

pub use crate::server::{Server, archive, table};

#[cfg(doctest)]
#[doc = include_str!("../../src/docs/guides.md")]
struct Page;
