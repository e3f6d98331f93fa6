//! One run: a world, some steps at random, and one of the ends that a buffer may come to.

use std::fmt;
use std::path::Path;

use streamspool::State;
use tokio::runtime::Runtime;

use crate::asks::What;
use crate::players::{Pieces, Player};
use crate::support::Random;
use crate::support::faults::{Disk, Ending, expected};
use crate::support::jobs::Origin;
use crate::world::World;

/// What all the runs came to.
#[derive(Debug, Default)]
pub struct Survived {
    runs: u64,
    steps: u64,
    turns: u64,
    answered: u64,
    cancelled: u64,
    chunks: u64,
    pulled: u64,
    disk_calls: u64,
    disk_faults: u64,
    source_faults: u64,
    spilled: u64,
}

impl fmt::Display for Survived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, steps, turns, answered, cancelled, .. } = self;
        write!(f, "{runs} runs, {steps} steps, {turns} turns of the actor, ")?;
        write!(f, "{answered} requests answered and {cancelled} dropped, ")?;
        write!(f, "{} faults of the disk in {} calls, ", self.disk_faults, self.disk_calls)?;
        write!(f, "{} faults of the source in {} chunks, ", self.source_faults, self.chunks)?;
        write!(f, "{} bytes pulled and {} spilled", self.pulled, self.spilled)
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Lets the disk do its work when a run has found something, or its threads would wait for ever.
struct Release(Disk, Origin);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.heal();
        self.1.step(false);
    }
}

pub fn run(seed: u64, dir: &Path, trace: &mut Vec<String>, survived: &mut Survived) {
    thread_local! {
        static RUNTIME: Runtime = runtime();
    }
    let live = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let mut world = World::new(seed, dir);
            let _release = Release(world.disk.clone(), world.jobs);
            let steps = 1 + world.random.below(100);
            trace.push(format!(
                "{} bytes, {:?} declared, {} in memory, {} ahead, {:?}",
                world.total,
                world.declared,
                world.max_memory,
                world.read_ahead,
                world.tap.state().ending
            ));
            for _ in 0..steps {
                step(&mut world, trace).await;
                world.check();
            }
            survived.steps += steps;
            end(world, trace, survived).await;
        });
        runtime.metrics().num_alive_tasks()
    });
    assert_eq!(live, 0, "tasks are left behind");
    assert_eq!(names(dir), [""; 0], "files are left behind");
    survived.runs += 1;
}

