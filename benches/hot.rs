//! Runs one hot path a given number of times: `hot PATH COUNT`. `benches/callgrind.sh` counts the
//! instructions.
//!
//! Without arguments it runs each path a few times, to show that they work.

mod common;

use std::hint::black_box;

use common::MIB;
use common::data::{BUFFER, CHUNK, PAGE, Source, generate, offsets};
use common::echo::Echo;
use futures::StreamExt;
use streamspool::{BufferHandle, Bytes, StreamBuffer};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

const PATHS: [&str; 6] = ["channel", "resident", "spilled", "reader", "reader-spilled", "append"];
const SIZE: usize = 16 * MIB;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match &words[..] {
        [path, count] => walk(path, count.parse().expect("a count")),
        _ => PATHS.iter().for_each(|path| walk(path, 10)),
    }
}

fn walk(path: &str, count: usize) {
    // One thread and no timer, so that every run executes the same instructions.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let data = generate(SIZE);
    runtime.block_on(async {
        match path {
            "channel" => channel(count).await,
            "resident" => pages(resident(&data).await, count).await,
            "spilled" => pages(spilled(&data).await, count).await,
            "reader" => through(resident(&data).await, count).await,
            "reader-spilled" => through(spilled(&data).await, count).await,
            "append" => append(&data, count).await,
            other => panic!("no such path: {other}"),
        }
    });
}

/// A message and its reply, and nothing else. This is the runtime's share of a read.
async fn channel(count: usize) {
    let (echo, _task) = Echo::spawn();
    for _ in 0..count {
        echo.ask().await;
    }
}

async fn resident(data: &Bytes) -> BufferHandle {
    let source = Source::of(data).chain(futures::stream::pending());
    let buffer = StreamBuffer::builder().max_memory(usize::MAX).spawn(source);
    buffer.read(SIZE as u64 - 1, 1).await.expect("reads");
    buffer
}

async fn spilled(data: &Bytes) -> BufferHandle {
    let buffer = StreamBuffer::spawn(Source::of(data));
    buffer.load().await.expect("loads");
    buffer.spill().await.expect("spills");
    buffer
}

/// Reads of 4 KiB by handle.
async fn pages(buffer: BufferHandle, count: usize) {
    for at in offsets(SIZE, 0).take(count) {
        black_box(buffer.read(at as u64, PAGE).await.expect("reads"));
    }
}

/// Reads of 64 KiB through the reader.
async fn through(buffer: BufferHandle, count: usize) {
    let mut buf = vec![0; BUFFER];
    let mut reader = buffer.reader();
    for _ in 0..count {
        if reader.position() == SIZE as u64 {
            reader.rewind().await.expect("seeks");
        }
        black_box(reader.read(&mut buf).await.expect("reads"));
    }
}

/// Chunks of 64 KiB appended to memory.
async fn append(data: &Bytes, count: usize) {
    let total = (count * CHUNK) as u64;
    let buffer = StreamBuffer::builder().max_memory(usize::MAX).spawn(Source::cycle(data, total));
    assert_eq!(buffer.load().await.expect("loads"), total);
}
