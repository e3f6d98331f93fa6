//! The sources. Each has a name, a stream that only goes forward, and a size if it is known.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use streamspool::Bytes;
use tokio::fs::File;
use tokio::io::AsyncRead;
use tokio::process::{Child, Command};
use tokio_util::io::ReaderStream;

use crate::BoxError;

pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The longest read of a file or a pipe.
const PIECE: usize = 64 * 1024;

/// A source that is ready to be buffered.
pub(crate) struct Opened {
    pub(crate) name: String,
    /// The description on the page.
    pub(crate) source: String,
    pub(crate) size: Option<u64>,
    pub(crate) stream: ByteStream,
    /// The options where the command line sets none.
    pub(crate) defaults: Options,
}

/// The options of the buffer, in KiB.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) rate: Option<u32>,
    pub(crate) memory: Option<u32>,
    pub(crate) read_ahead: Option<u32>,
}

/// The media in `assets/`. Rate, memory and read-ahead are low, so that the page shows bytes that are
/// missing, in memory and on disk.
pub(crate) fn shipped() -> [Opened; 2] {
    let clip = include_bytes!("../../assets/clip.mp4").as_slice();
    let tune = include_bytes!("../../assets/tune.mp3").as_slice();
    [("clip.mp4", clip, 256), ("tune.mp3", tune, 48)].map(|(name, bytes, rate)| {
        let pieces = bytes.chunks(PIECE).map(|piece| Ok(Bytes::from_static(piece)));
        Opened {
            name: name.into(),
            source: format!("shipped, delivered at {rate} KiB/s"),
            size: Some(bytes.len() as u64),
            stream: stream::iter(pieces).boxed(),
            defaults: Options { rate: Some(rate), memory: Some(256), read_ahead: Some(64) },
        }
    })
}

/// Opens a source of the command line.
pub(crate) async fn open(source: &str) -> Result<Opened, BoxError> {
    let (name, size, stream) = if source == "-" {
        ("stdin".into(), None, pieces(tokio::io::stdin()))
    } else if let Some(command) = source.strip_prefix("exec:") {
        ("output".into(), None, run(command)?)
    } else if source.starts_with("http://") || source.starts_with("https://") {
        fetch(source).await?
    } else {
        let file = File::open(source).await?;
        let metadata = file.metadata().await?;
        // The size of a pipe or a device is unknown.
        let size = metadata.is_file().then_some(metadata.len());
        (file_name(source), size, pieces(file))
    };
    Ok(Opened { name, source: source.into(), size, stream, defaults: Options::default() })
}

fn pieces(reader: impl AsyncRead + Send + 'static) -> ByteStream {
    ReaderStream::with_capacity(reader, PIECE).boxed()
}

fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    name.unwrap_or("stream").into()
}

/// The body of a GET, with the size that the server declares.
async fn fetch(url: &str) -> Result<(String, Option<u64>, ByteStream), BoxError> {
    // Fails only if a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let response = reqwest::get(url).await?.error_for_status()?;
    let name = file_name(response.url().path());
    let size = response.content_length();
    Ok((name, size, response.bytes_stream().map_err(io::Error::other).boxed()))
}

/// The output of a shell command. If the command fails, the stream fails, because the output may be
/// incomplete.
fn run(command: &str) -> Result<ByteStream, BoxError> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().ok_or("the command has no output")?;
    let verdict = stream::once(success(child)).try_filter_map(|()| async { Ok(None) });
    Ok(ReaderStream::with_capacity(output, PIECE).chain(verdict).boxed())
}

async fn success(mut child: Child) -> io::Result<()> {
    let status = child.wait().await?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("the command ended with {status}"))) }
}
