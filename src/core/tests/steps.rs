//! Random events of a buffer: mostly small ranges, and mostly near the edges of blocks and the watermarks.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Read {
        at: At,
        len: u64,
        want: Want,
    },
    Load,
    Spill,
    /// The caller of the request with this number drops it.
    Abandon(usize),
    /// If the source is pulled, it sends this many bytes, or ends if it has no more.
    Append(usize),
    End,
    Fail,
    WriteSucceeds,
    WriteFails,
    /// The time of the next deadline comes.
    Deadline,
    /// One action, or one block of the chunk that is arriving.
    Act,
    /// All actions until the core is idle.
    Pump,
}

/// Where a read starts: mostly near the watermarks.
#[derive(Clone, Debug)]
pub(super) enum At {
    Loaded(i64),
    Spilled(i64),
    /// In this 256th of the loaded bytes.
    Within(u64),
    Last(u64),
}

/// The declared size, and its difference from the real one.
#[derive(Clone, Debug)]
pub(super) enum Declared {
    Nothing,
    Right,
    Less(u64),
    More(u64),
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) max_memory: usize,
    pub(super) read_ahead: u64,
    pub(super) declared: Declared,
    pub(super) total: u64,
    /// Whether all actions are carried out after each step, or only by the steps that do so.
    pub(super) eager: bool,
    pub(super) steps: Vec<Step>,
}

fn near_block() -> impl Strategy<Value = u64> {
    (1..=3_u64, 0..=2_u64).prop_map(|(blocks, more)| blocks * BLOCK as u64 + more - 1)
}

fn at() -> impl Strategy<Value = At> {
    prop_oneof![
        4 => (-5000..2000_i64).prop_map(At::Loaded),
        2 => (-5..=5_i64).prop_map(At::Loaded),
        2 => (0..600_000_i64).prop_map(At::Loaded),
        3 => (-3000..3000_i64).prop_map(At::Spilled),
        4 => (0..256_u64).prop_map(At::Within),
        1 => (0..3_u64).prop_map(At::Last),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![
        1 => Just(0),
        4 => 1..20_u64,
        4 => 1..20_000_u64,
        2 => near_block(),
        2 => 0..2_000_000_u64,
        1 => Just(u64::MAX),
    ];
    let chunk = prop_oneof![
        1 => Just(0),
        4 => 1..20_usize,
        4 => 1..20_000_usize,
        2 => (BLOCK - 1)..=(BLOCK + 1),
        3 => 1..600 * KIB,
    ];
    let want = prop_oneof![Just(Want::Exact), Just(Want::Piece), Just(Want::Run)];
    prop_oneof![
        25 => (at(), len, want).prop_map(|(at, len, want)| Step::Read { at, len, want }),
        30 => chunk.prop_map(Step::Append),
        1 => Just(Step::Load),
        3 => Just(Step::Spill),
        6 => (0..100_usize).prop_map(Step::Abandon),
        8 => Just(Step::WriteSucceeds),
        4 => Just(Step::WriteFails),
        2 => Just(Step::Deadline),
        12 => Just(Step::Act),
        6 => Just(Step::Pump),
        1 => Just(Step::End),
        1 => Just(Step::Fail),
    ]
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let max_memory = prop_oneof![Just(0), Just(64 * KIB), Just(BLOCK), Just(MIB), Just(usize::MAX)];
    let read_ahead = prop_oneof![Just(0), Just(1000), Just(MIB as u64), Just(u64::MAX)];
    let declared = prop_oneof![
        3 => Just(Declared::Nothing),
        2 => Just(Declared::Right),
        1 => prop_oneof![1..100_u64, near_block()].prop_map(Declared::Less),
        1 => prop_oneof![1..100_u64, near_block()].prop_map(Declared::More),
    ];
    let total = prop_oneof![
        2 => 0..3000_u64,
        4 => 0..4 * MIB as u64,
        2 => near_block(),
        4 => Just(4 * MIB as u64),
    ];
    let steps = proptest::collection::vec(step(), 1..120);
    (max_memory, read_ahead, declared, total, any::<bool>(), steps).prop_map(
        |(max_memory, read_ahead, declared, total, eager, steps)| Case {
            max_memory,
            read_ahead,
            declared,
            total,
            eager,
            steps,
        },
    )
}
