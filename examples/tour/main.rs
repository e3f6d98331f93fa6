//! A tour of the buffer on real input. An audio file arrives as slowly as over a network. Meanwhile a player
//! jumps back and forth in it, readers ask for random ranges, one reader follows the live edge, and a codec
//! splits the stream into pages.
//!
//! Every byte that they read is compared with the byte that was sent. A table at the end shows the reads.
//!
//! ```sh
//! cargo run --release -p tour                      # the tune of the repository
//! cargo run --release -p tour -- song.flac         # your own file
//! cargo run --release -p tour -- https://…         # a resource that is requested again after a failure
//! curl -s https://… | cargo run --release -p tour -- -
//! ```
//!
//! - `source` sends the input, or `remote` fetches it, and `sent` keeps a copy of it.
//! - `listeners` and `decoder` read, the decoder through `media`.
//! - `check` compares their bytes with the copy and counts them. `waits` records how long they waited.
//! - `bars` and `report` show the progress and the result.

mod args;
mod bars;
mod check;
mod decoder;
mod listeners;
mod media;
mod remote;
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
use crate::remote::Remote;
use crate::sent::Sent;
use crate::source::Input;

/// The read-ahead of the buffer. It is short, so that even in a small file some ranges are loaded, some
/// partly loaded and some missing.
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
    let sent = Sent::new().context("can't make a temporary file")?;
    let builder = StreamBuffer::builder().max_memory(args.memory).read_ahead(READ_AHEAD);
    let (name, buffer, fetched) = if let Some(url) = args.url() {
        let (remote, fetched) = Remote::new(url, sent.clone()).with_context(|| url.to_owned())?;
        let buffer = builder.name(url).size(args.size).spawn_source(remote);
        (url.to_owned(), buffer, Some(fetched))
    } else {
        let input = Input::open(args.input.as_deref())?;
        let (name, size) = (input.name.clone(), args.size.or(input.size));
        let stream = source::send(input, args.pace(size), args.seed, sent.clone());
        let buffer = builder.name(&name).size(size).spawn(stream);
        (name, buffer, None)
    };

    let (checker, witnesses) = Checker::new(&buffer, sent.clone());
    let bars = bars::show(buffer.clone(), checker.checked());
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
    // The checker ends when every witness is dropped.
    drop(witnesses);

    let listened = join(&mut listeners, &buffer).await;
    let played = ended(decoder.await);
    let tally = ended(checking.await);
    bars.stop().await;

    // Report a wrong byte before any other error.
    let tally = tally?;
    report::table(&tally)?;
    listened.with_context(|| name.clone())?;
    let played = played.with_context(|| name.clone())?;
    let loaded = whole(&buffer, &sent, &tally).with_context(|| name.clone())?;
    report::summary(&tally, loaded, fetched.as_deref(), &played)?;
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

/// Waits for all listeners. Returns the first error.
async fn join(listeners: &mut JoinSet<Result<()>>, buffer: &BufferHandle) -> Result<()> {
    let mut first = Ok(());
    while let Some(result) = listeners.join_next().await {
        if let Err(error) = ended(result) {
            // After a failure of the source, the other listeners can still read all bytes before it. Any
            // other error ends the tour.
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

/// The result of a task. A panic is an error.
fn ended<T>(result: Result<Result<T>, JoinError>) -> Result<T> {
    result.context("a task of the tour failed")?
}

async fn save(buffer: BufferHandle, path: PathBuf) -> Result<()> {
    buffer.save(path).await?;
    Ok(())
}

/// The size of the stream, after all of it has been sent, loaded and read.
fn whole(buffer: &BufferHandle, sent: &Sent, tally: &Tally) -> Result<u64> {
    let progress = buffer.progress();
    let sent = sent.len();
    if progress.state != State::Complete || progress.loaded != sent {
        bail!("{sent} bytes were sent, but the buffer reports {progress:?}");
    }
    if sent == 0 {
        bail!("the input is empty");
    }
    tally.agrees_with_end(sent)?;
    Ok(sent)
}
