//! A copy of all bytes that were sent, to compare with the bytes that were read and saved.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};

/// The most bytes that are compared at once.
const STRETCH: usize = 16 * 1024;

/// The bytes that were sent, in an unnamed file: the input may be larger than memory, and a pipe cannot be
/// read twice.
#[derive(Clone)]
pub(crate) struct Sent(Arc<Mutex<Copied>>);

struct Copied {
    file: File,
    len: u64,
}

impl Sent {
    pub(crate) fn new() -> io::Result<Self> {
        let file = tempfile::tempfile()?;
        Ok(Self(Arc::new(Mutex::new(Copied { file, len: 0 }))))
    }

    fn lock(&self) -> MutexGuard<'_, Copied> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> u64 {
        self.lock().len
    }

    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let end = self.len();
        self.put(end, bytes)
    }

    /// Keeps bytes that were sent at `offset`. A server may send some bytes twice, or leave out others.
    pub(crate) fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut copied = self.lock();
        copied.file.seek(SeekFrom::Start(offset))?;
        copied.file.write_all(bytes)?;
        copied.len = copied.len.max(offset + bytes.len() as u64);
        Ok(())
    }

    /// Fails unless `bytes` were sent at `offset`.
    pub(crate) fn compare(&self, mut offset: u64, bytes: &[u8]) -> Result<()> {
        let mut scratch = [0; STRETCH];
        for read in bytes.chunks(STRETCH) {
            let sent = scratch.get_mut(..read.len()).unwrap_or_default();
            let mut copied = self.lock();
            ensure!(
                offset + read.len() as u64 <= copied.len,
                "{} bytes at offset {offset} were never sent",
                read.len()
            );
            copied.file.seek(SeekFrom::Start(offset))?;
            copied.file.read_exact(sent)?;
            drop(copied);
            if let Some(wrong) = sent.iter().zip(read).position(|(sent, read)| sent != read) {
                bail!("the byte at offset {} is not the one that was sent", offset + wrong as u64);
            }
            offset += read.len() as u64;
        }
        Ok(())
    }

    /// Fails unless the file at `path` has exactly the `len` bytes that were sent.
    pub(crate) fn verify(&self, path: &Path, len: u64) -> Result<()> {
        let mut stretch = vec![0; STRETCH];
        let mut verify = || -> Result<()> {
            let mut file = File::open(path)?;
            let mut offset = 0;
            loop {
                match file.read(&mut stretch)? {
                    0 => break ensure!(offset == len, "the file ends at offset {offset} of {len}"),
                    got => {
                        self.compare(offset, stretch.get(..got).unwrap_or_default())?;
                        offset += got as u64;
                    }
                }
            }
            Ok(())
        };
        verify().with_context(|| format!("the file {} has wrong bytes", path.display()))
    }
}
