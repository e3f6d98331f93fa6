//! A source and stores that the test drives, and the bytes that everything is compared with.

// The core's tests use it too.
#[path = "../../../src/core/tests/demand.rs"]
pub mod demand;
#[allow(dead_code, reason = "each test binary uses a part")]
pub mod disk;
#[allow(dead_code, reason = "each test binary uses a part")]
pub mod places;
#[allow(dead_code, reason = "each test binary uses a part")]
pub mod ranges;
#[allow(dead_code, reason = "each test binary uses a part")]
pub mod scripted_store;
#[allow(dead_code, reason = "each test binary uses a part")]
pub mod source;

use std::error::Error;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use streamspool::Bytes;

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;
/// The library's block size; the tests know it to aim at its edges.
pub const BLOCK: usize = 256 * KIB;

/// The byte at an offset, the same in every test. No two blocks look alike.
pub fn byte_at(offset: u64) -> u8 {
    let mixed = (offset ^ (offset >> 7)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 56) as u8
}

/// The first bytes of the stream, made once: enough for every test but those of far offsets.
static TABLE: LazyLock<Bytes> = LazyLock::new(|| (0..68 * MIB as u64).map(byte_at).collect());

/// The bytes from `offset` on.
pub fn data(offset: u64, len: usize) -> Bytes {
    let end = offset + len as u64;
    if end <= TABLE.len() as u64 {
        return TABLE.slice(offset as usize..end as usize);
    }
    (offset..end).map(byte_at).collect()
}

/// Whether these are the bytes of the source from `offset` on.
#[allow(dead_code, reason = "each test binary uses a part")]
pub fn is_data(bytes: &[u8], offset: u64) -> bool {
    offset.checked_add(bytes.len() as u64).is_some() && bytes == data(offset, bytes.len())
}

/// Fails with the first offset at which they differ, rather than with megabytes of numbers.
pub fn assert_bytes(actual: &[u8], expected: &[u8], from: u64) {
    let differs = actual.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs.map(|at| from + at as u64), None, "first wrong byte");
    assert_eq!(actual.len(), expected.len(), "number of bytes from offset {from}");
}

/// Asserts that these are the bytes of the source from `offset` on.
pub fn assert_data(actual: &[u8], offset: u64) {
    assert_bytes(actual, &data(offset, actual.len()), offset);
}

/// The texts of an error and of the causes behind it, in order.
#[allow(dead_code, reason = "not every test binary looks at errors")]
pub fn chain(error: &dyn Error) -> Vec<String> {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect()
}

/// Runs until nothing can happen any more except by the test.
///
/// Needs a paused clock and a current-thread runtime: the clock moves on only when every task waits. It does not
/// wait for disk threads. So the disk work of the test must run in a task, as that of [`Disk`](disk::Disk) does.
pub async fn settled() {
    let nothing = std::future::pending::<()>();
    tokio::time::timeout(Duration::from_millis(1), nothing).await.expect_err("nothing happens");
}

/// Polls a future once, as a `select!` would, and returns its result if it has one.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs a test on a current-thread and on a multi-thread runtime; a hang fails it.
pub fn on_both_runtimes<F: Future<Output = ()>>(test: impl Fn() -> F) {
    let mut current = tokio::runtime::Builder::new_current_thread();
    let mut multi = tokio::runtime::Builder::new_multi_thread();
    for builder in [&mut current, multi.worker_threads(2)] {
        let runtime = builder.enable_all().build().unwrap();
        let watched = async { tokio::time::timeout(Duration::from_secs(60), test()).await.expect("no hang") };
        let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(watched)));
        // A failed test may have left a store that holds its calls for ever.
        runtime.shutdown_background();
        if let Err(panic) = result {
            resume_unwind(panic);
        }
    }
}

/// A small, seeded generator (`SplitMix64`), so that a random test can be repeated from its seed.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
