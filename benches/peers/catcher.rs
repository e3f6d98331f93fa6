//! The crate streamcatcher: synchronous, in memory only. It runs with one reader here, because several
//! readers corrupt its heap.
//!
//! Its chunks are 64 KiB instead of the default of 4 KiB. This makes it faster.

use std::io::{Seek, SeekFrom};
use std::time::{Duration, Instant};

use streamcatcher::{Catcher, Config, GrowthStrategy};
use streamspool::Bytes;
use tokio::task::spawn_blocking;

use crate::common::data::{BUFFER, CHUNK, Source};
use crate::download::read_through;

fn open(all: &Bytes) -> Catcher<Source> {
    let config = Config::new().chunk_size(GrowthStrategy::Constant(CHUNK)).read_burst_len(BUFFER);
    config.build(Source::of(all)).expect("a valid configuration")
}

/// Reads the stream from the first byte to the last. The time in which it joins its chunks is excluded.
pub(crate) async fn first_read(all: &Bytes, check: bool) -> Duration {
    let all = all.clone();
    let work = move || {
        let start = Instant::now();
        let mut catcher = open(&all);
        read_through(&mut catcher, check.then_some(&all));
        let taken = start.elapsed();
        settle(&catcher);
        taken
    };
    spawn_blocking(work).await.expect("the work ends")
}

pub(crate) async fn loaded(all: &Bytes) -> Catcher<Source> {
    let all = all.clone();
    let work = move || {
        let mut catcher = open(&all);
        read_through(&mut catcher, Some(&all));
        settle(&catcher);
        catcher
    };
    spawn_blocking(work).await.expect("the work ends")
}

/// Reads all bytes of a loaded stream.
pub(crate) async fn read_again(catcher: &mut Option<Catcher<Source>>) -> Duration {
    let mut inner = catcher.take().expect("a catcher");
    let work = move || {
        let start = Instant::now();
        inner.seek(SeekFrom::Start(0)).expect("seeks");
        read_through(&mut inner, None);
        (inner, start.elapsed())
    };
    let (inner, taken) = spawn_blocking(work).await.expect("the work ends");
    *catcher = Some(inner);
    taken
}

/// Waits until it has joined its chunks, which it does on its own thread after the stream has ended. It has
/// no notification, so this polls.
fn settle(catcher: &Catcher<Source>) {
    while !catcher.is_finalised() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
