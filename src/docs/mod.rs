//! What does not fit on the page of one item.
//!
//! Documentation only: this module is part of no build. Its examples are compiled and run as tests.

#[doc = include_str!("design.md")]
pub mod design {}

#[doc = include_str!("guides.md")]
pub mod guides {}

#[doc = include_str!("reliability.md")]
pub mod reliability {}
