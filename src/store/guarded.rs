//! A wrapper of the user's store, which ignores a panic of the store's destructor.

use std::io::{ErrorKind, Result};
use std::ops::Range;

use super::SpillStore;
use crate::panics;

/// A store of the user. Its destructor may panic; the panic is ignored, wherever the last owner drops it.
pub(crate) struct Guarded<S> {
    /// `None` only while it is dropped.
    store: Option<S>,
}

impl<S: SpillStore> Guarded<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store: Some(store) }
    }

    fn store(&self) -> Result<&S> {
        self.store.as_ref().ok_or_else(|| ErrorKind::NotConnected.into())
    }
}

impl<S: SpillStore> SpillStore for Guarded<S> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        self.store()?.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.store()?.read_at(offset, buf)
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.store()?.try_read_at(offset, buf)
    }

    fn discard(&self, range: Range<u64>) {
        if let Some(store) = &self.store {
            store.discard(range);
        }
    }
}

impl<S> Drop for Guarded<S> {
    fn drop(&mut self) {
        panics::drop_quietly(self.store.take());
    }
}
