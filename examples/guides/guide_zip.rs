//! Guide: list a zip archive on a server and extract one file, with a handful of requests.

use std::io::Read;

use guides::Server;
use streamspool::{BlockingReader, HttpSource, StreamBuffer};
use zip::ZipArchive;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The list is at the end of an archive. Call this on a thread that may block.
fn extract(reader: BlockingReader) -> Result<Vec<u8>, Error> {
    let mut archive = ZipArchive::new(reader)?;
    println!("{} files", archive.len());
    let mut picture = Vec::new();
    archive.by_name("picture 17.raw")?.read_to_end(&mut picture)?;
    Ok(picture)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let archive = guides::archive()?;
    let size = archive.len();
    let server = Server::start(archive, 0)?;
    // No read-ahead: only what the archive asks for is fetched.
    let buffer = StreamBuffer::builder().read_ahead(0).spawn_source(HttpSource::new(server.url())?);
    let reader = buffer.blocking_reader();
    let picture = tokio::task::spawn_blocking(|| extract(reader)).await??;
    let (requests, bytes) = server.sent();
    println!("{} bytes extracted; {requests} requests, {bytes} of {size} bytes sent", picture.len());
    Ok(())
}
