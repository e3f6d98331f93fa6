//! One resource: a buffer with its name, type, readers and save.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use streamspool::{BufferHandle, Error, StreamBuffer};
use tokio::sync::{OnceCell, watch};

use crate::pace::paced;
use crate::readers::Readers;
use crate::save::Saving;
use crate::sources::{Feed, Opened, Options, Slow};

/// The bytes that determine the type. They suffice for the media that browsers play and arrive soon.
const HEAD: usize = 512;

pub(crate) struct Resource {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) buffer: BufferHandle,
    pub(crate) readers: Arc<Readers>,
    pub(crate) saving: watch::Sender<Saving>,
    /// The version of the bytes. They do not change while the buffer lives. Another run of the server or
    /// another resource may have other bytes, so the value is unique to both.
    pub(crate) etag: String,
    content_type: OnceCell<&'static str>,
}

impl Resource {
    pub(crate) fn new(opened: Opened, options: &Options, taken: impl Fn(&str) -> bool) -> Self {
        let Opened { name, source, feed, defaults } = opened;
        let name = free_name(&name, taken);
        let mut builder = StreamBuffer::builder().name(&name);
        if let Some(kib) = options.memory.or(defaults.memory) {
            builder = builder.max_memory((kib as usize).saturating_mul(1024));
        }
        if let Some(kib) = options.read_ahead.or(defaults.read_ahead) {
            builder = builder.read_ahead(u64::from(kib) * 1024);
        }
        let rate = options.rate.or(defaults.rate).map(|kib| kib.saturating_mul(1024));
        if let Feed::OneWay { size, .. } = feed {
            builder = builder.size(size);
        }
        // The size of the command line is compared with that of the source.
        if options.size.is_some() {
            builder = builder.size(options.size);
        }
        let buffer = match (feed, rate) {
            (Feed::OneWay { stream, .. }, None) => builder.spawn(stream),
            (Feed::OneWay { stream, .. }, Some(rate)) => builder.spawn(paced(stream, rate)),
            (Feed::Http(source), None) => builder.spawn_source(source),
            (Feed::Http(source), Some(rate)) => builder.spawn_source(Slow(source, rate)),
        };
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self {
            etag: format!("\"{started:x}-{name}\""),
            name,
            source,
            buffer,
            readers: Arc::default(),
            saving: watch::Sender::new(Saving::Idle),
            content_type: OnceCell::new(),
        }
    }

    /// The path of its URL.
    pub(crate) fn path(&self) -> String {
        format!("/media/{}", self.name)
    }

    /// The type, determined from the first bytes. The buffer keeps them for later reads.
    pub(crate) async fn content_type(&self) -> Result<&'static str, Error> {
        let sniff = async {
            let head = match self.buffer.read(0, HEAD).await {
                Ok(head) => head,
                // The source has failed. The bytes before that determine the type.
                Err(error) => {
                    self.buffer.read(0, HEAD.min(usize::try_from(error.offset()).unwrap_or(0))).await?
                }
            };
            let kind = infer::get(&head).map(|kind| kind.mime_type());
            Ok(kind.unwrap_or("application/octet-stream"))
        };
        self.content_type.get_or_try_init(|| sniff).await.copied()
    }

    /// The type, if it is known yet.
    pub(crate) fn known_content_type(&self) -> Option<&'static str> {
        self.content_type.get().copied()
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
