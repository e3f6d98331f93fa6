//! The limits of a buffer, which change while it runs: rules 27 and 28.

use streamspool::Progress;

use crate::asks::{Ask, What};
use crate::disk::Seen;
use crate::support::{BLOCK, MIB};

/// What memory may hold over its limit.
const SLACK: u64 = MIB as u64;

/// A limit, and the changes of it that were asked for.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The limit that is met.
    met: u64,
    /// Changes that may be made or not: the number of the request, in the order of the requests, and the limit.
    asked: Vec<(u64, u64)>,
    /// The least that it ever was or may have been: an answer may be as old as its request.
    least: u64,
}

/// The limits of a run.
#[derive(Clone, Debug)]
pub struct Limits {
    pub memory: Limit,
    /// `None` if no limit is ever set.
    pub disk: Option<Limit>,
}

impl Limit {
    fn new(limit: u64) -> Self {
        Self { met: limit, asked: Vec::new(), least: limit }
    }

    /// A change is asked for.
    fn ask(&mut self, number: u64, limit: u64) {
        self.asked.push((number, limit));
        self.least = self.least.min(limit);
    }

    /// A change is made, and so are all before it.
    fn meet(&mut self, number: u64) {
        if let Some(at) = self.asked.iter().position(|asked| asked.0 == number) {
            self.met = self.asked.drain(..=at).next_back().expect("it was found").1;
        }
    }

    /// The least that it may be now.
    fn now(&self) -> u64 {
        self.asked.iter().map(|(_, limit)| *limit).fold(self.met, u64::min)
    }

    /// The most that it may be now.
    fn most(&self) -> u64 {
        self.asked.iter().map(|(_, limit)| *limit).fold(self.met, u64::max)
    }
}

impl Limits {
    pub fn new(max_memory: usize, max_disk: Option<u64>) -> Self {
        Self { memory: Limit::new(max_memory as u64), disk: max_disk.map(Limit::new) }
    }

    /// A request is sent.
    pub fn note(&mut self, ask: &Ask) {
        match (&ask.what, &mut self.disk) {
            (What::MaxMemory(bytes), _) => self.memory.ask(ask.number, *bytes as u64),
            (What::MaxDisk(bytes), Some(disk)) => disk.ask(ask.number, *bytes),
            _ => {}
        }
    }

    /// This request has succeeded.
    pub fn meet(&mut self, number: u64) {
        self.memory.meet(number);
        if let Some(limit) = &mut self.disk {
            limit.meet(number);
        }
    }

    /// The fewest bytes that memory and disk may hold together now.
    pub fn now(&self) -> u64 {
        self.sum(Limit::now)
    }

    /// The fewest bytes that memory and disk may have held together at any time.
    pub fn least(&self) -> u64 {
        self.sum(|limit| limit.least)
    }

    fn sum(&self, of: impl Fn(&Limit) -> u64) -> u64 {
        let disk = self.disk.as_ref().map_or(u64::MAX, |disk| of(disk) / BLOCK as u64 * BLOCK as u64);
        of(&self.memory).saturating_add(disk)
    }

    /// The buffer and its store are within the limits.
    pub fn check(&self, now: &Progress, store: &Seen) {
        let most = self.memory.most().saturating_add(SLACK);
        assert!(now.resident <= most, "{} bytes in memory, {most} allowed", now.resident);
        let Some(disk) = &self.disk else { return };
        let (held, most) = (store.blocks(), disk.most() / BLOCK as u64);
        assert!(held <= most, "the store holds {held} blocks, {most} are allowed: {:?}", store.held);
    }
}
