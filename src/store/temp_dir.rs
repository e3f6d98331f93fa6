//! The directory of the temporary file, and whether that is memory.

#[cfg(target_os = "linux")]
use std::path::Path;
use std::path::PathBuf;

/// The directory for large temporary files, according to file-hierarchy(7).
#[cfg(target_os = "linux")]
const LARGE: &str = "/var/tmp";

/// The directory for the temporary file if the user of the store gives none: the system's own, or
/// `/var/tmp` if that avoids a file in memory.
pub(super) fn default_dir() -> PathBuf {
    let dir = tempfile::env::temp_dir();
    #[cfg(target_os = "linux")]
    {
        let is_chosen = std::env::var_os("TMPDIR").is_some() || dir.as_os_str() != "/tmp";
        if prefers_large(is_chosen, linux::is_memory(&dir), linux::is_usable_disk(Path::new(LARGE))) {
            return LARGE.into();
        }
    }
    dir
}

/// Whether the file is made in `/var/tmp`. `is_chosen` means that the environment or the program has chosen the
/// directory: another one than `/tmp`, or `/tmp` by its name.
#[cfg(target_os = "linux")]
fn prefers_large(is_chosen: bool, tmp_is_memory: bool, large_is_usable: bool) -> bool {
    !is_chosen && tmp_is_memory && large_is_usable
}

#[cfg(target_os = "linux")]
pub(super) mod linux {
    use std::fs::File;
    use std::path::Path;

    use rustix::fs::{Access, StatFs, access, fstatfs, statfs};

    /// The types of file systems that keep their files in memory: tmpfs and ramfs.
    const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

    fn is_type_of_memory(found: &StatFs) -> bool {
        u32::try_from(found.f_type).is_ok_and(|found| MEMORY.contains(&found))
    }

    /// Whether the files of a directory are memory.
    pub(in crate::store) fn is_memory(dir: &Path) -> bool {
        statfs(dir).is_ok_and(|found| is_type_of_memory(&found))
    }

    /// Whether a file is memory.
    pub(in crate::store) fn is_file_in_memory(file: &File) -> bool {
        fstatfs(file).is_ok_and(|found| is_type_of_memory(&found))
    }

    /// Whether this process can make files in this directory, and these files are not memory. `false` if the path
    /// is a file, because a file is not executable.
    pub(super) fn is_usable_disk(dir: &Path) -> bool {
        access(dir, Access::WRITE_OK | Access::EXEC_OK).is_ok() && !is_memory(dir)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn var_tmp_is_preferred_only_to_a_tmp_in_memory_that_was_not_chosen() {
        // Rule 11. TMPDIR set, /tmp on a tmpfs, /var/tmp usable.
        for (is_chosen, tmp_is_memory, large_is_usable, expected) in [
            (false, true, true, true),
            (false, true, false, false),
            (false, false, true, false),
            (false, false, false, false),
            (true, true, true, false),
            (true, true, false, false),
            (true, false, true, false),
            (true, false, false, false),
        ] {
            let preferred = prefers_large(is_chosen, tmp_is_memory, large_is_usable);
            assert_eq!(preferred, expected, "{is_chosen} {tmp_is_memory} {large_is_usable}");
        }
    }

    #[test]
    fn a_directory_is_usable_only_if_files_can_be_made_in_it() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        let (path, file) = (dir.path(), dir.path().join("file"));
        std::fs::write(&file, "")?;
        assert_eq!(linux::is_usable_disk(path), !linux::is_memory(path));
        assert!(!linux::is_usable_disk(&file), "not a directory");
        assert!(!linux::is_usable_disk(&path.join("missing")));
        Ok(())
    }
}
