//! A resource of an HTTP server. It counts what it fetches and keeps a copy of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;
use streamspool::{HttpSource, OpenAt, Opened, Source};

use crate::sent::Sent;

pub(crate) struct Remote {
    source: HttpSource,
    sent: Sent,
    fetched: Arc<Fetched>,
}

/// What was fetched so far.
#[derive(Default)]
pub(crate) struct Fetched {
    /// The openings of the source. Each is one request, besides redirects.
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Fetched {
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Remote {
    pub(crate) fn new(url: &str, sent: Sent) -> io::Result<(Self, Arc<Fetched>)> {
        let fetched = Arc::<Fetched>::default();
        Ok((Self { source: HttpSource::new(url)?, sent, fetched: Arc::clone(&fetched) }, fetched))
    }
}

impl Source for Remote {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        self.fetched.requests.fetch_add(1, Ordering::Relaxed);
        let asked = at.offset;
        let opened = self.source.open(at).await?;
        let mut offset = opened.start().unwrap_or(asked);
        let (sent, fetched) = (self.sent.clone(), Arc::clone(&self.fetched));
        Ok(opened.map_stream(move |stream| {
            stream.map(move |chunk| {
                let chunk = chunk?;
                // A short write to the page cache. A server with many clients would use another thread.
                sent.put(offset, &chunk)?;
                offset += chunk.len() as u64;
                fetched.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                Ok(chunk)
            })
        }))
    }
}
