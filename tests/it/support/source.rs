//! Sources: one that the test feeds step by step, and one that is always ready.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::Stream;
use streamspool::Bytes;
use tokio::sync::mpsc;

use super::{byte_at, data, jobs};

enum Step {
    Chunk(Bytes),
    Fail(io::Error),
    Panic,
    End,
}

/// The test's end of a source.
pub struct Feed {
    steps: mpsc::UnboundedSender<Step>,
    seen: Arc<Seen>,
    fed: u64,
}

#[derive(Default)]
struct Seen {
    taken: AtomicUsize,
    polled_after_end: AtomicBool,
    dropped: AtomicBool,
}

/// The buffer's end of it.
pub struct Source {
    steps: mpsc::UnboundedReceiver<Step>,
    seen: Arc<Seen>,
    ended: bool,
}

/// A source that yields what the test feeds it, and waits meanwhile.
pub fn source() -> (Feed, Source) {
    jobs::watch();
    let (sender, steps) = mpsc::unbounded_channel();
    let seen = Arc::<Seen>::default();
    let source = Source { steps, seen: Arc::clone(&seen), ended: false };
    (Feed { steps: sender, seen, fed: 0 }, source)
}

impl Feed {
    /// Offers the next `len` bytes of [`data`] as one chunk.
    pub fn chunk(&mut self, len: usize) {
        self.bytes(data(self.fed, len));
    }

    /// Offers a chunk of its own content.
    pub fn bytes(&mut self, bytes: Bytes) {
        self.fed += bytes.len() as u64;
        self.send(Step::Chunk(bytes));
    }

    pub fn fail(&self, error: io::Error) {
        self.send(Step::Fail(error));
    }

    pub fn panic(&self) {
        self.send(Step::Panic);
    }

    pub fn end(&self) {
        self.send(Step::End);
    }

    fn send(&self, step: Step) {
        // A buffer that has let go of its source takes no more; some tests offer more all the same.
        let _ = self.steps.send(step);
    }

    /// How many steps the buffer has taken.
    pub fn taken(&self) -> usize {
        self.seen.taken.load(Ordering::SeqCst)
    }

    pub fn is_dropped(&self) -> bool {
        self.seen.dropped.load(Ordering::SeqCst)
    }

    pub fn was_polled_after_end(&self) -> bool {
        self.seen.polled_after_end.load(Ordering::SeqCst)
    }
}

impl Stream for Source {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            self.seen.polled_after_end.store(true, Ordering::SeqCst);
            return Poll::Ready(None);
        }
        let Poll::Ready(Some(step)) = self.steps.poll_recv(cx) else { return Poll::Pending };
        self.seen.taken.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(match step {
            Step::Chunk(bytes) => Some(Ok(bytes)),
            Step::Fail(error) => {
                self.ended = true;
                Some(Err(error))
            }
            Step::Panic => {
                self.ended = true;
                panic!("as the test asked");
            }
            Step::End => {
                self.ended = true;
                None
            }
        })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.seen.dropped.store(true, Ordering::SeqCst);
    }
}

/// `size` bytes of [`data`] in chunks of `chunk` bytes, always ready.
pub fn ready(size: u64, chunk: usize) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    jobs::watch();
    let starts = (0..size).step_by(chunk);
    futures::stream::iter(starts.map(move |start| {
        let end = size.min(start + chunk as u64);
        Ok((start..end).map(byte_at).collect())
    }))
}

/// The same in chunks of random sizes, some of them empty.
pub fn ragged(size: u64, seed: u64) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    jobs::watch();
    let mut random = super::Random(seed);
    let mut start = 0;
    futures::stream::iter(std::iter::from_fn(move || {
        if start == size {
            return None;
        }
        let most = [1, 100, 4096, 70_000, 600_000][random.below(5) as usize];
        let end = size.min(start + random.below(most));
        let chunk: Bytes = (start..end).map(byte_at).collect();
        start = end;
        Some(Ok(chunk))
    }))
}
