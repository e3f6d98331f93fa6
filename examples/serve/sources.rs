//! The sources. A resource of an HTTP server is opened again after a failure. Each other source is a stream
//! that only goes forward, with a size if it is known.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{Stream, StreamExt, stream};
use reqwest::Url;
use reqwest::header::HeaderMap;
use streamspool::{BufferHandle, Builder, Bytes, HttpSource, Retry};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::ReaderStream;

use crate::BoxError;
use crate::command::Running;
use crate::pace::{Pace, paced};
use crate::shipped::SlowOrigin;
use crate::streams::Streams;
use crate::upstream::{Clients, Noticed, Once, Shown, check_scheme};

pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// The longest read of a file or a pipe.
const PIECE: usize = 64 * 1024;

/// Where the bytes of a resource come from.
pub(crate) enum Origin {
    /// A file of the repository, as a part of this program, as a stream that only goes forward.
    Shipped(&'static [u8]),
    /// The same from a slow server in this program, which can be asked for any part.
    Slow(&'static [u8]),
    Stdin,
    Command(String),
    /// A resource of another server. With `once`, it is requested once, when the server starts.
    Http {
        url: Url,
        clients: Clients,
        headers: HeaderMap,
        once: bool,
    },
    File(PathBuf),
}

/// What tells two versions of a file apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    size: u64,
    modified: SystemTime,
}

/// The options of every buffer. The memory, the disk and the read-ahead are in KiB.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    pub(crate) size: Option<u64>,
    pub(crate) memory: Option<u32>,
    pub(crate) disk: Option<u32>,
    pub(crate) read_ahead: Option<u32>,
    /// The most streams of a source at once.
    pub(crate) streams: Option<usize>,
    /// How long an HTTP source may be silent while its bytes are needed.
    pub(crate) silence: Duration,
}

impl Origin {
    /// The source that an argument names.
    pub(crate) fn parse(
        argument: &str,
        clients: &Clients,
        headers: &HeaderMap,
        once: bool,
    ) -> Result<Self, BoxError> {
        if argument == "-" {
            return Ok(Self::Stdin);
        }
        if let Some(command) = argument.strip_prefix("exec:") {
            return Ok(Self::Command(command.into()));
        }
        // `C:\film.mp4` and `take:2.wav` are paths.
        let scheme = argument.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => {
                let url = Url::parse(argument)?;
                check_scheme(&url)?;
                Ok(Self::Http { url, clients: clients.clone(), headers: headers.clone(), once })
            }
            Some("file") => {
                let path = Url::parse(argument)?.to_file_path();
                Ok(Self::File(path.map_err(|()| "it names no file of this machine")?))
            }
            Some(scheme) if scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) => {
                Err(format!("the scheme {scheme} is not supported, only http, https and file").into())
            }
            _ => Ok(Self::File(argument.into())),
        }
    }

    /// A name for its resource.
    pub(crate) fn name(&self) -> String {
        let last = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = match self {
            Self::Shipped(_) | Self::Slow(_) => None,
            Self::Stdin => Some("stdin".into()),
            Self::Command(_) => Some("output".into()),
            Self::Http { url, .. } => last(Path::new(url.path())),
            Self::File(path) => last(path),
        };
        name.unwrap_or_else(|| "stream".into())
    }

    /// Whether it can be read from its start again.
    pub(crate) fn can_start_over(&self) -> bool {
        match self {
            Self::Stdin => false,
            Self::File(path) => path.is_file(),
            Self::Shipped(_) | Self::Slow(_) | Self::Command(_) | Self::Http { .. } => true,
        }
    }

    /// The version of a file now. Two versions of a file differ in size or in the time of their last change.
    pub(crate) async fn stamp(&self) -> Option<Stamp> {
        let Self::File(path) = self else { return None };
        let metadata = tokio::fs::metadata(path).await.ok().filter(std::fs::Metadata::is_file)?;
        Some(Stamp { size: metadata.len(), modified: metadata.modified().ok()? })
    }

    /// Starts to buffer it.
    pub(crate) async fn open(
        &self,
        mut builder: Builder,
        options: &Options,
        pace: &Arc<Pace>,
        streams: &Arc<Streams>,
    ) -> Result<BufferHandle, BoxError> {
        let shown = |stream| streams.follow(paced(stream, pace), 0);
        if let Some(most) = options.streams {
            builder = builder.streams(most);
        }
        // The size of the command line is compared with that of the source.
        let sized = |builder: Builder, size: Option<u64>| builder.size(options.size.or(size));
        let retry = Retry::default().stall_timeout(options.silence);
        Ok(match self {
            Self::Shipped(bytes) => {
                let pieces = stream::iter(bytes.chunks(PIECE).map(|piece| Ok(Bytes::from_static(piece))));
                sized(builder, Some(bytes.len() as u64)).spawn(shown(pieces.boxed()))
            }
            Self::Slow(bytes) => {
                let (pace, streams) = (Arc::clone(pace), Arc::clone(streams));
                builder.spawn_source(Shown { source: SlowOrigin(bytes), pace, streams })
            }
            Self::Stdin => sized(builder, None).spawn(shown(pieces(tokio::io::stdin()))),
            Self::Command(command) => {
                let output = Running::start(command)?.output(PIECE);
                sized(builder, None).spawn(shown(output))
            }
            Self::File(path) => {
                let file = File::open(path).await?;
                let metadata = file.metadata().await?;
                if metadata.is_dir() {
                    return Err("it is a directory".into());
                }
                // The size of a pipe or a device is unknown.
                let size = metadata.is_file().then_some(metadata.len());
                // A file that grows meanwhile is read up to the size that it had.
                let file = file.take(size.unwrap_or(u64::MAX));
                sized(builder, size).spawn(shown(pieces(file)))
            }
            Self::Http { url, clients, headers, once } => {
                if options.size.is_some() {
                    builder = builder.size(options.size);
                }
                if *once {
                    let (client, streams) = (clients.any.clone(), Arc::clone(streams));
                    let headers = headers.clone();
                    let source =
                        Once::new(client, url.clone(), headers, options.silence, Arc::clone(&streams));
                    // The source itself reports the silence before the response.
                    let retry = Retry::never().stall_timeout(options.silence + Duration::from_secs(1));
                    let pace = Arc::clone(pace);
                    let buffer = builder.retry(retry).spawn_source(Shown { source, pace, streams });
                    let start = buffer.clone();
                    // The request is sent now, and its failure is reported by the state of the buffer.
                    tokio::spawn(async move { start.read(0, 1).await });
                    buffer
                } else {
                    let source = HttpSource::with_client(clients.one_host.clone(), url.clone())?;
                    let source = source.follow_redirects();
                    let add = |source: HttpSource, (name, value)| source.header(name, value);
                    let source = headers.iter().fold(source, add);
                    let (first, streams) = (source.first_answer(), Arc::clone(streams));
                    let source = Noticed { source, first, streams: Arc::clone(&streams) };
                    let pace = Arc::clone(pace);
                    builder.retry(retry).spawn_source(Shown { source, pace, streams })
                }
            }
        })
    }
}

fn pieces(reader: impl AsyncRead + Send + 'static) -> ByteStream {
    ReaderStream::with_capacity(reader, PIECE).boxed()
}
