//! Disk work runs on threads of its own, so it depends neither on a runtime nor on its blocking pool.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use futures::future::join;
use streamspool::{Error, ErrorKind, StreamBuffer};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::support::disk::Disk;
use crate::support::scripted_store::Script;
use crate::support::source::ready;
use crate::support::{MIB, assert_bytes, assert_data, chain, data};

/// Runs a future on this thread, without any runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// As many decoders as the runtime has blocking threads read one buffer that must spill.
fn decoders_fill_the_blocking_pool(decoders: usize) {
    let size = 4 * MIB;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(decoders)
        .enable_all()
        .build()
        .unwrap();
    let all = runtime.block_on(async {
        let buffer = StreamBuffer::builder().max_memory(MIB).spawn(ready(size as u64, 64 * 1024));
        let decoders: Vec<_> = (0..decoders)
            .map(|_| {
                let buffer = buffer.clone();
                spawn_blocking(move || {
                    let mut at = 0;
                    while at < size {
                        let handle = tokio::runtime::Handle::current();
                        let bytes = handle.block_on(buffer.read(at as u64, 300_000)).unwrap();
                        assert!(!bytes.is_empty());
                        at += bytes.len();
                    }
                })
            })
            .collect();
        timeout(Duration::from_secs(60), async {
            for decoder in decoders {
                decoder.await.unwrap();
            }
        })
        .await
    });
    // If decoders hang, a drop of the runtime would wait for them.
    runtime.shutdown_background();
    all.expect("the decoders get all bytes");
}

#[test]
fn rule_9_decoders_that_fill_the_blocking_pool_are_all_served() {
    decoders_fill_the_blocking_pool(8);
}

#[test]
fn rule_9_512_decoders_on_one_buffer_are_all_served() {
    decoders_fill_the_blocking_pool(512);
}

#[test]
fn rules_12_and_17_spilling_reading_back_and_saving_need_no_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved");
    let (buffer, actor) = StreamBuffer::builder().max_memory(MIB).build(ready(4 << 20, 64 * 1024));
    let client = async move {
        assert_eq!(buffer.load().await.unwrap(), 4 << 20);
        buffer.spill().await.unwrap();
        assert_eq!(buffer.progress().resident, 0);
        assert_bytes(&buffer.read(0, 4 * MIB).await.unwrap(), &data(0, 4 * MIB), 0);
        assert_eq!(buffer.save(&path).await.unwrap(), 4 << 20);
        assert_bytes(&std::fs::read(&path).unwrap(), &data(0, 4 * MIB), 0);
    };
    block_on(join(client, actor.run()));
}

#[tokio::test]
async fn rules_16_and_17_disk_work_that_is_never_done_fails_its_request_and_holds_up_nothing() {
    let disk = Disk::running();
    // This store reads nothing without a disk job.
    let script = Script::default();
    let builder = disk.serve(StreamBuffer::builder().store(script.store()));
    let (buffer, actor) = builder.build(ready(MIB as u64, 64 * 1024));
    let actor = tokio::spawn(actor.run());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved");
    let check = |error: Error, kind| {
        assert_eq!(error.kind(), kind);
        assert_eq!(chain(&error)[1], "no disk thread has done the work");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::Other, "readers must not try again");
    };
    // Drops the next job without running it.
    let dropping = async || {
        disk.until_waiting().await;
        drop(disk.take(0));
    };
    assert_data(&buffer.read(0, MIB).await.unwrap(), 0);
    disk.hold();
    let (spill, ()) = join(buffer.spill(), dropping()).await;
    check(spill.unwrap_err(), ErrorKind::Spill);
    assert_eq!(buffer.progress().spilled, 0);
    disk.go_on();
    buffer.spill().await.unwrap();
    assert_eq!(buffer.progress().resident, 0);
    disk.hold();
    let (read, ()) = join(buffer.read(5, 10), dropping()).await;
    let error = read.unwrap_err();
    assert_eq!(error.offset(), 5);
    check(error, ErrorKind::Spill);
    let (save, ()) = join(buffer.save(&path), dropping()).await;
    check(save.unwrap_err(), ErrorKind::Save);
    disk.go_on();
    assert_data(&buffer.read(5, 10).await.unwrap(), 5);
    assert!(!path.exists());
    assert_eq!(buffer.save(&path).await.unwrap(), MIB as u64);
    assert_bytes(&std::fs::read(&path).unwrap(), &data(0, MIB), 0);
    // The store is dropped with the job that was to drop it.
    disk.hold();
    drop(buffer);
    let (ended, ()) = join(actor, dropping()).await;
    ended.unwrap();
    assert!(script.is_dropped());
    assert_eq!((disk.waiting(), script.seen().wrong), (0, vec![]));
}
