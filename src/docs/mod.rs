//! What does not fit on the page of one item.
//!
//! Documentation only: this module is part of no build.

#[doc = include_str!("design.md")]
pub mod design {}

// `examples/guides` compiles and runs the code, so that the library's tests need no HTTP client.
#[cfg(not(doctest))]
#[doc = include_str!("guides.md")]
pub mod guides {}

#[doc = include_str!("reliability.md")]
pub mod reliability {}
