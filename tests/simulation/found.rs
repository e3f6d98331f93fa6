//! Runs that have found a fault, kept as lists of steps: they stay what they are when the generator changes.

use streamspool::Reopen;

use crate::asks::What;
use crate::disk::{AtOnce, Fault};
use crate::steps::{Answer, Break, Case, End, Ending, Kind, Setup, Start, Step, Trouble};

const ONE_WAY: Setup = Setup {
    kind: Kind::OneWay,
    size: 1000,
    declared: None,
    max_memory: 1 << 20,
    max_disk: None,
    read_ahead: 0,
    at_once: AtOnce::Never,
    ending: Ending::Break(Break::End),
    has_versions: false,
    ignores_offsets: false,
    reopen: Reopen::Never,
    streams: 1,
    attempts: 0,
};

const REOPENABLE: Setup = Setup {
    kind: Kind::Reopenable,
    size: 300_000,
    max_memory: usize::MAX,
    has_versions: true,
    reopen: Reopen::Anywhere,
    attempts: 3,
    ..ONE_WAY
};

fn do_steps(setup: Setup, steps: Vec<Step>, trouble: Trouble, end: End) {
    crate::do_case(&Case { setup, steps, trouble, end });
}

/// All bytes are loaded, and a write of them waits for the disk.
fn spilling() -> Vec<Step> {
    vec![
        Step::Send(0, vec![1000]),
        Step::Break(0, Break::End),
        Step::Ask(What::Load),
        Step::Poll(0),
        Step::Settle,
        Step::Ask(What::Spill),
        Step::Poll(0),
        Step::Turn,
    ]
}

/// All bytes are spilled, and a read of them waits for the disk.
fn reading_back() -> Vec<Step> {
    let read = What::Read { offset: 0, len: 10 };
    let spilled = [Step::Disk(0, vec![], None), Step::Settle];
    // The first reply lends a slice of the store, which cannot be read without waiting.
    let asked = [Step::Ask(read), Step::Poll(0), Step::Turn, Step::Poll(0), Step::Turn];
    [&spilling()[..], &spilled, &asked].concat()
}

/// A load waits for its opening.
fn loading() -> Vec<Step> {
    vec![Step::Ask(What::Load), Step::Poll(0), Step::Settle]
}

/// An answer with a version, that tells the size or not.
const fn stream(size: bool) -> Step {
    Step::Answer(0, Answer::Stream { start: Start::AsAsked, version: true, size })
}

#[test]
fn rule_17_a_request_that_comes_together_with_the_close_does_not_wait_for_the_disk() {
    let read = What::Read { offset: 0, len: 1 };
    let steps = [spilling(), vec![Step::Ask(read), Step::Poll(1)]].concat();
    do_steps(ONE_WAY, steps, Trouble::None, End::Close);
}

#[test]
fn rule_17_a_close_answers_a_request_that_waits_for_a_disk_read() {
    do_steps(ONE_WAY, reading_back(), Trouble::None, End::Close);
}

#[test]
fn rule_17_the_end_of_the_actor_answers_a_request_that_waits_for_a_disk_read() {
    do_steps(ONE_WAY, reading_back(), Trouble::None, End::Abort);
}

#[test]
fn rule_24_an_early_end_of_a_stream_that_has_told_its_size_is_not_the_end() {
    let rest = [
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
    do_steps(REOPENABLE, [&loading()[..], &rest].concat(), Trouble::None, End::Heal);
}

#[test]
fn rule_21_a_source_is_not_opened_at_the_end_that_it_told() {
    let sent = [Step::Send(0, vec![300_000]), Step::Break(0, Break::Reset), Step::Settle];
    let steps = [&loading()[..], &[stream(false), Step::Settle], &sent].concat();
    do_steps(REOPENABLE, steps, Trouble::Breaks, End::Heal);
}

#[test]
fn rule_21_a_failed_write_does_not_close_a_stream_that_cannot_be_opened_again() {
    let setup = Setup {
        has_versions: false,
        reopen: Reopen::Never,
        max_memory: 0,
        read_ahead: 1 << 20,
        attempts: 0,
        ..REOPENABLE
    };
    let steps = [
        Step::Ask(What::Read { offset: 0, len: 2 }),
        Step::Poll(0),
        Step::Settle,
        stream(true),
        Step::Settle,
        Step::Send(0, vec![270_000]),
        Step::Settle,
        Step::Disk(0, vec![Fault::NoSpace], None),
        Step::Turn,
        Step::Time,
        Step::Time,
        Step::Settle,
    ];
    do_steps(setup, [&steps[..], &loading()].concat(), Trouble::None, End::Heal);
}

#[test]
fn rule_14_a_size_that_turns_out_wrong_before_its_caller_is_polled_is_an_error() {
    let setup = Setup { reopen: Reopen::Never, ..REOPENABLE };
    let rest = [
        stream(true),
        Step::Ask(What::Size),
        Step::Poll(1),
        Step::Turn,
        Step::Break(0, Break::End),
        Step::Settle,
    ];
    do_steps(setup, [&loading()[..], &rest].concat(), Trouble::None, End::Pause);
}

/// A reply lends a slice of the store, and its place is used again before the caller reads it.
#[test]
fn rule_27_a_slice_that_is_read_in_the_middle_of_a_write_to_its_place_does_not_count() {
    let at_once = AtOnce::Seeded { seed: 6, panics: false };
    let setup = Setup { size: 2_000_000, max_memory: 0, max_disk: Some(1 << 18), at_once, ..ONE_WAY };
    let steps = vec![
        Step::Send(0, vec![300_000]),
        Step::Ask(What::Some { offset: 1_990_000, len: 1 }),
        Step::Poll(0),
        Step::Settle,
        Step::Disk(0, vec![], None),
        Step::Settle,
        Step::Ask(What::Read { offset: 0, len: 100 }),
        Step::Poll(1),
        Step::Send(0, vec![100_000; 17]),
        Step::Turn,
        Step::Disk(0, vec![], Some(1)),
        Step::Settle,
    ];
    do_steps(setup, steps, Trouble::None, End::Leave);
}

#[test]
fn rule_28_a_lower_limit_holds_when_its_request_is_answered() {
    let setup = Setup { size: 2_317_668, max_disk: Some(0), read_ahead: u64::MAX, ..REOPENABLE };
    let steps = vec![
        Step::Turn,
        stream(true),
        Step::Settle,
        Step::Send(0, vec![2_000_000]),
        Step::Ask(What::Some { offset: 2_317_668, len: 42 }),
        Step::Settle,
        Step::Ask(What::MaxMemory(1 << 16)),
        Step::Poll(1),
        Step::Settle,
    ];
    do_steps(setup, steps, Trouble::None, End::Leave);
}
