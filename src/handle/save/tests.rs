//! Rule 12: the order of the steps of a save on disk, and what follows when a step fails. Some of these failures
//! never happen on the file system of a test machine.

use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::disk::{Disk, RealDisk};
use super::target::{Existing, Target};
use super::{BufferHandle, STEP};
use crate::actor::StreamBuffer;
use crate::error::{Error, ErrorKind as Kind};

/// What happened on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Write(usize),
    Permissions,
    Sync,
    Publish,
    SyncDir,
    Drop,
}

/// A disk that only records.
#[derive(Clone)]
struct Recorder {
    steps: Sender<Step>,
    /// Fails this step with this kind of error.
    fails: Option<(Step, ErrorKind)>,
    /// At most this many bytes a write.
    most: usize,
    /// Each second write is interrupted.
    interrupts: Option<Arc<Mutex<bool>>>,
}

/// Records when it is dropped, unless it was published.
struct Draft(Option<Sender<Step>>);

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(steps) = &self.0 {
            let _ = steps.send(Step::Drop);
        }
    }
}

impl Recorder {
    fn new() -> (Self, Receiver<Step>) {
        let (steps, seen) = channel();
        (Self { steps, fails: None, most: usize::MAX, interrupts: None }, seen)
    }

    fn failing(step: Step, kind: ErrorKind) -> (Self, Receiver<Step>) {
        let (disk, seen) = Self::new();
        (Self { fails: Some((step, kind)), ..disk }, seen)
    }

