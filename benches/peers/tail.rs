//! The slowest cached reads of a buffer under load.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use streamspool::{BufferHandle, Bytes, SpillStore, StreamBuffer, TempFileStore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::common::MIB;
use crate::common::args::Args;
use crate::common::compare::{median, p99, spread};
use crate::common::data::{CHUNK, Source};
use crate::common::data::{PAGE, generate, offsets};
use crate::common::table::{line, time};

/// The cached reads lie at most this far before the frontier.
const RECENT: usize = MIB;

const GOAL: f64 = 5.0;

pub(crate) async fn rows(args: Args) {
    let (paced, busy) = (Pace::EachMillisecond, Pace::BackToBack);
    row(&args, busy, args.scale(100_000, 100)).await;
    row(&args, paced, args.scale(2_000, 20)).await;
}

#[derive(Clone, Copy, Debug)]
enum Pace {
    BackToBack,
    /// A pause of the actor delays as many reads as it has milliseconds.
    EachMillisecond,
}

async fn row(args: &Args, pace: Pace, samples: usize) {
    let how = match pace {
        Pace::BackToBack => "back to back",
        Pace::EachMillisecond => "one each millisecond",
    };
    let work = format!(
        "p99 of a cached 4 KiB read, {how}, while 10,000 reads are parked, each disk write takes 100 ms \
         and another task reads 64 MiB ranges"
    );
    let against = "its own p99 unloaded";
    if !args.wants(&format!("{work} | {against}")) {
        return;
    }
    let mut both = Vec::new();
    for _ in 0..args.rounds(5) {
        let scene = Scene::set(args).await;
        let calm = sample(&scene.buffer, pace, samples).await;
        let mut load = scene.load(args).await;
        let loaded = sample(&scene.buffer, pace, samples).await;
        load.shutdown().await;
        scene.end().await;
        both.push((loaded, calm));
    }
    let ratios: Vec<f64> = both.iter().map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
    let (ratio, (low, high)) = (median(ratios.iter().copied()), spread(&ratios));
    let reached = if args.quick { "" } else { ["no", "yes"][usize::from(ratio <= GOAL)] };
    line([
        &work,
        against,
        &time(median(both.iter().map(|(loaded, _)| *loaded))),
        &time(median(both.iter().map(|(_, calm)| *calm))),
        &format!("{ratio:.2}"),
        &format!("{low:.2}–{high:.2}"),
        &format!("at most {GOAL}"),
        reached,
    ]);
}

async fn sample(buffer: &BufferHandle, pace: Pace, samples: usize) -> Duration {
    let mut taken = Vec::with_capacity(samples);
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for at in offsets(RECENT, 1).take(samples) {
        if matches!(pace, Pace::EachMillisecond) {
            ticks.tick().await;
        }
        let at = buffer.progress().loaded - (RECENT - at) as u64;
        let start = Instant::now();
        let bytes = buffer.read(at, PAGE).await.expect("reads");
        taken.push(start.elapsed());
        assert_eq!(bytes.len(), PAGE);
    }
    p99(taken)
}

/// A buffer with default limits and a slow disk, in the middle of an endless stream.
struct Scene {
    buffer: BufferHandle,
    actor: JoinHandle<()>,
    slow: Arc<AtomicBool>,
    range: usize,
}

impl Scene {
    async fn set(args: &Args) -> Self {
        let range = args.scale(64 * MIB, 8 * MIB);
        let data: Bytes = generate(8 * MIB);
        let slow = Arc::new(AtomicBool::new(false));
        let store = SlowStore { inner: TempFileStore::new(), slow: Arc::clone(&slow) };
        let (buffer, actor) = StreamBuffer::builder().store(store).build(Source::cycle(&data, u64::MAX));
        let actor = tokio::spawn(actor.run());
        // Later bytes are pulled only under load.
        buffer.read((range + 8 * MIB) as u64 - 1, 1).await.expect("reads");
        let mut progress = buffer.subscribe();
        progress.wait_for(|now| now.resident <= 6 * MIB as u64).await.expect("spills");
        Self { buffer, actor, slow, range }
    }

    async fn load(&self, args: &Args) -> JoinSet<()> {
        self.slow.store(true, Ordering::Relaxed);
        let mut tasks = JoinSet::new();
        for n in 0..args.scale(10_000, 100) as u64 {
            let buffer = self.buffer.clone();
            tasks.spawn(async move {
                // The slow disk prevents the stream from getting there.
                let _ = buffer.read((1 << 40) + n * CHUNK as u64, PAGE).await;
            });
        }
        let (buffer, range) = (self.buffer.clone(), self.range);
        tasks.spawn(async move {
            loop {
                let bytes = buffer.read(0, range).await.expect("reads");
                assert_eq!(bytes.len(), range);
            }
        });
        // The load is complete once a slow write has ended.
        let mut progress = self.buffer.subscribe();
        let before = progress.latest().spilled;
        progress.wait_for(|now| now.spilled > before).await.expect("spills");
        tasks
    }

    async fn end(self) {
        self.slow.store(false, Ordering::Relaxed);
        self.buffer.close();
        self.actor.await.expect("the actor ends");
    }
}

struct SlowStore {
    inner: TempFileStore,
    slow: Arc<AtomicBool>,
}

impl SpillStore for SlowStore {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        if self.slow.load(Ordering::Relaxed) {
            // The slow disk that is measured.
            std::thread::sleep(Duration::from_millis(100));
        }
        self.inner.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(offset, buf)
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.inner.try_read_at(offset, buf)
    }
}
