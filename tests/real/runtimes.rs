//! Rule 17: runtimes that are shut down while requests run, and others that still send requests.

use std::time::{Duration, Instant};

use futures::StreamExt;
use streamspool::{BufferHandle, ErrorKind, StreamBuffer};
use tokio::io::AsyncReadExt;

use crate::child::alone;
use crate::runtime;
use crate::support::source::{ragged, source};
use crate::support::{MIB, Random, assert_bytes, data};

const SIZE: u64 = 6 * MIB as u64;

/// Reads at random until the buffer is closed. Every answer before that is right.
async fn read_until_closed(buffer: BufferHandle, seed: u64) -> u64 {
    let mut random = Random(seed);
    let mut answers = 0;
    loop {
        let offset = random.below(SIZE - 5000);
        let result = match random.below(4) {
            0 => buffer.read(offset, 5000).await,
            1 => buffer.read_some(offset, 5000).await,
            2 => buffer.chunks(offset..offset + 5000).next().await.unwrap(),
            _ => {
                let mut reader = buffer.reader();
                reader.set_position(offset);
                let mut bytes = vec![0; 5000];
                match reader.read_exact(&mut bytes).await {
                    Ok(_) => Ok(bytes.into()),
                    Err(error) => Err(*error.into_inner().unwrap().downcast().unwrap()),
                }
            }
        };
        match result {
            Ok(bytes) => assert_bytes(&bytes, &data(offset, bytes.len()), offset),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed);
                return answers;
            }
        }
        answers += 1;
    }
}

#[test]
fn rule_17_a_runtime_shut_down_under_load_answers_every_request() {
    let name = "runtimes::rule_17_a_runtime_shut_down_under_load_answers_every_request";
    if !alone(name, "") {
        return;
    }
    let asking = runtime();
    let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open_files();
    for turn in 0..40 {
        let serving = runtime();
        let dir = tempfile::tempdir().unwrap();
        let buffer = serving.block_on(async {
            StreamBuffer::builder().max_memory(turn % 3 * 100_000).spawn(ragged(SIZE, turn as u64))
        });
        let tasks: Vec<_> =
            (0..8).map(|n| asking.spawn(read_until_closed(buffer.clone(), n + turn as u64))).collect();
        let (spilling, saving) = (buffer.clone(), buffer.clone());
        let path = dir.path().join("saved");
        let spill = asking.spawn(async move { while spilling.spill().await.is_ok() {} });
        let save = asking.spawn(async move { saving.save(path).await });
        // Shut down after a number of loaded bytes, which differs in each turn, and not after a time.
        asking.block_on(async {
            let mut progress = buffer.subscribe();
            let far = |progress: &streamspool::Progress| progress.loaded >= SIZE * turn as u64 / 40;
            let _ = progress.wait_for(far).await;
        });
        if turn % 2 == 0 {
            serving.shutdown_background();
        } else {
            serving.shutdown_timeout(Duration::from_secs(30));
        }
        asking.block_on(async {
            let all = async {
                for task in tasks {
                    task.await.unwrap();
                }
                spill.await.unwrap();
                let _ = save.await.unwrap();
            };
            tokio::time::timeout(Duration::from_secs(60), all).await.expect("every request is answered");
        });
        let left = crate::names(dir.path());
        assert!(left.is_empty() || left == ["saved"], "{left:?}");
    }
    drop(asking);
    // Disk threads close the files.
    let watchdog = Instant::now() + Duration::from_secs(30);
    while open_files() > before {
        assert!(Instant::now() < watchdog, "files are left open");
        std::thread::yield_now();
    }
}

#[test]
fn rule_17_two_runtimes_share_a_handle_and_the_end_of_one_closes_it_in_the_other() {
    let (first, second) = (runtime(), runtime());
    let (mut feed, stream) = source();
    let buffer = first.block_on(async { StreamBuffer::builder().max_memory(0).spawn(stream) });
    feed.chunk(3 * MIB);
    let ask = |n: u64| {
        let buffer = buffer.clone();
        async move {
            for step in 0..100 {
                let offset = (n * 70_001 + step * 30_011) % (3 * MIB as u64 - 100);
                assert_bytes(&buffer.read(offset, 100).await.unwrap(), &data(offset, 100), offset);
            }
            // Missing bytes never arrive, so only the end of the buffer answers this read.
            buffer.read(3 * MIB as u64, 1).await.unwrap_err().kind()
        }
    };
    let here: Vec<_> = (0..4).map(|n| first.spawn(ask(n))).collect();
    let there: Vec<_> = (4..8).map(|n| second.spawn(ask(n))).collect();
    let plain = std::thread::spawn({
        let (handle, ask) = (second.handle().clone(), ask(9));
        move || handle.block_on(ask)
    });
    second.block_on(async {
        let progress =
            buffer.subscribe().wait_for(|progress| progress.loaded == 3 * MIB as u64).await.map(drop);
        assert!(progress.is_ok());
        assert_bytes(&buffer.read(0, 3 * MIB).await.unwrap(), &data(0, 3 * MIB), 0);
    });
    // Tasks of the runtime that is shut down may end with it. Those of the other runtime get `Closed`.
    drop(here);
    buffer.close();
    second.block_on(async {
        for task in there {
            let kind = tokio::time::timeout(Duration::from_secs(60), task).await.unwrap();
            assert!(kind.is_ok_and(|kind| kind == ErrorKind::Closed) || feed.is_dropped());
        }
    });
    drop(plain.join());
    assert!(feed.is_dropped());
}

#[test]
fn rule_17_an_actor_aborted_under_load_leaves_no_request_unanswered() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    // A task, because on a loaded machine each reply to this thread waits until the system runs the thread.
    let turns = runtime.spawn(async {
        for turn in 0..1000 {
            let (buffer, actor) = StreamBuffer::builder().build(ragged(1000, 1));
            let actor = tokio::spawn(actor.run());
            let tasks: Vec<_> = (0..4)
                .map(|n| {
                    let buffer = buffer.clone();
                    tokio::spawn(async move {
                        let mut reader = buffer.reader();
                        let mut byte = [0];
                        while buffer.read(n, 1).await.is_ok() && reader.read(&mut byte).await.is_ok() {
                            reader.set_position(n);
                        }
                    })
                })
                .collect();
            // The actor is to end while a request is being sent: neither taken in nor refused.
            for _ in 0..turn % 50 {
                buffer.read(0, 1).await.unwrap();
            }
            actor.abort();
            for task in tasks {
                let ended = tokio::time::timeout(Duration::from_secs(60), task).await;
                ended.expect("every request is answered").unwrap();
            }
        }
    });
    runtime.block_on(turns).unwrap();
}
