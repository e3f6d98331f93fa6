//! Rule 16 at the limits of the process, and rules 11 and 12 when the process is killed.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use streamspool::{ErrorKind, StreamBuffer};

use crate::child::{alone, command, is_child};
use crate::support::scripted_store::Script;
use crate::support::source::ready;
use crate::support::{MIB, assert_bytes, chain, data, poll_once};
use crate::{names, runtime, tell};

const SIZE: u64 = 8 * MIB as u64;

#[test]
fn rule_16_without_a_free_file_descriptor_no_byte_is_lost_and_the_write_is_retried() {
    let name = "limits::rule_16_without_a_free_file_descriptor_no_byte_is_lost_and_the_write_is_retried";
    if !alone(name, "ulimit -n 64") {
        return;
    }
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let buffer = StreamBuffer::builder().max_memory(MIB).spawn(ready(SIZE, 64 * 1024));
        let mut files = Vec::new();
        let refused = loop {
            match File::open("/dev/null") {
                Ok(file) => files.push(file),
                Err(error) => break error,
            }
        };
        let error = buffer.load().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Spill);
        assert!(chain(&error)[1].ends_with(&refused.to_string()), "{error:?}");
        let loaded = buffer.progress().loaded as usize;
        assert_bytes(&buffer.read(0, loaded).await.unwrap(), &data(0, loaded), 0);
        let small = StreamBuffer::spawn(ready(1000, 100));
        assert_eq!(small.save(dir.path().join("song")).await.unwrap_err().kind(), ErrorKind::Save);
        files.clear();
        assert_eq!(names(dir.path()), [""; 0]);
        assert_eq!(small.save(dir.path().join("song")).await.unwrap(), 1000);
        assert_eq!(buffer.load().await.unwrap(), SIZE);
        assert_bytes(&buffer.read(0, 8 * MIB).await.unwrap(), &data(0, 8 * MIB), 0);
    });
}

#[test]
fn rule_16_at_the_limit_of_a_files_size_no_byte_is_lost() {
    let name = "limits::rule_16_at_the_limit_of_a_files_size_no_byte_is_lost";
    // The unit is 512 or 1024 bytes, depending on the shell. The signal would end the process.
    if !alone(name, "trap '' XFSZ; ulimit -f 3000") {
        return;
    }
    runtime().block_on(async {
        let buffer = StreamBuffer::builder().max_memory(MIB).spawn(ready(SIZE, 64 * 1024));
        for _ in 0..2 {
            let error = buffer.load().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Spill);
            assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::FileTooLarge);
            let loaded = buffer.progress().loaded as usize;
            assert!(loaded > 2 * MIB, "{loaded}");
            assert_bytes(&buffer.read(0, loaded).await.unwrap(), &data(0, loaded), 0);
        }
        let dir = tempfile::tempdir().unwrap();
        let whole = StreamBuffer::builder().max_memory(usize::MAX).spawn(ready(SIZE, 64 * 1024));
        assert_eq!(whole.save(dir.path().join("song")).await.unwrap_err().kind(), ErrorKind::Save);
        assert_eq!(names(dir.path()), [""; 0]);
    });
}

/// As many waiting threads as the process may start. They end when this is dropped.
struct NoThreadLeft(Vec<std::sync::mpsc::Sender<()>>, Vec<std::thread::JoinHandle<()>>);

impl NoThreadLeft {
    fn new() -> Self {
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        loop {
            assert!(threads.len() < 100, "the limit of threads is not in force");
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            match std::thread::Builder::new().spawn(move || receiver.recv().unwrap_or_default()) {
                Ok(thread) => threads.push(thread),
                Err(_) => return Self(senders, threads),
            }
            senders.push(sender);
        }
    }
}

impl Drop for NoThreadLeft {
    fn drop(&mut self) {
        self.0.clear();
        for thread in self.1.drain(..) {
            thread.join().unwrap();
        }
    }
}

