//! A store that does what the test says.
//!
//! It keeps no bytes. It checks the bytes of each write, and makes the bytes of each read anew from their offset.
//! Only a store whose places are used again keeps bytes.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use streamspool::SpillStore;

use super::jobs::{Origin, current};
use super::places::Places;
use super::ranges::Ranges;
use super::{BLOCK, Random, data, is_data};

/// The test's end of a [`TestStore`].
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

/// The buffer's end of the store.
pub struct TestStore(Control);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The test that made it.
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Write,
    Read,
    Drop,
}

/// A call of the store that may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub access: Access,
    pub offset: u64,
    pub len: usize,
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call takes this many bytes at most.
    Short(usize),
    Interrupted,
    /// The call takes no byte.
    Nothing,
    NoSpace,
    Panic,
}

/// How reads end that must not wait.
#[derive(Clone, Copy, Debug)]
pub enum AtOnce {
    /// The store does not support them.
    Never,
    /// Most succeed, others are short, fail, or panic if `panics` is set: by the seed.
    Seeded { seed: u64, panics: bool },
}

/// What the test has chosen for one kind of access.
#[derive(Clone, Copy, Debug, Default)]
struct Switch {
    held: bool,
    fault: Option<Fault>,
}

struct State {
    writes: Switch,
    reads: Switch,
    drops: Switch,
    /// The store has room for this many bytes, if it is limited.
    capacity: Option<u64>,
    at_once: AtOnce,
    /// For reads that must not wait. The actor makes them, one after the other.
    random: Random,
    /// The calls that wait for the test, by their jobs: in the order in which the actor started them.
    parked: BTreeMap<u64, Call>,
    /// The calls that go on, by their jobs, and how the test has them go wrong.
    passed: BTreeMap<u64, Option<Fault>>,
    /// The bytes, if places are used again.
    places: Option<Places>,
    seen: Seen,
}

/// What the store has seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Each write: its offset and length.
    pub written: Vec<(u64, usize)>,
    /// How many bytes were written: each counted once, or each time if places are used again.
    pub stored: u64,
    /// The ranges of bytes that were written, and not discarded since then.
    pub held: Ranges,
    /// Bytes may be written in any order: those of a source that can be opened anywhere.
    pub in_any_order: bool,
    /// Bytes may be written a second time, because a write has failed.
    may_repeat: bool,
    pub calls: u64,
    /// Calls that went wrong, the harmless ones too: short or interrupted.
    pub faults: u64,
    /// Calls that ended in an error or a panic.
    pub failures: u64,
    /// The mistakes of the buffer. A panic here would not end the test, because the buffer survives a panic of its
    /// store.
    pub wrong: Vec<String>,
    /// The thread on which the store is or was dropped.
    pub drops_on: Option<String>,
    pub dropped: bool,
}

impl Default for Control {
    fn default() -> Self {
        Self::new(AtOnce::Never)
    }
}

