//! Guide: write a `SpillStore`. This one combines each byte with a byte of a key stream before it writes it
//! to the default store, an unnamed temporary file, and again after it reads it.
//!
//! This key stream is not secure. Use a real cipher instead.

use std::io;
use std::sync::Arc;

use futures::stream;
use streamspool::{Bytes, SpillStore, StreamBuffer, TempFileStore};

struct NoiseStore {
    inner: TempFileStore,
    key: u64,
}

impl NoiseStore {
    /// The key stream depends on the offset only, like a cipher in counter mode, because an access may start
    /// anywhere.
    fn apply(&self, offset: u64, bytes: &mut [u8]) {
        for (byte, offset) in bytes.iter_mut().zip(offset..) {
            let mixed = (offset ^ self.key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *byte ^= mixed.to_be_bytes()[0];
        }
    }
}

/// Each call has an offset and takes `&self`, because several threads read at once, also during a write.
impl SpillStore for NoiseStore {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut noisy = bytes.to_vec();
        self.apply(offset, &mut noisy);
        // A store may write fewer bytes than it is given. The buffer then writes the rest.
        self.inner.write_at(offset, &noisy)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read_at(offset, buf)?;
        self.apply(offset, buf.get_mut(..read).unwrap_or_default());
        Ok(read)
    }

    /// Optional. With it, bytes in the page cache are read without a blocking thread.
    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.try_read_at(offset, buf)?;
        self.apply(offset, buf.get_mut(..read).unwrap_or_default());
        Ok(read)
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let text = Bytes::from_static(b"what nobody else should read; ");
    // Shared, so that this program can inspect the store while the buffer uses it.
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
