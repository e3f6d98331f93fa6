//! Rule 7: dropping a future withdraws its demand and does not affect other requests.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use streamspool::{State, StreamBuffer};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::timeout;

use crate::support::disk::Disk;
use crate::support::scripted_store::{Access, Script};
use crate::support::source::{ready, source};
use crate::support::{BLOCK, MIB, assert_bytes, assert_data, data, on_both_runtimes, poll_once, settled};

#[tokio::test(start_paused = true)]
async fn rule_7_a_dropped_read_pulls_at_most_one_more_chunk() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(0).spawn(stream);
    let mut read = Box::pin(buffer.read(0, 1000));
    assert!(poll_once(&mut read).is_pending());
    feed.chunk(10);
    settled().await;
    drop(read);
    for _ in 0..10 {
        feed.chunk(10);
    }
    settled().await;
    assert!(feed.taken() <= 2, "{} chunks taken", feed.taken());
    assert_eq!(buffer.progress().state, State::Waiting);
    // Bytes that were pulled stay.
    let loaded = buffer.progress().loaded as usize;
    assert_bytes(&buffer.read(0, loaded).await.unwrap(), &data(0, loaded), 0);
}

#[tokio::test(start_paused = true)]
async fn rule_7_a_dropped_read_does_not_affect_other_waiters() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(0).spawn(stream);
    let mut kept = Box::pin(buffer.read(0, 30));
    let mut near = Box::pin(buffer.read(0, 25));
    let mut far = Box::pin(buffer.read(0, 1000));
    for read in [&mut kept, &mut near, &mut far] {
        assert!(poll_once(read).is_pending());
    }
    settled().await;
    drop(near);
    drop(far);
    for _ in 0..10 {
        feed.chunk(10);
    }
    assert_bytes(&kept.await.unwrap(), &data(0, 30), 0);
    settled().await;
    assert_eq!(feed.taken(), 3, "only the chunks that the remaining read needs");
}

#[tokio::test(start_paused = true)]
async fn rule_7_a_dropped_reader_and_dropped_chunks_withdraw_their_demand() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(0).spawn(stream);
    let mut reader = buffer.reader();
    let mut buf = [0; 10];
    assert!(poll_once(&mut Box::pin(reader.read(&mut buf))).is_pending());
    let mut chunks = buffer.chunks(500..);
    assert!(poll_once(&mut chunks.next()).is_pending());
    settled().await;
    assert_eq!(buffer.progress().state, State::Pulling);
    drop((reader, chunks));
    for _ in 0..100 {
        feed.chunk(10);
    }
    settled().await;
    assert!(feed.taken() <= 1, "{} chunks taken", feed.taken());
}

#[tokio::test(start_paused = true)]
async fn rule_7_a_read_dropped_before_the_actor_takes_it_in_is_not_carried_out() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(50).spawn(stream);
    for _ in 0..20 {
        feed.chunk(10);
    }
    assert_data(&buffer.read(0, 10).await.unwrap(), 0);
    settled().await;
    assert_eq!(feed.taken(), 6, "the read, and 50 bytes ahead");
    // The bytes of the dropped read are loaded. If it were answered, the read-ahead would count from its end.
    assert!(poll_once(&mut Box::pin(buffer.read(40, 10))).is_pending());
    settled().await;
    assert_eq!(feed.taken(), 6);
}

#[tokio::test(start_paused = true)]
async fn rule_7_a_read_that_was_dropped_can_be_asked_again() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    for n in 0..20 {
        feed.chunk(10);
        // Each read is dropped while it waits for the bytes of the next step.
        timeout(Duration::from_millis(1), buffer.read(5, 10 * n + 6))
            .await
            .expect_err("the bytes have not arrived");
    }
    assert_bytes(&buffer.read(5, 195).await.unwrap(), &data(5, 195), 5);
}

#[tokio::test(start_paused = true)]
async fn rule_7_a_reader_whose_read_was_dropped_loses_and_repeats_no_byte() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    let mut reader = buffer.reader();
    let mut seen = Vec::new();
    let mut buf = [0; 16];
    for step in 0..200 {
        timeout(Duration::from_millis(1), reader.read(&mut buf)).await.expect_err("no byte is left to read");
        let fed = seen.len() + 1 + step % 16;
        feed.chunk(fed - seen.len());
        while seen.len() < fed {
            let read = reader.read(&mut buf).await.unwrap();
            seen.extend_from_slice(&buf[..read]);
            assert_eq!(reader.position(), seen.len() as u64);
        }
    }
    assert_data(&seen, 0);
}

