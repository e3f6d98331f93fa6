//! The file of spilled bytes.

use std::fs::File;
use std::io;
use std::sync::Arc;

use streamspool::SpillStore;

/// A temporary file. If `cached` is not set, its bytes are dropped from the page cache before each read.
#[derive(Clone)]
pub(crate) struct TestFile {
    file: Arc<File>,
    cached: bool,
}

impl TestFile {
    pub(crate) fn new(cached: bool) -> Self {
        Self { file: Arc::new(tempfile::tempfile().expect("a temporary file")), cached }
    }

    /// Brings the bytes to the disk: only then they can leave the page cache.
    pub(crate) fn sync(&self) {
        self.file.sync_all().expect("syncs");
    }

    #[cfg(unix)]
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if !self.cached {
            self.evict(offset, buf.len());
        }
        std::os::unix::fs::FileExt::read_at(&*self.file, buf, offset)
    }

    #[cfg(unix)]
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&*self.file, bytes, offset)
    }

    #[cfg(windows)]
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&*self.file, buf, offset)
    }

    #[cfg(windows)]
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&*self.file, bytes, offset)
    }

    #[cfg(target_os = "linux")]
    fn evict(&self, offset: u64, len: usize) {
        use rustix::fs::{Advice, fadvise};
        let len = std::num::NonZeroU64::new(len as u64);
        fadvise(&*self.file, offset, len, Advice::DontNeed).expect("drops them from the page cache");
    }

    #[cfg(all(unix, not(target_os = "linux")))]
    fn evict(&self, _: u64, _: usize) {}
}

impl SpillStore for TestFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.write(offset, bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.read(offset, buf)
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.cached { self.read(offset, buf) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}
