//! The sources. A resource of an HTTP server is opened again after a failure. Each other source is a stream
//! that only goes forward, with a size if it is known.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use reqwest::Url;
use streamspool::{Bytes, HttpSource, OpenAt, Source};
use tokio::fs::File;
use tokio::io::AsyncRead;
use tokio::process::{Child, Command};
use tokio_util::io::ReaderStream;

use crate::BoxError;
use crate::pace::paced;

pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The longest read of a file or a pipe.
const PIECE: usize = 64 * 1024;

/// A source that is ready to be buffered.
pub(crate) struct Opened {
    pub(crate) name: String,
    /// The description on the page.
    pub(crate) source: String,
    pub(crate) feed: Feed,
    /// The options where the command line sets none.
    pub(crate) defaults: Options,
}

/// The bytes of a source.
pub(crate) enum Feed {
    /// A stream that can't be opened again, and its size if it is known.
    OneWay { stream: ByteStream, size: Option<u64> },
    /// A resource that is opened again after a failure.
    Http(HttpSource),
}

/// A resource of an HTTP server at a limited rate, in bytes per second.
pub(crate) struct Slow(pub(crate) HttpSource, pub(crate) u32);

impl Source for Slow {
    async fn open(&self, at: OpenAt) -> io::Result<streamspool::Opened> {
        let opened = self.0.open(at).await?;
        Ok(opened.map_stream(|stream| paced(stream, self.1)))
    }
}

/// The options of the buffer. The limits are in KiB.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    /// In bytes.
    pub(crate) size: Option<u64>,
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
            feed: Feed::OneWay { stream: stream::iter(pieces).boxed(), size: Some(bytes.len() as u64) },
            defaults: Options {
                rate: Some(rate),
                memory: Some(256),
                read_ahead: Some(64),
                ..Options::default()
            },
        }
    })
}

/// Opens a source of the command line. With `one_way`, an HTTP resource is requested once, now. Without it,
/// the first read requests it, and a later read again after a failure.
pub(crate) async fn open(source: &str, one_way: bool) -> Result<Opened, BoxError> {
    let of = |stream, size| Feed::OneWay { stream, size };
    let (name, feed) = if source == "-" {
        ("stdin".into(), of(pieces(tokio::io::stdin()), None))
    } else if let Some(command) = source.strip_prefix("exec:") {
        ("output".into(), of(run(command)?, None))
    } else if source.starts_with("http://") || source.starts_with("https://") {
        if one_way {
            fetch(source).await?
        } else {
            (file_name(Url::parse(source)?.path()), Feed::Http(HttpSource::new(source)?))
        }
    } else {
        let file = File::open(source).await?;
        let metadata = file.metadata().await?;
        // The size of a pipe or a device is unknown.
        let size = metadata.is_file().then_some(metadata.len());
        (file_name(source), of(pieces(file), size))
    };
    Ok(Opened { name, source: source.into(), feed, defaults: Options::default() })
}

fn pieces(reader: impl AsyncRead + Send + 'static) -> ByteStream {
    ReaderStream::with_capacity(reader, PIECE).boxed()
}

fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    name.unwrap_or("stream").into()
}

/// The body of a GET, with the size that the server declares.
async fn fetch(url: &str) -> Result<(String, Feed), BoxError> {
    // Fails only if a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let response = reqwest::get(url).await?.error_for_status()?;
    let name = file_name(response.url().path());
    let size = response.content_length();
    let stream = response.bytes_stream().map_err(io::Error::other).boxed();
    Ok((name, Feed::OneWay { stream, size }))
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
