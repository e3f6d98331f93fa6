//! One resource: a buffer, and what the server adds to it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use streamspool::{BufferHandle, Error, StreamBuffer};
use tokio::sync::{OnceCell, watch};

use crate::pace::paced;
use crate::readers::Readers;
use crate::save::Saving;
use crate::sources::{Opened, Options};

/// Enough to know the media that browsers play, little enough to wait for.
const HEAD: usize = 512;

pub(crate) struct Resource {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) buffer: BufferHandle,
    pub(crate) readers: Arc<Readers>,
    pub(crate) saving: watch::Sender<Saving>,
    /// Names these very bytes: they never change while this buffer lives, and another run of the
    /// server, or another resource, may have others.
    pub(crate) etag: String,
    content_type: OnceCell<&'static str>,
}

impl Resource {
    pub(crate) fn new(opened: Opened, options: &Options, taken: impl Fn(&str) -> bool) -> Self {
        let Opened { name, source, size, stream, defaults } = opened;
        let name = free_name(&name, taken);
        let stream = match options.rate.or(defaults.rate) {
            Some(kib) => paced(stream, kib.saturating_mul(1024)),
            None => stream,
        };
        let mut builder = StreamBuffer::builder().size(size).name(&name);
        if let Some(kib) = options.memory.or(defaults.memory) {
            builder = builder.max_memory((kib as usize).saturating_mul(1024));
        }
        if let Some(kib) = options.read_ahead.or(defaults.read_ahead) {
            builder = builder.read_ahead(u64::from(kib) * 1024);
        }
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self {
            etag: format!("\"{started:x}-{name}\""),
            name,
            source,
            buffer: builder.spawn(stream),
            readers: Arc::default(),
            saving: watch::Sender::new(Saving::Idle),
            content_type: OnceCell::new(),
        }
    }

    /// Where it is served.
    pub(crate) fn path(&self) -> String {
        format!("/media/{}", self.name)
    }

    /// What it is, told from its first bytes: the buffer keeps them for those who read them next.
    pub(crate) async fn content_type(&self) -> Result<&'static str, Error> {
        let sniff = async {
            let head = match self.buffer.read(0, HEAD).await {
                Ok(head) => head,
                // What came before a fault may be asked for, and is something too.
                Err(error) => {
                    self.buffer.read(0, HEAD.min(usize::try_from(error.offset()).unwrap_or(0))).await?
                }
            };
            let kind = infer::get(&head).map(|kind| kind.mime_type());
            Ok(kind.unwrap_or("application/octet-stream"))
        };
        self.content_type.get_or_try_init(|| sniff).await.copied()
    }

    /// What is known of it by now.
    pub(crate) fn known_content_type(&self) -> Option<&'static str> {
        self.content_type.get().copied()
    }
}

/// A name that needs no escaping in a path, and that no other resource has.
fn free_name(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let plain: String = wanted.trim_start_matches('.').chars().map(plain).collect();
    let plain = if plain.is_empty() { "stream".into() } else { plain };
    let numbered = (2..).map(|number| format!("{number}-{plain}"));
    std::iter::once(plain.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(plain.clone())
}
