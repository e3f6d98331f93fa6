//! The store of one buffer, and its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::SpillStore;
use super::threads::Spawner;
use crate::panics;

/// The store of one buffer. The actor owns it, and so does each read or write while it runs.
///
/// A store that was written to is dropped on a disk thread, because closing a large file takes long. This holds for
/// each last owner.
pub(super) struct Owned {
    /// `None` only while it is dropped.
    store: Option<Arc<dyn SpillStore>>,
    /// Dropped after the store.
    dropped: Option<oneshot::Sender<()>>,
    spawner: Spawner,
    is_written: AtomicBool,
}

impl Owned {
    /// The receiver resolves when the store is dropped.
    pub(super) fn new(store: Arc<dyn SpillStore>, spawner: Spawner) -> (Self, oneshot::Receiver<()>) {
        let (sender, dropped) = oneshot::channel();
        let is_written = AtomicBool::new(false);
        (Self { store: Some(store), dropped: Some(sender), spawner, is_written }, dropped)
    }

    /// The store is going to be written to.
    pub(super) fn writes(&self) {
        self.is_written.store(true, Ordering::Relaxed);
    }

    pub(super) fn store(&self) -> io::Result<&dyn SpillStore> {
        self.store.as_deref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let both = (self.store.take(), self.dropped.take());
        if *self.is_written.get_mut() {
            drop(self.spawner.drop_later(both));
        } else {
            panics::drop_quietly(both);
        }
    }
}
