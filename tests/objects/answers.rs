//! Requests and answers one by one, on a store that the test scripts.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, Extensions, GetOptions, GetRange, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use streamspool::{ErrorKind, ObjectSource, Retry, StreamBuffer};

/// The answer of the store to one request: an error, or an object with this tag and version.
type Answer = Result<(Option<&'static str>, Option<&'static str>, &'static [u8])>;

/// A store that answers each request with the next answer.
#[derive(Debug)]
struct Scripted {
    answers: Mutex<Vec<Answer>>,
    requests: Mutex<Vec<GetOptions>>,
    size: AtomicU64,
}

impl Scripted {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        Arc::new(Self { answers: Mutex::new(answers), requests: Mutex::default(), size: 10.into() })
    }

    fn spawn(self: &Arc<Self>) -> streamspool::BufferHandle {
        let retry = Retry::default().attempts(2).first_delay(std::time::Duration::ZERO);
        let source = ObjectSource::new(Arc::clone(self) as Arc<dyn ObjectStore>, "object");
        StreamBuffer::builder().retry(retry).spawn_source(source)
    }
}

impl fmt::Display for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

#[async_trait]
impl ObjectStore for Scripted {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let start = match options.range {
            None => 0,
            Some(GetRange::Offset(start) | GetRange::Bounded(Range { start, .. })) => start,
            Some(GetRange::Suffix(_)) => panic!("the source never asks for a suffix"),
        };
        self.requests.lock().unwrap().push(options);
        let (e_tag, version, bytes) = self.answers.lock().unwrap().pop().expect("no more requests")?;
        let size = self.size.load(Ordering::Relaxed);
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
            size,
            e_tag: e_tag.map(Into::into),
            version: version.map(Into::into),
        };
        let broken = Error::Generic { store: "Scripted", source: "broken".into() };
        let chunks = stream::iter([Ok(bytes.into()), Err(broken)]).boxed();
        Ok(GetResult {
            payload: GetResultPayload::Stream(chunks),
            meta,
            range: start..size,
            attributes: Attributes::new(),
            extensions: Extensions::new(),
        })
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        unimplemented!()
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unimplemented!()
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        unimplemented!()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        unimplemented!()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        unimplemented!()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unimplemented!()
    }
}

/// An error with a cause of this text.
fn source(text: &str) -> Box<dyn std::error::Error + Send + Sync> {
    text.into()
}

fn precondition() -> Error {
    Error::Precondition { path: "object".into(), source: source("412") }
}

/// What each request asks for: the range, the tag, the version, and whether it wants no content.
fn asked(store: &Scripted) -> Vec<String> {
    let requests = store.requests.lock().unwrap();
    let asked = |options: &GetOptions| {
        let range = options.range.as_ref().map_or("all".into(), GetRange::to_string);
        let part = |name: &str, value: &Option<String>| {
            value.as_ref().map_or(String::new(), |value| format!(" {name} {value}"))
        };
        let head = if options.head { " head" } else { "" };
        format!("{range}{}{}{head}", part("tag", &options.if_match), part("version", &options.version))
    };
    requests.iter().map(asked).collect()
}

#[tokio::test]
async fn rule_22_each_opening_asks_for_the_version_that_the_first_one_told() {
    for (e_tag, version, expected) in [
        (Some("\"a\""), None, "bytes=4- tag \"a\""),
        (Some("\"a\""), Some("v1"), "bytes=4- version v1"),
        (None, Some("v1"), "bytes=4- version v1"),
        // Every object that S3 writes while versioning is suspended has this ID.
        (Some("\"a\""), Some("null"), "bytes=4- tag \"a\""),
    ] {
        let store = Scripted::new([Ok((e_tag, version, &b"0123"[..])), Ok((e_tag, version, b"456789"))]);
        assert_eq!(store.spawn().read(0, 10).await.unwrap(), "0123456789");
        assert_eq!(asked(&store), ["all", expected]);
    }
}

#[tokio::test]
async fn rule_22_without_a_strong_tag_the_overlap_is_compared() {
    for e_tag in [None, Some("W/\"a\"")] {
        let store = Scripted::new([Ok((e_tag, None, &b"0123"[..])), Ok((e_tag, None, b"0123456789"))]);
        assert_eq!(store.spawn().read(0, 10).await.unwrap(), "0123456789");
        assert_eq!(asked(&store), ["all", "all"]);
        let store = Scripted::new([Ok((e_tag, None, &b"0123"[..])), Ok((e_tag, None, b"0124456789"))]);
        assert_eq!(store.spawn().read(0, 10).await.unwrap_err().kind(), ErrorKind::Changed);
    }
}

#[tokio::test]
async fn rule_22_another_tag_is_a_changed_resource_though_the_store_ignores_the_condition() {
    let store = Scripted::new([Ok((Some("a"), None, &b"0123"[..])), Ok((Some("b"), None, b"456789"))]);
    assert_eq!(store.spawn().read(0, 10).await.unwrap_err().kind(), ErrorKind::Changed);
    // A version ID and a tag with the same text are not equal.
    let store = Scripted::new([Ok((Some("a"), None, &b"0123"[..])), Ok((None, Some("a"), b"456789"))]);
    assert_eq!(store.spawn().read(0, 10).await.unwrap_err().kind(), ErrorKind::Changed);
}

