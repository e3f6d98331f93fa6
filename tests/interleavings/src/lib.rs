//! The protocol between actor and handles, in every order in which the threads can run.
//!
//! The protocol is the code of the library: `actor/shared.rs` and `actor/message.rs` are compiled here
//! a second time. Below them are loom's atomics, and channels and a waker that take the same steps as
//! those of tokio and futures, with the same memory orderings (`sync`). Above them, in `models`, is
//! a small actor. loom runs each model again and again: once for each order in which the threads can
//! reach their atomics, and for each value that a load may return. A thread that is never woken is a
//! deadlock, which loom reports.
//!
//! Each test lists its mutants: changes of the library that make it fail. Each was tried by hand. Tests
//! of one thread catch the checks that no race needs: `it::lifecycle::rule_17_…`.
//!
//! `LOOM_LOG=trace LOOM_LOCATION=1 cargo test -p interleavings NAME` prints the failing order.
#![cfg(test)]

mod actor;

/// The types of the library's `core` that the protocol names.
mod core {
    pub(crate) trait Token {
        fn is_abandoned(&self) -> bool;
    }

    pub(crate) mod question {
        #[derive(Debug)]
        pub(crate) struct Answer;

        pub(crate) struct Question;

        pub(crate) struct Asked<T> {
            #[allow(dead_code, reason = "the models do not look at the questions")]
            pub(crate) question: Question,
            pub(crate) token: T,
        }
    }
}

mod error {
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct Error;

    impl Error {
        pub(crate) fn closed(_offset: u64) -> Self {
            Self
        }
    }
}

mod models;
mod sync;
