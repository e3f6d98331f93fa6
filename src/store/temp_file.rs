//! The default store: an unnamed temporary file.

use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tracing::debug;

use super::SpillStore;
use super::temp_dir::default_dir;
#[cfg(target_os = "linux")]
use super::temp_dir::linux::is_file_in_memory;

/// The default store: an unnamed temporary file, made by the first write.
///
/// The file has no name, so there is nothing to clean up, not even after a crash. On Unix only its owner
/// may open it, where the file system has permissions.
///
/// # Where the file is
///
/// In the directory given to [`in_dir`](Self::in_dir) or
/// [`Builder::spill_dir`](crate::Builder::spill_dir). Without one, in the system's temporary directory:
/// `TMPDIR` if it is set, else `/tmp` on Linux. Many Linux systems have a tmpfs on `/tmp`, which is memory,
/// so a file there does not save any. If `TMPDIR` is not set and `/tmp` is on a tmpfs, the file is made in
/// `/var/tmp` (as file-hierarchy(7) recommends for large files), provided that this is a writable directory
/// and not a tmpfs itself. If the file is on a tmpfs all the same, a warning is logged once for each store.
///
/// On Linux, bytes that the page cache holds are read without leaving the async task, and so is a file on a
/// tmpfs. A file system that does not tell which bytes are cached, such as the overlay of a container, costs
/// each read a disk thread: give the buffer a directory on another one.
///
/// # Space on disk
///
/// With [`max_disk`](crate::Builder::max_disk), the space of discarded bytes is written again. When
/// [`set_max_disk`](crate::BufferHandle::set_max_disk) lowers the limit, their space is given back to the file
/// system at once: on Linux, where the file system can do so, as ext4, XFS, Btrfs and tmpfs can.
#[derive(Debug, Default)]
pub struct TempFileStore {
    dir: Option<PathBuf>,
    file: OnceLock<TempFile>,
}

#[derive(Debug)]
struct TempFile {
    file: File,
    /// Whether the file is on a tmpfs. A tmpfs does not know `NOWAIT`, and does not need it: reading it
    /// waits for a disk only if memory was swapped out.
    #[cfg(target_os = "linux")]
    in_memory: bool,
}

impl TempFileStore {
    /// A store in the system's temporary directory, or in `/var/tmp`; see
    /// [the type](Self#where-the-file-is).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store in a directory of your choice, which must exist when bytes are first spilled.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self { dir: Some(dir.into()), file: OnceLock::new() }
    }

    /// Makes the file, and restricts its permissions with `restrict`.
    fn create(&self, restrict: impl FnOnce(&File) -> io::Result<()>) -> io::Result<TempFile> {
        let dir = self.dir.clone().unwrap_or_else(default_dir);
        let file = tempfile::tempfile_in(&dir).map_err(|error| no_file_in(&dir, &error))?;
        if let Err(error) = restrict(&file) {
            // A file system without permissions refuses. Without a name the file is hard to open anyway.
            debug!(%error, dir = %dir.display(), "the permissions of the temporary file stay as they are");
        }
        #[cfg(target_os = "linux")]
        let in_memory = is_file_in_memory(&file);
        #[cfg(target_os = "linux")]
        if in_memory {
            let dir = dir.display();
            tracing::warn!(%dir, "spilled bytes go to a tmpfs, which is memory: choose another spill_dir");
        }
        Ok(TempFile {
            file,
            #[cfg(target_os = "linux")]
            in_memory,
        })
    }

    fn written(&self) -> io::Result<&TempFile> {
        self.file.get().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl SpillStore for TempFileStore {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let file = if let Some(file) = self.file.get() {
            file
        } else {
            let file = self.create(make_private)?;
            self.file.get_or_init(|| file)
        };
        positional::write_at(&file.file, offset, bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        positional::read_at(&self.written()?.file, offset, buf)
    }

    #[cfg(target_os = "linux")]
    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        use rustix::io::{ReadWriteFlags, preadv2};
        let TempFile { file, in_memory } = self.written()?;
        if *in_memory {
            return positional::read_at(file, offset, buf);
        }
        Ok(preadv2(file, &mut [io::IoSliceMut::new(buf)], offset, ReadWriteFlags::NOWAIT)?)
    }

    #[cfg(target_os = "linux")]
    fn discard(&self, range: Range<u64>) {
        use rustix::fs::{FallocateFlags, fallocate};
        let Some(TempFile { file, .. }) = self.file.get() else { return };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if let Err(error) = fallocate(file, flags, range.start, range.end.saturating_sub(range.start)) {
            // Some file systems have no such operation. The space stays until it is written again.
            debug!(%error, ?range, "the space of the temporary file is not freed");
        }
    }
}

#[cfg(unix)]
mod positional {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(super) fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        file.read_at(buf, offset)
    }

    pub(super) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }
}

#[cfg(windows)]
mod positional {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt;

    // These calls also move the position of the file, which is not used here.
    pub(super) fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        file.seek_read(buf, offset)
    }

    pub(super) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        file.seek_write(bytes, offset)
    }
}

/// Takes away the permissions that the umask left to other users. A file without a name can still be
/// opened through `/proc`.
fn make_private(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// The error for a temporary file that can't be made. The error of tempfile ends in "… at path …", the name of a
/// file that does not exist. Only its directory is useful.
pub(crate) fn no_file_in(dir: &Path, error: &io::Error) -> io::Error {
    let text = error.to_string();
    let why = text.split(" at path ").next().unwrap_or_default();
    io::Error::new(error.kind(), format!("no temporary file can be made in {}: {why}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_permissions_cannot_be_changed_is_used_all_the_same() -> io::Result<()> {
        // Rule 11. As on a vfat file system.
        let dir = tempfile::tempdir()?;
        let store = TempFileStore::in_dir(dir.path());
        let created = store.create(|_| Err(io::ErrorKind::PermissionDenied.into()))?;
        assert_eq!(positional::write_at(&created.file, 3, b"abc")?, 3);
        let mut bytes = [0; 3];
        assert_eq!(positional::read_at(&created.file, 3, &mut bytes)?, 3);
        assert_eq!(&bytes, b"abc");
        Ok(())
    }
}
