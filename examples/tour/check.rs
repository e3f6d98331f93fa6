//! The checker compares every byte that was read with the byte that was sent. Each listener reports its reads through
//! a `Witness`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use streamspool::{BufferHandle, Location};
use tokio::sync::mpsc;

use crate::sent::Sent;
use crate::waits::Waits;

/// The most reads that wait for the checker. When there are more, the readers wait. Each read may hold a
/// block.
const TO_CHECK: usize = 32;

/// The kind of reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Decoder,
    Random,
    LiveEdge,
    Framed,
}

/// How many bytes a read must return.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Its whole range, or all bytes up to the end.
    Exact,
    /// At least one byte, unless it is at the end.
    Some,
}

/// Reports the reads of one listener to the checker.
#[derive(Clone)]
pub(crate) struct Witness {
    who: Who,
    buffer: BufferHandle,
    to: mpsc::Sender<Event>,
}

/// A read that starts now.
pub(crate) struct Asking {
    offset: u64,
    len: u64,
    promise: Promise,
    location: Location,
    spilled: u64,
    begun: Instant,
}

enum Event {
    Read { who: Who, asking: Asking, bytes: Bytes, wait: Duration },
    GaveUp { who: Who },
}

impl Witness {
    /// Call this right before a read. It notes where the range lies and starts the clock.
    pub(crate) fn asks(&self, offset: u64, len: usize, promise: Promise) -> Asking {
        let (progress, len) = (self.buffer.progress(), len as u64);
        let location = progress.locate(offset, len);
        Asking { offset, len, promise, location, spilled: progress.spilled, begun: Instant::now() }
    }

    /// Call this right after the read, with its bytes.
    pub(crate) async fn got(&self, asking: Asking, bytes: Bytes) -> Result<()> {
        let wait = asking.begun.elapsed();
        self.to.send(Event::Read { who: self.who, asking, bytes, wait }).await.map_err(|_| gone())
    }

    /// The same for a thread that may block.
    pub(crate) fn got_blocking(&self, asking: Asking, bytes: Bytes) -> Result<()> {
        let wait = asking.begun.elapsed();
        self.to.blocking_send(Event::Read { who: self.who, asking, bytes, wait }).map_err(|_| gone())
    }

    /// The read was dropped before its reply.
    pub(crate) async fn gave_up(&self) -> Result<()> {
        self.to.send(Event::GaveUp { who: self.who }).await.map_err(|_| gone())
    }
}

/// The checker ends early only after a wrong byte. The tour then fails with the checker's error, not with
/// this one.
fn gone() -> anyhow::Error {
    anyhow!("the checker has ended")
}

/// Creates the witnesses.
pub(crate) struct Witnesses {
    buffer: BufferHandle,
    to: mpsc::Sender<Event>,
}

impl Witnesses {
    pub(crate) fn of(&self, who: Who) -> Witness {
        Witness { who, buffer: self.buffer.clone(), to: self.to.clone() }
    }
}

/// Compares bytes and counts reads on its own thread.
pub(crate) struct Checker {
    sent: Sent,
    events: mpsc::Receiver<Event>,
    checked: Arc<AtomicU64>,
}

impl Checker {
    pub(crate) fn new(buffer: &BufferHandle, sent: Sent) -> (Self, Witnesses) {
        let (to, events) = mpsc::channel(TO_CHECK);
        let checker = Self { sent, events, checked: Arc::default() };
        (checker, Witnesses { buffer: buffer.clone(), to })
    }

    /// The number of bytes compared so far.
    pub(crate) fn checked(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.checked)
    }

    /// Runs until the last witness is dropped or a byte is wrong.
    pub(crate) fn run(mut self) -> Result<Tally> {
        let mut tally = Tally::default();
        while let Some(event) = self.events.blocking_recv() {
            match event {
                Event::GaveUp { who } => tally.by.entry(who).or_default().gave_up += 1,
                Event::Read { who, asking, bytes, wait } => {
                    self.sent
                        .compare(asking.offset, &bytes)
                        .with_context(|| format!("{who:?} read wrong bytes"))?;
                    ensure!(bytes.len() as u64 <= asking.len, "{who:?} read more than it asked for");
                    self.checked.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    tally.note_end(&asking, bytes.len() as u64);
                    tally.by.entry(who).or_default().note(&asking, bytes.len() as u64, wait);
                }
            }
        }
        Ok(tally)
    }
}

/// The results of all reads.
#[derive(Default)]
pub(crate) struct Tally {
    pub by: BTreeMap<Who, Reads>,
    /// The ends of reads that returned too few bytes. The stream must end there.
    cut_short: BTreeSet<u64>,
    /// The lowest offset at which a read returned nothing. The stream must not go beyond it.
    nothing: Option<u64>,
}

/// The reads of one or more listeners.
#[derive(Clone, Default)]
pub(crate) struct Reads {
    pub at: HashMap<Location, u64>,
    pub from_memory: u64,
    pub from_disk: u64,
    pub gave_up: u64,
    pub waits: Waits,
}

impl Tally {
    fn note_end(&mut self, asking: &Asking, got: u64) {
        if got == 0 && asking.len > 0 {
            self.nothing = Some(self.nothing.map_or(asking.offset, |least| least.min(asking.offset)));
        } else if got < asking.len && asking.promise == Promise::Exact {
            self.cut_short.insert(asking.offset + got);
        }
    }

    /// The reads of all listeners.
    pub(crate) fn all(&self) -> Reads {
        let mut all = Reads::default();
        for reads in self.by.values() {
            all.add(reads);
        }
        all
    }

    /// Fails if a read reported the end of the stream at another offset.
    pub(crate) fn agrees_with_end(&self, end: u64) -> Result<()> {
        if let Some(wrong) = self.cut_short.iter().find(|&&at| at != end) {
            bail!("a read was cut short at offset {wrong}, but the stream ends at {end}");
        }
        if let Some(wrong) = self.nothing.filter(|&at| at < end) {
            bail!("a read found nothing at offset {wrong}, but the stream ends at {end}");
        }
        Ok(())
    }
}

impl Reads {
    fn add(&mut self, others: &Self) {
        for (&location, &count) in &others.at {
            *self.at.entry(location).or_default() += count;
        }
        self.from_memory += others.from_memory;
        self.from_disk += others.from_disk;
        self.gave_up += others.gave_up;
        self.waits.add(&others.waits);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.from_memory + self.from_disk
    }

    fn note(&mut self, asking: &Asking, got: u64, wait: Duration) {
        let from_disk = asking.spilled.saturating_sub(asking.offset).min(got);
        *self.at.entry(asking.location).or_default() += 1;
        self.from_disk += from_disk;
        self.from_memory += got - from_disk;
        self.waits.note(wait);
    }
}
