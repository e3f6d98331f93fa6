//! Rule 12: a resource is saved complete or not at all.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use streamspool::{BufferHandle, Error, ErrorKind, StreamBuffer};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::source::{Feed, ragged, source};
use crate::support::{BLOCK, MIB, assert_bytes, chain, data, on_both_runtimes};

fn names(dir: &Path) -> Vec<String> {
    dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn rule_12_a_save_loads_the_rest_and_writes_all_of_it() {
    on_both_runtimes(|| async {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 1, 100_000, 4 * MIB, 4 * MIB + 1, 9 * MIB] {
            let path = dir.path().join("saved");
            let buffer = StreamBuffer::builder().max_memory(MIB).spawn(ragged(size as u64, 5));
            buffer.read(0, size / 3).await.unwrap();
            assert_eq!(buffer.save(&path).await.unwrap(), size as u64);
            assert_bytes(&std::fs::read(&path).unwrap(), &data(0, size), 0);
            // The resource can still be read, and saved again over the first file.
            assert_eq!(buffer.save(&path).await.unwrap(), size as u64);
            assert_eq!(names(dir.path()), ["saved"]);
        }
    });
}

#[tokio::test]
async fn rule_12_a_save_that_fails_leaves_the_target_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song");
    std::fs::write(&path, "the old one").unwrap();
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    feed.chunk(5 * MIB);
    feed.fail(io::Error::new(io::ErrorKind::ConnectionReset, "gone"));
    let error = buffer.save(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert_eq!(std::fs::read(&path).unwrap(), b"the old one");
    assert_eq!(names(dir.path()), ["song"]);
}

/// The files in this directory that the process has open, also those without a name.
#[cfg(target_os = "linux")]
fn open_in(dir: &Path) -> usize {
    let files = Path::new("/proc/self/fd").read_dir().unwrap();
    let paths = files.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    paths.filter(|path| path.starts_with(dir)).count()
}

/// Starts a save and returns when a part of it has been written.
async fn half_saved(
    buffer: &BufferHandle,
    feed: &mut Feed,
    path: &Path,
    is_new: bool,
) -> JoinHandle<Result<u64, Error>> {
    let (written, mut part) = mpsc::unbounded_channel();
    let tell = move |so_far| {
        let _ = written.send(so_far);
    };
    let (buffer, path) = (buffer.clone(), path.to_path_buf());
    feed.chunk(MIB);
    let save = tokio::spawn(async move {
        if is_new { buffer.save_new_with(path, tell).await } else { buffer.save_with(path, tell).await }
    });
    assert_eq!(part.recv().await, Some(BLOCK as u64));
    save
}

#[test]
fn rules_7_and_12_a_save_that_is_dropped_leaves_the_target_as_it_was() {
    on_both_runtimes(|| async {
        for is_new in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (mut feed, stream) = source();
            let buffer = StreamBuffer::builder().read_ahead(0).spawn(stream);
            let save = half_saved(&buffer, &mut feed, &dir.path().join("song"), is_new).await;
            #[cfg(target_os = "linux")]
            assert_eq!(open_in(dir.path()), 1);
            save.abort();
            assert!(save.await.unwrap_err().is_cancelled());
            #[cfg(target_os = "linux")]
            while open_in(dir.path()) > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(names(dir.path()), [""; 0]);
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn rule_12_a_save_has_no_temporary_name_while_it_writes() {
    on_both_runtimes(|| async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("song");
        for (is_new, before) in [(true, vec![]), (false, vec!["song"])] {
            let (mut feed, stream) = source();
            let buffer = StreamBuffer::spawn(stream);
            let save = half_saved(&buffer, &mut feed, &path, is_new).await;
            assert_eq!(names(dir.path()), before);
            feed.end();
            assert_eq!(save.await.unwrap().unwrap(), MIB as u64);
            assert_bytes(&std::fs::read(&path).unwrap(), &data(0, MIB), 0);
            assert_eq!(names(dir.path()), ["song"]);
        }
    });
}

#[test]
fn rule_12_save_new_writes_a_new_file_with_all_bytes() {
    on_both_runtimes(|| async {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 1, MIB + 1] {
            let path = dir.path().join(size.to_string());
            let buffer = StreamBuffer::spawn(ragged(size as u64, 5));
            let mut last = 0;
            assert_eq!(buffer.save_new_with(&path, |so_far| last = so_far).await.unwrap(), size as u64);
            assert_eq!(last, size as u64);
            assert_bytes(&std::fs::read(&path).unwrap(), &data(0, size), 0);
        }
        assert_eq!(names(dir.path()).len(), 3);
    });
}

fn assert_exists_already(error: &Error, offset: u64) {
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Save, offset), "{error}");
    let cause = error.io_error().unwrap();
    assert_eq!((cause.kind(), cause.to_string()), (io::ErrorKind::AlreadyExists, "it exists already".into()));
}

