//! A store that does what the test says, and checks what the buffer asks of it.
//!
//! It keeps no bytes. It checks the bytes of each write, and makes the bytes of each read anew from their offset.
//! Only a store whose places are used again keeps bytes.

use std::any::Any;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use streamspool::{Bytes, SpillStore};

use super::places::Places;
use super::ranges::Ranges;
use super::{BLOCK, data};

/// The test's end of a [`ScriptedStore`].
#[derive(Clone)]
pub struct Script(Arc<Mutex<State>>);

/// The buffer's end of the store.
pub struct ScriptedStore {
    script: Script,
    /// Is dropped with the store.
    _own: Box<dyn Any + Send + Sync>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Write,
    Read,
    /// A read that must not wait.
    Try,
    Discard,
}

/// A call of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub access: Access,
    pub offset: u64,
    pub len: usize,
    /// How many calls of this access came before.
    pub number: usize,
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

/// What a call does.
pub enum Act {
    /// It takes this many bytes at most.
    Takes(usize),
    Fails(io::Error),
    Panics(Box<dyn Any + Send>),
    /// It takes all bytes, and claims that it has taken this many.
    Claims(usize),
    /// It takes this many bytes, and claims all.
    Loses(usize),
}

impl Act {
    /// It takes all bytes.
    pub const WORKS: Self = Self::Takes(usize::MAX);

    /// It fails with this kind of error.
    pub fn fails(kind: ErrorKind) -> Self {
        Self::Fails(io::Error::new(kind, "as the test asked"))
    }
}

impl From<Fault> for Act {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Short(most) => Self::Takes(most),
            Fault::Nothing => Self::Takes(0),
            Fault::Interrupted => Self::fails(ErrorKind::Interrupted),
            Fault::NoSpace => Self::fails(ErrorKind::StorageFull),
            Fault::Panic => Self::Panics(Box::new("as the test asked")),
        }
    }
}

/// What the calls of one access do.
type Acts = Arc<dyn Fn(Call) -> Act + Send + Sync>;

struct State {
    /// By access.
    acts: [Acts; 4],
    /// The store has room for this many bytes, if it is limited.
    capacity: Option<u64>,
    /// The bytes from an offset on.
    data: fn(u64, usize) -> Bytes,
    /// The bytes, if places are used again.
    places: Option<Places>,
    /// The calls that have begun, and not ended.
    running: Vec<Call>,
    /// Bytes may be written in any order: those of a source that can be opened anywhere.
    in_any_order: bool,
    /// Bytes were lost, so a read may find fewer than were written.
    has_lost: bool,
    seen: Seen,
}

/// What the store has seen so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The calls that have begun, by access.
    begun: [usize; 4],
    /// How many reads that must not wait have got their bytes.
    pub read_at_once: usize,
    /// Each write: its offset and length.
    pub written: Vec<(u64, usize)>,
    /// How many bytes were written: each counted once, or each time if places are used again.
    pub stored: u64,
    /// The ranges of bytes that were written, and not discarded since then.
    pub held: Ranges,
    /// Bytes may be written a second time, because a write has failed.
    may_repeat: bool,
    /// Reads and writes that went wrong, the harmless ones too: short or interrupted.
    pub faults: u64,
    /// Reads and writes that ended in an error or a panic.
    pub failures: u64,
    /// The mistakes of the buffer. A panic here would not end the test, because the buffer survives a panic of its
    /// store.
    pub wrong: Vec<String>,
    pub dropped: bool,
}

impl Default for Script {
    /// A store that works, and cannot read without waiting.
    fn default() -> Self {
        Self::of(data)
    }
}

impl Script {
    /// A store of other bytes.
    pub fn of(data: fn(u64, usize) -> Bytes) -> Self {
        let works: Acts = Arc::new(|_| Act::WORKS);
        let never: Acts = Arc::new(|_| Act::fails(ErrorKind::Unsupported));
        let acts = [Arc::clone(&works), Arc::clone(&works), never, works];
        Self(Arc::new(Mutex::new(State {
            acts,
            capacity: None,
            data,
            places: None,
            running: Vec::new(),
            in_any_order: false,
            has_lost: false,
            seen: Seen::default(),
        })))
    }

    /// A store that has all bytes cached: it reads without waiting.
    pub fn cached() -> Self {
        let script = Self::default();
        script.tries(|_| Act::WORKS);
        script
    }

    pub fn store(&self) -> ScriptedStore {
        self.store_with(())
    }

    /// A store that drops this value when it is dropped.
    pub fn store_with(&self, own: impl Any + Send + Sync) -> ScriptedStore {
        ScriptedStore { script: self.clone(), _own: Box::new(own) }
    }

