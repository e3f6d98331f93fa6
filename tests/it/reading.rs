//! Rules 1 to 5: what a read returns, and what it costs.

use std::task::Poll;

use futures::{FutureExt, TryStreamExt};
use streamspool::{Bytes, ErrorKind, Location, StreamBuffer};
use tokio::io::AsyncReadExt;

use crate::support::source::{ragged, ready, source};
use crate::support::{
    BLOCK, KIB, MIB, assert_bytes, assert_data, data, on_both_runtimes, poll_once, settled,
};

#[test]
fn rule_1_a_read_returns_exactly_its_range_at_every_edge_of_a_block() {
    on_both_runtimes(|| async {
        let size = 3 * BLOCK as u64 + 17;
        // With 0 bytes of memory all full blocks are on disk, with `usize::MAX` none is.
        for max_memory in [0, BLOCK, usize::MAX] {
            let buffer = StreamBuffer::builder().max_memory(max_memory).spawn(ragged(size, 1));
            for edge in [0, BLOCK as u64, 2 * BLOCK as u64, 3 * BLOCK as u64, size] {
                for offset in edge.saturating_sub(2)..edge + 3 {
                    for len in [1, 2, 3, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK] {
                        let exists = (size.saturating_sub(offset) as usize).min(len);
                        let bytes = buffer.read(offset, len).await.unwrap();
                        assert_bytes(&bytes, &data(offset, exists), offset);
                    }
                }
            }
        }
    });
}

#[test]
fn rule_1_a_range_longer_than_one_request_is_joined_in_order() {
    on_both_runtimes(|| async {
        let size = 9 * MIB as u64 + 5;
        let buffer = StreamBuffer::builder().max_memory(MIB).spawn(ready(size, 64 * KIB));
        for (offset, len) in [(0, 9 * MIB + 5), (3, 4 * MIB), (3, 4 * MIB + 1), (5, 8 * MIB), (1, usize::MAX)]
        {
            let exists = (size as usize - offset as usize).min(len);
            let bytes = buffer.read(offset, len).await.unwrap();
            assert_bytes(&bytes, &data(offset, exists), offset);
        }
        let bytes = buffer.slice(7..).await.unwrap();
        assert_bytes(&bytes, &data(7, size as usize - 7), 7);
    });
}

#[test]
fn rule_1_a_read_past_the_end_is_empty() {
    on_both_runtimes(|| async {
        let buffer = StreamBuffer::spawn(ready(1000, 100));
        for offset in [1000, 1001, 1 << 40, u64::MAX - 1, u64::MAX] {
            assert_eq!(buffer.read(offset, 10).await.unwrap(), "", "at {offset}");
            assert_eq!(buffer.read_some(offset, 10).await.unwrap(), "", "at {offset}");
        }
        assert_data(&buffer.read(990, 100).await.unwrap(), 990);
        assert_eq!(buffer.read(990, 100).await.unwrap().len(), 10);
    });
}

#[tokio::test(start_paused = true)]
async fn rule_1_an_exact_read_waits_for_all_of_its_range() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    let mut read = Box::pin(buffer.read(10, 20));
    assert!(poll_once(&mut read).is_pending());
    for _ in 0..5 {
        feed.chunk(5);
        settled().await;
        assert!(poll_once(&mut read).is_pending(), "only 25 of 30 bytes have arrived");
    }
    feed.chunk(5);
    settled().await;
    let Poll::Ready(bytes) = poll_once(&mut read) else { panic!("all bytes have arrived") };
    assert_bytes(&bytes.unwrap(), &data(10, 20), 10);
}

#[tokio::test(start_paused = true)]
async fn rule_2_read_some_waits_for_one_byte_only() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    let mut read = Box::pin(buffer.read_some(3, 100));
    assert!(poll_once(&mut read).is_pending());
    feed.chunk(3);
    settled().await;
    assert!(poll_once(&mut read).is_pending(), "the byte at 3 has not arrived");
    feed.chunk(1);
    assert_bytes(&read.await.unwrap(), &data(3, 1), 3);

    feed.chunk(50);
    feed.chunk(7);
    settled().await;
    let bytes = buffer.read_some(3, 10).await.unwrap();
    assert_bytes(&bytes, &data(3, 10), 3);
    feed.end();
    assert_eq!(buffer.read_some(61, 10).await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn rule_2_a_reader_at_the_live_edge_delivers_each_byte_as_it_comes() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    let mut reader = buffer.reader();
    let mut seen = Vec::new();
    for _ in 0..100 {
        feed.chunk(1);
        let mut buf = [0; 64];
        let read = reader.read(&mut buf).await.unwrap();
        assert_eq!(read, 1);
        seen.push(buf[0]);
    }
    assert_data(&seen, 0);
}

#[tokio::test(start_paused = true)]
async fn rule_3_a_read_of_nothing_answers_at_once_and_pulls_nothing() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    feed.chunk(10);
    for offset in [0, 5, u64::MAX] {
        assert_eq!(buffer.read(offset, 0).await.unwrap(), "");
        assert_eq!(buffer.read_some(offset, 0).await.unwrap(), "");
        assert_eq!(buffer.slice(offset..offset).await.unwrap(), "");
    }
    let nothing: Vec<Bytes> = buffer.chunks(7..7).try_collect().await.unwrap();
    assert!(nothing.is_empty());
    assert_eq!(buffer.reader().read(&mut []).await.unwrap(), 0);
    settled().await;
    assert_eq!(feed.taken(), 0);
}

