//! Rule 16 on real file systems.

use std::io;
use std::path::Path;
use std::process::Command;

use streamspool::{ErrorKind, SpillStore, StreamBuffer, TempFileStore};

use crate::support::source::ready;
use crate::support::{MIB, assert_bytes, chain, data};
use crate::{names, runtime, tell};

const SIZE: u64 = 8 * MIB as u64;

/// A small file system for this test, if it may mount one.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path()).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        tell("notice: this test needs root to mount a file system and fill it up, so it did not run");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn rule_16_a_full_file_system_loses_no_byte_and_is_written_again_when_there_is_space() {
    let Some(disk) = Tmpfs::mount("size=8m") else { return };
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![1; 6 * MIB]).unwrap();
    runtime().block_on(async {
        let builder = StreamBuffer::builder().max_memory(MIB).spill_dir(disk.path());
        let buffer = builder.spawn(ready(SIZE, 64 * 1024));
        for _ in 0..3 {
            let error = buffer.load().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Spill);
            assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::StorageFull);
            let loaded = buffer.progress().loaded as usize;
            assert!(loaded > 2 * MIB, "{loaded}");
            assert_bytes(&buffer.read(0, loaded).await.unwrap(), &data(0, loaded), 0);
        }
        std::fs::remove_file(&filler).unwrap();
        assert_eq!(buffer.load().await.unwrap(), SIZE);
        buffer.spill().await.unwrap();
        assert_bytes(&buffer.read(0, 8 * MIB).await.unwrap(), &data(0, 8 * MIB), 0);
    });
    assert_eq!(names(disk.path()), [""; 0]);
}

#[test]
fn rule_4_a_file_on_a_tmpfs_is_read_without_waiting() {
    // On Linux this directory, where it exists, is a tmpfs.
    let shared = Path::new("/dev/shm");
    let mounted = if shared.is_dir() { None } else { Tmpfs::mount("size=8m") };
    let Some(dir) = mounted.as_ref().map(Tmpfs::path).or(shared.is_dir().then_some(shared)) else { return };
    let store = TempFileStore::in_dir(dir);
    let size = MIB;
    assert_eq!(store.write_at(0, &data(0, size)).unwrap(), size);
    let mut bytes = vec![0; 100_000];
    assert_eq!(store.try_read_at(500_000, &mut bytes).unwrap(), bytes.len());
    assert_bytes(&bytes, &data(500_000, bytes.len()), 500_000);
}

#[test]
fn rule_12_a_save_to_a_full_file_system_leaves_the_target_as_it_was() {
    let Some(disk) = Tmpfs::mount("size=2m") else { return };
    let path = disk.path().join("song");
    std::fs::write(&path, "the old one").unwrap();
    runtime().block_on(async {
        let buffer = StreamBuffer::spawn(ready(SIZE, 64 * 1024));
        let new = disk.path().join("new");
        for replaces in [true, false] {
            let saved = if replaces { buffer.save(&path).await } else { buffer.save_new(&new).await };
            let error = saved.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Save);
            assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::StorageFull);
            // The file system has 2 MiB. The old file takes one page of it.
            assert_eq!(error.offset(), 2 * MIB as u64 - 4096, "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), b"the old one");
            assert_eq!(names(disk.path()), ["song"]);
            wait_until_free(disk.path());
        }
        std::fs::remove_file(&path).unwrap();
        let small = StreamBuffer::spawn(ready(MIB as u64, 64 * 1024));
        assert_eq!(small.save_new(&new).await.unwrap(), MIB as u64);
        assert_bytes(&buffer.read(0, 8 * MIB).await.unwrap(), &data(0, 8 * MIB), 0);
    });
}

/// Waits until a disk thread has dropped the file of a failed save.
fn wait_until_free(dir: &Path) {
    while rustix::fs::statvfs(dir).unwrap().f_bfree * 4096 < 2 * MIB as u64 - 4096 {
        std::thread::yield_now();
    }
}

#[test]
fn rule_16_a_spill_dir_that_cannot_be_written_loses_no_byte() {
    let Some(disk) = Tmpfs::mount("ro") else { return };
    runtime().block_on(async {
        let builder = StreamBuffer::builder().max_memory(MIB).spill_dir(disk.path());
        let buffer = builder.spawn(ready(SIZE, 64 * 1024));
        let error = buffer.load().await.unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Spill, 0));
        assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::ReadOnlyFilesystem);
        assert!(chain(&error)[1].contains(&disk.path().display().to_string()), "{error:?}");
        let loaded = buffer.progress().loaded as usize;
        assert_bytes(&buffer.read(0, loaded).await.unwrap(), &data(0, loaded), 0);
    });
}

#[test]
fn rule_16_a_spill_dir_is_needed_only_until_the_file_is_made() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        let spool = || StreamBuffer::builder().max_memory(MIB).spill_dir(&path).spawn(ready(SIZE, 64 * 1024));
        let (early, late) = (spool(), spool());
        early.read(0, 3 * MIB).await.unwrap();
        early.spill().await.unwrap();
        dir.close().unwrap();
        assert_eq!(early.load().await.unwrap(), SIZE);
        assert_bytes(&early.read(0, 8 * MIB).await.unwrap(), &data(0, 8 * MIB), 0);
        let error = late.load().await.unwrap_err();
        assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::NotFound);
        std::fs::create_dir(&path).unwrap();
        assert_eq!(late.load().await.unwrap(), SIZE);
        assert_bytes(&late.read(0, 8 * MIB).await.unwrap(), &data(0, 8 * MIB), 0);
        std::fs::remove_dir(&path).unwrap();
    });
}