    /// The buffer may write its bytes in any order.
    pub fn take_any_order(&self) {
        self.state().in_any_order = true;
    }

    /// The buffer may use a place for other bytes.
    pub fn reuse_places(&self) {
        self.state().places = Some(Places::default());
    }

    // ---- what calls do ----

    /// What writes do from now on. `act` may wait: then the disk hangs.
    pub fn writes(&self, act: impl Fn(Call) -> Act + Send + Sync + 'static) {
        self.act(Access::Write, act);
    }

    pub fn reads(&self, act: impl Fn(Call) -> Act + Send + Sync + 'static) {
        self.act(Access::Read, act);
    }

    /// What reads do that must not wait.
    pub fn tries(&self, act: impl Fn(Call) -> Act + Send + Sync + 'static) {
        self.act(Access::Try, act);
    }

    pub fn discards(&self, act: impl Fn(Call) -> Act + Send + Sync + 'static) {
        self.act(Access::Discard, act);
    }

    fn act(&self, access: Access, act: impl Fn(Call) -> Act + Send + Sync + 'static) {
        self.state().acts[access as usize] = Arc::new(act);
    }

    /// How reads and writes go wrong from now on.
    pub fn fault(&self, fault: Fault) {
        self.writes(move |_| fault.into());
        self.reads(move |_| fault.into());
    }

    /// From now on reads begin, and wait on their disk threads until the result is dropped. No read is possible
    /// without waiting.
    pub fn hang(&self) -> Sender<()> {
        let (hangs, end) = channel();
        let end = Mutex::new(end);
        self.reads(move |_| {
            // It never gets anything.
            let _ = end.lock().unwrap_or_else(PoisonError::into_inner).recv();
            Act::WORKS
        });
        self.tries(|_| Act::fails(ErrorKind::WouldBlock));
        hangs
    }

    /// The store has room for this many bytes.
    pub fn limit(&self, capacity: Option<u64>) {
        self.state().capacity = capacity;
    }

