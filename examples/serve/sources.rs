//! Where bytes come from: each source is a name, perhaps a size, and a stream that only goes forward.

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

/// How much a file or a pipe is asked for at once.
const PIECE: usize = 64 * 1024;

/// A source that is ready to be buffered.
pub(crate) struct Opened {
    pub(crate) name: String,
    /// What to tell people about it.
    pub(crate) source: String,
    pub(crate) size: Option<u64>,
    pub(crate) stream: ByteStream,
    /// What fits it where the command line says nothing.
    pub(crate) defaults: Options,
}

/// What the command line says about buffering, in KiB.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) rate: Option<u32>,
    pub(crate) memory: Option<u32>,
    pub(crate) read_ahead: Option<u32>,
}

/// The media in `assets/`, at a pace and in a memory that leave something to see: little memory and
/// little read ahead, so that bytes go to disk and the picture shows who asks for what.
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

/// Opens what the command line names.
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
        // A pipe or a device has no size to promise.
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

/// The body of a GET, with the size that its server promises.
async fn fetch(url: &str) -> Result<(String, Option<u64>, ByteStream), BoxError> {
    // Fails only if there is a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let response = reqwest::get(url).await?.error_for_status()?;
    let name = file_name(response.url().path());
    let size = response.content_length();
    Ok((name, size, response.bytes_stream().map_err(io::Error::other).boxed()))
}

/// What a shell command writes. Where it fails, so does the stream: half an output is no output.
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
