//! Rules 15 and 19: an [`Error`] as its users see it: its kind as an [`io::Error`], and its chain of causes.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Read};

use streamspool::{BufferHandle, Bytes, Error, ErrorKind, StreamBuffer};
use tokio::io::AsyncReadExt;
use tokio_util::io::SyncIoBridge;

use crate::support::scripted_store::{Act, Fault, Script};
use crate::support::source::{ready, source};
use crate::support::{assert_bytes, chain, data, on_both_runtimes};

/// The kinds that decoders and adapters misread, and the kinds that callers see instead.
const MISREAD: [(io::ErrorKind, io::ErrorKind); 3] = [
    (io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData),
    (io::ErrorKind::Interrupted, io::ErrorKind::Other),
    (io::ErrorKind::WouldBlock, io::ErrorKind::Other),
];

/// A buffer of 50 bytes whose source then fails with this kind.
fn failing(kind: io::ErrorKind) -> BufferHandle {
    let (mut feed, stream) = source();
    feed.chunk(50);
    feed.fail(io::Error::new(kind, "peer went away"));
    StreamBuffer::spawn(stream)
}

/// Asserts that a caller sees the kind `shown`, and finds the original of kind `kind` behind it.
fn assert_mapped(error: &io::Error, kind: io::ErrorKind, shown: io::ErrorKind) {
    assert_eq!(error.kind(), shown);
    let inner = Error::of(error).unwrap();
    assert_eq!(inner.io_error().unwrap().kind(), kind);
    let cause = StdError::source(error).unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(cause.kind(), kind);
}

#[test]
fn rule_15_a_failed_source_is_no_end_and_no_endless_loop_for_async_readers() {
    on_both_runtimes(|| async {
        for (kind, shown) in MISREAD {
            let buffer = failing(kind);
            let error = buffer.reader().read_exact(&mut [0; 100]).await.unwrap_err();
            assert_mapped(&error, kind, shown);
            let mut seen = Vec::new();
            let error = buffer.reader().read_to_end(&mut seen).await.unwrap_err();
            assert_mapped(&error, kind, shown);
            assert_bytes(&seen, &data(0, 50), 0);
            let error = io::Error::from(buffer.read(0, 100).await.unwrap_err());
            assert_mapped(&error, kind, shown);
        }
    });
}

#[test]
fn rule_15_a_failed_source_is_no_end_and_no_endless_loop_for_blocking_readers() {
    on_both_runtimes(|| async {
        for (kind, shown) in MISREAD {
            let buffer = failing(kind);
            let blocking = tokio::task::spawn_blocking(move || {
                let error = SyncIoBridge::new(buffer.reader()).read_exact(&mut [0; 100]).unwrap_err();
                assert_mapped(&error, kind, shown);
                let mut seen = Vec::new();
                let error = SyncIoBridge::new(buffer.reader()).read_to_end(&mut seen).unwrap_err();
                assert_mapped(&error, kind, shown);
                assert_bytes(&seen, &data(0, 50), 0);
                let mut copied = Vec::new();
                let error = io::copy(&mut SyncIoBridge::new(buffer.reader()), &mut copied).unwrap_err();
                assert_mapped(&error, kind, shown);
                assert_bytes(&copied, &data(0, 50), 0);
            });
            blocking.await.unwrap();
        }
    });
}

#[test]
fn rules_15_and_16_a_failed_store_is_no_end_and_no_endless_loop() {
    on_both_runtimes(|| async {
        for (kind, shown) in MISREAD {
            let script = Script::default();
            script.writes(move |_| Act::fails(kind));
            let buffer = StreamBuffer::builder().store(script.store()).spawn(ready(1000, 100));
            buffer.load().await.unwrap();
            let error = buffer.spill().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Spill);
            assert_mapped(&error.into(), kind, shown);

            let script = Script::default();
            script.reads(move |_| Act::fails(kind));
            let buffer = StreamBuffer::builder().store(script.store()).spawn(ready(1000, 100));
            buffer.load().await.unwrap();
            buffer.spill().await.unwrap();
            let error = buffer.reader().read_exact(&mut [0; 100]).await.unwrap_err();
            assert_eq!(Error::of(&error).unwrap().kind(), ErrorKind::Spill);
            assert_mapped(&error, kind, shown);
        }
    });
}

/// A client's error with a cause of its own.
#[derive(Debug)]
struct Status(u16, io::Error);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.0)
    }
}

impl StdError for Status {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.1)
    }
}

/// Asserts that these are the texts of the chain, as an [`Error`] and as an [`io::Error`].
fn assert_chain(error: &Error, texts: &[&str]) {
    assert_eq!(chain(error), texts);
    assert_eq!(chain(&io::Error::from(error.clone())), texts);
    for text in texts {
        let times = texts.iter().filter(|other| other.contains(text)).count();
        assert_eq!(times, 1, "{text:?} is said once in {texts:?}");
    }
}

#[test]
fn rule_19_a_chain_of_causes_says_each_text_once() {
    on_both_runtimes(|| async {
        let (mut feed, stream) = source();
        let buffer = StreamBuffer::spawn(stream);
        feed.bytes(Bytes::from_static(b"abc"));
        let reset = io::Error::new(io::ErrorKind::ConnectionReset, "peer went away");
        feed.fail(io::Error::other(Status(503, reset)));
        let error = buffer.load().await.unwrap_err();
        assert_chain(&error, &["the source failed at offset 3", "status 503", "peer went away"]);
        let status = error.io_error().unwrap().get_ref().unwrap().downcast_ref::<Status>().unwrap();
        assert_eq!(status.0, 503);

        let buffer = StreamBuffer::builder().size(3).spawn(ready(2, 1));
        let error = buffer.load().await.unwrap_err();
        assert_chain(&error, &["the source ended at offset 2, before its declared size of 3 bytes"]);

        let script = Script::default();
        script.fault(Fault::NoSpace);
        let buffer = StreamBuffer::builder().store(script.store()).spawn(ready(1000, 100));
        buffer.load().await.unwrap();
        let error = buffer.spill().await.unwrap_err();
        let message = "could not move bytes from memory to the spill store at offset 0";
        assert_chain(&error, &[message, "as the test asked"]);

        let path = std::path::Path::new("/no/such/directory/song");
        let error = buffer.save(path).await.unwrap_err();
        let texts = chain(&error);
        assert_chain(&error, &texts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(texts[0], "could not save to /no/such/directory/song at offset 0");
        assert_eq!(texts.len(), 2, "{texts:?}");
    });
}
