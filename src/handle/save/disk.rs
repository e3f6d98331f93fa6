//! What a save does on disk: the file that it writes, and how the file gets its name.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::target::{Existing, Target, taken};
use crate::store::no_file_in;

/// The start of the name of a temporary file.
const PREFIX: &str = ".streamspool-";

/// The steps of a save on disk, in the order of these methods. All of them may block.
///
/// This is a trait, so that a test can record the order.
pub(super) trait Disk: Clone + Send + 'static {
    /// A file that does not have its final name yet. Dropping it removes the file.
    type Draft: Send + 'static;

    /// Makes a file with the permissions of the file that it will replace, if any, so that at no time more
    /// users can read it.
    fn create(&self, target: &Target, replaced: Option<&Permissions>) -> io::Result<Self::Draft>;

    /// Appends the first of these bytes and returns their number.
    fn write(&self, draft: &mut Self::Draft, bytes: &[u8]) -> io::Result<usize>;

    /// Sets the permissions, if they differ.
    fn set_permissions(&self, draft: &Self::Draft, permissions: &Permissions) -> io::Result<()>;

    /// Brings the file to disk.
    fn sync(&self, draft: &Self::Draft) -> io::Result<()>;

    /// Gives the file the name of `target`.
    fn publish(&self, draft: Self::Draft, target: &Target) -> io::Result<()>;

    /// Brings the names in a directory to disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The file systems of this machine.
#[derive(Clone, Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    type Draft = TempFile;

    fn create(&self, target: &Target, replaced: Option<&Permissions>) -> io::Result<TempFile> {
        #[cfg(target_os = "linux")]
        if let Some(file) = unnamed::create(target.dir(), mode(replaced)) {
            return Ok(TempFile::Unnamed(file));
        }
        named(target.dir(), replaced).map(TempFile::Named)
    }

    fn write(&self, draft: &mut TempFile, bytes: &[u8]) -> io::Result<usize> {
        draft.file().write(bytes)
    }

    #[cfg(unix)]
    fn set_permissions(&self, draft: &TempFile, permissions: &Permissions) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let (file, wanted) = (draft.file(), mode(Some(permissions)));
        // A file system without permissions refuses to set even those that each of its files has.
        if file.metadata()?.permissions().mode() & 0o777 == wanted {
            return Ok(());
        }
        file.set_permissions(Permissions::from_mode(wanted))
    }

    #[cfg(not(unix))]
    fn set_permissions(&self, _draft: &TempFile, _permissions: &Permissions) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self, draft: &TempFile) -> io::Result<()> {
        draft.file().sync_all()
    }

    fn publish(&self, draft: TempFile, target: &Target) -> io::Result<()> {
        let result = match (draft, target.existing()) {
            #[cfg(target_os = "linux")]
            (TempFile::Unnamed(file), Existing::Refuse) => unnamed::link(&file, target.path()),
            #[cfg(target_os = "linux")]
            (TempFile::Unnamed(file), Existing::Replace) => unnamed::link_over(&file, target),
            (TempFile::Named(file), Existing::Refuse) => {
                file.persist_noclobber(target.path()).map(drop).map_err(|error| error.error)
            }
            (TempFile::Named(file), Existing::Replace) => {
                file.persist(target.path()).map(drop).map_err(|error| error.error)
            }
        };
        result.map_err(|error| if error.kind() == ErrorKind::AlreadyExists { taken() } else { error })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// A temporary file in the directory of the target, so that publishing it moves no bytes.
pub(super) enum TempFile {
    /// The file disappears when the process ends, even if the process is killed.
    #[cfg(target_os = "linux")]
    Unnamed(File),
    Named(NamedTempFile),
}

impl TempFile {
    pub(super) fn file(&self) -> &File {
        match self {
            #[cfg(target_os = "linux")]
            Self::Unnamed(file) => file,
            Self::Named(file) => file.as_file(),
        }
    }
}

/// The permission bits of the new file: those of the file that it will replace, without set-user-ID and
/// set-group-ID, which the system clears at each write too. If it replaces none: all that the umask allows.
#[cfg(unix)]
fn mode(replaced: Option<&Permissions>) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    replaced.map_or(0o666, |permissions| permissions.mode() & 0o777)
}

/// A temporary file with a name, for systems and file systems without unnamed ones.
pub(super) fn named(dir: &Path, replaced: Option<&Permissions>) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(Permissions::from_mode(mode(replaced)));
    }
    #[cfg(not(unix))]
    let _ = replaced;
    builder.tempfile_in(dir).map_err(|error| no_file_in(dir, &error))
}

#[cfg(target_os = "linux")]
mod unnamed {
    use std::fs::{File, metadata};
    use std::io::{self, ErrorKind};
    use std::os::fd::AsRawFd;
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};

    use super::{PREFIX, Target};

    /// A file without a name, if this system and the file system of `dir` can make one and name it later.
    ///
    /// `None` on every error. Missing support is `EOPNOTSUPP`, `EISDIR` or `ENOENT`. After any other error, the
    /// caller's attempt to make a named file fails with the same error.
    pub(super) fn create(dir: &Path, mode: u32) -> Option<File> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = File::from(open(dir, flags, Mode::from_raw_mode(mode)).ok()?);
        // Without this path the file could not be named when all bytes are there.
        metadata(path(&file)).is_ok().then_some(file)
    }

    /// The path of an open file. `linkat` with `AT_EMPTY_PATH` needs no path, but may need privileges.
    fn path(file: &File) -> String {
        format!("/proc/self/fd/{}", file.as_raw_fd())
    }

    /// Gives the file this name. Fails with `AlreadyExists` if the name is taken.
    pub(super) fn link(file: &File, to: &Path) -> io::Result<()> {
        Ok(linkat(CWD, path(file), CWD, to, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// Gives the file the name of `target`, in place of the file that has it now, if any.
    pub(super) fn link_over(file: &File, target: &Target) -> io::Result<()> {
        match link(file, target.path()) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => return result,
        }
        // No system call links a file in the place of another, so it gets another name and is renamed.
        let named = tempfile::Builder::new().prefix(PREFIX).make_in(target.dir(), |name| link(file, name))?;
        named.persist(target.path()).map_err(|error| error.error)
    }
}
