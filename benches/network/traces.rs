//! What callers read, and the least time that it can take.

use std::ops::Range;
use std::time::Duration;

use crate::common::{KIB, MIB};
use crate::link::Link;

/// Where a read begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    At(u64),
    /// So many bytes before the end. A caller that does not know the size asks for it first.
    BeforeEnd(u64),
}

/// A read of consecutive bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) place: Place,
    pub(crate) len: u64,
    /// The round trips before its first byte, if streams that are open already are used.
    round_trips: u32,
}

impl Step {
    /// A read that needs a round trip of its own.
    fn jump(offset: u64, len: u64) -> Self {
        Self { place: Place::At(offset), len, round_trips: 1 }
    }

    /// A read that needs none: its bytes are loaded, or the next ones of an open stream.
    fn follow(place: Place, len: u64) -> Self {
        Self { place, len, round_trips: 0 }
    }

    pub(crate) fn range(&self, size: u64) -> Range<u64> {
        let start = match self.place {
            Place::At(offset) => offset,
            Place::BeforeEnd(len) => size - len,
        };
        start..start + self.len
    }
}

/// The reads of one caller, in order. A read starts when the one before it has ended, because its place may depend
/// on the bytes of that one.
pub(crate) type Steps = Vec<Step>;

/// What the callers of one resource read.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) name: &'static str,
    pub(crate) size: u64,
    /// One caller reads this alone.
    pub(crate) first: Steps,
    /// After that, these callers read at once. Each has a connection of its own.
    pub(crate) then: Vec<Steps>,
    /// The goal for the number of requests, if there is one.
    pub(crate) requests: Option<u64>,
}

/// Where a trace is, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// All offsets and lengths are divided by this.
    divisor: u64,
}

impl Scale {
    pub(crate) const FULL: Self = Self { divisor: 1 };
    pub(crate) const BRIEF: Self = Self { divisor: 16 };

    fn kib(self, count: u64) -> u64 {
        count * KIB as u64 / self.divisor
    }

    fn mib(self, count: u64) -> u64 {
        count * MIB as u64 / self.divisor
    }

    /// The size of every resource.
    pub(crate) fn size(self) -> u64 {
        self.mib(32)
    }

    /// A read of the last 64 KiB. One round trip tells the size, one fetches the bytes. An HTTP client can ask
    /// for the last bytes of a resource of unknown size. A `Source` cannot, so that is not the ideal here.
    fn tail(self) -> Step {
        Step { place: Place::BeforeEnd(self.kib(64)), len: self.kib(64), round_trips: 2 }
    }

    pub(crate) fn traces(self) -> Vec<Trace> {
        vec![
            self.film(),
            self.archive(),
            self.parquet(),
            self.scrubbing(),
            self.listeners(),
            self.sequential(),
        ]
    }

    fn trace(self, name: &'static str, first: Steps) -> Trace {
        Trace { name, size: self.size(), first, then: Vec::new(), requests: None }
    }

    /// A player reads the head, which says where the index is; the index; and then plays from the start.
    ///
    /// Round trips: one for the head, one for the index. The stream of the head plays on.
    fn film(self) -> Trace {
        let index = self.kib(64);
        let steps = vec![
            Step::jump(0, self.kib(64)),
            Step::jump(self.size() - index, index),
            Step::follow(Place::At(0), self.mib(2)),
        ];
        Trace { requests: Some(4), ..self.trace("film with its index at the end", steps) }
    }

    /// A reader looks for the end record in the last 64 KiB, which hold the directory of 40 KiB too. It extracts
    /// three entries of 128 KiB, not in their order, at offsets without any alignment.
    ///
    /// Round trips: two for the tail, none for the directory, one for each entry.
    fn archive(self) -> Trace {
        let (end_record, directory) = (22, self.kib(40));
        let entry = |offset: u64| Step::jump(offset, self.kib(128));
        let steps = vec![
            self.tail(),
            Step::follow(Place::BeforeEnd(end_record), end_record),
            Step::follow(Place::BeforeEnd(end_record + directory), directory),
            entry(self.mib(11) + 4321),
            entry(self.mib(23) + 77),
            entry(self.mib(3) + 1234),
        ];
        Trace { requests: Some(5), ..self.trace("archive from its directory, three entries", steps) }
    }

