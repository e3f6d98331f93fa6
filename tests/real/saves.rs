//! Rule 12 on files that the system lets no program replace.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use streamspool::{ErrorKind, StreamBuffer};

use crate::child::{alone, is_child};
use crate::support::source::ready;
use crate::{names, runtime, tell};

/// Asserts that a save to `path` is refused with this kind before the source is polled, and leaves the file.
fn assert_refused_at_once(path: &Path, kind: io::ErrorKind) {
    runtime().block_on(async {
        let polled = Arc::<AtomicBool>::default();
        let seen = Arc::clone(&polled);
        let buffer = StreamBuffer::spawn(futures::stream::poll_fn(move |_| {
            seen.store(true, Ordering::SeqCst);
            Poll::Pending
        }));
        let saved = tokio::time::timeout(Duration::from_secs(60), buffer.save(path)).await;
        let error = saved.expect("no refusal").unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Save, 0));
        assert_eq!(error.io_error().map(io::Error::kind), Some(kind), "{error:?}");
        // Requests are taken in order, and this one needs no bytes.
        buffer.read(0, 0).await.unwrap();
        assert!(!polled.load(Ordering::SeqCst), "the source was polled");
    });
    assert_eq!(fs::read(path).unwrap(), b"old");
}

/// Whether this command succeeds.
fn runs(program: &str, arguments: &[&str], path: &Path) -> bool {
    Command::new(program).args(arguments).arg(path).output().is_ok_and(|output| output.status.success())
}

#[test]
fn rule_12_a_file_of_another_user_in_a_sticky_directory_is_refused_before_anything_is_loaded() {
    let name =
        "saves::rule_12_a_file_of_another_user_in_a_sticky_directory_is_refused_before_anything_is_loaded";
    let is_root = fs::metadata("/proc/self").is_ok_and(|of| std::os::unix::fs::MetadataExt::uid(&of) == 0);
    if !is_child(name) && !is_root {
        return tell("notice: this test needs root to run as another user, so it did not run");
    }
    let setup = "dir=$(mktemp -d); chmod 1777 $dir; printf old > $dir/song; chmod 666 $dir/song
        DIR=$dir setpriv --clear-groups --reuid 61000 \"$0\" \"$@\"
        status=$?; rm -r $dir; exit $status";
    if !alone(name, setup) {
        return;
    }
    let dir = std::path::PathBuf::from(std::env::var_os("DIR").unwrap());
    assert_refused_at_once(&dir.join("song"), io::ErrorKind::PermissionDenied);
    assert_eq!(names(&dir), ["song"]);
    // A new file and a file of this user can be saved there.
    runtime().block_on(async {
        for size in [1000, 2000] {
            let buffer = StreamBuffer::spawn(ready(size, 100));
            assert_eq!(buffer.save(dir.join("other")).await.unwrap(), size);
        }
    });
    assert_eq!(fs::metadata(dir.join("other")).unwrap().len(), 2000);
}

#[test]
fn rule_12_an_immutable_file_is_refused_before_anything_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song");
    for flag in ["i", "a"] {
        fs::write(&path, "old").unwrap();
        if !runs("chattr", &[&format!("+{flag}")], &path) {
            return tell("notice: this test needs root and a file system with attributes, so it did not run");
        }
        let refused = std::panic::catch_unwind(|| {
            assert_refused_at_once(&path, io::ErrorKind::PermissionDenied);
        });
        assert!(runs("chattr", &[&format!("-{flag}")], &path));
        refused.unwrap();
    }
    assert_eq!(names(dir.path()), ["song"]);
}

#[test]
fn rule_12_a_file_that_is_a_mount_point_is_refused_before_anything_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song");
    fs::write(&path, "old").unwrap();
    // On another file, and on itself: then its device and number are those of the name in the directory.
    let other = dir.path().join("other");
    fs::write(&other, "old").unwrap();
    for from in [&other, &path] {
        if !runs("mount", &["--bind", from.to_str().unwrap()], &path) {
            return tell("notice: this test needs root to mount a file, so it did not run");
        }
        let refused = std::panic::catch_unwind(|| assert_refused_at_once(&path, io::ErrorKind::ResourceBusy));
        assert!(runs("umount", &["-l"], &path));
        refused.unwrap();
    }
}