impl Control {
    pub fn new(at_once: AtOnce) -> Self {
        let seed = if let AtOnce::Seeded { seed, .. } = at_once { seed } else { 0 };
        let state = State {
            writes: Switch::default(),
            reads: Switch::default(),
            drops: Switch::default(),
            capacity: None,
            at_once,
            random: Random(seed),
            parked: BTreeMap::new(),
            passed: BTreeMap::new(),
            places: None,
            seen: Seen::default(),
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Self { shared: Arc::new(Shared { state, changed, origin: Origin::here() }) }
    }

    pub fn store(&self) -> TestStore {
        TestStore(self.clone())
    }

    /// The buffer may write its bytes in any order.
    pub fn take_any_order(&self) {
        self.state().seen.in_any_order = true;
    }

    /// The buffer may use a place for other bytes.
    pub fn reuse_places(&self) {
        self.state().places = Some(Places::default());
    }

    // ---- switches ----

    pub fn fail_writes(&self, fail: bool) {
        self.set(|state| state.writes.fault = fail.then_some(Fault::NoSpace));
    }

    pub fn hold_writes(&self, hold: bool) {
        self.set(|state| state.writes.held = hold);
    }

    pub fn fail_reads(&self, fail: bool) {
        self.set(|state| state.reads.fault = fail.then_some(Fault::NoSpace));
    }

    pub fn hold_reads(&self, hold: bool) {
        self.set(|state| state.reads.held = hold);
    }

    /// The drop of the store waits, but only on a disk thread.
    pub fn hold_drop(&self, hold: bool) {
        self.set(|state| state.drops.held = hold);
    }

    pub fn panic(&self, panic: bool) {
        self.fault(panic.then_some(Fault::Panic));
    }

    /// Calls do this many bytes at most.
    pub fn shorten(&self, most: usize) {
        self.fault(Some(Fault::Short(most)));
    }

    /// How all calls go wrong.
    pub fn fault(&self, fault: Option<Fault>) {
        self.set(|state| (state.writes.fault, state.reads.fault) = (fault, fault));
    }

    pub fn limit(&self, capacity: Option<u64>) {
        self.set(|state| state.capacity = capacity);
    }

    /// No more faults, room for everything, and no call waits.
    pub fn heal(&self) {
        self.set(|state| {
            (state.writes, state.reads, state.drops) = Default::default();
            state.capacity = None;
        });
    }

    // ---- calls that wait ----

    /// Waits for a call that the test holds.
    pub async fn until_held(&self) {
        while self.calls_waiting() == 0 {
            tokio::task::yield_now().await;
        }
    }

    pub fn calls_waiting(&self) -> usize {
        self.state().parked.len()
    }

    /// Lets one of the waiting calls go on, by its number.
    pub fn pass(&self, number: usize, fault: Option<Fault>) -> Option<Call> {
        let mut state = self.state();
        let (&job, &call) = state.parked.iter().nth(number)?;
        self.let_go(&mut state, job, fault);
        Some(call)
    }

    fn let_go(&self, state: &mut State, job: u64, fault: Option<Fault>) {
        state.parked.remove(&job);
        state.passed.insert(job, fault);
        self.shared.origin.unpark(1);
        self.shared.changed.notify_all();
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let is_free = |(job, call): (&u64, &Call)| (!state.switch(call.access).held).then_some(*job);
        let free: Vec<_> = state.parked.iter().filter_map(is_free).collect();
        for job in free {
            self.let_go(&mut state, job, None);
        }
    }

    /// Waits while the test holds this kind of access. Returns how the call goes wrong.
    fn park<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        call: Call,
    ) -> (MutexGuard<'a, State>, Option<Fault>) {
        let mut fault = None;
        if state.switch(call.access).held {
            state.parked.insert(current(), call);
            self.shared.origin.park(1);
            let waits = |state: &mut State| !state.passed.contains_key(&current());
            state = self.shared.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
            fault = state.passed.remove(&current()).flatten();
        }
        let fault = fault.or(state.switch(call.access).fault);
        (state, fault)
    }

    // ---- what it has seen ----

    pub fn seen(&self) -> Seen {
        self.state().seen.clone()
    }

