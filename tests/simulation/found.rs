//! Runs that have found a fault, kept as lists of steps: they stay what they are when the generator
//! changes.

use crate::asks::What;
use crate::steps::{Case, End, Ending, Setup, Step};
use crate::support::store::AtOnce;

const SETUP: Setup = Setup {
    total: 1000,
    ending: Ending::End,
    declared: None,
    max_memory: 1 << 20,
    max_disk: None,
    read_ahead: 0,
    at_once: AtOnce::Never,
};

/// All bytes are loaded, and a write of them waits for the disk.
fn spilling() -> Vec<Step> {
    vec![
        Step::Feed(vec![1000]),
        Step::EndSource,
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
    let rest = [Step::Disk(0, None), Step::Settle, Step::Ask(read), Step::Poll(0), Step::Turn];
    [spilling(), rest.to_vec()].concat()
}

#[test]
fn rule_17_a_request_that_comes_together_with_the_close_does_not_wait_for_the_disk() {
    let read = What::Read { offset: 0, len: 1 };
    let steps = [spilling(), vec![Step::Ask(read), Step::Poll(1)]].concat();
    crate::do_case(&Case { setup: SETUP, steps, end: End::Close });
}

#[test]
fn rule_17_a_close_answers_a_request_that_waits_for_a_disk_read() {
    crate::do_case(&Case { setup: SETUP, steps: reading_back(), end: End::Close });
}

#[test]
fn rule_17_the_end_of_the_actor_answers_a_request_that_waits_for_a_disk_read() {
    crate::do_case(&Case { setup: SETUP, steps: reading_back(), end: End::Abort });
}