#[tokio::test]
async fn rule_12_save_new_refuses_a_path_that_exists_before_anything_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("file"), "the old one").unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    let mut taken = vec![path("file"), path("folder")];
    #[cfg(unix)]
    for (name, leads_to) in [("link", "file"), ("dangling", "nowhere")] {
        std::os::unix::fs::symlink(leads_to, path(name)).unwrap();
        taken.push(path(name));
    }
    for path in &taken {
        let (buffer, polled) = untouched();
        let saved = tokio::time::timeout(Duration::from_secs(60), buffer.save_new(path)).await;
        assert_exists_already(&saved.expect("it is refused").unwrap_err(), 0);
        assert!(!was_polled(&buffer, &polled).await);
    }
    assert_eq!(std::fs::read(path("file")).unwrap(), b"the old one");
    assert_eq!(names(dir.path()).len(), taken.len());
}

#[test]
fn rule_12_save_new_refuses_a_path_that_appears_during_the_save() {
    on_both_runtimes(|| async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("song");
        let (mut feed, stream) = source();
        let buffer = StreamBuffer::spawn(stream);
        let save = half_saved(&buffer, &mut feed, &path, true).await;
        std::fs::write(&path, "of another program").unwrap();
        feed.end();
        assert_exists_already(&save.await.unwrap().unwrap_err(), MIB as u64);
        assert_eq!(std::fs::read(&path).unwrap(), b"of another program");
        assert_eq!(names(dir.path()), ["song"]);
    });
}

#[test]
fn rule_12_of_many_saves_to_one_new_path_one_succeeds() {
    on_both_runtimes(|| async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("song");
        let saves = (0..20).map(|size| {
            let (buffer, path) = (StreamBuffer::spawn(ragged(1000 + size, size)), path.clone());
            tokio::spawn(async move { buffer.save_new(path).await })
        });
        let saved = futures::future::join_all(saves).await.into_iter().map(Result::unwrap);
        let sizes: Vec<_> = saved.filter_map(Result::ok).collect();
        assert_eq!(sizes.len(), 1, "{sizes:?}");
        assert_bytes(&std::fs::read(&path).unwrap(), &data(0, sizes[0] as usize), 0);
        assert_eq!(names(dir.path()), ["song"]);
    });
}

#[tokio::test]
async fn rule_12_a_path_that_cannot_be_written_is_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (_feed, stalled) = source();
    let path = dir.path().join("missing").join("song");
    let error = StreamBuffer::spawn(stalled).save(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Save);
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::NotFound);
    let texts = chain(&error);
    assert!(texts.iter().all(|text| !text.contains(".streamspool-")), "a temporary name: {texts:?}");
}

/// A buffer on a source that never sends anything, and whether the source has been polled.
fn untouched() -> (BufferHandle, Arc<AtomicBool>) {
    let polled = Arc::<AtomicBool>::default();
    let seen = Arc::clone(&polled);
    let stream = futures::stream::poll_fn(move |_| {
        seen.store(true, Ordering::SeqCst);
        Poll::Pending
    });
    (StreamBuffer::spawn(stream), polled)
}

/// Whether the source has been polled for the requests so far.
async fn was_polled(buffer: &BufferHandle, polled: &AtomicBool) -> bool {
    // Requests are taken in in order, and this one needs no bytes.
    buffer.read(0, 0).await.unwrap();
    polled.load(Ordering::SeqCst)
}

/// Asserts that a save to `path` is refused before the source is polled, and returns the error.
async fn refused_at_once(path: &Path) -> Error {
    let (buffer, polled) = untouched();
    let saved = tokio::time::timeout(Duration::from_secs(60), buffer.save(path)).await;
    let error = saved.unwrap_or_else(|_| panic!("no refusal of {}", path.display())).unwrap_err();
    assert!(!was_polled(&buffer, &polled).await, "the source was polled for {}", path.display());
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Save, 0));
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    let texts = chain(&error);
    assert!(texts.iter().all(|text| !text.contains(".streamspool-")), "a temporary name: {texts:?}");
    error
}

