//! Settled bytes: once a slice was lent, callers read them without a request. Rules 2, 4, 6, 16, 17 and 27.

use std::io;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use streamspool::{BufferHandle, Error, ErrorKind, StreamBuffer};
use tokio::io::AsyncReadExt;

use crate::lending::{SIZE, counts, set_cold, spilled};
use crate::support::scripted_store::{Access, Act, Script};
use crate::support::source::ready;
use crate::support::{BLOCK, assert_bytes, assert_data, data, on_both_runtimes, poll_once};

/// A buffer of `size` bytes which are all in the store, after a first read, and its actor, which goes on only when
/// it is polled.
async fn settled_of(script: &Script, size: u64) -> (BufferHandle, impl Future<Output = ()> + Unpin + use<>) {
    let (buffer, actor) = StreamBuffer::builder().store(script.store()).build(ready(size, BLOCK));
    let mut actor = Box::pin(actor.run());
    let spill = async {
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
        assert_data(&buffer.read(7, 100).await.unwrap(), 7);
    };
    tokio::select! {
        () = &mut actor => panic!("the actor ended"),
        () = spill => {}
    }
    (buffer, actor)
}

async fn settled(script: &Script) -> (BufferHandle, impl Future<Output = ()> + Unpin + use<>) {
    settled_of(script, SIZE).await
}

#[tokio::test(start_paused = true)]
async fn rule_4_settled_bytes_are_read_without_a_request() {
    // The actor is not polled, and each way to read gets its bytes. Each read counts as one.
    let script = Script::cached();
    let (buffer, _actor) = settled(&script).await;
    let mut last = buffer.last_read().unwrap();
    let mut has_read = async || {
        let before = std::mem::replace(&mut last, buffer.last_read().unwrap());
        tokio::time::advance(Duration::from_secs(1)).await;
        last > before
    };
    has_read().await;
    for offset in [0, 5, SIZE - 5000] {
        assert_data(&without_actor(buffer.read(offset, 5000)).await.unwrap(), offset);
        assert!(has_read().await);
        let mut buf = vec![0; 5000];
        assert_eq!(without_actor(buffer.read_into(offset, &mut buf)).await.unwrap(), 5000);
        assert_data(&buf, offset);
        assert!(has_read().await);
        let some = without_actor(buffer.read_some(offset, 100_000)).await.unwrap();
        assert_eq!(some.len() as u64, (SIZE - offset).min(100_000));
        assert_data(&some, offset);
        assert!(has_read().await);
        without_actor(buffer.reader_at(offset).read_exact(&mut buf)).await.unwrap();
        assert_data(&buf, offset);
        assert!(has_read().await);
        let chunk = without_actor(buffer.chunks(offset..offset + 10).next()).await.unwrap().unwrap();
        assert_bytes(&chunk, &data(offset, 10), offset);
        assert!(has_read().await);
    }
    assert_eq!(without_actor(buffer.read_some(5, usize::MAX)).await.unwrap().len(), BLOCK);
    let whole = without_actor(buffer.read(0, SIZE as usize)).await.unwrap();
    assert_bytes(&whole, &data(0, SIZE as usize), 0);
    assert_eq!(counts(&script).1, 0);
    // Only the actor knows the end. A read that asks it holds no bytes meanwhile.
    let by_callers = counts(&script).0;
    for (offset, len) in [(SIZE - 10, 11), (SIZE, 1), (5, 0)] {
        let mut read = Box::pin(buffer.read(offset, len));
        // The first poll may have let other tasks run, and nothing else.
        let is_pending = poll_once(&mut read).is_pending() && poll_once(&mut read).is_pending();
        assert!(is_pending, "{len} bytes at {offset}");
    }
    assert!(poll_once(&mut Box::pin(buffer.read_some(5, 0))).is_pending());
    assert_eq!(counts(&script).0, by_callers);
}

/// The result of a read that needs no request. The actor is not polled meanwhile.
async fn without_actor<R>(read: impl Future<Output = R>) -> R {
    tokio::time::timeout(Duration::from_secs(60), read).await.expect("it waits for the actor")
}

/// Polls a loop of reads until it ends. Returns how often it has let other tasks run.
pub(crate) async fn turns(reads: impl Future<Output = ()>) -> u64 {
    let (mut reads, mut polls) = (Box::pin(reads), 0);
    // Other executors have no budget for a task, so the reads must not need that of tokio.
    while poll_once(&mut tokio::task::unconstrained(&mut reads)).is_pending() {
        polls += 1;
        assert!(polls < 10_000, "no end to it");
        tokio::task::yield_now().await;
    }
    polls
}

