//! Rule 17: every end answers all requests and leaves nothing behind.

use std::io::SeekFrom;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use streamspool::{BufferHandle, Bytes, Error, ErrorKind, StreamBuffer};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::task::JoinHandle;

use crate::support::disk::Disk;
use crate::support::scripted_store::Script;
use crate::support::source::{ready, source};
use crate::support::{BLOCK, MIB, data, on_both_runtimes, poll_once, settled};

async fn assert_closed(buffer: &BufferHandle) {
    let errors = [
        buffer.read(3, 1).await.unwrap_err(),
        buffer.read_some(3, 1).await.unwrap_err(),
        buffer.slice(3..9).await.unwrap_err(),
        buffer.chunks(3..).next().await.unwrap().unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Closed, 3));
        assert_eq!(error.to_string(), "the buffer was closed before it answered a request at offset 3");
    }
    for error in [buffer.size().await.unwrap_err(), buffer.load().await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    assert_eq!(buffer.spill().await.unwrap_err().kind(), ErrorKind::Closed);
    let mut reader = buffer.reader();
    assert_eq!(reader.read(&mut [0; 3]).await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn rule_17_close_answers_every_waiting_and_every_later_request() {
    on_both_runtimes(|| async {
        let (feed, stream) = source();
        let buffer = StreamBuffer::builder().size(100).spawn(stream);
        let waiting: Vec<_> = (0..100)
            .map(|n| {
                let buffer = buffer.clone();
                tokio::spawn(async move { buffer.read(n, 10).await })
            })
            .collect();
        // A round trip, so that the actor has taken in some of them at least.
        buffer.read(0, 0).await.unwrap();
        buffer.close();
        for task in waiting {
            assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
        }
        let mut progress = buffer.subscribe();
        while progress.changed().await.is_ok() {}
        assert_closed(&buffer).await;
        assert!(feed.is_dropped());
    });
}

#[tokio::test(start_paused = true)]
async fn rule_17_close_refuses_requests_that_the_actor_has_not_taken_in() {
    let buffer = StreamBuffer::spawn(ready(MIB as u64, BLOCK));
    buffer.load().await.unwrap();
    // More than the actor takes in at a time. All of them could be answered.
    let mut reads: Vec<_> = (0..200).map(|n| Box::pin(buffer.read(n, 10))).collect();
    for read in &mut reads {
        assert!(poll_once(read).is_pending());
    }
    buffer.close();
    for read in reads {
        assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn rule_17_a_request_after_the_close_needs_no_actor() {
    let (_feed, stream) = source();
    let (buffer, actor) = StreamBuffer::builder().build(stream);
    buffer.close();
    let Poll::Ready(result) = poll_once(&mut Box::pin(buffer.read(3, 10))) else {
        panic!("the read waits for an actor that is not run");
    };
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
    drop(actor);
}

#[test]
fn rule_17_close_is_prompt_though_the_disk_hangs() {
    on_both_runtimes(|| async {
        let (disk, script) = (Disk::running(), Script::default());
        let size = 2 * MIB as u64;
        let buffer = disk.serve(StreamBuffer::builder().store(script.store())).spawn(ready(size, BLOCK));
        buffer.load().await.unwrap();
        disk.hold();
        let spill = tokio::spawn({
            let buffer = buffer.clone();
            async move { buffer.spill().await }
        });
        buffer.read(0, 1).await.unwrap();
        disk.until_waiting().await;
        buffer.close();
        assert_eq!(spill.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(buffer.read(0, 1).await.unwrap_err().kind(), ErrorKind::Closed);
        assert!(!script.is_dropped());
    });
}

/// A read of the first byte in a task of its own.
fn spawn_read(buffer: &BufferHandle) -> JoinHandle<Result<Bytes, Error>> {
    let buffer = buffer.clone();
    tokio::spawn(async move { buffer.read(0, 1).await })
}

#[test]
fn rule_17_every_end_is_prompt_though_a_disk_read_hangs() {
    on_both_runtimes(|| async {
        for abort in [false, true] {
            let (disk, script) = (Disk::running(), Script::default());
            let stream = ready(2 * MIB as u64, BLOCK);
            let builder = disk.serve(StreamBuffer::builder().store(script.store()));
            let (buffer, actor) = builder.build(stream);
            let actor = tokio::spawn(actor.run());
            buffer.load().await.unwrap();
            buffer.spill().await.unwrap();
            // From now on it is known that this store cannot be read without waiting.
            buffer.read(0, 1).await.unwrap();
            disk.hold();
            let read = spawn_read(&buffer);
            disk.until_waiting().await;
            if abort {
                actor.abort();
            } else {
                buffer.close();
            }
            assert_eq!(read.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
            assert!(!script.is_dropped());
        }
    });
}

#[tokio::test(start_paused = true)]
async fn rule_17_the_drop_of_the_last_handle_drops_the_source_and_the_store() {
    let (mut feed, stream) = source();
    let script = Script::default();
    let builder = Disk::running().serve(StreamBuffer::builder().store(script.store()));
    let (buffer, actor) = builder.build(stream);
    let actor = tokio::spawn(actor.run());
    feed.chunk(100);
    buffer.read(0, 10).await.unwrap();
    buffer.spill().await.unwrap();
    let (clone, reader, chunks) = (buffer.clone(), buffer.reader(), buffer.chunks(..));
    drop(buffer);
    settled().await;
    assert_eq!(clone.read(0, 10).await.unwrap(), data(0, 10));
    drop(clone);
    drop(chunks);
    settled().await;
    assert!(!feed.is_dropped(), "a reader is a handle too");
    drop(reader);
    actor.await.unwrap();
    assert!(feed.is_dropped());
    assert!(script.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn rule_17_a_weak_handle_gives_no_handle_to_a_closed_buffer() {
    let (_feed, stream) = source();
    let (buffer, actor) = StreamBuffer::builder().build(stream);
    let weak = buffer.downgrade();
    assert!(weak.upgrade().is_some());
    buffer.close();
    assert!(weak.upgrade().is_none(), "the actor has not seen the close yet");
    actor.run().await;
    assert!(weak.upgrade().is_none());

    let (buffer, actor) = StreamBuffer::builder().build(ready(10, 10));
    let weak = buffer.downgrade();
    drop(actor);
    assert!(weak.upgrade().is_none(), "the actor is gone");
    drop(buffer);
}

#[tokio::test(start_paused = true)]
async fn rules_17_and_19_a_closed_buffer_names_the_offset_that_it_reached() {
    for is_seen in [false, true] {
        let (mut feed, stream) = source();
        let buffer = Disk::running().serve(StreamBuffer::builder()).spawn(stream);
        feed.chunk(100);
        buffer.read(0, 100).await.unwrap();
        buffer.spill().await.unwrap();
        let (mut load, mut size) = (Box::pin(buffer.load()), Box::pin(buffer.size()));
        assert!(poll_once(&mut load).is_pending() && poll_once(&mut size).is_pending());
        feed.chunk(20);
        settled().await;
        let mut reader = buffer.reader_at(7);
        buffer.close();
        if is_seen {
            settled().await;
        }
        let seek = reader.seek(SeekFrom::End(-3)).await.unwrap_err();
        // The start of the range. Without a range, the first missing byte at the time of the request.
        for (offset, error) in [
            (0, load.await.unwrap_err()),
            (100, size.await.unwrap_err()),
            (0, buffer.load().await.unwrap_err()),
            (120, buffer.size().await.unwrap_err()),
            (120, buffer.spill().await.unwrap_err()),
            (120, Error::of(&seek).unwrap().clone()),
        ] {
            assert_eq!((error.kind(), error.offset()), (ErrorKind::Closed, offset));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rule_17_the_end_of_a_buffer_does_not_block_the_async_thread() {
    for abort in [false, true] {
        let (disk, script) = (Disk::running(), Script::default());
        let builder = disk.serve(StreamBuffer::builder().store(script.store()));
        let (buffer, actor) = builder.build(ready(MIB as u64, BLOCK));
        let actor = tokio::spawn(actor.run());
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
        disk.hold();
        if abort {
            actor.abort();
        } else {
            drop(buffer);
        }
        // Other tasks of this thread go on while the file is closed.
        let other = StreamBuffer::spawn(ready(1000, 100));
        assert_eq!(other.load().await.unwrap(), 1000);
        settled().await;
        assert_eq!(disk.waiting(), 1, "the drop of the store");
        assert!(!script.is_dropped());
        assert_eq!(actor.is_finished(), abort, "an actor that ends by itself waits for its store");
        disk.go_on();
        assert_eq!(actor.await.is_err(), abort);
        settled().await;
        assert!(script.is_dropped());
    }
}

#[tokio::test(start_paused = true)]
async fn rule_17_an_actor_that_ends_waits_for_the_running_reads_of_its_store() {
    let (disk, script) = (Disk::running(), Script::default());
    let builder = disk.serve(StreamBuffer::builder().store(script.store()));
    let (buffer, actor) = builder.build(ready(1000, 100));
    let actor = tokio::spawn(actor.run());
    buffer.load().await.unwrap();
    buffer.spill().await.unwrap();
    // From now on it is known that this store cannot be read without waiting.
    buffer.read(0, 1).await.unwrap();
    disk.hold();
    let read = spawn_read(&buffer);
    disk.until_waiting().await;
    buffer.close();
    assert_eq!(read.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    settled().await;
    assert!(!actor.is_finished(), "the store is in use");
    disk.go_on();
    actor.await.unwrap();
    assert!(script.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn rule_17_an_actor_that_is_dropped_while_it_ends_does_not_block_the_async_thread() {
    let (disk, script) = (Disk::default(), Script::default());
    let builder = disk.serve(StreamBuffer::builder().store(script.store()));
    let (buffer, actor) = builder.build(ready(1000, 100));
    let mut run = Box::pin(actor.run());
    let mut spill = Box::pin(async {
        buffer.load().await.unwrap();
        buffer.spill().await
    });
    while disk.waiting() == 0 {
        assert!(poll_once(&mut spill).is_pending());
        assert!(poll_once(&mut run).is_pending());
        settled().await;
    }
    buffer.close();
    assert!(poll_once(&mut run).is_pending(), "it waits for the write");
    assert_eq!(spill.await.unwrap_err().kind(), ErrorKind::Closed);
    drop(run);
    assert!(disk.run_next());
    // The write is done. It was the last to hold the store.
    assert_eq!(disk.waiting(), 1, "the drop of the store");
    assert!(!script.is_dropped());
    assert_eq!(disk.run_all(), 1);
    assert!(script.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn rule_17_a_store_that_was_never_used_costs_no_thread() {
    let (disk, script) = (Disk::default(), Script::default());
    let builder = disk.serve(StreamBuffer::builder().store(script.store()));
    let (buffer, actor) = builder.build(ready(MIB as u64, BLOCK));
    let actor = tokio::spawn(actor.run());
    buffer.load().await.unwrap();
    drop(buffer);
    actor.await.unwrap();
    assert!(script.is_dropped());
    assert_eq!(disk.waiting(), 0, "no disk work");
}

#[tokio::test(start_paused = true)]
async fn rule_17_an_aborted_actor_answers_every_request() {
    let (_feed, stream) = source();
    let (buffer, actor) = StreamBuffer::builder().build(stream);
    let actor = tokio::spawn(actor.run());
    let mut read = Box::pin(buffer.read(3, 10));
    assert!(poll_once(&mut read).is_pending());
    settled().await;
    actor.abort();
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Closed);
    assert_closed(&buffer).await;
}

#[tokio::test(start_paused = true)]
async fn rule_17_an_actor_that_was_never_run_answers_when_it_is_dropped() {
    let (_feed, stream) = source();
    let (buffer, actor) = StreamBuffer::builder().build(stream);
    let mut read = Box::pin(buffer.read(3, 10));
    assert!(poll_once(&mut read).is_pending());
    drop(actor);
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Closed);
    assert_closed(&buffer).await;
}

#[test]
fn rule_17_an_actor_can_be_dropped_by_a_task_without_budget() {
    let (done, ended) = std::sync::mpsc::channel();
    // A thread of its own: a drop that waits for ever would hang this one.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let task = runtime.spawn(async move {
            let (_feed, stream) = source();
            let (buffer, actor) = StreamBuffer::builder().build(stream);
            let mut read = Box::pin(buffer.read(3, 10));
            assert!(poll_once(&mut read).is_pending());
            while poll_once(&mut Box::pin(tokio::task::coop::consume_budget())).is_ready() {}
            drop(actor);
            assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Closed);
        });
        done.send(runtime.block_on(task)).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(20)).expect("the drop returns").unwrap();
}

#[test]
fn rule_17_the_end_of_the_runtime_answers_every_request() {
    for flavour in ["current", "multi"] {
        let serving = match flavour {
            "current" => tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            _ => tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
        };
        let asking = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (_feed, stream) = source();
        let buffer = serving.block_on(async { StreamBuffer::spawn(stream) });
        let waiting = asking.spawn({
            let buffer = buffer.clone();
            async move { buffer.read(3, 10).await }
        });
        asking.block_on(tokio::task::yield_now());
        serving.shutdown_timeout(Duration::from_secs(10));
        asking.block_on(async {
            assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
            assert_closed(&buffer).await;
        });
    }
}

#[test]
fn handles_are_used_from_other_runtimes_and_from_plain_threads() {
    let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let buffer =
        serving.block_on(async { StreamBuffer::builder().max_memory(0).spawn(ready(4 << 20, 9999)) });
    let threads: Vec<_> = (0..8_u64)
        .map(|n| {
            let buffer = buffer.clone();
            let serving = serving.handle().clone();
            std::thread::spawn(move || {
                let check = async {
                    for step in 0..50 {
                        let offset = (n * 99_991 + step * 77_003) % (4 << 20);
                        let expected = data(offset, 3000.min((4 << 20) - offset as usize));
                        assert_eq!(buffer.read(offset, 3000).await.unwrap(), expected);
                    }
                };
                if n % 2 == 0 {
                    serving.block_on(check);
                } else {
                    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(check);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn thousands_of_requests_before_the_actor_runs_are_all_answered() {
    let (mut feed, stream) = source();
    let (buffer, actor) = StreamBuffer::builder().build(stream);
    let reads: Vec<_> = (0..5000)
        .map(|n| {
            let buffer = buffer.clone();
            tokio::spawn(async move { buffer.read(n, 5).await })
        })
        .collect();
    settled().await;
    feed.chunk(6000);
    tokio::spawn(actor.run());
    for (n, read) in reads.into_iter().enumerate() {
        assert_eq!(read.await.unwrap().unwrap(), data(n as u64, 5));
    }
}
