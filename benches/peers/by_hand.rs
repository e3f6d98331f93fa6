//! The usual solution by hand: a spooled temporary file behind an async mutex.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use streamspool::Bytes;
use tempfile::SpooledTempFile;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::check::verify;
use crate::common::data::{PAGE, offsets};
use crate::ours::Kept;

pub(crate) type ByHand = Arc<Mutex<SpooledTempFile>>;

pub(crate) fn loaded(kept: Kept, all: &Bytes) -> ByHand {
    let mut file = SpooledTempFile::new(usize::MAX);
    if kept == Kept::Spilled {
        file.roll().expect("a temporary file");
    }
    file.write_all(all).expect("writes");
    Arc::new(Mutex::new(file))
}

/// `count` random reads by each of `tasks`. Each task reads into a buffer of its own.
pub(crate) async fn random(file: &ByHand, all: &Bytes, tasks: usize, count: usize, check: bool) -> Duration {
    let start = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let (file, all) = (Arc::clone(file), all.clone());
        running.spawn(async move {
            let mut page = [0; PAGE];
            for at in offsets(all.len(), task).take(count) {
                let mut file = file.lock().await;
                file.seek(SeekFrom::Start(at as u64)).expect("seeks");
                file.read_exact(&mut page).expect("reads");
                drop(file);
                verify(&page, &all, at, check);
            }
        });
    }
    running.join_all().await;
    start.elapsed()
}
