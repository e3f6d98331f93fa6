//! The memory of a buffer, counted at the allocator. The count is that of the whole process. So these tests
//! have a binary of their own, and run one after the other.
#![cfg(test)]
#![allow(missing_docs, reason = "a test")]

#[path = "it/support/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::cast_possible_truncation,
    clippy::missing_panics_doc,
    reason = "shared with other tests"
)]
mod support;

use std::future::Future;
use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use peak_alloc::PeakAlloc;
use streamspool::StreamBuffer;
use tokio::io::AsyncReadExt;

use crate::support::disk::Disk;
use crate::support::scripted_store::{Access, Act, Script};
use crate::support::{KIB, MIB, poll_once};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Runs one test at a time, on a current-thread runtime that was used before.
fn alone(test: impl Future<Output = ()>) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let buffer = StreamBuffer::spawn(zeros(10, 10));
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
        buffer.close();
        turns().await;
        test.await;
    });
}

/// Lets every task that is ready run.
async fn turns() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Chunks that allocate nothing, so that only the memory of the buffer is counted.
fn zeros(size: usize, chunk: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let sizes = (0..size).step_by(chunk).map(move |start| chunk.min(size - start));
    futures::stream::iter(sizes.map(|len| Ok(zero_bytes(0, len))))
}

fn zero_bytes(_: u64, len: usize) -> Bytes {
    static ZEROS: [u8; 4 * MIB] = [0; 4 * MIB];
    Bytes::from_static(ZEROS.get(..len).unwrap())
}

#[test]
fn rule_7_abandoned_reads_on_a_stalled_source_leave_memory_flat() {
    alone(async {
        let buffer = StreamBuffer::spawn(zeros(10, 10).chain(futures::stream::pending()));
        buffer.read(0, 10).await.unwrap();
        let leave = async |count: u64| {
            for n in 0..count {
                let mut read = Box::pin(buffer.read(n, 1000));
                assert!(poll_once(&mut read).is_pending());
                // The actor takes in the read, then it is dropped.
                tokio::task::yield_now().await;
            }
        };
        leave(1000).await;
        let before = HEAP.current_usage();
        leave(200_000).await;
        let grown = HEAP.current_usage().saturating_sub(before);
        assert!(grown < 64 * KIB, "{grown} bytes more after 200,000 abandoned reads");
    });
}

#[test]
fn rule_7_a_burst_of_abandoned_reads_leaves_memory_flat() {
    alone(async {
        let buffer = StreamBuffer::spawn(zeros(10, 10).chain(futures::stream::pending()));
        buffer.read(0, 10).await.unwrap();
        let before = HEAP.current_usage();
        let mut reads: Vec<_> = (0..100_000).map(|n| Box::pin(buffer.read(n, 1000))).collect();
        for read in &mut reads {
            assert!(poll_once(read).is_pending());
        }
        drop(reads);
        // This read is answered after all abandoned ones.
        buffer.read(0, 0).await.unwrap();
        let grown = HEAP.current_usage().saturating_sub(before);
        assert!(grown < 64 * KIB, "{grown} bytes more after 100,000 reads that were abandoned at once");
    });
}

/// A store of zeros, which are all cached.
fn zero_store() -> Script {
    let script = Script::of(zero_bytes);
    script.tries(|_| Act::WORKS);
    script
}

#[test]
fn rule_7_a_million_abandoned_reads_on_a_hanging_disk_leave_memory_flat() {
    alone(async {
        let script = zero_store();
        let buffer = StreamBuffer::builder().store(script.store()).spawn(zeros(MIB, 64 * KIB));
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
        let hangs = script.hang();
        let leave = async |count: usize, at_once: usize| {
            for _ in 0..count / at_once {
                let mut reads: Vec<_> = (0..at_once).map(|n| Box::pin(buffer.read(n as u64, 1000))).collect();
                // The actor lends the bytes, the disk does not give them, and the actor takes in the reads
                // again. Then they are dropped.
                for _ in 0..2 {
                    for read in &mut reads {
                        assert!(poll_once(read).is_pending());
                    }
                    tokio::task::yield_now().await;
                }
            }
        };
        leave(1000, 1).await;
        let before = HEAP.current_usage();
        leave(500_000, 1).await;
        leave(500_000, 100).await;
        let grown = HEAP.current_usage().saturating_sub(before);
        assert!(grown < 128 * KIB, "{grown} bytes more after 1,000,000 abandoned reads");
        drop(hangs);
        assert_eq!(buffer.read(0, MIB).await.unwrap().len(), MIB);
    });
}

