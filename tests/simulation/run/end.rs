//! The end of a run.

use std::mem;
use std::task::Poll;

use streamspool::{ErrorKind, State};

use super::{Counts, RETRIED, Run, closed};
use crate::asks::What;
use crate::players::Player;
use crate::steps::{End, Ending};
use crate::support::{BLOCK, is_data, poll_once};

impl Run {
    /// The end of the buffer. What it leaves behind is checked by the caller.
    pub async fn end(mut self, end: End) -> (Counts, Vec<String>) {
        match end {
            End::Heal => self.heal().await,
            End::Close => {
                self.is_closed = true;
                self.handle.close();
                self.settle().await;
                assert!(self.is_quiet(), "a caller waits, though the buffer is closed");
                self.ask(What::Read { offset: 0, len: 1 });
                self.poll_ask(self.asks.len() - 1);
            }
            End::Abort => {
                self.is_closed = true;
                self.actor = None;
                self.settle().await;
                assert!(self.is_quiet(), "a caller waits, though the actor is gone");
            }
            End::Leave => {}
        }
        let discarded = self.handle.progress().start;
        (self.asks, self.players, self.bodies) = Default::default();
        // The last handle of this buffer goes. A closed one takes its place.
        drop(mem::replace(&mut self.handle, closed()));
        self.disk.heal();
        self.jobs.step(false);
        if let Some(actor) = self.actor.take() {
            actor.await;
        }
        // What the disk does for requests that were dropped ends by itself.
        self.rest();
        let (disk, source) = (self.disk.seen(), self.feed.seen());
        assert!(source.dropped, "the source is kept");
        assert!(disk.dropped, "the store is kept");
        assert_eq!((disk.wrong, source.needless), (vec![], None));
        let counts = Counts {
            chunks: source.taken as u64,
            pulled: source.pulled,
            disk_calls: disk.calls,
            disk_faults: disk.faults,
            source_faults: u64::from(source.failed || self.setup.ending != Ending::End),
            spilled: disk.stored,
            discarded,
            ..self.counts
        };
        (counts, mem::take(&mut self.log))
    }

    /// Whether no caller waits for anything.
    pub(super) fn is_quiet(&self) -> bool {
        let asks = self.asks.iter().all(|ask| !ask.is_asked);
        let bodies = self.bodies.iter().all(|body| body.demand().is_none());
        asks && bodies && !self.players.iter().any(Player::is_waiting)
    }

    /// The disk is well and the source goes on: all requests are answered, and nothing was lost.
    async fn heal(&mut self) {
        self.settle_with_disk().await;
        self.disk.limit(None);
        while self.feed.fed() < self.setup.total {
            self.send(64 * 1024);
        }
        for _ in 0..if self.setup.ending == Ending::Empty { 500 } else { 1 } {
            self.end_source();
        }
        self.settle_with_disk().await;
        tokio::time::advance(RETRIED).await;
        self.settle_with_disk().await;
        let waits_for_ever = matches!(self.setup.ending, Ending::Stall | Ending::Empty);
        assert!(waits_for_ever || self.is_all_loaded(), "a load in the background has stopped");
        assert!(waits_for_ever || self.asks.iter().all(|ask| !ask.is_asked), "a request was never answered");
        let before = self.handle.progress();
        let what = What::Read { offset: before.start, len: before.loaded };
        self.ask(what.clone());
        self.poll_ask(self.asks.len() - 1);
        self.settle_with_disk().await;
        assert!(
            !self.asks.iter().any(|ask| ask.is_asked && ask.what == what),
            "a read of loaded bytes was not answered"
        );
        // The request above may fail: it gets the error of an earlier write. These may not.
        self.read_all(before.frontier).await;
        let now = self.handle.progress();
        let exists = self.setup.total.min(self.setup.declared.unwrap_or(u64::MAX));
        assert!(now.state != State::Complete || now.loaded == exists, "{now:?}");
    }

    /// Whether unlimited read-ahead has loaded all that there is, or all that there is room for.
    fn is_all_loaded(&self) -> bool {
        let now = self.handle.progress();
        let is_loaded =
            self.setup.read_ahead < u64::MAX || now.state.is_final() || now.size == Some(now.frontier);
        // Memory has no room for one more block, and a block that leaves it has no place in the store.
        let is_full = self.setup.max_disk.is_some() && now.loaded + 3 * BLOCK as u64 >= self.limits.now();
        is_loaded || is_full
    }

    /// Reads all that is kept of the bytes before `end`, which are loaded. The disk works. Read-ahead may discard
    /// bytes meanwhile that were read.
    async fn read_all(&mut self, end: u64) {
        let handle = self.handle.clone();
        let mut at = handle.progress().start;
        while at < end {
            let rest = end - at;
            let mut read = Box::pin(handle.read(at, rest as usize));
            let result = loop {
                if let Poll::Ready(result) = poll_once(&mut read) {
                    break result;
                }
                self.settle_with_disk().await;
                tokio::task::yield_now().await;
            };
            let start = handle.progress().start;
            match result {
                Ok(bytes) => {
                    assert!(bytes.len() as u64 == rest && is_data(&bytes, at), "a byte was lost at {at}");
                    at += rest;
                }
                Err(error) => {
                    assert_eq!((error.kind(), start > at), (ErrorKind::Discarded, true), "{error}");
                    at = start;
                }
            }
        }
    }
}