    /// A reader finds the footer in the last 64 KiB. Then it knows both row groups of 1 MiB, and reads them at
    /// once.
    ///
    /// Round trips: two for the tail, none for the footer. Those of the row groups overlap, so they count once.
    fn parquet(self) -> Trace {
        let steps = vec![
            self.tail(),
            Step::follow(Place::BeforeEnd(8), 8),
            Step::follow(Place::BeforeEnd(8 + self.kib(30)), self.kib(30)),
        ];
        let group = |offset: u64| vec![Step::jump(offset, self.mib(1))];
        let then = vec![group(self.mib(7) + 4), group(self.mib(19) + 4)];
        Trace { then, ..self.trace("Parquet footer, two row groups at once", steps) }
    }

    /// Eight seeks of a player, back and forth. At each it reads 256 KiB.
    ///
    /// Round trips: one for each.
    fn scrubbing(self) -> Trace {
        let places = [4, 20, 9, 28, 14, 1, 24, 17];
        let steps = places.map(|mib| Step::jump(self.mib(mib) + 11, self.kib(256)));
        self.trace("eight scrubs of 256 KiB", steps.to_vec())
    }

    /// Two listeners of one resource, 20 MiB apart. Each reads 4 MiB at the full rate of a connection.
    ///
    /// Round trips: one for each. They overlap, so they count once.
    fn listeners(self) -> Trace {
        let listener = |offset: u64| vec![Step::jump(offset, self.mib(4))];
        let then = vec![listener(0), listener(self.mib(20))];
        Trace { then, ..self.trace("two distant listeners, 4 MiB each", Steps::new()) }
    }

    /// The whole resource, once, from front to back.
    ///
    /// Round trips: one.
    fn sequential(self) -> Trace {
        let steps = vec![Step::jump(0, self.size())];
        Trace { requests: Some(1), ..self.trace("sequential, all 32 MiB", steps) }
    }
}

/// Ranges that were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Vec<Range<u64>>);

impl Seen {
    /// Adds the range. Returns the parts of it that are new.
    pub(crate) fn add(&mut self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut new = vec![range.clone()];
        for seen in &self.0 {
            let cut =
                |part: Range<u64>| [part.start..part.end.min(seen.start), part.start.max(seen.end)..part.end];
            new = new.into_iter().flat_map(cut).filter(|part| !part.is_empty()).collect();
        }
        self.0.push(range);
        new
    }

    /// Adds the range. Returns how many bytes of it are new.
    fn count(&mut self, range: Range<u64>) -> u64 {
        self.add(range).iter().map(|part| part.end - part.start).sum()
    }
}

impl Trace {
    /// The steps of one caller take the sum of their round trips and of their new bytes at the rate of one
    /// connection. Callers that read at once take as long as the slowest of them.
    ///
    /// It knows no read before it is made. Bytes that are loaded ahead of a read can make a trace faster.
    pub(crate) fn ideal(&self, link: Link) -> Duration {
        let mut seen = Seen::default();
        let first = self.take(&self.first, &mut seen, link);
        let then = self.then.iter().map(|steps| self.take(steps, &mut seen.clone(), link)).max();
        first + then.unwrap_or_default()
    }

    fn take(&self, steps: &Steps, seen: &mut Seen, link: Link) -> Duration {
        let step =
            |step: &Step| link.latency * step.round_trips + link.time(seen.count(step.range(self.size)));
        steps.iter().map(step).sum()
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.first.iter().chain(self.then.iter().flatten())
    }

    /// The bytes that are read, each counted once.
    pub(crate) fn needed(&self) -> u64 {
        let mut seen = Seen::default();
        self.steps().map(|step| seen.count(step.range(self.size))).sum()
    }

    /// The jumps: reads that need a stream of their own.
    pub(crate) fn jumps(&self) -> u64 {
        self.steps().filter(|step| step.round_trips > 0).count() as u64
    }
}
