//! A disk that loses bytes after it has accepted them.
//!
//! The kernel accepts a write to a file into its page cache, and writes it to the disk later. If that fails, only
//! a program that asks for it is told, and the cached bytes are dropped. A read then returns older bytes, or
//! zeros, as if nothing had happened. Here the disk is a sparse image on a small tmpfs: the file system in the
//! image has free blocks, and the tmpfs has no memory left to hold them.

use std::fs::{self, File};
use std::io::ErrorKind::StorageFull;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{Advice, fadvise, syncfs};
use streamspool::{BufferHandle, SpillStore, StreamBuffer, TempFileStore};

use crate::child::{alone, is_child};
use crate::support::source::ready;
use crate::support::{MIB, assert_data, is_data};
use crate::{runtime, tell};

const PAGE: usize = 4096;
const SIZE: usize = 8 * MIB;
/// So many bytes are on the disk before it is full.
const KEPT: usize = 2 * MIB;

/// A file system that accepts more bytes than it can keep.
struct Disk {
    dir: tempfile::TempDir,
    /// Open since before the first write, so that the kernel reports a failed one here.
    root: Option<File>,
}

impl Disk {
    /// Mounts it, or says why that is not possible here.
    fn mount() -> Option<Self> {
        let mut disk = Self { dir: tempfile::tempdir().unwrap(), root: None };
        match disk.try_mount() {
            Ok(()) => return Some(disk),
            Err(why) => tell(&format!("notice: no disk could be made that loses bytes: {why}")),
        }
        None
    }

    fn try_mount(&mut self) -> Result<(), String> {
        let (memory, image, root) = (self.memory(), self.image(), self.root());
        fs::create_dir(&memory).unwrap();
        fs::create_dir(&root).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&memory))?;
        File::create(&image).unwrap().set_len(64 * MIB as u64).unwrap();
        let options = ["-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-E", "nodiscard"];
        run(Command::new("mke2fs").args(options).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop,errors=continue"]).args([&image, &root]))?;
        self.root = Some(File::open(root).unwrap());
        Ok(())
    }

    fn memory(&self) -> PathBuf {
        self.dir.path().join("memory")
    }

    fn image(&self) -> PathBuf {
        self.memory().join("image")
    }

    /// Where its files are.
    fn root(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// From now on it keeps no new byte.
    fn fill(&self) {
        let mut filler = File::create(self.memory().join("filler")).unwrap();
        let error = std::iter::repeat_with(|| filler.write_all(&[1; PAGE])).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), StorageFull);
    }

    /// Has the kernel write everything to the disk now, and not some seconds later. Returns whether the disk
    /// has kept it.
    fn write_back(&self) -> bool {
        syncfs(self.root.as_ref().unwrap()).is_ok()
    }

    /// Has the kernel forget the bytes of all files, as it does when it needs the memory.
    fn drop_cache(&self) {
        let is_ours = |file: &PathBuf| fs::read_link(file).is_ok_and(|to| to.starts_with(self.root()));
        let open = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<_> = open.filter(is_ours).map(|file| File::open(file).unwrap()).collect();
        assert!(files.len() > 1, "the spilled file is among them");
        for file in files.iter().filter(|file| file.metadata().unwrap().is_file()) {
            fadvise(file, 0, None, Advice::DontNeed).unwrap();
        }
    }
}

impl Drop for Disk {
    /// Also after a failed test. The kernel detaches the loop device when its file system is gone.
    fn drop(&mut self) {
        self.root = None;
        for mounted in [self.root(), self.memory()] {
            let _ = Command::new("umount").arg("-l").arg(mounted).output();
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", error.trim())) }
}

/// Whether the test is to run in this process. All its mounts are its own and end with it, even if it is
/// killed.
fn with_mounts_of_its_own(name: &str) -> bool {
    if !is_child(name)
        && let Err(why) = run(Command::new("unshare").args(["--mount", "true"]))
    {
        tell(&format!("notice: nothing may be mounted here, so no disk has lost bytes: {why}"));
        return false;
    }
    alone(name, "exec unshare --mount \"$0\" \"$@\"")
}

/// Spills all bytes. The disk accepts them, keeps the first ones and loses others.
async fn spill_and_lose(disk: &Disk, store: impl SpillStore) -> BufferHandle {
    let buffer = StreamBuffer::builder().max_memory(MIB).store(store).spawn(ready(SIZE as u64, 64 * 1024));
    buffer.load_range(..KEPT as u64).await.unwrap();
    buffer.spill().await.unwrap();
    assert!(disk.write_back());
    disk.fill();
    buffer.load().await.unwrap();
    buffer.spill().await.unwrap();
    assert_eq!(buffer.progress().spilled, SIZE as u64);
    assert!(!disk.write_back(), "the disk has kept all bytes");
    disk.drop_cache();
    assert!(buffer.store_error().is_none(), "the kernel has told nothing of it");
    buffer
}

#[test]
fn a_disk_that_loses_accepted_bytes_returns_others_to_a_store_without_checksums() {
    let name = "lost_writes::a_disk_that_loses_accepted_bytes_returns_others_to_a_store_without_checksums";
    if !with_mounts_of_its_own(name) {
        return;
    }
    let Some(disk) = Disk::mount() else { return };
    runtime().block_on(async {
        let buffer = spill_and_lose(&disk, TempFileStore::in_dir(disk.root())).await;
        let bytes = buffer.read(0, SIZE).await.unwrap();
        assert_eq!(bytes.len(), SIZE);
        assert_data(&bytes[..KEPT], 0);
        let pages = (0..).step_by(PAGE).zip(bytes.chunks(PAGE));
        let wrong = pages.filter(|(offset, page)| !is_data(page, *offset)).count();
        assert!(wrong > 0, "all bytes are right");
        tell(&format!("notice: {wrong} of {} pages were lost, and no read failed", SIZE / PAGE));
    });
}

#[cfg(feature = "checksums")]
#[test]
fn rules_1_and_16_with_checksums_a_read_of_bytes_that_the_disk_has_lost_is_an_error() {
    use crate::support::chain;
    use streamspool::{ChecksummedStore, ErrorKind};

    let name =
        "lost_writes::rules_1_and_16_with_checksums_a_read_of_bytes_that_the_disk_has_lost_is_an_error";
    if !with_mounts_of_its_own(name) {
        return;
    }
    let Some(disk) = Disk::mount() else { return };
    runtime().block_on(async {
        let store = ChecksummedStore::new(TempFileStore::in_dir(disk.root()));
        let buffer = spill_and_lose(&disk, store).await;
        assert_data(&buffer.read(0, KEPT).await.unwrap(), 0);
        let mut lost = 0;
        for offset in (0..SIZE as u64).step_by(PAGE) {
            match buffer.read(offset, PAGE).await {
                Ok(bytes) => assert_data(&bytes, offset),
                Err(error) => {
                    lost += 1;
                    assert_eq!((error.kind(), error.offset()), (ErrorKind::Spill, offset));
                    let range = offset..offset + PAGE as u64;
                    let cause = format!("the store has lost or changed bytes of {range:?}");
                    assert_eq!(chain(&error)[1], cause);
                }
            }
        }
        assert!(lost > 0, "all bytes are right");
        assert_eq!(buffer.read(0, SIZE).await.unwrap_err().kind(), ErrorKind::Spill);
        tell(&format!("notice: {lost} of {} pages were lost, and reads of them failed", SIZE / PAGE));
    });
}