#[test]
fn rule_16_without_a_free_thread_no_byte_is_lost_and_the_write_is_retried() {
    let name = "limits::rule_16_without_a_free_thread_no_byte_is_lost_and_the_write_is_retried";
    if !is_child(name) && std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return tell("notice: the limit of threads counts per user, so this test needs root and did not run");
    }
    // Root has no such limit. The limit counts all threads of a user, so the test takes a user without threads.
    let user = 61_000 + std::process::id() % 4000;
    let limited = "exec prlimit --nproc=40:40 setpriv --clear-groups --reuid";
    if !alone(name, &format!("{limited} {user} \"$0\" \"$@\"")) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("song");
        let buffer = StreamBuffer::builder().max_memory(MIB).spawn(ready(SIZE, 64 * 1024));
        let small = StreamBuffer::spawn(ready(1000, 100));
        let no_thread_left = NoThreadLeft::new();
        for _ in 0..2 {
            let error = buffer.load().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Spill);
            assert!(chain(&error)[1].contains("no disk thread can be started"), "{error:?}");
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::Other, "readers must not try again");
            let loaded = buffer.progress().loaded as usize;
            assert!(loaded > MIB, "{loaded}");
            assert_bytes(&buffer.read(0, loaded).await.unwrap(), &data(0, loaded), 0);
        }
        assert_eq!(small.save(&path).await.unwrap_err().kind(), ErrorKind::Save);
        drop(no_thread_left);
        assert_eq!(small.save(&path).await.unwrap(), 1000);
        assert_eq!(buffer.load().await.unwrap(), SIZE);
        assert_bytes(&buffer.read(0, 8 * MIB).await.unwrap(), &data(0, 8 * MIB), 0);

        // Hanging reads occupy all disk threads, and one more read gets no thread.
        let scripts = [Script::default(), Script::default()];
        let mut buffers = Vec::new();
        for script in &scripts {
            let buffer = StreamBuffer::builder().store(script.store()).spawn(ready(MIB as u64, 64 * 1024));
            buffer.load().await.unwrap();
            buffer.spill().await.unwrap();
            // From now on it is known that this store cannot be read without waiting.
            buffer.read(0, 1).await.unwrap();
            buffers.push(buffer);
        }
        let hangs = scripts[0].hang();
        let mut hanging: Vec<_> = (0..8).map(|n| Box::pin(buffers[0].read(n * 1000, 100))).collect();
        for read in &mut hanging {
            assert!(poll_once(read).is_pending());
        }
        // After this round trip the actor has lent their slices. The next poll starts their disk reads.
        buffers[0].read(0, 0).await.unwrap();
        for read in &mut hanging {
            assert!(poll_once(read).is_pending());
        }
        let no_thread_left = NoThreadLeft::new();
        let error = buffers[1].read(5, 100).await.unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Spill, 5));
        drop(hangs);
        for (read, n) in hanging.into_iter().zip(0..) {
            assert_bytes(&read.await.unwrap(), &data(n * 1000, 100), n * 1000);
        }
        // Now some threads are idle.
        assert_bytes(&buffers[1].read(5, 100).await.unwrap(), &data(5, 100), 5);
        drop(no_thread_left);
    });
}

/// Spills into `dir` for ever, and prints a line each time that bytes were spilled.
fn spill_for_ever(dir: &Path) {
    runtime().block_on(async {
        loop {
            let stream = ready(64 << 20, 64 * 1024);
            let buffer =
                StreamBuffer::builder().max_memory(0).read_ahead(u64::MAX).spill_dir(dir).spawn(stream);
            let mut progress = buffer.subscribe();
            while progress.latest().spilled < 64 << 20 {
                progress.changed().await.unwrap();
                println!("spilled {}", progress.latest().spilled);
            }
        }
    });
}

#[test]
fn rule_11_a_process_that_is_killed_while_it_spills_leaves_no_file() {
    let name = "limits::rule_11_a_process_that_is_killed_while_it_spills_leaves_no_file";
    if is_child(name) {
        return spill_for_ever(Path::new(&std::env::var("STREAMSPOOL_DIR").unwrap()));
    }
    for turn in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(name, "");
        command.env("STREAMSPOOL_DIR", dir.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // Kill the process at another moment of a buffer in each turn.
        let mut spilling = lines.filter(|line| line.contains("spilled ") && !line.ends_with("spilled 0"));
        spilling.nth(turn * 30).expect("it spills");
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        assert_eq!(names(dir.path()), [""; 0]);
    }
}

