//! Rule 12: a resource is saved complete or not at all.

use std::io;
use std::path::Path;

use streamspool::{ErrorKind, StreamBuffer};

use crate::support::source::{ragged, source};
use crate::support::{MIB, assert_bytes, chain, data, on_both_runtimes, poll_once, settled};

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
            // It is still there to be read, and to be saved again over the first.
            assert_eq!(buffer.save(&path).await.unwrap(), size as u64);
            assert_eq!(names(dir.path()), ["saved"]);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn rule_12_a_save_that_fails_leaves_what_was_there() {
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

#[tokio::test(start_paused = true)]
async fn rules_7_and_12_a_save_that_is_dropped_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("song");
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(0).spawn(stream);
    feed.chunk(5 * MIB);
    let mut save = Box::pin(buffer.save(&path));
    // Polled as its steps come to be done, until there is a temporary file.
    while names(dir.path()).is_empty() {
        assert!(poll_once(&mut save).is_pending());
        tokio::task::yield_now().await;
    }
    drop(save);
    settled().await;
    assert_eq!(names(dir.path()), [""; 0]);
}

#[tokio::test(start_paused = true)]
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
    // A directory in the way is found only by the rename; nothing is left behind then either.
    let buffer = StreamBuffer::spawn(ragged(1000, 1));
    let error = buffer.save(dir.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Save);
    assert_eq!(names(dir.path()), [""; 0]);
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn rule_12_a_saved_file_has_the_permissions_of_an_ordinary_one() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (saved, ordinary) = (dir.path().join("saved"), dir.path().join("ordinary"));
    StreamBuffer::spawn(ragged(1000, 1)).save(&saved).await.unwrap();
    std::fs::write(&ordinary, "").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
    assert_eq!(mode(&saved), mode(&ordinary));
}
