//! Measures what thousands of live streams cost, beside the same tasks without a buffer:
//! `cargo bench --bench scale`.
//!
//! Prints one Markdown table. Arguments after `--`: numbers of streams, such as `10,000`; `--rounds N`,
//! `--workers N`, `--quick`.

#[cfg(target_os = "linux")]
mod bare;
#[cfg(target_os = "linux")]
mod case;
#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
mod count;
#[cfg(target_os = "linux")]
mod ours;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod source;

fn main() {
    // Processor time and memory are those that Linux reports.
    #[cfg(target_os = "linux")]
    if !case::is_one() {
        rows::all(&common::args::Args::from_env());
    }
}
