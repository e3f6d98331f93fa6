//! A media server on loopback. Each source is read from front to back. The server buffers it, so clients can
//! request any range of it. A resource of another server continues after a broken connection.
//!
//! ```text
//! cargo run --release -p serve                          # the media of the repository
//! cargo run --release -p serve -- film.mp4 --rate 300   # a file, at 300 KiB/s
//! cargo run --release -p serve -- https://host/song.mp3 # a resource of another server
//! cat film.webm | cargo run --release -p serve -- -     # standard input
//! cargo run --release -p serve -- 'exec:ffmpeg -i film.mkv -f webm -'
//! ```
//!
//! Open the address that it prints. The page plays the resource and shows its buffer.

mod body;
mod events;
mod http;
mod listen;
mod pace;
mod ranges;
mod readers;
mod resource;
mod save;
mod sources;

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use tokio::net::TcpListener;

use crate::resource::Resource;
use crate::sources::{Opened, Options};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves streams over HTTP on loopback. Clients can request any range, although the streams only go forward.
#[derive(Parser)]
struct Args {
    /// A path, `-` for standard input, `http(s)://…`, or `exec:COMMAND` for the output of a command. Without
    /// a source, the server uses the media of the repository.
    sources: Vec<String>,

    /// Requests an http(s) source once, when the server starts. Without this option, the source is requested
    /// by the first read, and again after a failure.
    #[arg(long)]
    one_way: bool,

    /// The size of the source in bytes, if the source does not tell it. A wrong size is an error.
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,

    /// The port to listen on. 0 means any free port.
    #[arg(long, default_value_t = 0)]
    port: u16,

    /// The most connections at a time. Further ones wait.
    #[arg(long, value_name = "NUMBER", default_value_t = 256)]
    connections: usize,

    /// The rate limit of each source, in KiB per second.
    #[arg(long, value_name = "KIB")]
    rate: Option<u32>,

    /// The memory limit of each resource, in KiB. Older bytes go to disk.
    #[arg(long, value_name = "KIB")]
    memory: Option<u32>,

    /// The read-ahead of each resource, in KiB past the furthest delivered byte.
    #[arg(long, value_name = "KIB")]
    read_ahead: Option<u32>,

    /// The directory for files that the page's save button writes.
    #[arg(long, value_name = "DIR", default_value = ".")]
    save_to: PathBuf,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    if args.size.is_some() && args.sources.len() != 1 {
        return Err("--size needs exactly one source".into());
    }
    let options =
        Options { size: args.size, rate: args.rate, memory: args.memory, read_ahead: args.read_ahead };

    let mut resources: Vec<Arc<Resource>> = Vec::new();
    let mut serve = |opened: Opened| {
        let taken = |name: &str| resources.iter().any(|other| other.name == name);
        let resource = Resource::new(opened, &options, taken);
        resources.push(Arc::new(resource));
    };
    if args.sources.is_empty() {
        sources::shipped().into_iter().for_each(&mut serve);
    }
    for source in &args.sources {
        let opened = sources::open(source, args.one_way).await;
        serve(opened.map_err(|error| format!("can't open {source}: {}", explain(&*error)))?);
    }

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await?;
    let address = listener.local_addr()?;
    // The reader of standard output may have closed it. The server runs anyway.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "Serving on http://{address}/");
    for resource in &resources {
        let _ = writeln!(out, "  http://{address}{}  {}", resource.path(), resource.source);
    }
    listen::serve(listener, http::routes(resources, args.save_to), args.connections).await?;
    Ok(())
}

/// The message of an error and of each cause behind it, for a person.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