#[tokio::test(start_paused = true)]
async fn rule_7_dropped_long_reads_and_loads_stop_pulling() {
    let (mut feed, stream) = source();
    let buffer = Disk::running().serve(StreamBuffer::builder().read_ahead(0)).spawn(stream);
    for _ in 0..20 {
        feed.chunk(MIB);
    }
    // As long as five requests. It is dropped while the second one waits.
    let mut long = Box::pin(buffer.read(0, 100 * MIB));
    while feed.taken() < 5 {
        assert!(poll_once(&mut long).is_pending());
        tokio::task::yield_now().await;
    }
    drop(long);
    settled().await;
    let taken = feed.taken();
    for request in 0..3 {
        let mut end: std::pin::Pin<Box<dyn Future<Output = ()>>> = match request {
            0 => Box::pin(async { drop(buffer.load().await) }),
            1 => Box::pin(async { drop(buffer.size().await) }),
            _ => Box::pin(async { drop(buffer.reader().seek(std::io::SeekFrom::End(0)).await) }),
        };
        assert!(poll_once(&mut end).is_pending());
        drop(end);
        settled().await;
        assert!(feed.taken() <= taken + 1 + request, "request {request} goes on pulling");
    }
}

#[test]
fn rule_7_reads_dropped_during_their_disk_read_are_harmless() {
    on_both_runtimes(|| async {
        let script = Script::default();
        let size = 2 * MIB as u64;
        let disk = Disk::running();
        let builder = StreamBuffer::builder().max_memory(0).store(script.store());
        let buffer = disk.serve(builder).spawn(ready(size, BLOCK));
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
        // From now on it is known that this store cannot be read without waiting.
        buffer.read(0, 1).await.unwrap();
        disk.hold();
        let before = script.count(Access::Read);
        for n in 0..100 {
            let mut read = Box::pin(buffer.read(n, 1000));
            assert!(poll_once(&mut read).is_pending());
            // After this round trip the actor has lent a slice. The second poll starts the disk read, or waits for
            // its turn.
            buffer.read(0, 0).await.unwrap();
            assert!(poll_once(&mut read).is_pending());
        }
        disk.until_waiting().await;
        assert!(disk.waiting() <= 8, "{} reads at once", disk.waiting());
        disk.go_on();
        assert_bytes(&buffer.read(77, 1000).await.unwrap(), &data(77, 1000), 77);
        // The reads that had a thread, and the last one.
        let calls = script.count(Access::Read) - before;
        assert!(calls <= 9, "{calls} reads of the disk");
    });
}

#[tokio::test(start_paused = true)]
async fn rule_4_readers_that_are_not_polled_do_not_delay_other_requests() {
    let (buffer, actor) = StreamBuffer::builder().build(ready(1000, 100));
    // More requests than a bounded channel would hold, then readers whose futures are dropped. If senders
    // were queued, these readers would keep their places in the queue as long as they exist.
    let mut reads: Vec<_> = (0..2000).map(|_| Box::pin(buffer.read(0, 1))).collect();
    let mut readers: Vec<_> = (0..3000).map(|_| buffer.reader()).collect();
    let mut chunks: Vec<_> = (0..100).map(|_| buffer.chunks(..)).collect();
    for read in &mut reads {
        assert!(tokio::task::unconstrained(read).now_or_never().is_none());
    }
    for reader in &mut readers {
        assert!(tokio::task::unconstrained(Box::pin(reader.read(&mut [0; 4]))).now_or_never().is_none());
    }
    for chunks in &mut chunks {
        assert!(tokio::task::unconstrained(chunks.next()).now_or_never().is_none());
    }
    drop(reads);
    tokio::spawn(actor.run());
    let read =
        timeout(Duration::from_secs(1), buffer.read(10, 10)).await.expect("it does not wait for the others");
    assert_eq!(read.unwrap(), data(10, 10));
    let mut bytes = [0; 4];
    readers[2999].read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes[..], data(0, 4)[..]);
}
