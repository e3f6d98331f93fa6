//! Where a save goes, and whether a file may be written there.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf, is_separator};

/// The most symbolic links that are followed, as on Linux.
const LINKS: usize = 40;

/// How a save treats a file that exists at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    Replace,
    Refuse,
}

/// The file that a save writes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The path is absolute, so that it stays the same if the process changes its directory meanwhile. If an
    /// existing file is replaced, the last part of the path is no symbolic link.
    path: PathBuf,
    dir: PathBuf,
    existing: Existing,
}

impl Target {
    /// Finds out where a save to `path` goes, and refuses a path that cannot be that of a file. Blocks.
    pub(super) fn new(path: &Path, existing: Existing) -> io::Result<Self> {
        if path.as_os_str().is_empty() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "the path is empty"));
        }
        refuse_directory_name(path)?;
        let mut path = std::path::absolute(path)?;
        if existing == Existing::Replace {
            path = follow(path)?;
            refuse_directory_name(&path)?;
        }
        let Some(dir) = path.parent().map(Path::to_path_buf) else { return Err(directory()) };
        Ok(Self { path, dir, existing })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn existing(&self) -> Existing {
        self.existing
    }

    /// The permissions of the file that the save replaces, or `None` if nothing has its name now. An error
    /// if something has this name that must not be replaced. Blocks.
    pub(super) fn replaced(&self) -> io::Result<Option<Permissions>> {
        match self.path.symlink_metadata() {
            Ok(_) if self.existing == Existing::Refuse => Err(taken()),
            Ok(found) if found.is_file() => Ok(Some(found.permissions())),
            Ok(found) if found.is_dir() => Err(directory()),
            Ok(_) => Err(io::Error::new(ErrorKind::InvalidInput, "it exists and is not a regular file")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Refuses a regular file that the system lets no rename replace: one of another user in a sticky directory, an
    /// immutable or append-only one, and a mount point. Blocks.
    #[cfg(target_os = "linux")]
    pub(super) fn refuse_protected(&self) -> io::Result<()> {
        use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, rmdir, statx};
        use rustix::io::Errno;

        // `rmdir` of a file always fails. The system first checks what it checks for a rename over the file, and
        // returns `NOTDIR` only if a rename would be allowed. So the system itself answers, with all its
        // capabilities and file systems. Any other error is no answer: then the rename at the end decides.
        if rmdir(&self.path) == Err(Errno::PERM) {
            let text = "it must not be replaced: it is immutable or append-only, or belongs to another user in a \
                        sticky directory";
            return Err(io::Error::new(ErrorKind::PermissionDenied, text));
        }
        // Linux before 5.8 does not report the attribute. Then the rename decides too.
        match statx(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty()) {
            Ok(found) if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) => {
                Err(io::Error::new(ErrorKind::ResourceBusy, "it is a mount point, which cannot be replaced"))
            }
            _ => Ok(()),
        }
    }
}

/// The error for a path that must be new.
pub(super) fn taken() -> io::Error {
    io::Error::new(ErrorKind::AlreadyExists, "it exists already")
}

fn directory() -> io::Error {
    io::Error::new(ErrorKind::IsADirectory, "it is a directory")
}

/// Refuses a path such as `music/`, `music/.` or `..`, which can only be that of a directory, whether it
/// exists or not. `Path` ignores such ends.
fn refuse_directory_name(path: &Path) -> io::Result<()> {
    let mut names = path.as_os_str().as_encoded_bytes().rsplit(|byte| is_separator(char::from(*byte)));
    match names.next() {
        None | Some(b"" | b"." | b"..") => Err(directory()),
        Some(_) => Ok(()),
    }
}

/// The file that `path` leads to, which may not exist: opening it for writing would make it there too.
fn follow(mut path: PathBuf) -> io::Result<PathBuf> {
    for _ in 0..LINKS {
        // An error means that this is no link. If it means something else, the next use of `path` fails.
        let Ok(leads_to) = fs::read_link(&path) else { return Ok(path) };
        path.pop();
        path.push(leads_to);
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "it leads through too many symbolic links"))
}
