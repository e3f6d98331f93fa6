//! The memory that the long reads fill.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use streamspool::Bytes;

/// Buffers that are made once for the whole benchmark, because the first use of new memory is slow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer that goes back when it is dropped.
pub(crate) struct Lent {
    pub(crate) bytes: Vec<u8>,
    buffers: Buffers,
}

impl Buffers {
    pub(crate) fn lend(&self, len: usize) -> Lent {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Lent { bytes: bytes.unwrap_or_else(|| vec![1; len]), buffers: self.clone() }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut buffers = self.buffers.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.push(std::mem::take(&mut self.bytes));
    }
}

/// A thread that frees what reads into new memory return, because that takes milliseconds.
pub(crate) fn freeing() -> mpsc::Sender<Bytes> {
    let (sender, receiver) = mpsc::channel::<Bytes>();
    thread::spawn(move || receiver.into_iter().for_each(drop));
    sender
}
