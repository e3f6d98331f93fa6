//! Runs that have found a fault, kept as lists of steps.

use streamspool::Reopen;

use super::steps::{Answer, Break, Case, Setup, Start, Step, Trouble};
use crate::asks::What;
use crate::steps::End;
use crate::support::store::{AtOnce, Fault};

const SETUP: Setup = Setup {
    size: 300_000,
    has_versions: true,
    ignores_offsets: false,
    reopen: Reopen::Anywhere,
    declared: None,
    max_memory: usize::MAX,
    max_disk: None,
    read_ahead: 0,
    streams: 1,
    attempts: 3,
    at_once: AtOnce::Never,
};

/// An answer with a version, that tells the size or not.
const fn stream(size: bool) -> Step {
    Step::Answer(0, Answer::Stream { start: Start::AsAsked, version: true, size })
}

#[test]
fn rule_24_an_early_end_of_a_stream_that_has_told_its_size_is_not_the_end() {
    let steps = vec![
        Step::Ask(What::Load),
        Step::Poll(0),
        Step::Settle,
        stream(false),
        Step::Send(0, vec![1000]),
        Step::Settle,
        Step::Send(0, vec![1000]),
        Step::Break(0, Break::Reset),
        Step::Settle,
        Step::Time,
        Step::Settle,
        stream(true),
        Step::Settle,
        Step::Break(0, Break::End),
        Step::Settle,
    ];
    super::do_case(&Case { setup: SETUP, steps, trouble: Trouble::None, end: End::Heal });
}

#[test]
fn rule_21_a_source_is_not_opened_at_the_end_that_it_told() {
    let steps = vec![
        Step::Ask(What::Load),
        Step::Poll(0),
        Step::Settle,
        stream(false),
        Step::Settle,
        Step::Send(0, vec![300_000]),
        Step::Break(0, Break::Reset),
        Step::Settle,
    ];
    super::do_case(&Case { setup: SETUP, steps, trouble: Trouble::Breaks, end: End::Heal });
}

#[test]
fn rule_21_a_failed_write_does_not_close_a_stream_that_cannot_be_opened_again() {
    let setup = Setup {
        has_versions: false,
        reopen: Reopen::Never,
        max_memory: 0,
        read_ahead: 1 << 20,
        attempts: 0,
        ..SETUP
    };
    let steps = vec![
        Step::Ask(What::Read { offset: 0, len: 2 }),
        Step::Poll(0),
        Step::Settle,
        stream(true),
        Step::Settle,
        Step::Send(0, vec![270_000]),
        Step::Settle,
        Step::Disk(0, Some(Fault::NoSpace)),
        Step::Turn,
        Step::Time,
        Step::Time,
        Step::Settle,
        Step::Ask(What::Load),
        Step::Poll(0),
        Step::Settle,
    ];
    super::do_case(&Case { setup, steps, trouble: Trouble::None, end: End::Heal });
}

#[test]
fn rule_14_a_size_that_turns_out_wrong_before_its_caller_is_polled_is_an_error() {
    let setup = Setup { reopen: Reopen::Never, ..SETUP };
    let steps = vec![
        Step::Ask(What::Load),
        Step::Poll(0),
        Step::Settle,
        stream(true),
        Step::Ask(What::Size),
        Step::Poll(1),
        Step::Turn,
        Step::Break(0, Break::End),
        Step::Settle,
    ];
    super::do_case(&Case { setup, steps, trouble: Trouble::None, end: End::Leave });
}