#[tokio::test]
async fn rule_12_a_path_that_cannot_be_a_file_is_refused_before_anything_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "the old one").unwrap();
    let kind_of = async |path: &Path| refused_at_once(path).await.io_error().unwrap().kind();

    assert_eq!(kind_of(Path::new("")).await, io::ErrorKind::InvalidInput);
    for path in [Path::new("/"), Path::new("."), Path::new(".."), &folder, &folder.join("..")] {
        assert_eq!(kind_of(path).await, io::ErrorKind::IsADirectory, "{}", path.display());
    }
    // Nothing exists at these paths, but they can only be paths of directories.
    for name in ["new/", "new/.", "new/.."] {
        assert_eq!(kind_of(&dir.path().join(name)).await, io::ErrorKind::IsADirectory, "{name}");
    }
    assert_eq!(kind_of(&dir.path().join("missing/song")).await, io::ErrorKind::NotFound);
    assert_eq!(kind_of(&file.join("song")).await, io::ErrorKind::NotADirectory);
    assert_eq!(std::fs::read(&file).unwrap(), b"the old one");
    assert_eq!(names(&folder), [""; 0]);
}

#[cfg(unix)]
#[tokio::test]
async fn rule_12_a_target_that_is_no_regular_file_is_refused_before_anything_is_loaded() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    symlink("socket", path("link to socket")).unwrap();
    symlink(".", path("link to directory")).unwrap();
    symlink("loop", path("loop")).unwrap();
    symlink("new/", path("link to new directory")).unwrap();
    for name in ["socket", "link to socket", "link to directory", "loop", "link to new directory"] {
        refused_at_once(&path(name)).await;
    }
    refused_at_once(Path::new("/dev/null")).await;
    assert!(path("socket").metadata().unwrap().file_type().is_socket());
    assert_eq!(names(dir.path()).len(), 5);
}

#[cfg(unix)]
#[tokio::test]
async fn rule_12_a_target_that_turns_into_something_else_during_the_save_is_not_replaced() {
    use std::os::unix::fs::FileTypeExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song");
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    let save = half_saved(&buffer, &mut feed, &path, false).await;
    let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    feed.end();
    let error = save.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Save, MIB as u64));
    assert!(path.metadata().unwrap().file_type().is_socket());
    assert_eq!(names(dir.path()), ["song"]);
}

#[cfg(unix)]
#[tokio::test]
async fn rule_12_a_replaced_file_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song");
    let mode = || path.metadata().unwrap().permissions().mode() & 0o7777;
    for (old, new) in [(0o600, 0o600), (0o444, 0o444), (0o777, 0o777), (0o4755, 0o755)] {
        std::fs::write(&path, "the old one").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(old)).unwrap();
        StreamBuffer::spawn(ragged(1000, 1)).save(&path).await.unwrap();
        assert_eq!(mode(), new, "{old:o} became {:o}", mode());
        assert_bytes(&std::fs::read(&path).unwrap(), &data(0, 1000), 0);
        std::fs::remove_file(&path).unwrap();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn rule_12_a_symbolic_link_is_followed_and_its_file_replaced() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("music")).unwrap();
    std::fs::create_dir(path("links")).unwrap();
    std::fs::write(path("music/song"), "the old one").unwrap();
    symlink("../music/song", path("links/relative")).unwrap();
    symlink(path("links/relative"), path("links/twice")).unwrap();
    symlink("../music/new", path("links/dangling")).unwrap();
    for (link, file, len) in [
        ("links/relative", "music/song", 1000),
        ("links/twice", "music/song", 2000),
        ("links/dangling", "music/new", 3000),
    ] {
        StreamBuffer::spawn(ragged(len, 1)).save(path(link)).await.unwrap();
        assert!(path(link).symlink_metadata().unwrap().is_symlink(), "{link} is still a link");
        assert_bytes(&std::fs::read(path(file)).unwrap(), &data(0, len as usize), 0);
    }
    assert_eq!(names(&path("links")).len(), 3);
    assert_eq!(names(&path("music")).len(), 2);
}

#[tokio::test]
async fn rule_12_other_hard_links_to_a_replaced_file_keep_the_old_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("song"), dir.path().join("other"));
    std::fs::write(&path, "the old one").unwrap();
    std::fs::hard_link(&path, &other).unwrap();
    StreamBuffer::spawn(ragged(1000, 1)).save(&path).await.unwrap();
    assert_bytes(&std::fs::read(&path).unwrap(), &data(0, 1000), 0);
    assert_eq!(std::fs::read(&other).unwrap(), b"the old one");
}

#[cfg(unix)]
#[tokio::test]
async fn rule_12_a_saved_file_has_the_permissions_of_an_ordinary_one() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (saved, ordinary) = (dir.path().join("saved"), dir.path().join("ordinary"));
    StreamBuffer::spawn(ragged(1000, 1)).save(&saved).await.unwrap();
    std::fs::write(&ordinary, "").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
    assert_eq!(mode(&saved), mode(&ordinary));
}