#[tokio::test]
async fn rule_4_reads_of_settled_bytes_let_other_tasks_run() {
    let script = Script::cached();
    let (buffer, _actor) = settled(&script).await;
    let short = 0..1000;
    let reads = turns(async {
        for n in short.clone() {
            assert_data(&buffer.read(n * 100, 10).await.unwrap(), n * 100);
        }
    });
    assert!(reads.await >= 1000 / 64);
    let somes = turns(async {
        for n in short.clone() {
            assert_data(&buffer.read_some(n * 100, 10).await.unwrap(), n * 100);
        }
    });
    assert!(somes.await >= 1000 / 64);
    // Each time with a new reader, and with new chunks.
    let readers = turns(async {
        for n in short.clone() {
            assert_eq!(buffer.reader_at(n * 100).read_u8().await.unwrap(), data(n * 100, 1)[0]);
        }
    });
    assert!(readers.await >= 1000 / 64);
    let chunks = turns(async {
        for n in short {
            let chunk = buffer.chunks(n * 100..n * 100 + 10).next().await.unwrap().unwrap();
            assert_data(&chunk, n * 100);
        }
    });
    assert!(chunks.await >= 1000 / 64);
    // Each time of another buffer.
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(settled_of(&Script::cached(), BLOCK as u64).await);
    }
    let buffers = turns(async {
        for n in 0..1000 {
            let (buffer, _) = &all[n % all.len()];
            assert_data(&buffer.read(n as u64, 10).await.unwrap(), n as u64);
        }
    });
    assert!(buffers.await >= 1000 / 64);
    let long = turns(async {
        for n in 0..30 {
            assert_bytes(&buffer.read(n * 100, 65_536).await.unwrap(), &data(n * 100, 65_536), n * 100);
        }
    });
    assert!(long.await >= 30 / 4);
}

#[tokio::test]
async fn rule_17_settled_bytes_are_not_read_after_the_close() {
    // The actor has not noticed the close yet, so the store is still there.
    let (buffer, _actor) = settled(&Script::cached()).await;
    buffer.close();
    for mut read in [Box::pin(buffer.read(5, 10)), Box::pin(buffer.read(0, 1000))] {
        match poll_once(&mut read) {
            Poll::Pending => {}
            Poll::Ready(result) => {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
            }
        }
    }
}

#[tokio::test]
async fn rule_16_settled_bytes_that_are_not_cached_come_from_a_disk_thread() {
    let script = Script::cached();
    let buffer = spilled(&script).await;
    assert_data(&buffer.read(0, 10).await.unwrap(), 0);
    set_cold(&script, true);
    let before = counts(&script);
    for n in 0..20 {
        assert_data(&buffer.read(n * 5000, 4000).await.unwrap(), n * 5000);
    }
    assert_eq!(counts(&script), (before.0, before.1 + 20));
    set_cold(&script, false);
    assert_data(&buffer.read(0, 10).await.unwrap(), 0);
    assert_eq!(counts(&script), (before.0 + 1, before.1 + 20));
}

#[tokio::test]
async fn rule_27_no_bytes_are_settled_once_the_store_has_a_limit() {
    // A smaller limit discards bytes at once. The other one needs no write, so nothing is announced.
    for blocks in [3, SIZE / BLOCK as u64] {
        let script = Script::cached();
        let (buffer, mut actor) = settled(&script).await;
        let last = SIZE - BLOCK as u64;
        let mut readers = [buffer.reader_at(BLOCK as u64), buffer.reader_at(last)];
        for reader in &mut readers {
            // Each reader has copied 16 KiB by now, and has a slice of the store for the bytes after them.
            assert_eq!(reader.read_u8().await.unwrap(), data(reader.position() - 1, 1)[0]);
        }
        let limit = async { buffer.set_max_disk(blocks * BLOCK as u64).await.unwrap() };
        tokio::select! {
            () = &mut actor => panic!("the actor ended"),
            () = limit => {}
        }
        // A slice that is still valid does not settle its bytes again.
        let mut buf = vec![0; 3 * 16 * 1024];
        readers[1].read_exact(&mut buf).await.unwrap();
        assert_data(&buf, last + 1);
        let by_callers = counts(&script).0;
        let mut first = Box::pin(buffer.read(5, 10));
        let mut kept = Box::pin(buffer.read(SIZE - 10, 10));
        assert!(poll_once(&mut first).is_pending() && poll_once(&mut kept).is_pending());
        assert_eq!(counts(&script).0, by_callers, "a slice is read before the actor has lent it");
        let reads = async {
            assert_data(&kept.await.unwrap(), SIZE - 10);
            let first = first.await;
            let more = readers[0].read_exact(&mut buf).await;
            if blocks == 3 {
                assert_eq!(first.unwrap_err().kind(), ErrorKind::Discarded);
                assert_eq!(Error::of(&more.unwrap_err()).unwrap().kind(), ErrorKind::Discarded);
            } else {
                assert_data(&first.unwrap(), 5);
                more.unwrap();
                assert_data(&buf, BLOCK as u64 + 1);
            }
        };
        tokio::select! {
            () = &mut actor => panic!("the actor ended"),
            () = reads => {}
        }
    }
}

