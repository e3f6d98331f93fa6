//! Each part of the crate alone, measured with criterion: `cargo bench --bench parts`.

mod common;

use std::hint::black_box;
use std::io::SeekFrom;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::data::{BUFFER, CHUNK, PAGE, Source, generate, offsets};
use common::{KIB, MIB, WORKERS};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt;
use streamspool::{BufferHandle, Bytes, ChecksummedStore, SpillStore, StreamBuffer, TempFileStore};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

const SIZE: usize = 16 * MIB;

/// A runtime with one thread, so that no await wakes another thread.
fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build().expect("a runtime")
}

/// A buffer with all of `data` in memory. Its source has not ended.
async fn resident(data: &Bytes) -> BufferHandle {
    let source = Source::of(data).chain(futures::stream::pending());
    let buffer = StreamBuffer::builder().max_memory(usize::MAX).spawn(source);
    buffer.read(data.len() as u64 - 1, 1).await.expect("reads");
    buffer
}

async fn spilled(data: &Bytes) -> BufferHandle {
    let buffer = StreamBuffer::spawn(Source::of(data));
    buffer.load().await.expect("loads");
    buffer.spill().await.expect("spills");
    buffer
}

/// A short reply as a slice that shares its block, and as a copy: where a copy costs little more.
fn short(c: &mut Criterion) {
    let block = generate(256 * KIB);
    for len in [64, 256, KIB, 2 * KIB, 4 * KIB] {
        let mut group = c.benchmark_group(format!("short reply of {len} bytes"));
        group.bench_function("shared", |b| b.iter(|| black_box(block.slice(KIB..KIB + len))));
        group.bench_function("copied", |b| {
            b.iter(|| Bytes::copy_from_slice(black_box(&block[KIB..KIB + len])));
        });
    }
}

/// Reads of several lengths by handle, from memory and from the store.
fn reads(c: &mut Criterion) {
    let (runtime, data) = (single(), generate(SIZE));
    let places =
        [("resident", runtime.block_on(resident(&data))), ("spilled", runtime.block_on(spilled(&data)))];
    for (place, buffer) in &places {
        let mut group = c.benchmark_group(format!("{place} read"));
        for len in [PAGE, 64 * KIB, MIB] {
            let mut offsets = offsets(SIZE - MIB, 0);
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(BenchmarkId::from_parameter(len), |b| {
                b.iter(|| {
                    let at = offsets.next().expect("endless") as u64;
                    black_box(runtime.block_on(buffer.read(at, len)).expect("reads"))
                });
            });
        }
    }
}

/// Whole blocks of a file, as the disk returns them and with their checksums compared.
fn checksums(c: &mut Criterion) {
    let data = generate(256 * KIB);
    let plain = TempFileStore::new();
    let checked = ChecksummedStore::new(TempFileStore::new());
    let stores: [(&str, &dyn SpillStore); 2] = [("plain", &plain), ("checksummed", &checked)];
    let mut group = c.benchmark_group("store, 256 KiB");
    group.throughput(Throughput::Bytes(data.len() as u64));
    for (name, store) in stores {
        group.bench_function(BenchmarkId::new("write", name), |b| {
            b.iter(|| assert_eq!(store.write_at(0, &data).expect("writes"), data.len()));
        });
        group.bench_function(BenchmarkId::new("read", name), |b| {
            let mut buf = vec![0; data.len()];
            b.iter(|| assert_eq!(store.read_at(0, black_box(&mut buf)).expect("reads"), buf.len()));
        });
    }
}

/// Reads all loaded bytes through the reader.
fn reader(c: &mut Criterion) {
    let (runtime, data) = (single(), generate(SIZE));
    let places =
        [("resident", runtime.block_on(resident(&data))), ("spilled", runtime.block_on(spilled(&data)))];
    let mut group = c.benchmark_group("reader, 16 MiB again");
    group.throughput(Throughput::Bytes(SIZE as u64));
    for (place, buffer) in &places {
        group.bench_function(*place, |b| {
            let mut buf = vec![0; BUFFER];
            b.iter(|| {
                runtime.block_on(async {
                    let mut reader = buffer.reader().take(SIZE as u64);
                    while reader.read(&mut buf).await.expect("reads") > 0 {
                        black_box(&buf);
                    }
                });
            });
        });
    }
}

