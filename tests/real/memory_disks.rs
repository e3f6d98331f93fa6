//! Rule 11: if the user gives no directory, the file avoids file systems in memory.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use streamspool::{SpillStore, TempFileStore};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::child::{command, is_child};
use crate::support::{assert_data, data};
use crate::tell;

/// Counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The directories of the deleted files that are open in this process.
fn directories() -> Vec<PathBuf> {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let files = links.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let deleted = files.filter(|file| file.as_os_str().as_bytes().ends_with(b" (deleted)"));
    deleted.map(|file| file.parent().unwrap().to_path_buf()).collect()
}

/// Spills with the default store. Prints the directory of the file and the number of warnings.
fn spill() -> (Vec<PathBuf>, usize) {
    let warnings = Warnings::default();
    let store = TempFileStore::new();
    tracing::subscriber::with_default(warnings.clone(), || {
        for offset in [0, 1000, 2000] {
            assert_eq!(store.write_at(offset, &data(offset, 1000)).unwrap(), 1000);
        }
    });
    let mut bytes = vec![0; 3000];
    assert_eq!(store.read_at(0, &mut bytes).unwrap(), 3000);
    assert_data(&bytes, 0);
    (directories(), warnings.0.load(Ordering::SeqCst))
}

/// The command that runs another command with separate mounts, if this process may do so.
fn unshare() -> Option<&'static str> {
    let works = |unshare: &&str| {
        let probe = format!("{unshare} sh -c 'mount -t tmpfs tmpfs /tmp'");
        Command::new("sh").args(["-c", &probe]).output().is_ok_and(|output| output.status.success())
    };
    ["unshare --mount", "unshare --map-root-user --mount"].into_iter().find(works)
}

#[test]
fn rule_11_without_a_directory_given_the_file_avoids_memory() {
    let name = "memory_disks::rule_11_without_a_directory_given_the_file_avoids_memory";
    if is_child(name) {
        let expected = PathBuf::from(std::env::var("EXPECTED").unwrap());
        let warns = usize::from(expected.as_os_str() == "/tmp");
        assert_eq!(spill(), (vec![expected], warns));
        return;
    }
    let Some(unshare) = unshare() else {
        return tell("notice: this test may not mount anything here, so it did not run");
    };
    let on_tmp = "mount -t tmpfs tmpfs /tmp";
    let on_both = "mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /var/tmp";
    let read_only = "mount -t tmpfs tmpfs /tmp && mount --bind /var/tmp /var/tmp && \
                     mount -o remount,bind,ro /var/tmp";
    let missing = "mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /var";
    for (tmpdir, mounts, expected) in [
        ("unset TMPDIR", on_tmp, "/var/tmp"),
        ("export TMPDIR=/tmp", on_tmp, "/tmp"),
        ("unset TMPDIR", on_both, "/tmp"),
        ("unset TMPDIR", read_only, "/tmp"),
        ("unset TMPDIR", missing, "/tmp"),
    ] {
        // The mounts may hide the directory of this binary, so the binary is opened before.
        let run = "exec /proc/self/fd/9 \"$@\"";
        let setup = format!("{tmpdir}\nexec 9< \"$0\" {unshare} sh -c '{mounts} && {run}' \"$0\" \"$@\"");
        let output = command(name, &setup).env("EXPECTED", expected).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let passed = output.status.success() && out.contains("1 passed");
        assert!(passed, "{tmpdir}, {mounts}: {}\n{out}\n{err}", output.status);
    }
}