    fn record(&self, step: Step) -> io::Result<()> {
        let _ = self.steps.send(step);
        match self.fails {
            Some((fails, kind)) if fails == step => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

impl Disk for Recorder {
    type Draft = Draft;

    fn create(&self, _: &Target, _: Option<&Permissions>) -> io::Result<Draft> {
        self.record(Step::Create)?;
        Ok(Draft(Some(self.steps.clone())))
    }

    fn write(&self, _: &mut Draft, bytes: &[u8]) -> io::Result<usize> {
        if let Some(interrupts) = &self.interrupts {
            let mut interrupts = interrupts.lock().unwrap();
            *interrupts = !*interrupts;
            if *interrupts {
                return Err(ErrorKind::Interrupted.into());
            }
        }
        let taken = bytes.len().min(self.most);
        self.record(Step::Write(taken))?;
        Ok(taken)
    }

    fn set_permissions(&self, _: &Draft, _: &Permissions) -> io::Result<()> {
        self.record(Step::Permissions)
    }

    fn sync(&self, _: &Draft) -> io::Result<()> {
        self.record(Step::Sync)
    }

    fn publish(&self, mut draft: Draft, _: &Target) -> io::Result<()> {
        draft.0 = None;
        self.record(Step::Publish)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.record(Step::SyncDir)
    }
}

const BLOCK: usize = 256 * 1024;

/// A buffer whose source sends so many bytes, in chunks of one write each, and then ends.
fn buffer(len: usize) -> BufferHandle {
    let bytes = Bytes::from(vec![7; len]);
    let chunks = (0..len).step_by(BLOCK).map(move |at| Ok(bytes.slice(at..len.min(at + BLOCK))));
    StreamBuffer::spawn(futures::stream::iter(chunks))
}

async fn save(len: usize, path: &Path, disk: Recorder) -> Result<u64, Error> {
    buffer(len).save_to(path, Existing::Replace, disk, |_| {}).await
}

/// The steps until the last sender is gone, which the save holds until its file is dropped.
fn steps(seen: &Receiver<Step>) -> Vec<Step> {
    std::iter::from_fn(|| seen.recv_timeout(Duration::from_secs(60)).ok()).collect()
}

#[tokio::test]
async fn a_save_syncs_the_file_before_it_names_it_and_the_directory_after() {
    assert_eq!(STEP, BLOCK as u64);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song");
    let (disk, seen) = Recorder::new();
    assert_eq!(save(BLOCK + 5, &path, disk).await.unwrap(), BLOCK as u64 + 5);
    let named = [Step::Sync, Step::Publish, Step::SyncDir];
    let (begun, ended) = ([Step::Create, Step::Write(BLOCK), Step::Write(5)], named);
    assert_eq!(steps(&seen), [&begun[..], &ended[..]].concat());
    // The permissions of a replaced file are set before the sync, which brings them to disk too.
    std::fs::write(&path, "the old one").unwrap();
    let (disk, seen) = Recorder::new();
    save(5, &path, disk).await.unwrap();
    let begun = [Step::Create, Step::Write(5), Step::Permissions];
    assert_eq!(steps(&seen), [&begun[..], &named[..]].concat());
}

#[tokio::test]
async fn a_step_that_fails_is_the_last_one_and_the_file_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song");
    std::fs::write(&path, "the old one").unwrap();
    let all = [Step::Create, Step::Write(5), Step::Permissions, Step::Sync, Step::Publish, Step::SyncDir];
    for (at, step) in all.into_iter().enumerate() {
        let (disk, seen) = Recorder::failing(step, ErrorKind::StorageFull);
        let error = save(5, &path, disk).await.unwrap_err();
        assert_eq!((error.kind(), error.offset()), (Kind::Save, if at > 1 { 5 } else { 0 }), "{step:?}");
        assert_eq!(error.io_error().unwrap().kind(), ErrorKind::StorageFull);
        let mut seen = steps(&seen);
        let dropped = seen.pop_if(|step| *step == Step::Drop);
        assert_eq!(seen, all[..=at], "{step:?}");
        assert_eq!(dropped.is_some(), (1..4).contains(&at), "{step:?}");
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_synced_here_does_not_fail_the_save() {
    let dir = tempfile::tempdir().unwrap();
    for kind in [ErrorKind::PermissionDenied, ErrorKind::InvalidInput, ErrorKind::Unsupported] {
        let (disk, _seen) = Recorder::failing(Step::SyncDir, kind);
        assert_eq!(save(5, &dir.path().join("song"), disk).await.unwrap(), 5, "{kind}");
    }
}

#[tokio::test]
async fn short_and_interrupted_writes_go_on_and_an_error_tells_its_offset() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song");
    let (disk, seen) = Recorder::new();
    let disk = Recorder { most: 4, interrupts: Some(Arc::default()), ..disk };
    assert_eq!(save(10, &path, disk).await.unwrap(), 10);
    assert_eq!(steps(&seen)[1..4], [Step::Write(4), Step::Write(4), Step::Write(2)]);
    let (disk, _seen) = Recorder::failing(Step::Write(2), ErrorKind::StorageFull);
    let error = save(10, &path, Recorder { most: 4, ..disk }).await.unwrap_err();
    assert_eq!(error.offset(), 8);
    let (disk, _seen) = Recorder::new();
    let error = save(10, &path, Recorder { most: 0, ..disk }).await.unwrap_err();
    assert_eq!(error.io_error().unwrap().kind(), ErrorKind::WriteZero);
}

type Job = Box<dyn FnOnce() + Send>;

/// A save of 5 bytes, and its disk jobs.
struct Stepped {
    save: Pin<Box<dyn Future<Output = Result<u64, Error>>>>,
    jobs: Receiver<Job>,
}

impl Stepped {
    fn new(path: PathBuf, disk: Recorder) -> Self {
        let (started, jobs) = channel();
        let builder = StreamBuffer::builder().disk_spawner(move |job| started.send(job).unwrap());
        let (buffer, actor) = builder.build(futures::stream::iter([Ok(Bytes::from_static(b"12345"))]));
        let save = async move { buffer.save_to(&path, Existing::Replace, disk, |_| {}).await };
        Self { save: Box::pin(async move { futures::future::join(save, actor.run()).await.0 }), jobs }
    }

    /// Polls the save until it has started its next job.
    fn next_job(&mut self) -> Job {
        for _ in 0..10 {
            assert!(self.save.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            if let Ok(job) = self.jobs.try_recv() {
                return job;
            }
        }
        panic!("no further job");
    }

    /// Drops the save. Then runs a job that was under way, and all that follow.
    fn drop_during(self, job: Job) {
        drop(self.save);
        job();
        while let Ok(job) = self.jobs.try_recv() {
            job();
        }
    }
}

#[test]
fn a_save_that_is_dropped_ends_its_running_step_and_drops_its_file() {
    let dir = tempfile::tempdir().unwrap();
    // The file is named and its directory synced in one step.
    let all = [Step::Create, Step::Write(5), Step::Sync, Step::Publish, Step::SyncDir];
    for (running, ended) in [(0, 1), (1, 2), (2, 3), (3, 5)] {
        let (disk, seen) = Recorder::new();
        let mut save = Stepped::new(dir.path().join("song"), disk);
        for _ in 0..running {
            save.next_job()();
        }
        let job = save.next_job();
        save.drop_during(job);
        let mut seen = steps(&seen);
        // A file that has its name is kept.
        let dropped = seen.pop_if(|step| *step == Step::Drop);
        assert_eq!((seen.as_slice(), dropped.is_none()), (&all[..ended], running == 3));
    }
}

#[test]
fn a_dropped_save_drops_its_file_on_another_thread() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, seen) = Recorder::new();
    let (started, jobs) = channel::<Job>();
    let builder = StreamBuffer::builder().disk_spawner(move |job| started.send(job).unwrap());
    let (buffer, _actor) = builder.build(futures::stream::pending());
    let path = dir.path().join("song");
    let mut save = Box::pin(buffer.save_to(&path, Existing::Replace, disk, |_| {}));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(save.as_mut().poll(&mut cx).is_pending());
    jobs.try_recv().unwrap()();
    // Now the save has its file, and waits for bytes.
    assert!(save.as_mut().poll(&mut cx).is_pending());
    drop(save);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [Step::Create]);
    jobs.try_recv().unwrap()();
    assert_eq!(steps(&seen), [Step::Drop]);
}

/// The real disk reports the errors of the system. So its sync really calls the system: a sync that does nothing
/// cannot fail.
#[cfg(target_os = "linux")]
#[test]
fn a_file_or_directory_that_cannot_be_synced_is_an_error_of_the_sync() {
    use super::disk::TempFile;
    let null = std::fs::File::options().write(true).open("/dev/null").unwrap();
    let error = RealDisk.sync(&TempFile::Unnamed(null)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = RealDisk.sync_dir(Path::new("/proc")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    RealDisk.sync_dir(&std::env::temp_dir()).unwrap();
}

#[test]
fn a_relative_path_stays_the_same_if_the_process_changes_its_directory() {
    let here = std::env::current_dir().unwrap();
    for existing in [Existing::Replace, Existing::Refuse] {
        let target = Target::new(Path::new("song"), existing).unwrap();
        assert_eq!((target.path(), target.dir()), (&*here.join("song"), &*here));
    }
}

fn names(dir: &Path) -> Vec<String> {
    dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Both kinds of temporary files, even if this machine would choose only one of them.
fn drafts(target: &Target) -> Vec<super::disk::TempFile> {
    use super::disk::{TempFile, named};
    let mut drafts = vec![TempFile::Named(named(target.dir(), None).unwrap())];
    if let Ok(draft) = RealDisk.create(target, None) {
        drafts.push(draft);
    }
    drafts
}

#[test]
fn either_temporary_file_is_published_or_vanishes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song");
    for kind in 0..2 {
        let draft = |existing, bytes: &[u8]| {
            let target = Target::new(&path, existing).unwrap();
            let mut draft = drafts(&target).remove(kind);
            assert_eq!(RealDisk.write(&mut draft, bytes).unwrap(), bytes.len());
            (draft, target)
        };
        // A new file, while nothing has its name.
        let (new, target) = draft(Existing::Refuse, b"new");
        RealDisk.publish(new, &target).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        // It has appeared since the save began.
        let (late, target) = draft(Existing::Refuse, b"late");
        let error = RealDisk.publish(late, &target).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::AlreadyExists, "it exists already".into()));
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        // It is replaced.
        let (other, target) = draft(Existing::Replace, b"other");
        RealDisk.publish(other, &target).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"other");
        drop(draft(Existing::Replace, b"dropped"));
        assert_eq!(names(dir.path()), ["song"]);
        // A directory has come in its place, so that the rename fails.
        let (failing, target) = draft(Existing::Replace, b"failing");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        RealDisk.publish(failing, &target).unwrap_err();
        assert_eq!(names(dir.path()), ["song"]);
        std::fs::remove_dir(&path).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_temporary_file_is_never_open_to_more_users_than_the_file_that_it_replaces() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let target = Target::new(&dir.path().join("song"), Existing::Replace).unwrap();
    let private = Permissions::from_mode(0o600);
    let named = super::disk::named(target.dir(), Some(&private)).unwrap();
    assert_eq!(named.as_file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let draft = RealDisk.create(&target, Some(&private)).unwrap();
    assert_eq!(draft.file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
