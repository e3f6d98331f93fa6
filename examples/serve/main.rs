//! A media server on loopback that seeks in anything: each source is a stream that only goes
//! forward, and each is served as a resource of which any range can be asked for.
//!
//! ```text
//! cargo run --release -p serve                          # media shipped here, at a network's pace
//! cargo run --release -p serve -- film.mp4 --rate 300   # a file, as if it came over a network
//! cargo run --release -p serve -- https://host/song.mp3 # somebody else's server
//! cat film.webm | cargo run --release -p serve -- -     # standard input
//! cargo run --release -p serve -- 'exec:ffmpeg -i film.mkv -f webm -'
//! ```
//!
//! Open the address that it prints: the page plays the resource and shows its buffer at work.

mod body;
mod events;
mod http;
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

/// Serves streams that only go forward as resources that can be sought in, over HTTP on loopback.
#[derive(Parser)]
struct Args {
    /// A path, `-` for standard input, `http(s)://…`, or `exec:COMMAND` for a command's output; the
    /// media shipped with the repository unless told.
    sources: Vec<String>,

    /// The port to listen on; any free one unless told.
    #[arg(long, default_value_t = 0)]
    port: u16,

    /// Slow each source down to so many KiB a second.
    #[arg(long, value_name = "KIB")]
    rate: Option<u32>,

    /// How many KiB of each resource to keep in memory; older ones go to disk.
    #[arg(long, value_name = "KIB")]
    memory: Option<u32>,

    /// How many KiB to pull ahead of the furthest reader.
    #[arg(long, value_name = "KIB")]
    read_ahead: Option<u32>,

    /// Where the page's save button puts a file.
    #[arg(long, value_name = "DIR", default_value = ".")]
    save_to: PathBuf,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let options = Options { rate: args.rate, memory: args.memory, read_ahead: args.read_ahead };

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
        let opened = sources::open(source).await;
        serve(opened.map_err(|error| format!("can't open {source}: {}", explain(&*error)))?);
    }

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await?;
    let address = listener.local_addr()?;
    // Who started this may have closed the other end; that is no reason not to serve.
    let mut out = std::io::stdout();
    let _ = writeln!(out, "Serving on http://{address}/");
    for resource in &resources {
        let _ = writeln!(out, "  http://{address}{}  {}", resource.path(), resource.source);
    }
    axum::serve(listener, http::routes(resources, args.save_to)).await?;
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
