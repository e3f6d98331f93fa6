//! A temporary file whose faults the test decides.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use streamspool::{SpillStore, TempFileStore};

use super::jobs::{Origin, current};

/// The test's end of a [`TestStore`].
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The test that made it.
    origin: Origin,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Write,
    Read,
    Drop,
}

#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
struct State {
    writes_fail: bool,
    writes_wait: bool,
    reads_fail: bool,
    reads_wait: bool,
    panics: bool,
    /// The calls that the test holds up, by their jobs.
    parked: BTreeMap<u64, Access>,
    /// At most this many bytes a call, if not 0.
    short: usize,
    /// The store has room for this many bytes, if any.
    capacity: Option<u64>,
    written: Vec<(u64, usize)>,
    drop_waits: bool,
    /// The thread that it is or was dropped on.
    drops_on: Option<String>,
    dropped: bool,
}

/// A temporary file that fails, waits, or does only a part, as the test says.
pub struct TestStore {
    control: Control,
    file: TempFileStore,
}

impl Control {
    pub fn store(&self) -> TestStore {
        TestStore { control: self.clone(), file: TempFileStore::new() }
    }

    pub fn fail_writes(&self, fail: bool) {
        self.set(|state| state.writes_fail = fail);
    }

    pub fn hold_writes(&self, hold: bool) {
        self.set(|state| state.writes_wait = hold);
    }

    pub fn fail_reads(&self, fail: bool) {
        self.set(|state| state.reads_fail = fail);
    }

    pub fn hold_reads(&self, hold: bool) {
        self.set(|state| state.reads_wait = hold);
    }

    pub fn panic(&self, panic: bool) {
        self.set(|state| state.panics = panic);
    }

    pub fn shorten(&self, most: usize) {
        self.set(|state| state.short = most);
    }

    pub fn limit(&self, capacity: Option<u64>) {
        self.set(|state| state.capacity = capacity);
    }

    /// Each write so far: its offset and length.
    pub fn written(&self) -> Vec<(u64, usize)> {
        self.shared.state.lock().unwrap().written.clone()
    }

    pub fn is_dropped(&self) -> bool {
        self.shared.state.lock().unwrap().dropped
    }

    /// Waits for a call that the test holds.
    pub async fn until_held(&self) {
        while self.calls_waiting() == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// How many calls wait.
    pub fn calls_waiting(&self) -> usize {
        self.shared.state.lock().unwrap().parked.len()
    }

    /// Its drop waits, but only on a disk thread.
    pub fn hold_drop(&self, hold: bool) {
        self.set(|state| state.drop_waits = hold);
    }

    /// The name of the thread that it is or was dropped on.
    pub fn drops_on(&self) -> Option<String> {
        self.shared.state.lock().unwrap().drops_on.clone()
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.shared.state.lock().unwrap();
        change(&mut state);
        let before = state.parked.len();
        let mut parked = std::mem::take(&mut state.parked);
        parked.retain(|_, access| state.waits(*access));
        state.parked = parked;
        self.shared.origin.unpark(before - state.parked.len());
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits while the test holds this kind of access.
    fn park<'a>(&'a self, mut state: MutexGuard<'a, State>, access: Access) -> MutexGuard<'a, State> {
        if !state.waits(access) {
            return state;
        }
        state.parked.insert(current(), access);
        self.shared.origin.park(1);
        let is_parked = |state: &mut State| state.parked.contains_key(&current());
        self.shared.changed.wait_while(state, is_parked).unwrap()
    }

    /// Waits while the test holds this kind of access; then the number of bytes that it may do.
    fn pass(&self, access: Access, fails: impl Fn(&State) -> bool, len: usize) -> io::Result<usize> {
        let mut state = self.shared.state.lock().unwrap();
        state = self.park(state, access);
        let (panics, fails, short) = (state.panics, fails(&state), state.short);
        drop(state);
        assert!(!panics, "as the test asked");
        if fails {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space, says the test"));
        }
        Ok(if short == 0 { len } else { len.min(short) })
    }
}

impl State {
    fn waits(&self, access: Access) -> bool {
        match access {
            Access::Write => self.writes_wait,
            Access::Read => self.reads_wait,
            Access::Drop => self.drop_waits,
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        let (state, changed) = (Mutex::default(), Condvar::default());
        Self { shared: Arc::new(Shared { state, changed, origin: Origin::here() }) }
    }
}

impl SpillStore for TestStore {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let full = |state: &State| {
            state.writes_fail || state.capacity.is_some_and(|most| offset + bytes.len() as u64 > most)
        };
        let most = self.control.pass(Access::Write, full, bytes.len())?;
        let written = self.file.write_at(offset, &bytes[..most])?;
        self.control.set(|state| state.written.push((offset, written)));
        Ok(written)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let most = self.control.pass(Access::Read, |state| state.reads_fail, buf.len())?;
        self.file.read_at(offset, &mut buf[..most])
    }
}

impl Drop for TestStore {
    fn drop(&mut self) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let mut state = self.control.shared.state.lock().unwrap();
        let is_disk_thread = name == "streamspool-disk";
        state.drops_on = Some(name);
        if is_disk_thread {
            state = self.control.park(state, Access::Drop);
        }
        drop(state);
        self.control.set(|state| state.dropped = true);
    }
}
