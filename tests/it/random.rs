//! Many readers seek and read at random in a stream far larger than memory. Every byte is checked. The idea
//! is from Chromium's random test of its media buffer.

use std::io::SeekFrom;

use futures::StreamExt;
use streamspool::{BufferHandle, BufferReader, StreamBuffer};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::support::scripted_store::Script;
use crate::support::source::ragged;
use crate::support::{BLOCK, MIB, Random, assert_bytes, assert_data, byte_at, data, on_both_runtimes};

const READERS: u64 = 20;
const STEPS: u64 = 10_000;
const SIZE: u64 = 24 * MIB as u64 + 12_345;
const MAX_MEMORY: usize = MIB;
const GUARD: u8 = 0xA5;

/// The offset of the next step: mostly the position, sometimes a random offset, sometimes an edge.
fn target(random: &mut Random, here: u64) -> u64 {
    match random.below(10) {
        0..=5 => here,
        6 => random.below(SIZE),
        7 => random.below(SIZE / BLOCK as u64) * BLOCK as u64 + random.below(3),
        8 => here.saturating_sub(random.below(100_000)),
        _ => SIZE - random.below(20),
    }
}

fn exists(offset: u64, len: usize) -> usize {
    (SIZE.saturating_sub(offset) as usize).min(len)
}

async fn by_handle(buffer: &BufferHandle, random: &mut Random, here: &mut u64) {
    let offset = target(random, *here);
    let most = [10, 5000, 300_000][random.below(3) as usize];
    let len = random.below(most) as usize;
    let bytes = if random.below(2) == 0 {
        let bytes = buffer.read(offset, len).await.unwrap();
        assert_eq!(bytes.len(), exists(offset, len), "an exact read at {offset}");
        bytes
    } else {
        let bytes = buffer.read_some(offset, len).await.unwrap();
        assert!(bytes.len() <= len && bytes.is_empty() == (exists(offset, len) == 0), "some at {offset}");
        bytes
    };
    assert_data(&bytes, offset);
    *here = offset + bytes.len() as u64;
}

async fn by_reader(reader: &mut BufferReader, random: &mut Random) {
    let here = reader.position();
    let offset = target(random, here);
    if offset != here {
        let seek = match random.below(3) {
            0 => SeekFrom::Start(offset),
            1 => SeekFrom::Current(offset as i64 - here as i64),
            // This loads everything if the size is not known yet, so it is rare.
            _ if random.below(50) == 0 => SeekFrom::End(offset as i64 - SIZE as i64),
            _ => SeekFrom::Start(offset),
        };
        assert_eq!(reader.seek(seek).await.unwrap(), offset);
    }
    let len = 1 + random.below(20_000) as usize;
    let mut buf = vec![GUARD; len + 1];
    let read = reader.read(&mut buf[..len]).await.unwrap();
    assert_eq!(read == 0, exists(offset, len) == 0, "0 bytes mean the end, at {offset}");
    assert_data(&buf[..read], offset);
    assert!(
        buf[read..].iter().all(|byte| *byte == GUARD),
        "bytes after the read ones were changed, at {offset}"
    );
    assert_eq!(reader.position(), offset + read as u64);
}

async fn task(n: u64, seed: u64, buffer: BufferHandle) {
    let mut random = Random(seed ^ (n << 32));
    let mut reader = buffer.reader();
    let mut here = 0;
    for step in 0..STEPS / READERS {
        match random.below(20) {
            0..=8 => by_handle(&buffer, &mut random, &mut here).await,
            9..=17 => by_reader(&mut reader, &mut random).await,
            18 => {
                let offset = target(&mut random, here);
                let mut chunks = buffer.chunks(offset..offset + 500_000);
                let mut at = offset;
                while let Some(piece) = chunks.next().await {
                    let piece = piece.unwrap();
                    assert_data(&piece, at);
                    at += piece.len() as u64;
                }
                assert_eq!(at, offset + exists(offset, 500_000) as u64);
            }
            _ => {
                // A read that is dropped after a few turns.
                let offset = target(&mut random, here);
                let mut read = Box::pin(buffer.read(offset, 100_000));
                for _ in 0..random.below(4) {
                    if crate::support::poll_once(&mut read).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
        if step % 100 == 0 {
            let p = buffer.progress();
            assert_eq!(p.resident + p.spilled, p.loaded);
            assert!(p.loaded <= SIZE);
            assert!(p.resident <= (MAX_MEMORY + MIB) as u64, "{p:?}");
        }
    }
}

#[test]
fn twenty_readers_take_ten_thousand_steps_and_see_every_byte_right() {
    on_both_runtimes(|| async {
        let seed = 0x5EED;
        let script = Script::default();
        let buffer =
            StreamBuffer::builder().max_memory(MAX_MEMORY).store(script.store()).spawn(ragged(SIZE, seed));
        let tasks: Vec<_> = (0..READERS).map(|n| tokio::spawn(task(n, seed, buffer.clone()))).collect();
        for task in tasks {
            task.await.unwrap_or_else(|error| panic!("seed {seed:#x}: {error}"));
        }
        assert_eq!(buffer.load().await.unwrap(), SIZE);
        let last = SIZE - 1;
        assert_eq!(buffer.read(last, 5).await.unwrap()[..], [byte_at(last)]);
        assert_bytes(&buffer.read(0, SIZE as usize).await.unwrap(), &data(0, SIZE as usize), 0);
        let mut next = 0;
        for (offset, len) in script.written() {
            assert_eq!(offset, next, "each byte went to disk once");
            next += len as u64;
        }
    });
}
