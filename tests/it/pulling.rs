//! Rules 6 and 8: when the source is pulled, and how it is treated.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use streamspool::{Bytes, State, StreamBuffer};
use tokio::io::AsyncReadExt;

use crate::support::disk::Disk;
use crate::support::source::{ready, source};
use crate::support::{KIB, assert_data, data, on_both_runtimes, poll_once, settled};

#[tokio::test(start_paused = true)]
async fn rule_6_nothing_is_pulled_before_a_request_needs_it() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    feed.chunk(10);
    settled().await;
    assert_eq!((feed.taken(), buffer.progress().state), (0, State::Waiting));
}

#[tokio::test(start_paused = true)]
async fn rule_6_without_read_ahead_the_source_is_pulled_as_far_as_the_furthest_read() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(0).spawn(stream);
    for _ in 0..100 {
        feed.chunk(10);
    }
    assert_data(&buffer.read(0, 15).await.unwrap(), 0);
    settled().await;
    assert_eq!(feed.taken(), 2, "the two chunks have the first 15 bytes");
    assert_data(&buffer.read(3, 17).await.unwrap(), 3);
    settled().await;
    assert_eq!(feed.taken(), 2, "the two chunks have the first 20 bytes");
    let (near, far) = tokio::join!(buffer.read(0, 30), buffer.read_some(55, 100));
    assert_data(&near.unwrap(), 0);
    assert_data(&far.unwrap(), 55);
    settled().await;
    assert_eq!((feed.taken(), buffer.progress().state), (6, State::Waiting));
}

#[tokio::test(start_paused = true)]
async fn rule_6_read_ahead_counts_from_the_furthest_byte_delivered() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(100).spawn(stream);
    for _ in 0..100 {
        feed.chunk(10);
    }
    buffer.read(0, 15).await.unwrap();
    settled().await;
    assert_eq!(buffer.progress().loaded, 120, "15 delivered, 100 ahead, in chunks of 10");
    buffer.read(3, 5).await.unwrap();
    settled().await;
    assert_eq!(buffer.progress().loaded, 120, "a read behind pulls nothing");
    buffer.read(200, 1).await.unwrap();
    settled().await;
    assert_eq!(buffer.progress().loaded, 310);
}

#[tokio::test(start_paused = true)]
async fn rule_6_by_default_one_mebibyte_is_read_ahead() {
    let buffer = StreamBuffer::spawn(ready(64 << 20, 64 * KIB));
    buffer.read(0, 1).await.unwrap();
    settled().await;
    assert_eq!(buffer.progress().loaded, (1 << 20) + 64 * KIB as u64);
}

#[tokio::test(start_paused = true)]
async fn rule_6_unlimited_read_ahead_pulls_all_without_a_read() {
    let buffer =
        Disk::running().serve(StreamBuffer::builder().read_ahead(u64::MAX)).spawn(ready(3 << 20, 10_000));
    settled().await;
    let progress = buffer.progress();
    assert_eq!((progress.loaded, progress.size, progress.state), (3 << 20, Some(3 << 20), State::Complete));
}

#[tokio::test(start_paused = true)]
async fn rule_6_a_reader_that_stops_is_back_pressure_to_the_source() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(50).spawn(stream);
    for _ in 0..100 {
        feed.chunk(10);
    }
    let mut reader = buffer.reader();
    let mut buf = [0; 5];
    reader.read_exact(&mut buf).await.unwrap();
    settled().await;
    let taken = feed.taken();
    assert!(taken <= 7, "10 at hand and 50 ahead, but {taken} chunks of 10 were pulled");
    settled().await;
    assert_eq!(feed.taken(), taken);
}

#[tokio::test(start_paused = true)]
async fn rule_8_empty_chunks_are_harmless() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    let mut read = Box::pin(buffer.read(0, 10));
    assert!(poll_once(&mut read).is_pending());
    for _ in 0..1000 {
        feed.bytes(Bytes::new());
    }
    settled().await;
    assert!(poll_once(&mut read).is_pending(), "an empty chunk is not the end");
    feed.chunk(10);
    assert_data(&read.await.unwrap(), 0);
    feed.bytes(Bytes::new());
    feed.end();
    assert_eq!(buffer.load().await.unwrap(), 10);
}

#[test]
fn rule_8_a_source_that_is_always_ready_starves_no_request() {
    on_both_runtimes(|| async {
        // The source sends empty chunks for ever. The actor is never idle, but must let other tasks run.
        let busy = futures::stream::repeat_with(|| Ok(Bytes::new()));
        let buffer = StreamBuffer::builder().read_ahead(u64::MAX).spawn(busy);
        let turns = Arc::new(AtomicUsize::new(0));
        let other = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move {
                for _ in 0..1000 {
                    turns.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            }
        });
        other.await.unwrap();
        assert_eq!(turns.load(Ordering::SeqCst), 1000);
        // Requests are taken in too.
        assert_eq!(buffer.read(0, 0).await.unwrap(), "");
        buffer.close();
    });
}

#[tokio::test(start_paused = true)]
async fn rule_8_after_its_end_the_source_is_dropped_and_not_polled_again() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(u64::MAX).spawn(stream);
    feed.chunk(10);
    feed.end();
    assert_eq!(buffer.load().await.unwrap(), 10);
    assert_eq!(buffer.read(50, 1).await.unwrap(), "");
    settled().await;
    assert!(feed.is_dropped());
    assert!(!feed.was_polled_after_end());
}

#[tokio::test(start_paused = true)]
async fn rule_8_after_its_error_the_source_is_dropped_and_not_polled_again() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(u64::MAX).spawn(stream);
    feed.chunk(10);
    feed.fail(std::io::Error::other("gone"));
    buffer.load().await.unwrap_err();
    buffer.read(50, 1).await.unwrap_err();
    settled().await;
    assert!(feed.is_dropped());
    assert!(!feed.was_polled_after_end());
}

#[test]
fn a_chunk_of_any_size_is_taken_in() {
    on_both_runtimes(|| async {
        let size = 20_000_000;
        let (mut feed, stream) = source();
        let buffer = StreamBuffer::builder().max_memory(0).spawn(stream);
        feed.chunk(1);
        feed.chunk(size - 2);
        feed.chunk(1);
        feed.end();
        assert_eq!(buffer.load().await.unwrap(), size as u64);
        assert_data(&buffer.read(0, size).await.unwrap(), 0);
        assert_eq!(buffer.read(size as u64 - 1, 9).await.unwrap(), data(size as u64 - 1, 1));
    });
}