#[test]
fn rule_9_reads_that_wait_for_the_disk_hold_no_blocks() {
    alone(async {
        for abandon in [true, false] {
            let before = HEAP.current_usage();
            let script = zero_store();
            let stream = zeros(400 * MIB, 64 * KIB);
            let buffer = StreamBuffer::builder().max_memory(MIB).store(script.store()).spawn(stream);
            let hangs = script.hang();
            let mut reads = Vec::new();
            for n in 1..=200 {
                // The blocks that the last read asked for leave memory.
                buffer.read(n * 2 * MIB as u64 - 1, 1).await.unwrap();
                let mut spilled = buffer.subscribe();
                let spilled = spilled.wait_for(|now| now.resident <= MIB as u64).await.unwrap().spilled;
                let mut read = Box::pin(buffer.read(spilled - 4096, MIB));
                assert!(poll_once(&mut read).is_pending());
                turns().await;
                reads.extend((!abandon).then_some(read));
            }
            let grown = HEAP.current_usage().saturating_sub(before);
            assert!(grown < 4 * MIB, "{grown} bytes for 200 reads, 1 MiB in memory and 1 MiB on its way");
            drop(hangs);
            for read in reads {
                assert_eq!(read.await.unwrap().len(), MIB);
            }
            buffer.close();
            buffer.closed().await;
            turns().await;
        }
    });
}

#[test]
fn idle_buffers_cost_little() {
    alone(async {
        let before = HEAP.current_usage();
        let buffers: Vec<_> = (0..10_000).map(|_| StreamBuffer::spawn(futures::stream::pending())).collect();
        turns().await;
        let each = (HEAP.current_usage() - before) / buffers.len();
        assert!(each <= 6 * KIB, "{each} bytes for an idle buffer");
    });
}

#[test]
fn rule_9_long_reads_that_wait_for_the_disk_hold_a_part_each() {
    alone(async {
        let script = zero_store();
        let (buffer, actor) = StreamBuffer::builder().store(script.store()).build(zeros(64 * MIB, 64 * KIB));
        let actor = tokio::spawn(actor.run());
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
        let before = HEAP.current_usage();
        let hangs = script.hang();
        let mut asked: Vec<_> = (0..20).map(|_| Box::pin(buffer.read(0, 64 * MIB))).collect();
        while script.count(Access::Read) < 8 {
            for read in &mut asked {
                assert!(poll_once(read).is_pending());
            }
            tokio::task::yield_now().await;
        }
        let grown = HEAP.current_usage().saturating_sub(before);
        assert!(grown < 8 * 4 * MIB + MIB, "{grown} bytes for eight reads of 4 MiB at once");
        drop(asked);
        drop(hangs);
        // Wait until the actor has ended, and its reads with it. Otherwise the next test would count their memory.
        buffer.close();
        actor.await.unwrap();
    });
}

#[test]
fn rule_9_a_gibibyte_goes_through_the_default_budget() {
    alone(async {
        let size = 1024 * MIB;
        let buffer = StreamBuffer::spawn(zeros(size, 64 * KIB));
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let mut reader = buffer.reader();
        let read = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.unwrap();
        assert_eq!(read, size as u64);
        let grown = HEAP.peak_usage() - before;
        assert!(grown < 8 * MIB, "{grown} bytes at the peak, 5 MiB and 1 MiB and a chunk allowed");
    });
}

