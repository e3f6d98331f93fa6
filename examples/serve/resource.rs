//! One resource: its source, and the buffer that reads it now.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use streamspool::{BufferHandle, Error, ErrorKind, State, StreamBuffer};
use tokio::sync::{OnceCell, watch};

use crate::pace::Pace;
use crate::readers::Readers;
use crate::save::{Saving, free_path};
use crate::sources::{Options, Origin, Stamp};
use crate::streams::Streams;
use crate::{BoxError, media_type, report};

/// The bytes that determine the type. They suffice for the media that browsers play and arrive soon.
const HEAD: usize = 512;

pub(crate) struct Resource {
    pub(crate) name: String,
    /// A description for the page.
    pub(crate) about: String,
    /// The origin, for the page and the terminal.
    pub(crate) source: String,
    pub(crate) origin: Origin,
    pub(crate) pace: Arc<Pace>,
    pub(crate) save_to: PathBuf,
    options: Options,
    run: Mutex<Arc<Run>>,
    /// Held while a new version is opened, so that only one request opens it.
    renewing: tokio::sync::Mutex<()>,
}

/// A buffer of the resource. Another one replaces it when the resource starts over.
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) buffer: BufferHandle,
    pub(crate) readers: Arc<Readers>,
    pub(crate) saving: watch::Sender<Saving>,
    /// The version of the bytes. They do not change while the buffer lives. Another run of the server or
    /// another resource may have other bytes, so the value is unique to both.
    pub(crate) etag: String,
    /// The start of the run, in whole seconds. `None` if an earlier run has the same.
    pub(crate) modified: Option<SystemTime>,
    pub(crate) streams: Arc<Streams>,
    /// The version of the file that is read.
    stamp: Option<Stamp>,
    content: OnceCell<Content>,
}

/// The headers that describe the bytes.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) kind: String,
    /// The origin sends encoded bytes, which are passed on as they are.
    pub(crate) encoding: Option<String>,
}

/// The description from which a resource is made.
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) source: String,
    pub(crate) origin: Origin,
    pub(crate) pace: Option<u32>,
    pub(crate) options: Options,
    pub(crate) save_to: PathBuf,
}

impl Resource {
    pub(crate) async fn open(described: Described, taken: impl Fn(&str) -> bool) -> Result<Self, BoxError> {
        let Described { name, about, source, origin, pace, options, save_to } = described;
        let name = free_name(&name, taken);
        let pace = Pace::new(pace);
        let run = Run::start(&name, &origin, &options, &pace, &save_to).await?;
        let run = Mutex::new(Arc::new(run));
        let renewing = tokio::sync::Mutex::default();
        Ok(Self { name, about, source, origin, pace, save_to, options, run, renewing })
    }