    /// Reads and writes work, and there is room for everything.
    pub fn heal(&self) {
        self.writes(|_| Act::WORKS);
        self.reads(|_| Act::WORKS);
        self.state().capacity = None;
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

    /// How many calls have begun.
    pub fn count(&self, access: Access) -> usize {
        self.look(|seen| seen.begun[access as usize])
    }

    pub fn is_dropped(&self) -> bool {
        self.look(|seen| seen.dropped)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out one call as the script says. `act` handles at most the number of bytes that it gets.
    fn call(
        &self,
        access: Access,
        range: Range<u64>,
        act: impl FnOnce(&mut State, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let (call, acts) = self.state().begin(access, range);
        // The state is not locked here, because a script may wait, or run another job.
        let does = acts(call);
        let mut state = self.state();
        state.running.retain(|running| *running != call);
        let result = state.end(call, does, act);
        drop(state);
        // `resume_unwind` prints nothing. There are thousands of these panics.
        result.unwrap_or_else(|payload| resume_unwind(payload))
    }
}

impl Call {
    /// Whether it is a read or a write that may wait.
    fn may_wait(&self) -> bool {
        matches!(self.access, Access::Write | Access::Read)
    }

    fn reads(&self) -> bool {
        matches!(self.access, Access::Read | Access::Try)
    }
}

impl State {
    fn begin(&mut self, access: Access, range: Range<u64>) -> (Call, Acts) {
        let (begun, len) = (&mut self.seen.begun[access as usize], range.end - range.start);
        let call = Call { access, offset: range.start, len: len as usize, number: *begun };
        *begun += 1;
        // A caller looks afterwards whether the place that it has read was used again.
        let may_overlap = access == Access::Try && self.places.is_some();
        if let Some(other) = self.other(call.reads(), &range)
            && !may_overlap
        {
            self.seen.wrong.push(format!("a {access:?} of {range:?} during {other:?}"));
        }
        self.running.push(call);
        (call, Arc::clone(&self.acts[access as usize]))
    }

    /// A running write of this range, for a read, and a running read for a write.
    fn other(&self, reads: bool, range: &Range<u64>) -> Option<Call> {
        let is_other = |other: &&Call| other.reads() != reads && other.access != Access::Try;
        let touches =
            |other: &&Call| other.offset < range.end && range.start < other.offset + other.len as u64;
        self.running.iter().filter(is_other).find(touches).copied()
    }

    /// The result of a call, or the panic that it ends in.
    fn end(
        &mut self,
        call: Call,
        does: Act,
        act: impl FnOnce(&mut Self, usize) -> io::Result<usize>,
    ) -> Result<io::Result<usize>, Box<dyn Any + Send>> {
        let room = match (call.access, self.capacity) {
            (Access::Write, Some(capacity)) => usize::try_from(capacity.saturating_sub(call.offset)),
            _ => Ok(call.len),
        };
        let room = call.len.min(room.unwrap_or(usize::MAX));
        let does = if room == 0 && call.len > 0 { Act::from(Fault::NoSpace) } else { does };
        let (most, claimed) = match does {
            Act::Takes(most) => (room.min(most), None),
            Act::Claims(claimed) => (room, Some(claimed)),
            Act::Loses(most) => (room.min(most), Some(call.len)),
            Act::Fails(_) | Act::Panics(_) => (0, None),
        };
        let is_harmless = most > 0 && claimed.is_none();
        let is_interrupted = matches!(&does, Act::Fails(error) if error.kind() == ErrorKind::Interrupted);
        if call.may_wait() {
            self.seen.faults += u64::from(most < room || claimed.is_some());
            self.seen.failures += u64::from(!is_harmless && !is_interrupted);
        }
        if matches!(does, Act::Loses(_)) {
            (self.has_lost, self.in_any_order) = (true, true);
        }
        let taken = if most > 0 { act(self, most) } else { Ok(0) };
        self.seen.may_repeat |= !is_harmless && !is_interrupted && call.access == Access::Write;
        match does {
            Act::Fails(error) => return Ok(Err(error)),
            Act::Panics(payload) => return Err(payload),
            _ => {}
        }
        Ok(taken.map(|taken| claimed.unwrap_or(taken)))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let range = offset..offset + bytes.len() as u64;
        if let Some(places) = &mut self.places {
            places.write(offset, bytes);
            self.seen.held.add(range);
            self.seen.stored += bytes.len() as u64;
        } else if bytes == (self.data)(offset, bytes.len()) {
            self.seen.write(range, self.in_any_order)?;
        } else {
            return Err(self.seen.refuse(format!("wrong bytes written at {offset}")));
        }
        self.seen.written.push((offset, bytes.len()));
        Ok(bytes.len())
    }

    fn read(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let range = offset..offset + buf.len() as u64;
        let mut len = buf.len();
        if !self.seen.held.holds(&range) {
            // Where places are used again, a read may come too late. Then its bytes are not used.
            if !self.has_lost && self.places.is_none() {
                return Err(self.seen.refuse(format!("a read of {range:?}, of which not all was written")));
            }
            len = (self.seen.held.first_missing(offset) - offset) as usize;
        }
        match &self.places {
            Some(places) => places.read(offset, &mut buf[..len]),
            None => buf[..len].copy_from_slice(&(self.data)(offset, len)),
        }
        Ok(len)
    }
}

impl Seen {
    fn refuse(&mut self, wrong: String) -> io::Error {
        self.wrong.push(wrong.clone());
        io::Error::other(wrong)
    }

    fn write(&mut self, range: Range<u64>, in_any_order: bool) -> io::Result<()> {
        let (stored, offset) = (self.stored, range.start);
        if !in_any_order && offset > stored {
            return Err(self.refuse(format!("a write at {offset}, where {stored} is the next offset")));
        }
        if self.held.touches(&range) && !self.may_repeat {
            return Err(self.refuse(format!("a second write at {offset}")));
        }
        self.held.add(range);
        if self.held.len() > stored {
            self.stored = self.held.len();
            self.may_repeat &= in_any_order;
        }
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

impl SpillStore for ScriptedStore {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let range = offset..offset + bytes.len() as u64;
        self.script.call(Access::Write, range, |state, most| state.write(offset, &bytes[..most]))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let range = offset..offset + buf.len() as u64;
        let read = |state: &mut State, most: usize| state.read(offset, &mut buf[..most]);
        self.script.call(Access::Read, range, read)
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let range = offset..offset + buf.len() as u64;
        let read = |state: &mut State, most: usize| {
            state.seen.read_at_once += 1;
            let place = offset..offset + most as u64;
            if state.places.is_some()
                && (state.other(true, &place).is_some() || !state.seen.held.holds(&place))
            {
                // A caller reads a slice whose place is used again. It must find out that the bytes do not count.
                buf[..most].fill(0xEE);
                return Ok(most);
            }
            state.read(offset, &mut buf[..most])
        };
        self.script.call(Access::Try, range, read)
    }

    fn discard(&self, range: Range<u64>) {
        let discarded = range.clone();
        let discard = |state: &mut State, most: usize| {
            if let Some(places) = &mut state.places {
                places.free(&discarded);
                state.seen.held.remove(&discarded);
            }
            Ok(most)
        };
        // A discard has no result.
        let _ = self.script.call(Access::Discard, range, discard);
    }
}

impl Drop for ScriptedStore {
    fn drop(&mut self) {
        self.script.state().seen.dropped = true;
    }
}
