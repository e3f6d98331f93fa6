//! The limits of the machine, measured without the crate.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use streamspool::Bytes;
use tokio::task::JoinSet;

use crate::check::verify;
use crate::common::data::{BUFFER, PAGE, Source, offsets};
use crate::common::echo::Echo;
use crate::common::spawned;

/// Copies `all` into a buffer of the readers' size.
pub(crate) fn copy(all: &Bytes) -> Duration {
    let mut buf = vec![0; BUFFER];
    let start = Instant::now();
    for piece in all.chunks(BUFFER) {
        buf[..piece.len()].copy_from_slice(piece);
        black_box(&buf);
    }
    start.elapsed()
}

pub(crate) fn file(all: &Bytes) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(all).expect("writes");
    file
}

/// Reads the file from start to end with positional reads, 64 KiB each.
pub(crate) fn pread(file: &File) -> Duration {
    let mut buf = vec![0; BUFFER];
    let start = Instant::now();
    let mut at = 0;
    loop {
        let read = read_at(file, &mut buf, at).expect("reads");
        if read == 0 {
            break start.elapsed();
        }
        black_box(&buf);
        at += read as u64;
    }
}

/// `count` random reads of the file, one after the other on one thread.
pub(crate) async fn random_pread(file: &File, all: &Bytes, count: usize) -> Duration {
    let (file, all) = (file.try_clone().expect("a file"), all.clone());
    spawned(async move {
        let mut page = [0; PAGE];
        let start = Instant::now();
        for at in offsets(all.len(), 0).take(count) {
            assert_eq!(read_at(&file, &mut page, at as u64).expect("reads"), PAGE);
            verify(&page, &all, at, false);
        }
        start.elapsed()
    })
    .await
}

/// Copies each chunk into memory that keeps all of them, and from there into a buffer of the readers' size.
/// The memory is one allocation. It is so large that the allocator has no free memory for it, so all its
/// pages are new to the process.
pub(crate) async fn into_new_memory(all: &Bytes) -> Duration {
    let all = all.clone();
    spawned(async move {
        let mut buf = vec![0; BUFFER];
        let start = Instant::now();
        let mut source = Source::of(&all);
        let mut kept: Vec<u8> = Vec::with_capacity(all.len());
        while let Some(chunk) = source.pull() {
            let from = kept.len();
            kept.extend_from_slice(&chunk);
            buf[..chunk.len()].copy_from_slice(&kept[from..]);
            black_box(&buf);
        }
        start.elapsed()
    })
    .await
}

/// Copies each chunk into a block, and from there into a buffer of the readers' size. A second thread writes the
/// blocks to a new file, 512 KiB at a time, and gives their memory back. This is the work of a first read that
/// is spilled, without messages and without a look-up.
pub(crate) fn into_file(all: &Bytes) -> Duration {
    const BLOCK: usize = 512 * 1024;
    let file = tempfile::tempfile().expect("a temporary file");
    let (full, to_write) = mpsc::channel::<Vec<u8>>();
    let (written, empty) = mpsc::channel();
    for _ in 0..4 {
        written.send(Vec::with_capacity(BLOCK)).expect("a receiver");
    }
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut file = file;
            for mut block in to_write {
                file.write_all(&block).expect("writes");
                block.clear();
                // The reader may be done already.
                let _ = written.send(block);
            }
        });
        let mut buf = vec![0; BUFFER];
        let start = Instant::now();
        let mut block = empty.recv().expect("a block");
        for chunk in all.chunks(BUFFER) {
            if block.len() == BLOCK {
                full.send(block).expect("a writer");
                block = empty.recv().expect("a block");
            }
            let from = block.len();
            block.extend_from_slice(chunk);
            buf[..chunk.len()].copy_from_slice(&block[from..]);
            black_box(&buf);
        }
        drop(full);
        start.elapsed()
    })
}

/// `count` messages by each of `tasks` to a task that only answers them. It looks up no bytes, so the caller
/// reads the original bytes instead.
pub(crate) async fn message_and_reply(all: &Bytes, tasks: usize, count: usize) -> Duration {
    let (echo, actor) = Echo::spawn();
    let start = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let (echo, all) = (echo.clone(), all.clone());
        running.spawn(async move {
            for at in offsets(all.len(), task).take(count) {
                echo.ask().await;
                verify(&all[at..at + PAGE], &all, at, false);
            }
        });
    }
    running.join_all().await;
    let taken = start.elapsed();
    drop(echo);
    actor.await.expect("the actor ends");
    taken
}

#[cfg(unix)]
fn read_at(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, at)
}

#[cfg(windows)]
fn read_at(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, at)
}