/// The same number of reads, divided among more and more tasks.
fn fan_out(c: &mut Criterion) {
    const READS: usize = 4096;
    let (runtime, data) = (workers(), generate(SIZE));
    let buffer = runtime.block_on(resident(&data));
    let mut group = c.benchmark_group("fan-out, 4096 resident reads");
    group.throughput(Throughput::Elements(READS as u64));
    for tasks in [1, 4, 16, 64, 256] {
        group.bench_function(BenchmarkId::from_parameter(tasks), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let mut running = JoinSet::new();
                    for task in 0..tasks {
                        let buffer = buffer.clone();
                        running.spawn(async move {
                            for at in offsets(SIZE, task).take(READS / tasks) {
                                black_box(buffer.read(at as u64, PAGE).await.expect("reads"));
                            }
                        });
                    }
                    running.join_all().await;
                });
            });
        });
    }
}

/// The whole life of a buffer: spawn, read all of it, drop.
fn first_read(c: &mut Criterion) {
    let runtime = single();
    let mut group = c.benchmark_group("first read");
    for len in [1, 16 * KIB, 256 * KIB, 4 * MIB] {
        let data = generate(len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let (buffer, actor) = StreamBuffer::builder().build(Source::of(&data));
                    let actor = tokio::spawn(actor.run());
                    black_box(buffer.read(0, len).await.expect("reads"));
                    drop(buffer);
                    actor.await.expect("the actor ends");
                });
            });
        });
    }
}

/// The decisions of the core, as far as the public API can isolate them. The rest is the cost of the
/// channels.
fn core(c: &mut Criterion) {
    let (runtime, data) = (single(), generate(SIZE));
    let buffer = runtime.block_on(resident(&data));
    let mut group = c.benchmark_group("core");
    group.bench_function("read of nothing", |b| {
        b.iter(|| runtime.block_on(buffer.read(0, 0)).expect("reads"));
    });
    group.bench_function("read of one byte", |b| {
        b.iter(|| runtime.block_on(buffer.read(1, 1)).expect("reads"));
    });
    group.bench_function("park and withdraw, then read", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let parked = Box::pin(buffer.read(1 << 40, PAGE));
                let mut parked = parked;
                let poll = parked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(poll, Poll::Pending));
                buffer.read(0, 0).await.expect("reads");
            });
        });
    });
    group.bench_function("seek and read 64 bytes", |b| {
        let mut reader = buffer.reader();
        let mut offsets = offsets(SIZE, 0);
        let mut few = [0; 64];
        b.iter(|| {
            runtime.block_on(async {
                let at = offsets.next().expect("endless") as u64;
                reader.seek(SeekFrom::Start(at)).await.expect("seeks");
                reader.read_exact(&mut few).await.expect("reads");
            });
        });
    });
    group.bench_function("progress", |b| b.iter(|| black_box(buffer.progress())));
    group.throughput(Throughput::Bytes(CHUNK as u64));
    group.bench_function("append a chunk", |b| {
        b.iter_custom(|chunks| {
            let total = chunks.saturating_mul(CHUNK as u64);
            runtime.block_on(load(&data, total))
        });
    });
}

/// Loads `total` bytes without a read. Bytes above the memory limit are spilled.
async fn load(data: &Bytes, total: u64) -> Duration {
    let start = std::time::Instant::now();
    let buffer = StreamBuffer::spawn(Source::cycle(data, total));
    assert_eq!(buffer.load().await.expect("loads"), total);
    start.elapsed()
}

criterion_group! {
    name = parts;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = short, reads, checksums, reader, fan_out, first_read, core
}
criterion_main!(parts);
