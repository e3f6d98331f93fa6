//! The checker, which compares every byte that was read with what was sent, and its witnesses, who
//! tell it of each read.

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

/// How many reads may wait to be checked; more make the readers wait. Each may hold a block.
const TO_CHECK: usize = 32;

/// Who read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Decoder,
    Random,
    LiveEdge,
    Framed,
}

/// How many bytes a read promises to give.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// All that it asks for, or all up to the end.
    Exact,
    /// One at least, unless it is at the end.
    Some,
}

/// Stands beside a listener and tells the checker of each of its reads.
#[derive(Clone)]
pub(crate) struct Witness {
    who: Who,
    buffer: BufferHandle,
    to: mpsc::Sender<Event>,
}

/// A read that is about to happen.
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
    /// To be called right before a read: notes where its range lies, and starts the clock.
    pub(crate) fn asks(&self, offset: u64, len: usize, promise: Promise) -> Asking {
        let (progress, len) = (self.buffer.progress(), len as u64);
        let location = progress.locate(offset, len);
        Asking { offset, len, promise, location, spilled: progress.spilled, begun: Instant::now() }
    }

    /// To be called right after it, with what it gave.
    pub(crate) async fn got(&self, asking: Asking, bytes: Bytes) -> Result<()> {
        let wait = asking.begun.elapsed();
        self.to.send(Event::Read { who: self.who, asking, bytes, wait }).await.map_err(|_| gone())
    }

    /// The same for those who block.
    pub(crate) fn got_blocking(&self, asking: Asking, bytes: Bytes) -> Result<()> {
        let wait = asking.begun.elapsed();
        self.to.blocking_send(Event::Read { who: self.who, asking, bytes, wait }).map_err(|_| gone())
    }

    /// The read was dropped before it was answered.
    pub(crate) async fn gave_up(&self) -> Result<()> {
        self.to.send(Event::GaveUp { who: self.who }).await.map_err(|_| gone())
    }
}

/// The checker only ends early to tell of a wrong byte, and that is what the tour then fails with.
fn gone() -> anyhow::Error {
    anyhow!("the checker has ended")
}

/// Makes the witnesses of one tour.
pub(crate) struct Witnesses {
    buffer: BufferHandle,
    to: mpsc::Sender<Event>,
}

impl Witnesses {
    pub(crate) fn of(&self, who: Who) -> Witness {
        Witness { who, buffer: self.buffer.clone(), to: self.to.clone() }
    }
}

/// Compares and counts, on a thread of its own.
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

    /// How many bytes it has compared so far.
    pub(crate) fn checked(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.checked)
    }

    /// Checks until the last witness has gone, or a byte is wrong.
    pub(crate) fn run(mut self) -> Result<Tally> {
        let mut tally = Tally::default();
        while let Some(event) = self.events.blocking_recv() {
            match event {
                Event::GaveUp { who } => tally.by.entry(who).or_default().gave_up += 1,
                Event::Read { who, asking, bytes, wait } => {
                    self.sent
                        .compare(asking.offset, &bytes)
                        .with_context(|| format!("{who:?} read what is wrong"))?;
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

/// How the reads fared.
#[derive(Default)]
pub(crate) struct Tally {
    pub by: BTreeMap<Who, Reads>,
    /// Where reads ended that were cut short: there the stream must end.
    cut_short: BTreeSet<u64>,
    /// The first offset with nothing to read: the stream must not go beyond it.
    nothing: Option<u64>,
}

/// The reads of one listener, or of several.
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

    /// Those of all listeners.
    pub(crate) fn all(&self) -> Reads {
        let mut all = Reads::default();
        for reads in self.by.values() {
            all.add(reads);
        }
        all
    }

    /// Fails if a read was told of an end that is not the end.
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