#[test]
fn rule_3_a_length_beyond_all_offsets_means_to_the_end() {
    on_both_runtimes(|| async {
        let buffer = StreamBuffer::spawn(ready(5000, 999));
        let bytes = buffer.read(10, usize::MAX).await.unwrap();
        assert_bytes(&bytes, &data(10, 4990), 10);
        assert!(bytes.len() < 8 * KIB, "memory is allocated only for bytes that exist");
        assert_bytes(&buffer.slice(4000..=u64::MAX).await.unwrap(), &data(4000, 1000), 4000);
        assert_bytes(&buffer.slice(..=9).await.unwrap(), &data(0, 10), 0);
        let chunks: Vec<Bytes> = buffer.chunks(1..).try_collect().await.unwrap();
        assert_bytes(&chunks.concat(), &data(1, 4999), 1);
    });
}

#[test]
fn a_range_that_ends_before_it_starts_is_invalid_input() {
    on_both_runtimes(|| async {
        let buffer = StreamBuffer::spawn(ready(100, 10));
        // A lint rejects a literal `20..10`. In a program, such ranges come from request headers.
        let (start, end) = (20, 10);
        let error = buffer.slice(start..end).await.unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::InvalidInput, 20));
        let error = buffer.chunks(start..end).try_next().await.unwrap_err();
        assert_eq!(error.to_string(), "the range starts at offset 20, past its end at 10");
    });
}

#[tokio::test(start_paused = true)]
async fn rule_4_loaded_bytes_are_answered_while_others_wait() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    feed.chunk(1000);
    // Reads of near and far ranges wait, and no more bytes arrive.
    let waiting: Vec<_> = (0..100)
        .map(|n| {
            let buffer = buffer.clone();
            tokio::spawn(async move { buffer.read(n * 20, 1001).await })
        })
        .collect();
    settled().await;
    for offset in (0..990).step_by(10) {
        let read = buffer.read(offset, 10);
        assert_bytes(&read.await.unwrap(), &data(offset, 10), offset);
    }
    assert!(waiting.iter().all(|task| !task.is_finished()));
    feed.chunk(3000);
    feed.end();
    for (n, task) in waiting.into_iter().enumerate() {
        assert_bytes(&task.await.unwrap().unwrap(), &data(n as u64 * 20, 1001), n as u64 * 20);
    }
}

#[tokio::test(start_paused = true)]
async fn rule_5_a_read_within_a_block_is_a_slice_of_it() {
    let buffer = StreamBuffer::spawn(ready(2 * BLOCK as u64, 10_000));
    buffer.load().await.unwrap();
    let block = buffer.read(BLOCK as u64, BLOCK).await.unwrap();
    let part = buffer.read(BLOCK as u64 + 1000, 5000).await.unwrap();
    assert_eq!(part.as_ptr(), block[1000..].as_ptr(), "no copy was made");
    let some = buffer.read_some(BLOCK as u64 + 70, BLOCK).await.unwrap();
    assert_eq!(some.as_ptr(), block[70..].as_ptr());
}

#[tokio::test(start_paused = true)]
async fn rule_5_a_block_that_is_still_being_filled_is_shared_too() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    feed.chunk(16 * KIB);
    let first = buffer.read_some(0, 16 * KIB).await.unwrap();
    let again = buffer.read(100, 2000).await.unwrap();
    assert_eq!(again.as_ptr(), first[100..].as_ptr());
    // Bytes that arrive later do not move the block, and a held slice does not change.
    feed.chunk(100 * KIB);
    let more = buffer.read(16 * KIB as u64, 100 * KIB).await.unwrap();
    assert_data(&more, 16 * KIB as u64);
    assert_data(&first, 0);
}

#[tokio::test(start_paused = true)]
async fn a_range_is_located_by_the_index() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(0).spawn(stream);
    feed.chunk(100);
    buffer.read(0, 1).await.unwrap();
    let progress = buffer.progress();
    assert_eq!(progress.locate(0, 100), Location::BeforeIndex);
    assert_eq!(progress.locate(99, 2), Location::Bisected);
    assert_eq!(progress.locate(100, 1), Location::AtIndex);
    assert_eq!(progress.locate(101, 1), Location::AfterIndex);
    assert_eq!(progress.locate(0, u64::MAX), Location::Bisected);
    assert_eq!(progress.locate(500, 0), Location::BeforeIndex, "nothing is needed for it");
    // The read is answered as its location says.
    assert!(buffer.read(0, 100).now_or_never().is_none(), "a reply needs a turn of the actor");
    assert_data(&buffer.read(0, 100).await.unwrap(), 0);
}

#[test]
fn many_tasks_read_the_same_stream_at_once() {
    on_both_runtimes(|| async {
        let size = 2 * MIB as u64;
        let buffer = StreamBuffer::builder().max_memory(BLOCK).spawn(ragged(size, 7));
        let tasks: Vec<_> = (0..32_u64)
            .map(|n| {
                let buffer = buffer.clone();
                tokio::spawn(async move {
                    for step in 0..64 {
                        let offset = (n * 7919 + step * 104_729) % size;
                        let bytes = buffer.read(offset, 5000).await.unwrap();
                        assert_bytes(&bytes, &data(offset, 5000.min((size - offset) as usize)), offset);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}
