//! Guide: an HTTP resource on a bad network. Run it with an address, and cut the network while it loads:
//! `cargo run --example guide_http -- https://example.org/film.mp4`

use std::error::Error;
use std::time::Duration;

use streamspool::{BufferHandle, HttpSource, Retry, State, StreamBuffer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(url) = std::env::args().nth(1) else {
        println!("usage: guide_http ADDRESS, for example https://example.org/film.mp4");
        return Ok(());
    };
    let retry = Retry::default().attempts(20).stall_timeout(Duration::from_secs(10));
    let buffer = StreamBuffer::builder().retry(retry).spawn_source(HttpSource::new(url)?);
    tokio::spawn(show(buffer.clone()));
    println!("{} bytes", buffer.load().await?);
    Ok(())
}

/// Prints each retry with its cause.
async fn show(buffer: BufferHandle) {
    let mut updates = buffer.subscribe();
    let mut shown = None;
    while updates.changed().await.is_ok() {
        let progress = updates.latest();
        if let State::Retrying { attempt, delay } = progress.state
            && shown.replace((progress.loaded, attempt)) != Some((progress.loaded, attempt))
        {
            println!("at {}: trying again in {delay:?} (attempt {attempt})", progress.loaded);
            let error = buffer.error();
            let mut cause = error.as_ref().map(|error| error as &dyn Error);
            while let Some(error) = cause {
                println!("    {error}");
                cause = error.source();
            }
        }
    }
}
