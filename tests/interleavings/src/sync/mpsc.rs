//! The unbounded channel of tokio 1.54 (`tokio::sync::mpsc`), with room for a few messages.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use super::AtomicWaker;

/// The messages that a model can send, and one place for the end.
const PLACES: usize = 4;

struct Channel<T> {
    /// Whether the receiver is closed (1), and twice the number of messages sent and not received. A
    /// message counts from the moment in which its sender has found the channel open.
    semaphore: AtomicUsize,
    /// The next place to write to.
    tail: AtomicUsize,
    /// A bit for each place that is written.
    ready: AtomicUsize,
    places: [Mutex<Option<T>>; PLACES],
    senders: AtomicUsize,
    receiver: AtomicWaker,
}

pub(crate) struct UnboundedSender<T>(Arc<Channel<T>>);

pub(crate) struct UnboundedReceiver<T> {
    channel: Arc<Channel<T>>,
    /// The next place to read from.
    head: usize,
    closed: bool,
}

pub(crate) fn unbounded_channel<T>() -> (UnboundedSender<T>, UnboundedReceiver<T>) {
    let channel = Arc::new(Channel {
        semaphore: AtomicUsize::new(0),
        tail: AtomicUsize::new(0),
        ready: AtomicUsize::new(0),
        places: [const { Mutex::new(None) }; PLACES],
        senders: AtomicUsize::new(1),
        receiver: AtomicWaker::default(),
    });
    (UnboundedSender(Arc::clone(&channel)), UnboundedReceiver { channel, head: 0, closed: false })
}

impl<T> Channel<T> {
    /// Writes a message, or the end if there is none.
    fn push(&self, message: Option<T>) {
        let place = self.tail.fetch_add(1, Acquire);
        *self.places[place].try_lock().unwrap() = message;
        self.ready.fetch_or(1 << place, Release);
        self.receiver.wake();
    }
}

impl<T> UnboundedSender<T> {
    pub(crate) fn send(&self, message: T) -> Result<(), T> {
        let semaphore = &self.0.semaphore;
        let mut state = semaphore.load(Acquire);
        loop {
            if state & 1 == 1 {
                return Err(message);
            }
            match semaphore.compare_exchange(state, state + 2, AcqRel, Acquire) {
                Ok(_) => break,
                Err(actual) => state = actual,
            }
        }
        self.0.push(Some(message));
        Ok(())
    }
}

impl<T> Clone for UnboundedSender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, loom::sync::atomic::Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for UnboundedSender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, AcqRel) == 1 {
            self.0.push(None);
        }
    }
}

impl<T> UnboundedReceiver<T> {
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.channel.semaphore.fetch_or(1, Release);
    }

    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut message = Vec::new();
        self.poll_recv_many(cx, &mut message, 1).map(|_| message.pop())
    }

    pub(crate) fn poll_recv_many(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Vec<T>,
        most: usize,
    ) -> Poll<usize> {
        if let Some(taken) = self.pop(batch, most) {
            return Poll::Ready(taken);
        }
        self.channel.receiver.register(cx.waker());
        if let Some(taken) = self.pop(batch, most) {
            return Poll::Ready(taken);
        }
        if self.closed && self.channel.semaphore.load(Acquire) >> 1 == 0 {
            return Poll::Ready(0);
        }
        Poll::Pending
    }

    /// Takes messages that are there. Zero are taken at the end only.
    fn pop(&mut self, batch: &mut Vec<T>, most: usize) -> Option<usize> {
        let mut taken = 0;
        let mut at_end = false;
        while taken < most && !at_end && self.channel.ready.load(Acquire) & (1 << self.head) != 0 {
            match self.channel.places[self.head].try_lock().unwrap().take() {
                Some(message) => {
                    batch.push(message);
                    taken += 1;
                    self.head += 1;
                }
                None => at_end = true,
            }
        }
        if taken > 0 {
            self.channel.semaphore.fetch_sub(taken << 1, Release);
        }
        (taken > 0 || at_end).then_some(taken)
    }
}

/// Drops the messages that are in the channel. A message that is half sent stays until the last sender is
/// dropped, as in tokio. The library has to handle this.
impl<T> Drop for UnboundedReceiver<T> {
    fn drop(&mut self) {
        self.close();
        let mut rest = Vec::new();
        while self.pop(&mut rest, 1).is_some_and(|taken| taken > 0) {}
    }
}