    pub fn look<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        look(&self.state().seen)
    }

    /// Each write so far: its offset and length.
    pub fn written(&self) -> Vec<(u64, usize)> {
        self.look(|seen| seen.written.clone())
    }

    pub fn is_dropped(&self) -> bool {
        self.look(|seen| seen.dropped)
    }

    /// The name of the thread on which the store is or was dropped.
    pub fn drops_on(&self) -> Option<String> {
        self.look(|seen| seen.drops_on.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call that may block: waits, fails, or does as many bytes as it may.
    fn call(
        &self,
        access: Access,
        offset: u64,
        len: usize,
        act: impl FnOnce(&mut State, usize) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut state = self.state();
        state.begins(access, &(offset..offset + len as u64));
        let (mut state, fault) = self.park(state, Call { access, offset, len });
        state.seen.calls += 1;
        let room = match (access, state.capacity) {
            (Access::Write, Some(capacity)) => usize::try_from(capacity.saturating_sub(offset)),
            _ => Ok(len),
        };
        let most = len.min(room.unwrap_or(usize::MAX));
        let fault = if most == 0 { Some(Fault::NoSpace) } else { fault };
        state.seen.faults += u64::from(fault.is_some());
        let most = match fault {
            None => most,
            Some(Fault::Short(short)) => most.min(short),
            Some(Fault::Interrupted) => return Err(ErrorKind::Interrupted.into()),
            Some(Fault::Nothing | Fault::NoSpace | Fault::Panic) => {
                state.seen.failures += 1;
                state.seen.may_repeat |= access == Access::Write;
                drop(state);
                return match fault {
                    Some(Fault::Nothing) => Ok(0),
                    // `resume_unwind` prints nothing. There are thousands of these panics.
                    Some(Fault::Panic) => resume_unwind(Box::new("as the test asked")),
                    _ => Err(io::Error::new(ErrorKind::StorageFull, "no space, as the test asked")),
                };
            }
        };
        act(&mut state, most)?;
        Ok(most)
    }
}

impl State {
    fn switch(&self, access: Access) -> Switch {
        match access {
            Access::Write => self.writes,
            Access::Read => self.reads,
            Access::Drop => self.drops,
        }
    }

    /// A call begins. A place must not change while it is read.
    fn begins(&mut self, access: Access, range: &Range<u64>) {
        if let Some(other) = self.other(access, range) {
            self.seen.wrong.push(format!("a {access:?} of {range:?} during {other:?}"));
        }
    }

    /// A running write of this range, for a read, and a running read for a write.
    fn other(&self, access: Access, range: &Range<u64>) -> Option<Call> {
        let is_other = |call: &&Call| {
            let is_write = |access| access == Access::Write;
            call.access != Access::Drop && is_write(call.access) != is_write(access)
        };
        let touches = |call: &&Call| call.offset < range.end && range.start < call.offset + call.len as u64;
        self.parked.values().filter(is_other).find(touches).copied()
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(places) = &mut self.places else { return self.seen.write(offset, bytes) };
        places.write(offset, bytes);
        self.seen.held.add(offset..offset + bytes.len() as u64);
        self.seen.stored += bytes.len() as u64;
        self.seen.written.push((offset, bytes.len()));
        Ok(())
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let range = offset..offset + buf.len() as u64;
        if !self.seen.held.holds(&range) {
            return Err(self.seen.refuse(format!("a read of {range:?}, of which not all was written")));
        }
        match &self.places {
            Some(places) => places.read(offset, buf),
            None => buf.copy_from_slice(&data(offset, buf.len())),
        }
        Ok(())
    }
}

impl Seen {
    fn refuse(&mut self, wrong: String) -> io::Error {
        self.wrong.push(wrong.clone());
        io::Error::other(wrong)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !is_data(bytes, offset) {
            return Err(self.refuse(format!("wrong bytes written at {offset}")));
        }
        let (stored, end) = (self.stored, offset + bytes.len() as u64);
        if !self.in_any_order && offset > stored {
            return Err(self.refuse(format!("a write at {offset}, where {stored} is the next offset")));
        }
        if self.held.touches(&(offset..end)) && !self.may_repeat {
            return Err(self.refuse(format!("a second write at {offset}")));
        }
        self.held.add(offset..end);
        if self.held.len() > stored {
            self.stored = self.held.len();
            self.may_repeat &= self.in_any_order;
        }
        self.written.push((offset, bytes.len()));
        Ok(())
    }

    /// How many blocks of the store hold bytes.
    pub fn blocks(&self) -> u64 {
        let (mut blocks, mut next) = (0, 0);
        for range in self.held.iter() {
            let first = next.max(range.start / BLOCK as u64);
            next = range.end.div_ceil(BLOCK as u64);
            blocks += next - first;
        }
        blocks
    }
}

impl SpillStore for TestStore {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.0.call(Access::Write, offset, bytes.len(), |state, most| state.write(offset, &bytes[..most]))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.call(Access::Read, offset, buf.len(), |state, most| state.read(offset, &mut buf[..most]))
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.state();
        let AtOnce::Seeded { panics, .. } = state.at_once else {
            return Err(ErrorKind::Unsupported.into());
        };
        let most = match state.random.below(10) {
            0..=3 => buf.len(),
            4 => buf.len() / 2,
            5 if panics => {
                drop(state);
                resume_unwind(Box::new("as the test asked"))
            }
            6 => return Err(ErrorKind::Other.into()),
            _ => return Err(ErrorKind::WouldBlock.into()),
        };
        let range = offset..offset + most as u64;
        if state.places.is_some()
            && (state.other(Access::Read, &range).is_some() || !state.seen.held.holds(&range))
        {
            // A caller reads a slice whose place is used again. It must find out that the bytes do not count.
            buf[..most].fill(0xEE);
            return Ok(most);
        }
        state.begins(Access::Read, &range);
        state.read(offset, &mut buf[..most])?;
        Ok(most)
    }

    fn discard(&self, range: Range<u64>) {
        let mut state = self.0.state();
        state.begins(Access::Write, &range);
        if let Some(places) = &mut state.places {
            places.free(&range);
            state.seen.held.remove(&range);
        }
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let is_disk_thread = name == "streamspool-disk";
        let mut state = self.0.state();
        state.seen.drops_on = Some(name);
        if is_disk_thread {
            let call = Call { access: Access::Drop, offset: 0, len: 0 };
            (state, _) = self.0.park(state, call);
        }
        state.seen.dropped = true;
    }
}