#[tokio::test]
async fn rule_22_a_failed_condition_is_a_changed_resource_and_costs_one_request_without_content() {
    let first = || Ok((Some("a"), None, &b"0123"[..]));
    let store = Scripted::new([first(), Err(precondition()), Ok((Some("b"), None, b""))]);
    assert_eq!(store.spawn().read(0, 10).await.unwrap_err().kind(), ErrorKind::Changed);
    assert_eq!(asked(&store), ["all", "bytes=4- tag a", "all head"]);

    // If the object has the known tag again, the next opening continues.
    let rest = Ok((Some("a"), None, &b"456789"[..]));
    let store = Scripted::new([first(), Err(precondition()), Ok((Some("a"), None, b"")), rest]);
    assert_eq!(store.spawn().read(0, 10).await.unwrap(), "0123456789");
}

#[tokio::test]
async fn rule_24_errors_of_a_store_are_transient_or_permanent() {
    let path = || String::from("object");
    let denied = || Box::new(io::Error::from(io::ErrorKind::PermissionDenied));
    let broken = || Box::new(io::Error::from(io::ErrorKind::InvalidData));
    let permanent = [
        (Error::NotFound { path: path(), source: source("404") }, io::ErrorKind::NotFound),
        (Error::PermissionDenied { path: path(), source: source("403") }, io::ErrorKind::PermissionDenied),
        (Error::Unauthenticated { path: path(), source: source("401") }, io::ErrorKind::PermissionDenied),
        (Error::NotSupported { source: source("no ranges") }, io::ErrorKind::Unsupported),
        (Error::Generic { store: "files", source: denied() }, io::ErrorKind::PermissionDenied),
    ];
    for (error, kind) in permanent {
        let text = error.to_string();
        let store = Scripted::new([Err(error)]);
        let buffer = store.spawn();
        for _ in ["the first read", "a later read"] {
            let error = buffer.read(0, 1).await.unwrap_err();
            assert_eq!(error.io_error().map(io::Error::kind), Some(kind), "{text}");
            assert_eq!(error.io_error().unwrap().to_string(), text);
        }
    }
    let transient = [
        Error::Generic { store: "S3", source: source("503") },
        // A body that a proxy has damaged.
        Error::Generic { store: "S3", source: broken() },
    ];
    for error in transient {
        let store = Scripted::new([Err(error), Ok((Some("a"), None, &b"0123456789"[..]))]);
        assert_eq!(store.spawn().read(0, 10).await.unwrap(), "0123456789");
    }
}

#[tokio::test]
async fn rule_1_a_first_read_past_the_end_is_empty_and_costs_one_request_without_content() {
    let refused = || Error::Generic { store: "S3", source: source("416") };
    let all = || Ok((Some("a"), None, &b"0123456789"[..]));
    for start in [10, 11] {
        let store = Scripted::new([Err(refused()), all(), all()]);
        let buffer = store.spawn();
        assert_eq!(buffer.read(start, 5).await.unwrap(), "");
        assert_eq!(asked(&store), [&format!("bytes={start}-"), "all head"]);
        assert_eq!(buffer.read(0, 10).await.unwrap(), "0123456789");
    }

    // The object has these bytes, so the error is a failure, which is retried.
    let store = Scripted::new([Err(refused()), all(), Ok((Some("a"), None, b"9"))]);
    assert_eq!(store.spawn().read(9, 5).await.unwrap(), "9");
    assert_eq!(asked(&store), ["bytes=9-", "all head", "bytes=9-"]);

    // The version that the buffer has is looked at, because another one may end elsewhere.
    let store = Scripted::new([
        Ok((None, Some("v1"), &b"0123"[..])),
        Err(refused()),
        Ok((None, Some("v1"), b"")),
        Ok((None, Some("v1"), b"456789")),
    ]);
    assert_eq!(store.spawn().read(0, 10).await.unwrap(), "0123456789");
    assert_eq!(asked(&store)[1..3], ["bytes=4- version v1", "all version v1 head"]);

    // The first failure is reported, and not that of the second request.
    let failures = (0..3).flat_map(|_| [Err(refused()), Err(precondition())]);
    let error = Scripted::new(failures).spawn().read(10, 5).await.unwrap_err();
    assert_eq!(error.io_error().unwrap().to_string(), refused().to_string());
}

#[tokio::test]
async fn rule_22_an_object_that_became_shorter_has_changed_though_the_store_ignores_the_condition() {
    // With a tag the second request asks for the bytes from 4 on. The object has none there now.
    let refused = Error::Generic { store: "S3", source: source("416") };
    let store =
        Scripted::new([Ok((Some("a"), None, &b"0123"[..])), Err(refused), Ok((Some("b"), None, b""))]);
    let buffer = store.spawn();
    assert_eq!(buffer.read(0, 4).await.unwrap(), "0123");
    store.size.store(3, Ordering::Relaxed);
    assert_eq!(buffer.read(0, 10).await.unwrap_err().kind(), ErrorKind::Changed);
    assert_eq!(asked(&store), ["all", "bytes=4- tag a", "all tag a head"]);
}

#[test]
fn rule_19_a_source_prints_no_secret() {
    let source = ObjectSource::new(Scripted::new([]), "secret");
    assert_eq!(format!("{source:?}"), "ObjectSource { .. }");
}