#[tokio::test]
async fn rule_27_a_limit_that_does_not_limit_changes_nothing() {
    let script = Script::cached();
    let (buffer, mut actor) = settled(&script).await;
    let limit = async { buffer.set_max_disk(u64::MAX).await.unwrap() };
    tokio::select! {
        () = &mut actor => panic!("the actor ended"),
        () = limit => {}
    }
    assert_data(&without_actor(buffer.read(5, 1000)).await.unwrap(), 5);
}

#[tokio::test]
async fn rule_17_a_long_read_of_settled_bytes_ends_at_the_close() {
    // After at most 4 MiB.
    let (size, script) = (24 * BLOCK, Script::cached());
    let (buffer, _actor) = settled_of(&script, size as u64).await;
    let mut read = Box::pin(buffer.read(0, size));
    assert!(poll_once(&mut read).is_pending());
    buffer.close();
    let rest = async {
        // The actor still waits, so the store is there. It is never polled again.
        assert_eq!(read.await.unwrap_err().kind(), ErrorKind::Closed);
    };
    tokio::select! {
        biased;
        () = rest => {}
        () = async { while counts(&script).0 < size / (16 * 1024) { tokio::task::yield_now().await; } } => {
            panic!("it has read all bytes");
        }
    }
}

#[test]
fn rule_6_each_read_near_the_end_moves_the_read_ahead() {
    // The bytes before the read-ahead are settled. A read after them pulls more, also when all is spilled.
    on_both_runtimes(|| async {
        let ahead = 2 * BLOCK as u64;
        let builder = StreamBuffer::builder().store(Script::cached().store()).read_ahead(ahead);
        let buffer = builder.spawn(ready(SIZE, BLOCK / 4));
        for mut at in 0..SIZE / 1000 - 1 {
            at *= 1000;
            buffer.load_range(0..at + 1000).await.unwrap();
            if at % 7000 == 0 {
                buffer.spill().await.unwrap();
            }
            assert_data(&buffer.read(at, 1000).await.unwrap(), at);
            let expected = (at + 1000 + ahead).min(SIZE);
            buffer.subscribe().wait_for(|now| now.loaded >= expected).await.unwrap();
        }
    });
}

#[tokio::test]
async fn rule_2_a_reader_that_waits_gets_its_reply_though_the_bytes_are_settled_meanwhile() {
    let script = Script::cached();
    let buffer = StreamBuffer::builder().store(script.store()).spawn(ready(SIZE, BLOCK));
    let (mut reader, mut chunks) = (buffer.reader(), buffer.chunks(..));
    let (mut buf, mut more) = (vec![0; 100], vec![0; 3 * BLOCK]);
    assert!(poll_once(&mut Box::pin(reader.read_exact(&mut buf))).is_pending());
    assert!(poll_once(&mut Box::pin(chunks.next())).is_pending());
    buffer.load().await.unwrap();
    buffer.spill().await.unwrap();
    assert_data(&buffer.read(7, 100).await.unwrap(), 7);
    let by_callers = counts(&script).0;
    reader.read_exact(&mut buf).await.unwrap();
    assert_data(&buf, 0);
    let chunk = chunks.next().await.unwrap().unwrap();
    assert_data(&chunk, 0);
    assert_eq!(counts(&script).0, by_callers, "the replies had the bytes");
    reader.read_exact(&mut more).await.unwrap();
    assert_data(&more, 100);
    assert_bytes(&chunks.next().await.unwrap().unwrap()[..10], &data(chunk.len() as u64, 10), 0);
}

#[tokio::test]
async fn rule_16_a_store_that_cannot_read_at_once_any_more_is_not_asked_again() {
    let script = Script::cached();
    let buffer = spilled(&script).await;
    assert_data(&buffer.read(0, 10).await.unwrap(), 0);
    script.tries(|_| Act::fails(io::ErrorKind::Unsupported));
    let before = (script.count(Access::Try), script.count(Access::Read));
    for n in 0..20 {
        assert_data(&buffer.read(n * 5000, 4000).await.unwrap(), n * 5000);
    }
    assert_eq!((script.count(Access::Try), script.count(Access::Read)), (before.0 + 1, before.1 + 20));
}
