//! `ObjectSource` on a store in memory, on files and on a server of S3.

mod answers;
mod s3;

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use futures::{StreamExt, TryStreamExt, stream};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use streamspool::{BufferHandle, Bytes, ErrorKind, ObjectSource, OpenAt, Opened, Source, StreamBuffer};

const SIZE: usize = 300_000;

/// Bytes without a short period. Each version of an object has others at every offset.
fn data(version: u8) -> Bytes {
    (0..SIZE as u32).map(|at| ((at.wrapping_mul(2_654_435_761) >> 24) as u8) ^ version).collect()
}

/// An object whose stream breaks after some bytes.
struct Breaking {
    object: ObjectSource,
    after: usize,
    /// The offsets at which the object was opened.
    openings: Arc<Mutex<Vec<u64>>>,
}

impl Source for Breaking {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        self.openings.lock().unwrap().push(at.offset);
        let after = self.after;
        Ok(self.object.open(at).await?.map_stream(move |stream| {
            let part = stream.scan(after, |left, chunk| {
                let chunk = chunk.map(|mut chunk| chunk.split_to(chunk.len().min(*left)));
                *left -= chunk.as_ref().map_or(0, Bytes::len);
                std::future::ready(chunk.as_ref().map_or(true, |chunk| !chunk.is_empty()).then_some(chunk))
            });
            part.chain(stream::iter([Err(io::ErrorKind::ConnectionReset.into())]))
        }))
    }
}

async fn put(store: &Arc<dyn ObjectStore>, bytes: Bytes) {
    store.put(&path(), bytes.into()).await.unwrap();
}

fn path() -> Path {
    Path::from("a folder/film.mp4")
}

fn open(store: &Arc<dyn ObjectStore>) -> BufferHandle {
    StreamBuffer::spawn_source(ObjectSource::new(Arc::clone(store), path()))
}

/// The offsets at which the object was opened, and a buffer that it breaks for after each `after` bytes.
fn open_breaking(store: &Arc<dyn ObjectStore>, after: usize) -> (Arc<Mutex<Vec<u64>>>, BufferHandle) {
    let (openings, object) = (Arc::default(), ObjectSource::new(Arc::clone(store), path()));
    let source = Breaking { object, after, openings: Arc::clone(&openings) };
    (openings, StreamBuffer::spawn_source(source))
}

/// The checks that hold for each store.
async fn check(store: &Arc<dyn ObjectStore>) {
    is_read(store).await;
    goes_on_after_a_break(store).await;
    is_changed_when_it_was_replaced(store).await;
    ends_where_it_is_asked_to(store).await;
    is_empty_past_its_end(store).await;
    empty_and_missing_objects(store).await;
}

async fn is_read(store: &Arc<dyn ObjectStore>) {
    put(store, data(1)).await;
    let buffer = open(store);
    assert_eq!(buffer.size().await.unwrap(), SIZE as u64);
    for Range { start, end } in [0..10, 250_000..250_001, 100..200_000, 299_999..400_000, 400_000..400_001] {
        let expected = data(1).slice(start.min(SIZE)..end.min(SIZE));
        assert_eq!(buffer.read(start as u64, end - start).await.unwrap(), expected);
    }
    assert_eq!(buffer.read(0, usize::MAX).await.unwrap(), data(1));
}

/// Rules 21, 22, 24: with a version no byte is fetched again.
async fn goes_on_after_a_break(store: &Arc<dyn ObjectStore>) {
    put(store, data(1)).await;
    let (openings, buffer) = open_breaking(store, 100_000);
    assert_eq!(buffer.read(0, usize::MAX).await.unwrap(), data(1));
    assert_eq!(openings.lock().unwrap()[..3], [0, 100_000, 200_000]);
}

