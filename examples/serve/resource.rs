//! One resource: its source, and the buffer that reads it now.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use streamspool::{BufferHandle, Error, StreamBuffer};
use tokio::sync::{OnceCell, watch};

use crate::pace::Pace;
use crate::readers::Readers;
use crate::save::{Saving, free_path};
use crate::sources::{Options, Origin};
use crate::{BoxError, media_type, report, upstream};

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
    content_type: OnceCell<String>,
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
        Ok(Self { name, about, source, origin, pace, save_to, options, run })
    }

    /// The current buffer and its readers.
    pub(crate) fn run(&self) -> Arc<Run> {
        Arc::clone(&self.run.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the source from its start into an empty buffer, and closes the old one. Its readers get an error.
    pub(crate) async fn start_over(&self) -> Result<(), BoxError> {
        let next = Run::start(&self.name, &self.origin, &self.options, &self.pace, &self.save_to).await?;
        let old =
            std::mem::replace(&mut *self.run.lock().unwrap_or_else(PoisonError::into_inner), Arc::new(next));
        old.buffer.close();
        Ok(())
    }

    /// The path of its URL.
    pub(crate) fn path(&self) -> String {
        format!("/media/{}", self.name)
    }

    /// The type: from the first bytes and the name, or else from the server that the resource comes from. The
    /// buffer keeps the bytes for later reads.
    pub(crate) async fn content_type<'run>(&self, run: &'run Run) -> Result<&'run str, Error> {
        let find = async {
            let head = match run.buffer.read(0, HEAD).await {
                Ok(head) => head,
                // The source has failed. The bytes before that determine the type.
                Err(error) => {
                    run.buffer.read(0, HEAD.min(usize::try_from(error.offset()).unwrap_or(0))).await?
                }
            };
            if let Some(kind) = media_type::of(&head, &self.origin.name()) {
                return Ok(kind.into());
            }
            let declared = match &self.origin {
                Origin::Http { url, client, .. } => upstream::declared_type(client, url).await,
                _ => None,
            };
            Ok(declared.unwrap_or_else(|| media_type::UNKNOWN.into()))
        };
        run.content_type.get_or_try_init(|| find).await.map(String::as_str)
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
        let buffer = origin.open(builder, options, pace).await?;
        tokio::spawn(report::failures(name.to_owned(), buffer.downgrade(), buffer.subscribe()));
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Ok(Self {
            name: name.into(),
            etag: format!("\"{started:x}-{name}\""),
            buffer,
            readers: Arc::default(),
            saving: watch::Sender::new(Saving::Idle { target: free_path(save_to, name) }),
            content_type: OnceCell::new(),
        })
    }

    /// The type, if it is known yet.
    pub(crate) fn known_content_type(&self) -> Option<&str> {
        self.content_type.get().map(String::as_str)
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
