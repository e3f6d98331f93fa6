//! The store of one buffer, and its end.

use std::io::{self, ErrorKind};
use std::mem;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::SpillStore;
use super::threads::{Job, Spawner};
use crate::panics;

/// The store of one buffer. If it was written to, a disk thread drops it, whoever the last owner is: to close
/// a large file takes long.
pub(super) struct Owned {
    store: Arc<dyn SpillStore>,
    spawner: Spawner,
    is_written: AtomicBool,
}

impl Owned {
    pub(super) fn new(store: Arc<dyn SpillStore>, spawner: Spawner) -> Self {
        Self { store, spawner, is_written: AtomicBool::new(false) }
    }

    /// Takes the place of a store that was dropped.
    pub(super) fn gone() -> Self {
        Self::new(Arc::new(Gone), Spawner::default())
    }

    /// The store, for work on a disk thread. The work must end before this is dropped.
    pub(super) fn share(&self) -> Arc<dyn SpillStore> {
        Arc::clone(&self.store)
    }

    /// The store is going to be written to.
    pub(super) fn writes(&self) {
        self.is_written.store(true, Ordering::Relaxed);
    }

    /// Drops the store: on a disk thread if that may take long.
    pub(super) fn release(&mut self) -> Option<Job<()>> {
        let store = mem::replace(&mut self.store, Arc::new(Gone));
        if mem::take(self.is_written.get_mut()) {
            return Some(self.spawner.drop_later(store));
        }
        panics::drop_quietly(store);
        None
    }
}

impl Deref for Owned {
    type Target = dyn SpillStore;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.release();
    }
}

/// Takes the place of a store that was dropped.
struct Gone;

impl SpillStore for Gone {
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::NotConnected.into())
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::NotConnected.into())
    }
}