/// Rule 22: no byte of the new version is mixed in.
async fn is_changed_when_it_was_replaced(store: &Arc<dyn ObjectStore>) {
    // By an object of the same size, by a longer one, and by one that ends before the missing bytes.
    for other in [data(2), [data(2), data(3)].concat().into(), data(2).slice(..50_000)] {
        put(store, data(1)).await;
        let (_, buffer) = open_breaking(store, 100_000);
        assert_eq!(buffer.read(0, 100_000).await.unwrap(), data(1)[..100_000]);
        put(store, other).await;
        let error = buffer.read(90_000, 20_000).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Changed, "{error:?}");
        assert_eq!(buffer.read(0, 100_000).await.unwrap(), data(1)[..100_000]);
    }
    // A deleted object is gone at once.
    put(store, data(1)).await;
    let (openings, buffer) = open_breaking(store, 100_000);
    buffer.read(0, 100_000).await.unwrap();
    store.delete(&path()).await.unwrap();
    let error = buffer.read(90_000, 20_000).await.unwrap_err();
    assert_eq!(error.io_error().map(io::Error::kind), Some(io::ErrorKind::NotFound));
    assert_eq!(openings.lock().unwrap().len(), 2);
}

/// Rule 25: `OpenAt::end` bounds the range.
async fn ends_where_it_is_asked_to(store: &Arc<dyn ObjectStore>) {
    put(store, data(1)).await;
    let source = ObjectSource::new(Arc::clone(store), path());
    for (start, end) in [(0, 5), (5, 100_000), (299_990, 300_000), (299_990, 500_000)] {
        let mut at = OpenAt::new(start as u64);
        at.end = Some(end as u64);
        let mut chunks = None;
        let told = source.open(at).await.unwrap().map_stream(|stream| {
            chunks = Some(stream);
            stream::empty()
        });
        let text = format!("{told:?}");
        assert!(text.contains(&format!("start: Some({start}), size: Some(300000)")), "{text}");
        let got: Vec<_> = chunks.unwrap().try_collect().await.unwrap();
        assert_eq!(got.concat(), data(1)[start..end.min(SIZE)]);
    }
}

/// Rule 1: also if the first read of all starts there.
async fn is_empty_past_its_end(store: &Arc<dyn ObjectStore>) {
    for bytes in [data(1), Bytes::from_static(b"0"), Bytes::new()] {
        let size = bytes.len() as u64;
        put(store, bytes.clone()).await;
        for start in [size, size + 1, 1 << 40, i64::MAX as u64 + 1, u64::MAX - 1] {
            let (openings, buffer) = open_breaking(store, SIZE);
            assert_eq!(buffer.read(start, 9).await.unwrap(), "", "at {start} of {size}");
            assert_eq!(openings.lock().unwrap()[..], [start]);
            assert_eq!(buffer.progress().size, Some(size));
            assert_eq!(buffer.read(0, usize::MAX).await.unwrap(), bytes);
        }
    }
}

async fn empty_and_missing_objects(store: &Arc<dyn ObjectStore>) {
    put(store, Bytes::new()).await;
    let buffer = open(store);
    assert_eq!((buffer.read(0, 9).await.unwrap(), buffer.size().await.unwrap()), (Bytes::new(), 0));

    store.delete(&path()).await.unwrap();
    let error = open(store).read(0, 1).await.unwrap_err();
    assert_eq!(error.io_error().map(io::Error::kind), Some(io::ErrorKind::NotFound));
}

#[tokio::test]
async fn rules_21_to_24_hold_on_a_store_in_memory() {
    check(&(Arc::new(InMemory::new()) as Arc<dyn ObjectStore>)).await;
}

#[tokio::test]
async fn rules_21_to_24_hold_on_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalFileSystem::new_with_prefix(dir.path()).unwrap();
    check(&(Arc::new(store) as Arc<dyn ObjectStore>)).await;
}

#[tokio::test]
async fn rules_21_to_24_hold_on_a_server_of_s3() {
    let Some(server) = s3::Server::start().await else { return };
    check(&server.store()).await;
}

#[tokio::test]
async fn rule_22_in_a_bucket_with_versioning_the_first_version_is_read_to_its_end() {
    let Some(server) = s3::Server::start().await else { return };
    server.keep_versions().await;
    let store = server.store();
    put(&store, data(1)).await;
    let (openings, buffer) = open_breaking(&store, 100_000);
    assert_eq!(buffer.read(0, 100_000).await.unwrap(), data(1)[..100_000]);
    put(&store, data(2)).await;
    assert_eq!(buffer.read(0, usize::MAX).await.unwrap(), data(1));
    assert_eq!(openings.lock().unwrap()[..3], [0, 100_000, 200_000]);
    assert_eq!(open(&store).read(0, usize::MAX).await.unwrap(), data(2));
}
