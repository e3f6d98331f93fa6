//! Guide: write a `SpillStore`. This one puts noise on the disk: each byte is combined with one of a
//! key stream on its way to the default store, an unnamed temporary file, and again on its way back.
//!
//! The noise here hides nothing from anybody who tries; put a real cipher in its place.

use std::io;
use std::sync::Arc;

use futures::stream;
use streamspool::{Bytes, SpillStore, StreamBuffer, TempFileStore};

struct NoiseStore {
    inner: TempFileStore,
    key: u64,
}

impl NoiseStore {
    /// A function of the offset, as in a cipher's counter mode: an access may start anywhere.
    fn apply(&self, offset: u64, bytes: &mut [u8]) {
        for (byte, offset) in bytes.iter_mut().zip(offset..) {
            let mixed = (offset ^ self.key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *byte ^= mixed.to_be_bytes()[0];
        }
    }
}

/// Positional and through `&self`: bytes are read back from several threads, also during a write.
impl SpillStore for NoiseStore {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut noisy = bytes.to_vec();
        self.apply(offset, &mut noisy);
        // It may take fewer than it was given; the rest is written next.
        self.inner.write_at(offset, &noisy)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read_at(offset, buf)?;
        self.apply(offset, buf.get_mut(..read).unwrap_or_default());
        Ok(read)
    }

    /// May be left out; with it, what the page cache holds is read without a blocking thread.
    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.try_read_at(offset, buf)?;
        self.apply(offset, buf.get_mut(..read).unwrap_or_default());
        Ok(read)
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let text = Bytes::from_static(b"what nobody else should read; ");
    // Shared, so that it can be looked at while the buffer uses it.
    let store = Arc::new(NoiseStore { inner: TempFileStore::new(), key: 0x5eed });
    let buffer = StreamBuffer::builder()
        .max_memory(256 * 1024)
        .store(Arc::clone(&store))
        .spawn(stream::iter(std::iter::repeat_n(text, 50_000).map(Ok)));

    buffer.load().await?;
    println!("{:?}", buffer.progress());
    println!("read:    {:?}", buffer.read(600_000, 29).await?);
    let mut raw = [0; 29];
    let found = store.inner.read_at(600_000, &mut raw)?;
    println!("on disk: {:?}", Bytes::copy_from_slice(raw.get(..found).unwrap_or_default()));
    Ok(())
}