    /// The current buffer and its readers.
    pub(crate) fn run(&self) -> Arc<Run> {
        Arc::clone(&self.run.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The buffer for a new request. If the source has another version by now, and the current buffer can't be
    /// read any more or has no reader, a new buffer reads the new version. Readers of the old one go on.
    pub(crate) async fn current(&self) -> Arc<Run> {
        let run = self.run();
        if !self.is_outdated(&run).await {
            return run;
        }
        let _turn = self.renewing.lock().await;
        // Another request has opened the new version meanwhile.
        if Arc::ptr_eq(&run, &self.run()) {
            // If the source can't be opened, the old buffer says why.
            let _ = self.replace(&run).await;
        }
        self.run()
    }

    async fn is_outdated(&self, run: &Run) -> bool {
        let is_failed = run.buffer.progress().state == State::Failed;
        let is_other = || run.buffer.error().is_some_and(|error| error.kind() == ErrorKind::Changed);
        if is_failed && is_other() {
            return self.origin.can_start_over();
        }
        let Some(stamp) = run.stamp else { return false };
        (is_failed || !run.readers.are_reading()) && self.origin.stamp().await.is_some_and(|now| now != stamp)
    }

    /// Reads the source from its start into an empty buffer, and closes the old one. Its readers get an error.
    pub(crate) async fn start_over(&self) -> Result<(), BoxError> {
        let old = self.run();
        self.replace(&old).await?;
        old.buffer.close();
        Ok(())
    }

    async fn replace(&self, old: &Run) -> Result<(), BoxError> {
        let mut next = Run::start(&self.name, &self.origin, &self.options, &self.pace, &self.save_to).await?;
        // Two runs that started within one second can't be told apart by a date.
        next.modified = next.modified.filter(|date| old.modified.is_some_and(|old| *date > old));
        *self.run.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    /// The path of its URL.
    pub(crate) fn path(&self) -> String {
        format!("/media/{}", self.name)
    }

    /// The type: from the first bytes and the name, or else from the server that the resource comes from. The
    /// buffer keeps the bytes for later reads.
    pub(crate) async fn content<'run>(&self, run: &'run Run) -> Result<&'run Content, Error> {
        let find = async {
            let head = match run.buffer.read(0, HEAD).await {
                Ok(head) => head,
                // The source has failed. The bytes before that determine the type. If the first bytes were
                // discarded, the name determines it.
                Err(error) if error.offset() > 0 || error.kind() == ErrorKind::Discarded => {
                    run.buffer.read(0, HEAD.min(usize::try_from(error.offset()).unwrap_or(HEAD))).await?
                }
                Err(error) => return Err(error),
            };
            let declared = run.streams.declared();
            let name = self.origin.name();
            // The first bytes of an encoded resource don't show its type.
            let is_coded = declared.encoding.is_some();
            let found = if is_coded { None } else { media_type::of(&head, &name) };
            if let Some(kind) = found {
                return Ok(Content { kind: kind.into(), encoding: None });
            }
            let kind = declared.kind.or_else(|| media_type::of_name(&name).map(str::to_owned));
            Ok(Content {
                kind: kind.unwrap_or_else(|| media_type::UNKNOWN.into()),
                encoding: declared.encoding,
            })
        };
        run.content.get_or_try_init(|| find).await
    }
}

impl Run {
    async fn start(
        name: &str,
        origin: &Origin,
        options: &Options,
        pace: &Arc<Pace>,
        save_to: &std::path::Path,
    ) -> Result<Self, BoxError> {
        let mut builder = StreamBuffer::builder().name(name);
        if let Some(kib) = options.memory {
            builder = builder.max_memory((kib as usize).saturating_mul(1024));
        }
        if let Some(kib) = options.disk {
            builder = builder.max_disk(u64::from(kib) * 1024);
        }
        if let Some(kib) = options.read_ahead {
            builder = builder.read_ahead(u64::from(kib) * 1024);
        }
        // Before the file is opened: if it changes in between, the next request opens it again.
        let stamp = origin.stamp().await;
        let streams = Arc::default();
        let buffer = origin.open(builder, options, pace, &streams).await?;
        tokio::spawn(report::failures(name.to_owned(), buffer.downgrade(), buffer.subscribe()));
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            name: name.into(),
            etag: format!("\"{:x}-{name}\"", started.as_nanos()),
            modified: Some(UNIX_EPOCH + Duration::from_secs(started.as_secs())),
            buffer,
            streams,
            stamp,
            readers: Arc::default(),
            saving: watch::Sender::new(Saving::Idle { target: free_path(save_to, name) }),
            content: OnceCell::new(),
        })
    }

    /// The type, if it is known yet.
    pub(crate) fn known_content_type(&self) -> Option<&str> {
        self.content.get().map(|content| content.kind.as_str())
    }
}

/// A unique name that needs no escaping in a path.
fn free_name(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let plain: String = wanted.trim_start_matches('.').chars().map(plain).collect();
    let plain = if plain.is_empty() { "stream".into() } else { plain };
    let numbered = (2..).map(|number| format!("{number}-{plain}"));
    std::iter::once(plain.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(plain.clone())
}