/// What is in the directory that the runs save to; what was saved is taken away.
fn names(dir: &Path) -> Vec<String> {
    let _ = std::fs::remove_file(dir.join("saved"));
    dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn one_of(random: &mut Random, len: usize) -> Option<usize> {
    (len > 0).then(|| random.below(len as u64) as usize)
}

async fn step(world: &mut World, trace: &mut Vec<String>) {
    let kind = world.random.below(100);
    match kind {
        0..=19 => {
            let what = world.anything();
            trace.push(format!("ask {what:?}"));
            world.ask(what);
            // Some are dropped before they have done anything at all.
            if world.random.below(10) > 0 {
                world.poll_ask(world.asks.len() - 1);
            }
        }
        20..=29 => {
            if let Some(at) = one_of(&mut world.random, world.asks.len()) {
                trace.push(format!("poll {:?}", world.asks[at].what));
                world.poll_ask(at);
            }
        }
        30..=37 => {
            if let Some(at) = one_of(&mut world.random, world.asks.len()) {
                trace.push(format!("drop {:?}", world.asks[at].what));
                world.cancel(at);
            }
        }
        38..=50 => play(world, trace),
        51..=67 => {
            let chunks =
                if world.random.below(20) == 0 { 10_000 } else { 1 + world.random.below(5) as usize };
            trace.push(format!("the source may send {chunks} chunks"));
            world.tap.feed(chunks);
        }
        68..=79 => {
            trace.push("a turn of the actor".into());
            world.turn().await;
        }
        80..=88 => {
            if world.disk.is_parked() {
                let calls = 1 + world.random.below(3) as usize;
                trace.push(format!("the disk does {calls} calls"));
                for _ in 0..calls {
                    world.pass();
                }
            }
        }
        89..=94 => {
            trace.push("everybody has their turn".into());
            world.settle().await;
        }
        95..=97 => {
            trace.push("everybody has their turn, the disk too".into());
            world.settle_with_disk().await;
        }
        _ => {
            let stored = world.disk.state().stored;
            let capacity = (world.random.below(3) > 0).then(|| stored + world.random.below(300_000));
            trace.push(format!("space on disk: {capacity:?}"));
            world.disk.state().capacity = capacity;
        }
    }
}

/// A reader or chunks come, go on, stop or leave.
fn play(world: &mut World, trace: &mut Vec<String>) {
    match world.random.below(12) {
        0 if world.players.len() < 4 => world.players.push(Player::new(&world.handle)),
        1 if world.pieces.len() < 3 => {
            let at = world.random.below(world.total + 10);
            let end = if world.random.below(3) == 0 { u64::MAX } else { at + world.random.below(600_000) };
            trace.push(format!("chunks of {at}..{end}"));
            world.pieces.push(Pieces::new(&world.handle, at, end));
        }
        2 => {
            if let Some(at) = one_of(&mut world.random, world.players.len()) {
                trace.push(format!("reader {at} leaves"));
                world.drop_player(at);
            } else if let Some(at) = one_of(&mut world.random, world.pieces.len()) {
                trace.push(format!("chunks {at} leave"));
                world.drop_pieces(at);
            }
        }
        3 => {
            if let Some(at) = one_of(&mut world.random, world.players.len()) {
                trace.push(format!("reader {at} drops its future"));
                world.players[at].leave();
            }
        }
        4..=6 => {
            if let Some(at) = one_of(&mut world.random, world.pieces.len()) {
                trace.push(format!("chunks {at} go on"));
                world.begin_pieces(at);
            }
        }
        _ => {
            if let Some(at) = one_of(&mut world.random, world.players.len()) {
                let said = world.begin_player(at);
                trace.push(format!("reader {at} {said}"));
            }
        }
    }
}

/// The ends of a buffer: healed and read in full, closed, aborted, or left by everybody.
async fn end(mut world: World, trace: &mut Vec<String>, survived: &mut Survived) {
    let kind = world.random.below(10);
    trace.push(format!("end {kind}"));
    match kind {
        0..=4 => heal(&mut world).await,
        5 | 6 => {
            world.is_closed = true;
            world.handle.close();
            // Whoever waits is answered without the disk.
            world.settle().await;
            world.ask(What::Read { offset: 0, len: 1 });
            world.poll_ask(world.asks.len() - 1);
        }
        7 => {
            world.is_closed = true;
            world.actor = None;
            world.settle().await;
        }
        _ => {}
    }
    let World {
        mut actor, disk, jobs, tap, handle, asks, players, pieces, turns, answered, cancelled, ..
    } = world;
    drop((handle, asks, players, pieces));
    disk.heal();
    jobs.step(false);
    if let Some(actor) = &mut actor {
        actor.await;
    }
    drop(actor);
    // What the disk has to do for requests that were dropped ends by itself.
    jobs.rest();
    let (disk, tap) = (disk.state(), tap.state());
    assert!(tap.dropped, "the source is gone");
    assert!(disk.dropped, "the store is gone");
    assert_eq!((&tap.wrong, &disk.wrong), (&Vec::new(), &Vec::new()));
    survived.turns += turns;
    survived.answered += answered;
    survived.cancelled += cancelled;
    survived.chunks += tap.chunks;
    survived.pulled += tap.pulled;
    survived.disk_calls += disk.calls;
    survived.disk_faults += disk.faults;
    survived.source_faults += u64::from(tap.failed || tap.ending != Ending::End);
    survived.spilled += disk.bytes;
}

/// The disk is well, the source goes on: everybody is answered, and nothing was lost.
async fn heal(world: &mut World) {
    world.settle_with_disk().await;
    world.disk.heal();
    world.rest();
    let endless = world.tap.state().ending == Ending::Empty;
    world.tap.feed(if endless { 500 } else { 100_000 });
    world.settle().await;
    let waits_for_ever = matches!(world.tap.state().ending, Ending::Stall | Ending::Empty);
    assert!(waits_for_ever || world.asks.iter().all(|ask| !ask.is_asked), "somebody was never answered");
    let before = world.handle.progress();
    let (offset, len) = (0, before.loaded);
    world.ask(What::Read { offset, len });
    world.poll_ask(world.asks.len() - 1);
    world.settle().await;
    let waits = |what: &What| matches!(what, What::Read { offset: 0, len: l } if *l == len);
    assert!(!world.asks.iter().any(|ask| ask.is_asked && waits(&ask.what)), "all of it is there");
    // The request above may not have failed: what the disk did before is told already.
    let handle = world.handle.clone();
    let mut all = Box::pin(handle.read(0, len as usize));
    let bytes = loop {
        if let std::task::Poll::Ready(result) = crate::support::poll_once(&mut all) {
            break result.unwrap();
        }
        world.settle().await;
        tokio::task::yield_now().await;
    };
    drop(all);
    assert!(bytes == expected(0, len), "a byte was lost");
    let now = world.handle.progress();
    let all_is_there = now.loaded == world.declared.unwrap_or(world.total).min(world.total);
    let load_was_asked = now.state == State::Complete;
    assert!(!load_was_asked || all_is_there, "{now:?}");
}
