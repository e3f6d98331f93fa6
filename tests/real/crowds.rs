//! Rules 9 and 17 for thousands of buffers in one process.

use streamspool::{Bytes, StreamBuffer};

use crate::child::alone;
use crate::support::{BLOCK, KIB, MIB, Random, assert_bytes, data};
use crate::{HEAP, runtime, tell};

/// Chunks that allocate nothing, so that only the memory of the buffers is counted.
fn stream(size: u64) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let starts = (0..size).step_by(64 * KIB);
    futures::stream::iter(starts.map(move |start| Ok(data(start, (64 * KIB).min((size - start) as usize)))))
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The resident bytes of the process, as the kernel counts them.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4 * KIB
}

/// Makes this many buffers, spills them and drops them, 50 at a time.
async fn come_and_go(count: usize) {
    for _ in 0..count / 50 {
        let tasks: Vec<_> = (0..50)
            .map(|n| {
                tokio::spawn(async move {
                    let size = 300_000 + n;
                    let (buffer, actor) = StreamBuffer::builder().max_memory(0).build(stream(size));
                    let actor = tokio::spawn(actor.run());
                    assert_eq!(buffer.load().await.unwrap(), size);
                    buffer.spill().await.unwrap();
                    assert_eq!(buffer.progress().spilled, size);
                    let bytes = buffer.read(n * 1000, 100_000).await.unwrap();
                    assert_bytes(&bytes, &data(n * 1000, 100_000), n * 1000);
                    drop(buffer);
                    actor.await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
}

#[test]
fn rule_17_two_thousand_buffers_that_spill_leave_nothing_behind() {
    let name = "crowds::rule_17_two_thousand_buffers_that_spill_leave_nothing_behind";
    if !alone(name, "ulimit -n 1024") {
        return;
    }
    let runtime = runtime();
    runtime.block_on(come_and_go(200));
    let (files, heap, memory) = (open_files(), HEAP.current_usage(), resident());
    runtime.block_on(come_and_go(2000));
    let (files_now, heap_now, memory_now) = (open_files(), HEAP.current_usage(), resident());
    assert_eq!(files_now, files, "file descriptors");
    let grown = heap_now.saturating_sub(heap);
    assert!(grown < 64 * KIB, "{grown} bytes of heap more after 2000 buffers");
    let grown = memory_now.saturating_sub(memory);
    assert!(grown < 16 * MIB, "{grown} bytes of memory more after 2000 buffers");
    tell(&format!(
        "notice: 2000 buffers spilled and were dropped: {files_now} files open, {} KiB of heap, as before",
        heap_now / KIB
    ));
}

#[test]
fn rule_9_a_thousand_buffers_at_once_keep_within_their_budgets() {
    const COUNT: usize = 1000;
    const SIZE: u64 = 700 * KIB as u64 + 77;
    let name = "crowds::rule_9_a_thousand_buffers_at_once_keep_within_their_budgets";
    if !alone(name, "ulimit -n 4096") {
        return;
    }
    runtime().block_on(async {
        data(0, 1);
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let spool = || StreamBuffer::builder().max_memory(64 * KIB).spawn(stream(SIZE));
        let buffers: Vec<_> = (0..COUNT).map(|_| spool()).collect();
        let loads: Vec<_> = buffers
            .iter()
            .cloned()
            .map(|buffer| tokio::spawn(async move { buffer.load().await.unwrap() }))
            .collect();
        for load in loads {
            assert_eq!(load.await.unwrap(), SIZE);
        }
        let each = (HEAP.peak_usage() - before) / COUNT;
        let most = 64 * KIB + MIB + 64 * KIB;
        assert!(each <= most, "{each} bytes at the peak for each, {most} allowed");
        for buffer in &buffers {
            let settled = |progress: &streamspool::Progress| progress.resident <= (64 * KIB + BLOCK) as u64;
            buffer.subscribe().wait_for(settled).await.unwrap();
        }
        let mut random = Random(9);
        for _ in 0..5000 {
            let buffer = &buffers[random.below(COUNT as u64) as usize];
            let offset = random.below(SIZE - 5000);
            let bytes = buffer.read(offset, 5000).await.unwrap();
            assert_bytes(&bytes, &data(offset, 5000), offset);
        }
        let held = (HEAP.current_usage() - before) / COUNT;
        tell(&format!(
            "notice: {COUNT} buffers at once: {} KiB each at the peak, {} KiB when loaded",
            each / KIB,
            held / KIB
        ));
    });
}
