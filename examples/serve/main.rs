//! A media server on loopback. Each source is read from front to back. The server buffers it, so clients can
//! request any range of it. A resource of another server continues after a broken connection.
//!
//! ```text
//! cargo run --release -p serve                          # the media of the repository
//! cargo run --release -p serve -- film.mp4 --rate 300   # a file, at 300 KiB/s
//! cargo run --release -p serve -- http://host/song.mp3  # a resource of another server
//! cargo run --release -p serve --features tls -- https://host/song.mp3
//! cat film.webm | cargo run --release -p serve -- -     # standard input
//! cargo run --release -p serve -- 'exec:ffmpeg -i film.mkv -f webm -'
//! ```
//!
//! Open the address that it prints. The page plays the resource and shows its buffer.

mod body;
mod command;
mod conditions;
mod http;
mod listen;
mod media_type;
mod pace;
mod ranges;
mod readers;
mod report;
mod resource;
mod save;
mod shipped;
mod sources;
mod state;
mod streams;
mod trouble;
mod upstream;

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use clap::Parser;
use clap::builder::RangedU64ValueParser;
use tokio::net::TcpListener;

use crate::report::{explain, line, plain};
use crate::resource::{Described, Resource};
use crate::sources::{Options, Origin};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves streams over HTTP on loopback. Clients can request any range, although the streams only go forward.
#[derive(Parser)]
struct Args {
    /// A path, `-` for standard input, `http(s)://…`, `file://…`, or `exec:COMMAND` for the output of a command.
    /// Without a source, the server uses the media of the repository.
    sources: Vec<String>,

    /// Requests an http(s) source once, when the server starts. Without this option, the source is requested
    /// by the first read, and again after a failure.
    #[arg(long)]
    one_way: bool,

    /// A header for the requests to every http(s) source, such as 'Authorization: Bearer abc'. Can be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// The size of the source in bytes, if the source does not tell it. A wrong size is an error.
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,

    /// The port to listen on. 0 means any free port.
    #[arg(long, default_value_t = 0)]
    port: u16,

    /// The most connections at a time. Further ones wait.
    #[arg(long, value_name = "NUMBER", default_value_t = 256, value_parser = RangedU64ValueParser::<usize>::new().range(1..100_000))]
    connections: usize,

    /// The rate limit of each source, in KiB per second. The page can change it.
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// The memory limit of each resource, in KiB. Older bytes go to disk.
    #[arg(long, value_name = "KIB")]
    memory: Option<u32>,

    /// The limit of each resource on disk, in KiB. Older bytes are discarded. Bytes of a source that can be
    /// requested again are requested again.
    #[arg(long, value_name = "KIB")]
    disk: Option<u32>,

    /// The read-ahead of each resource, in KiB past the furthest delivered byte.
    #[arg(long, value_name = "KIB")]
    read_ahead: Option<u32>,

    /// The most streams of an http(s) source at once, each from a request of its own. Readers far apart get a stream each.
    #[arg(long, value_name = "NUMBER", value_parser = RangedU64ValueParser::<usize>::new().range(1..1_000))]
    streams: Option<usize>,

    /// The most seconds that connecting to an http(s) source may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    connect_timeout: u64,

    /// The most seconds that an http(s) source may be silent while its bytes are needed.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    silence_timeout: u64,

    /// The directory for files that the page's save button writes.
    #[arg(long, value_name = "DIR", default_value = ".")]
    save_to: PathBuf,
}

/// Parses `Name: value`.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), BoxError> {
    let (name, value) = text.split_once(':').ok_or("there is no colon in it")?;
    let mut value: HeaderValue = value.trim().parse()?;
    value.set_sensitive(true);
    Ok((name.trim().parse()?, value))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            line(&explain(&error));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(args));
    // Drops the buffers, and so ends the commands of `exec:`. A read of standard input can't be ended.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended.unwrap_or_else(|error| {
        line(&explain(&*error));
        ExitCode::FAILURE
    })
}

/// Serves until a signal ends the program.
async fn run(args: Args) -> Result<ExitCode, BoxError> {
    if args.size.is_some() && args.sources.len() != 1 {
        return Err("--size needs exactly one source".into());
    }
    let save_to = args.save_to.canonicalize().ok().filter(|path| path.is_dir());
    let save_to =
        save_to.ok_or_else(|| format!("--save-to {} is not a directory", args.save_to.display()))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await;
    let listener = listener.map_err(|error| format!("can't listen on port {}: {error}", args.port))?;
    // From here on, a signal shuts the program down cleanly.
    let signal = signal();

    let options = Options {
        size: args.size,
        memory: args.memory,
        disk: args.disk,
        read_ahead: args.read_ahead,
        streams: args.streams,
        silence: Duration::from_secs(args.silence_timeout),
    };
    let mut all = Vec::new();
    if args.sources.is_empty() {
        all = shipped::all(&options, args.rate, &save_to);
    }
    if !args.sources.is_empty() {
        let clients = upstream::Clients::new(Duration::from_secs(args.connect_timeout))?;
        let mut headers = HeaderMap::new();
        for (name, value) in args.headers {
            headers.append(name, value);
        }
        for source in &args.sources {
            let origin = Origin::parse(source, &clients, &headers, args.one_way);
            let origin = origin.map_err(|error| format!("can't open {source}: {}", explain(&*error)))?;
            all.push(Described {
                name: origin.name(),
                about: source.clone(),
                source: source.clone(),
                origin,
                pace: args.rate,
                options,
                save_to: save_to.clone(),
            });
        }
    }
    let mut resources: Vec<Arc<Resource>> = Vec::new();
    for described in all {
        let source = described.source.clone();
        let taken = |name: &str| resources.iter().any(|other| other.name == name);
        let resource = Resource::open(described, taken).await;
        let resource = resource.map_err(|error| format!("can't open {source}: {}", explain(&*error)))?;
        resources.push(Arc::new(resource));
    }

    let address = listener.local_addr()?;
    // The reader of standard output may have closed it. The server runs anyway.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "Serving on http://{address}/");
    for resource in &resources {
        let _ = writeln!(out, "  http://{address}{}  {}", resource.path(), plain(&resource.source));
    }
    tokio::select! {
        ended = listen::serve(listener, http::routes(resources), args.connections) => {
            ended?;
            Ok(ExitCode::SUCCESS)
        }
        number = signal => Ok(ExitCode::from(128 + number)),
    }
}

/// Waits for a signal that ends the program, and returns its number.
#[cfg(unix)]
fn signal() -> impl Future<Output = u8> {
    use tokio::signal::unix::{SignalKind, signal};

    // Registers the handlers now. A signal whose handler can't be registered ends the program at once.
    let [mut hangup, mut interrupt, mut terminate] =
        [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()]
            .map(|kind| signal(kind).ok());
    async move {
        let next = async |signal: &mut Option<tokio::signal::unix::Signal>| match signal {
            Some(signal) => signal.recv().await,
            None => std::future::pending().await,
        };
        tokio::select! {
            _ = next(&mut hangup) => 1,
            _ = next(&mut interrupt) => 2,
            _ = next(&mut terminate) => 15,
        }
    }
}

#[cfg(not(unix))]
async fn signal() -> u8 {
    match tokio::signal::ctrl_c().await {
        Ok(()) => 2,
        Err(_) => std::future::pending().await,
    }
}