/// Saves into `dir` for ever, to new files and over an existing one, and prints a line each time that bytes
/// were written.
fn save_for_ever(dir: &Path) {
    runtime().block_on(async {
        let replaced = dir.join("replaced");
        std::fs::write(&replaced, "the old one").unwrap();
        for turn in 0.. {
            let new = dir.join(format!("new {turn}"));
            let buffer = StreamBuffer::builder().max_memory(MIB).spawn(ready(SIZE, 64 * 1024));
            let tell = |written| println!("written {written}");
            tokio::try_join!(buffer.save_new_with(&new, tell), buffer.save_with(&replaced, tell)).unwrap();
            std::fs::remove_file(new).unwrap();
        }
    });
}

#[test]
fn rule_12_a_process_that_is_killed_while_it_saves_leaves_complete_files_or_none() {
    let name = "limits::rule_12_a_process_that_is_killed_while_it_saves_leaves_complete_files_or_none";
    if is_child(name) {
        return save_for_ever(Path::new(&std::env::var("STREAMSPOOL_DIR").unwrap()));
    }
    let mut left_behind = Vec::new();
    for turn in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(name, "");
        command.env("STREAMSPOOL_DIR", dir.path()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut saving = lines.filter(|line| line.contains("written "));
        // Kill the process during the first saves or later ones. Two saves have 64 steps.
        saving.nth(turn * 9).expect("it saves");
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        for name in names(dir.path()) {
            let bytes = std::fs::read(dir.path().join(&name)).unwrap();
            match name.as_str() {
                "replaced" if bytes == b"the old one" => {}
                "replaced" => assert_bytes(&bytes, &data(0, SIZE as usize), 0),
                new if new.starts_with("new ") => assert_bytes(&bytes, &data(0, SIZE as usize), 0),
                _ => left_behind.push(name),
            }
        }
    }
    // To replace a file, the new one has a name between two system calls. A kill hardly ever hits that.
    assert!(left_behind.len() < 2, "{left_behind:?}");
}

#[test]
fn rule_12_where_files_need_a_name_a_save_does_the_same_with_a_named_file() {
    let name = "limits::rule_12_where_files_need_a_name_a_save_does_the_same_with_a_named_file";
    // An unnamed file gets its name through `/proc`. It is hidden from this process only.
    let hide = "exec unshare -m sh -c 'mount -t tmpfs none /proc && exec \"$0\" \"$@\"' \"$0\" \"$@\"";
    if !is_child(name) {
        let can = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/proc"]).output();
        if !can.is_ok_and(|output| output.status.success()) {
            return tell("notice: this test needs root to hide /proc, so it did not run");
        }
    }
    if !alone(name, hide) {
        return;
    }
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("song");
        let spool = || StreamBuffer::spawn(ready(SIZE, 64 * 1024));
        let during = Mutex::new(Vec::new());
        let look = |_| *during.lock().unwrap() = names(dir.path());
        assert_eq!(spool().save_new_with(&path, look).await.unwrap(), SIZE);
        let seen = std::mem::take(&mut *during.lock().unwrap());
        assert!(seen.len() == 1 && seen[0].starts_with(".streamspool-"), "{seen:?}");
        assert_bytes(&std::fs::read(&path).unwrap(), &data(0, SIZE as usize), 0);

        std::fs::write(&path, "the old one").unwrap();
        let error = spool().save_new(&path).await.unwrap_err();
        assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"the old one");

        assert_eq!(spool().save(&path).await.unwrap(), SIZE);
        assert_bytes(&std::fs::read(&path).unwrap(), &data(0, SIZE as usize), 0);
        assert_eq!(names(dir.path()), ["song"]);
    });
}
