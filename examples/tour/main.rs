//! A tour of the buffer on real input: an audio file arrives at a network's pace, and while it does,
//! a player jumps back and forth in it, readers ask for random ranges, one follows the live edge,
//! and a codec cuts it into pages.
//!
//! Whatever any of them reads is compared with what was sent, byte by byte. At the end a table tells
//! how the reads fared.
//!
//! ```sh
//! cargo run --release -p tour                      # the tune that comes with the crate
//! cargo run --release -p tour -- song.flac         # a file of yours
//! curl -s https://… | cargo run --release -p tour -- -
//! ```
//!
//! - `source` sends the input, and `sent` keeps a copy of it
//! - `listeners` and `decoder` read, the decoder through `media`
//! - `check` compares what they read with the copy, and counts; `waits` how long they waited
//! - `bars` and `report` show

mod args;
mod bars;
mod check;
mod decoder;
mod listeners;
mod media;
mod report;
mod sent;
mod source;
mod waits;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use streamspool::{BufferHandle, State, StreamBuffer};
use tokio::task::{JoinError, JoinSet, spawn_blocking};

use crate::args::Args;
use crate::check::{Checker, Tally, Who};
use crate::decoder::Played;
use crate::sent::Sent;
use crate::source::Input;

/// How far ahead of its readers the buffer pulls. Little, so that the readers of a small file see
/// all there is to see: ranges that are there, half there, and still to come.
const READ_AHEAD: u64 = 64 * 1024;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match tour(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn tour(args: Args) -> Result<()> {
    let input = Input::open(args.file.as_deref())?;
    let size = args.size.or(input.size);
    let name = input.name.clone();

    let sent = Sent::new().context("can't make a temporary file")?;
    let stream = source::send(input, args.pace(size), args.seed, sent.clone());
    let buffer = StreamBuffer::builder()
        .name(&name)
        .size(size)
        .max_memory(args.memory)
        .read_ahead(READ_AHEAD)
        .spawn(stream);

    let (checker, witnesses) = Checker::new(&buffer, sent.clone());
    let bars = bars::show(buffer.subscribe(), checker.checked());
    let checking = spawn_blocking(move || checker.run());

    let (seed, paced) = (args.seed, !args.fast);
    let mut listeners = JoinSet::new();
    listeners.spawn(listeners::live_edge(buffer.clone(), witnesses.of(Who::LiveEdge)));
    listeners.spawn(listeners::framed(buffer.clone(), witnesses.of(Who::Framed)));
    for number in 0..listeners::RANDOM {
        let seed = seed.wrapping_add(number);
        let witness = witnesses.of(Who::Random);
        listeners.spawn(listeners::random(buffer.clone(), witness, seed, paced));
    }
    if let Some(path) = args.save.clone() {
        listeners.spawn(save(buffer.clone(), path));
    }
    let decoder = {
        let (buffer, witness) = (buffer.clone(), witnesses.of(Who::Decoder));
        spawn_blocking(move || decoder::play(&buffer, witness, seed))
    };
    // The checker ends once every witness has gone.
    drop(witnesses);

    let listened = join(&mut listeners, &buffer).await;
    let played = ended(decoder.await);
    let tally = ended(checking.await);
    bars.stop().await;

    // A byte that is wrong is worse than anything else that may have happened.
    let tally = tally?;
    report::table(&tally)?;
    listened.with_context(|| name.clone())?;
    let played = played.with_context(|| name.clone())?;
    let loaded = whole(&buffer, &sent, &tally).with_context(|| name.clone())?;
    report::summary(&tally, loaded, &played)?;
    if let Some(path) = args.save {
        let verifying = path.clone();
        ended(spawn_blocking(move || sent.verify(&verifying, loaded)).await)?;
        report::saved(&path, loaded)?;
    }
    match played {
        Played::Broken { why, .. } => bail!("{name}: {why}"),
        Played::Whole { .. } | Played::NotAudio { .. } => Ok(()),
    }
}

/// Waits for all listeners; the first thing that went wrong, if any did.
async fn join(listeners: &mut JoinSet<Result<()>>, buffer: &BufferHandle) -> Result<()> {
    let mut first = Ok(());
    while let Some(result) = listeners.join_next().await {
        if let Err(error) = ended(result) {
            // After a fault of the source the others may still read what came before it. Anything
            // else ends the tour for everybody.
            if buffer.error().is_none() {
                buffer.close();
            }
            if first.is_ok() {
                first = Err(error);
            }
        }
    }
    first
}

/// A result of a task: what the task returned, or that it panicked.
fn ended<T>(result: Result<Result<T>, JoinError>) -> Result<T> {
    result.context("a task of the tour failed")?
}

async fn save(buffer: BufferHandle, path: PathBuf) -> Result<()> {
    buffer.save(path).await?;
    Ok(())
}

/// The size of the whole, once all of it has been sent, loaded and read.
fn whole(buffer: &BufferHandle, sent: &Sent, tally: &Tally) -> Result<u64> {
    let progress = buffer.progress();
    let sent = sent.len();
    if progress.state != State::Complete || progress.loaded != sent {
        bail!("{sent} bytes were sent, but the buffer tells {progress:?}");
    }
    if sent == 0 {
        bail!("there is nothing in it");
    }
    tally.agrees_with_end(sent)?;
    Ok(sent)
}
