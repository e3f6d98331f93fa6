//! The default store: an unnamed temporary file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::SpillStore;

/// The default store: an unnamed temporary file, made by the first write.
///
/// Unnamed means that there is nothing to clean up, not even after a crash; on Unix, nobody but the
/// user can open it. On Linux, what the page cache holds is read without leaving the async task, and
/// so is a file on a tmpfs. A filesystem that does not tell what is cached, such as the overlay of a
/// container, costs each read a disk thread: give the buffer a directory on another one.
#[derive(Debug, Default)]
pub struct TempFileStore {
    dir: Option<PathBuf>,
    file: OnceLock<TempFile>,
}

#[derive(Debug)]
struct TempFile {
    file: File,
    /// Whether reading it waits for a disk only as reading memory may, when that was swapped out.
    #[cfg(target_os = "linux")]
    in_memory: bool,
}

impl TempFileStore {
    /// A store in the system's temporary directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store in a directory of your choice, which must exist when bytes are first spilled.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self { dir: Some(dir.into()), file: OnceLock::new() }
    }

    fn create(&self) -> io::Result<TempFile> {
        let dir = self.dir.clone().unwrap_or_else(tempfile::env::temp_dir);
        let file = tempfile::tempfile_in(&dir).and_then(private).map_err(|error| no_file_in(&dir, &error))?;
        Ok(TempFile {
            #[cfg(target_os = "linux")]
            in_memory: is_in_memory(&file),
            file,
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
            let file = self.create()?;
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
}

/// Whether a file is on a tmpfs. Those do not know `NOWAIT`, and need it as little as memory does, which
/// may be swapped out too.
#[cfg(target_os = "linux")]
fn is_in_memory(file: &File) -> bool {
    const TMPFS: u32 = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|found| u32::try_from(found.f_type) == Ok(TMPFS))
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

    // They move the file's own position too, which nobody here uses.
    pub(super) fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        file.seek_read(buf, offset)
    }

    pub(super) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        file.seek_write(bytes, offset)
    }
}

/// Takes away the permissions that the umask left to others. Without a name they can hardly use
/// them; but some ways to open a file go without its name.
fn private(file: File) -> io::Result<File> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// The error for a temporary file that can't be made. The error of tempfile ends in a file name that
/// does not exist, "… at path …"; the directory is the useful part.
pub(crate) fn no_file_in(dir: &Path, error: &io::Error) -> io::Error {
    let text = error.to_string();
    let why = text.split(" at path ").next().unwrap_or_default();
    io::Error::new(error.kind(), format!("no temporary file can be made in {}: {why}", dir.display()))
}