#[test]
fn rule_9_readers_that_stop_hold_no_more_than_a_block_each() {
    alone(async {
        let buffer = StreamBuffer::builder().max_memory(4 * MIB).spawn(zeros(300 * MIB, 64 * KIB));
        let (mut leader, mut stopped, mut buf) = (buffer.reader(), Vec::new(), vec![0; 4 * MIB]);
        let before = HEAP.current_usage();
        for _ in 0..50 {
            // This reader is behind the leader: its bytes are in memory, and were delivered before.
            leader.read_exact(&mut buf).await.unwrap();
            let mut reader = buffer.reader_at(leader.position() - 2 * MIB as u64);
            reader.read_u8().await.unwrap();
            stopped.push(reader);
        }
        let grown = HEAP.current_usage() - before;
        assert!(grown < 50 * 256 * KIB + 7 * MIB, "{grown} bytes for 50 readers and 4 MiB in memory");
        drop(stopped);
        // Sequential readers hold more. After a seek to another place they hold none of it.
        let mut gone = Vec::new();
        for _ in 0..10 {
            leader.read_exact(&mut buf).await.unwrap();
            let mut reader = buffer.reader_at(leader.position() - 2 * MIB as u64);
            reader.read_exact(buf.get_mut(..MIB / 2).unwrap()).await.unwrap();
            reader.set_position(0);
            gone.push(reader);
        }
        let grown = HEAP.current_usage().saturating_sub(before);
        assert!(grown < 7 * MIB, "{grown} bytes, 4 MiB in memory");
    });
}

#[test]
fn rule_9_a_small_stream_costs_little_over_its_size() {
    alone(async {
        for (size, chunk) in [(1000, 1000), (16 * KIB, 16 * KIB), (100_000, 1460), (300 * KIB, 64 * KIB)] {
            let before = HEAP.current_usage();
            let buffer = StreamBuffer::spawn(zeros(size, chunk));
            buffer.load().await.unwrap();
            let grown = HEAP.current_usage() - before;
            assert!(grown <= size + size / 8 + 9 * KIB, "{grown} bytes for a stream of {size}");
        }
    });
}

#[test]
fn rule_17_the_memory_of_a_buffer_is_not_freed_on_the_async_thread() {
    alone(async {
        let size = 64 * MIB;
        let disk = Disk::default();
        let before = HEAP.current_usage();
        let held = || HEAP.current_usage().saturating_sub(before);
        for abort in [false, true] {
            let stream = zeros(size, 64 * KIB);
            let (buffer, actor) = disk.serve(StreamBuffer::builder().max_memory(usize::MAX)).build(stream);
            let actor = tokio::spawn(actor.run());
            buffer.load().await.unwrap();
            if abort {
                actor.abort();
            } else {
                drop(buffer);
            }
            turns().await;
            assert_eq!(actor.is_finished(), abort);
            assert!(held() >= size, "{} of {size} bytes are held", held());
            assert_eq!(disk.run_all(), 1);
            assert!(held() < MIB, "{} of {size} bytes are held", held());
            assert_eq!(actor.await.is_err(), abort);
        }
    });
}

#[test]
fn rules_3_and_14_nothing_is_allocated_from_a_declared_size_or_length() {
    alone(async {
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let buffer = StreamBuffer::builder().size(u64::MAX).spawn(zeros(1000, 100));
        buffer.read(0, usize::MAX).await.expect_err("it is truncated");
        buffer.read_some(0, usize::MAX).await.unwrap();
        let whole = StreamBuffer::spawn(zeros(1000, 100));
        assert_eq!(whole.read(0, usize::MAX).await.unwrap().len(), 1000);
        assert_eq!(whole.read(u64::MAX - 1, usize::MAX).await.unwrap().len(), 0);
        let grown = HEAP.peak_usage() - before;
        assert!(grown < 64 * KIB, "{grown} bytes for two streams of 1000");
    });
}

#[test]
fn rule_9_a_thousand_short_replies_hold_little() {
    alone(async {
        let size = 256 * MIB;
        let buffer = StreamBuffer::spawn(zeros(size, 64 * KIB));
        let before = HEAP.current_usage();
        let mut held = Vec::new();
        for n in 0..1000 {
            held.push(buffer.read(n * 256 * KIB as u64, 1).await.unwrap());
        }
        let grown = HEAP.current_usage().saturating_sub(before);
        assert!(grown < 8 * MIB, "1,000 held bytes keep {grown} bytes alive");
        assert!(held.iter().all(|byte| byte[..] == [0]));
    });
}
