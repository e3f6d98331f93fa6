//! Measures what thousands of live streams cost: `cargo bench --bench scale`.
//!
//! Prints one Markdown table. Arguments after `--`: `--rounds N`, `--workers N`, `--quick`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark stops at the first error"
)]

mod bare;
mod case;
#[path = "../common/mod.rs"]
mod common;
mod count;
mod ours;
mod source;

use std::time::Duration;

use case::{Case, Side};
use common::args::Args;

/// The readers of each stream.
const READERS: usize = 3;

fn main() {
    if case::is_one() {
        return;
    }
    let args = Args::from_env();
    for _ in 0..args.rounds(3) {
        for streams in [args.scale(1_000, 20), args.scale(10_000, 100)] {
            for side in [Side::Ours, Side::Bare] {
                let warm_up = Duration::from_millis(args.scale(5_000, 60) as u64);
                let time = Duration::from_millis(args.scale(10_000, 150) as u64);
                let figures = Case { side, streams, workers: args.workers, warm_up, time }.measure();
                println!("{side:?} {streams} {figures:?}");
            }
        }
    }
}
