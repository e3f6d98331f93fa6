//! Work with a fixed limit instead of a competitor.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use streamspool::{Bytes, StreamBuffer};
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::common::KIB;
use crate::common::args::Args;
use crate::common::compare::{median, spread};
use crate::common::data::{PAGE, generate};
use crate::common::table::{line, time};

pub(crate) async fn rows(args: Args) {
    let work = "1,000 readers follow the live edge of one stream, 4 KiB chunks: per reader and chunk";
    if args.wants(work) {
        let mut taken = Vec::new();
        for _ in 0..args.rounds(5) {
            taken.push(live_edge(args.scale(1000, 10), args.scale(200, 5)).await);
        }
        row(&args, work, &taken, Duration::from_micros(2));
    }
    let work = "a 16 KiB stream: spawn, read, drop, and the actor has ended";
    if args.wants(work) {
        let mut taken = Vec::new();
        for _ in 0..args.rounds(9) {
            taken.push(small(args.scale(20_000, 20)).await);
        }
        row(&args, work, &taken, Duration::from_micros(15));
    }
}

fn row(args: &Args, work: &str, taken: &[Duration], goal: Duration) {
    let each: Vec<f64> = taken.iter().map(Duration::as_secs_f64).collect();
    let (low, high) = spread(&each);
    let spread = format!("{}–{}", time(Duration::from_secs_f64(low)), time(Duration::from_secs_f64(high)));
    let ours = median(taken.iter().copied());
    let reached = if args.quick { "" } else { ["no", "yes"][usize::from(ours <= goal)] };
    let goal = format!("at most {}", time(goal));
    line([work, "", &time(ours), "", "", &spread, &goal, reached]);
}

/// Sends each chunk after all readers have read the previous one and wait for the next.
async fn live_edge(readers: usize, chunks: usize) -> Duration {
    let data = generate(chunks * PAGE);
    let (sender, source) = mpsc::unbounded_channel();
    let buffer = StreamBuffer::spawn(UnboundedReceiverStream::new(source));
    let read = Arc::new(AtomicUsize::new(0));
    let all_read = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    for _ in 0..readers {
        let (mut reader, read, all_read) = (buffer.reader(), Arc::clone(&read), Arc::clone(&all_read));
        tasks.spawn(async move {
            let mut page = [0; PAGE];
            while reader.read_exact(&mut page).await.is_ok() {
                if (read.fetch_add(1, Ordering::AcqRel) + 1).is_multiple_of(readers) {
                    all_read.notify_one();
                }
            }
        });
    }
    let start = Instant::now();
    for chunk in data.chunks(PAGE) {
        sender.send(Ok(Bytes::copy_from_slice(chunk))).expect("the actor lives");
        all_read.notified().await;
    }
    let taken = start.elapsed();
    drop(sender);
    tasks.join_all().await;
    taken / u32::try_from(readers * chunks).expect("fits")
}

async fn small(streams: usize) -> Duration {
    let data = generate(16 * KIB);
    let start = Instant::now();
    for _ in 0..streams {
        let stream = futures::stream::iter([Ok(data.clone())]);
        let (buffer, actor) = StreamBuffer::builder().build(stream);
        let actor = tokio::spawn(actor.run());
        let bytes = buffer.read(0, data.len()).await.expect("reads");
        assert_eq!(bytes.len(), data.len());
        drop(buffer);
        actor.await.expect("the actor ends");
    }
    start.elapsed() / u32::try_from(streams).expect("fits")
}
