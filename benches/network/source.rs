//! A source in this process that behaves like a distant server, and counts what is asked of it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::{Stream, stream};
use streamspool::{Bytes, OpenAt, Opened, Source, Version};

use crate::link::{Arrivals, CHUNK, Link};

/// What was asked of a source or a server.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
    /// Connections that are open now, and the most at once.
    open: Mutex<(u64, u64)>,
}

impl Counts {
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The most connections that were open at once.
    pub(crate) fn most_open(&self) -> u64 {
        self.open.lock().expect("no panic").1
    }

    pub(crate) fn add_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A request begins. It is open until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Begun {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.lock().expect("no panic");
        open.0 += 1;
        open.1 = open.1.max(open.0);
        Begun(Arc::clone(self))
    }
}

/// An open request.
#[derive(Debug)]
pub(crate) struct Begun(Arc<Counts>);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.open.lock().expect("no panic").0 -= 1;
    }
}

/// A resource with a strong version that can be opened anywhere.
#[derive(Clone, Debug)]
pub(crate) struct Distant {
    pub(crate) all: Bytes,
    pub(crate) link: Link,
    pub(crate) counts: Arc<Counts>,
}

impl Distant {
    /// The stream counts the bytes that are polled from it.
    fn stream(
        &self,
        rest: Bytes,
        arrivals: Arrivals,
        begun: Begun,
    ) -> impl Stream<Item = io::Result<Bytes>> + use<> {
        let counts = Arc::clone(&self.counts);
        stream::unfold((rest, arrivals, begun), move |(mut rest, mut arrivals, begun)| {
            let counts = Arc::clone(&counts);
            async move {
                let len = rest.len().min(CHUNK as usize);
                if len == 0 {
                    return None;
                }
                arrivals.next(len as u64).await;
                counts.add_bytes(len);
                Some((Ok(rest.split_to(len)), (rest, arrivals, begun)))
            }
        })
    }
}

impl Source for Distant {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        let begun = self.counts.begin();
        let arrivals = self.link.answer().await;
        let size = self.all.len() as u64;
        let end = at.end.unwrap_or(size).min(size);
        let rest = self.all.slice(at.offset.min(end) as usize..end as usize);
        let stream = self.stream(rest, arrivals, begun);
        Ok(Opened::new(stream).size(size).version(Version::strong("v1")))
    }
}
