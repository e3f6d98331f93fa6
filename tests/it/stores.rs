//! Rule 13: the contract holds with every kind of store.

use std::io::{self, Cursor};
#[cfg(feature = "checksums")]
use std::sync::Arc;

#[cfg(feature = "checksums")]
use streamspool::{ChecksummedStore, ErrorKind};
use streamspool::{SeekStore, SpillStore, StreamBuffer, TempFileStore};
use tokio::io::AsyncReadExt;

use crate::support::scripted_store::{Access, Act, Call, Script};
use crate::support::source::{ragged, ready};
use crate::support::{BLOCK, MIB, assert_bytes, assert_data, chain, data, on_both_runtimes};

/// Reads of every kind while bytes arrive, are spilled in the background and by `spill`.
async fn holds_the_contract(store: impl SpillStore) {
    let size = 4 * MIB as u64 + 321;
    let buffer = StreamBuffer::builder().max_memory(BLOCK).store(store).spawn(ragged(size, 21));
    for offset in (0..size).step_by(333_333).chain((0..size).rev().step_by(444_444)) {
        let bytes = buffer.read(offset, 300_000).await.unwrap();
        assert_bytes(&bytes, &data(offset, 300_000.min((size - offset) as usize)), offset);
        assert_data(&buffer.read_some(offset, BLOCK).await.unwrap(), offset);
    }
    buffer.spill().await.unwrap();
    assert_eq!(buffer.progress().spilled, size);
    let mut all = Vec::new();
    buffer.reader().read_to_end(&mut all).await.unwrap();
    assert_bytes(&all, &data(0, size as usize), 0);
    let mut tasks = Vec::new();
    for n in 0..16 {
        let buffer = buffer.clone();
        tasks.push(tokio::spawn(async move {
            let offset = n * 250_000;
            assert_bytes(
                &buffer.read(offset, 500_000).await.unwrap(),
                &data(offset, 500_000.min((size - offset) as usize)),
                offset,
            );
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn rule_13_the_temporary_file() {
    on_both_runtimes(|| holds_the_contract(TempFileStore::new()));
}

#[test]
fn rule_13_a_temporary_file_that_never_reads_at_once() {
    /// It has only the methods that a store must have.
    struct Slow(TempFileStore);
    impl SpillStore for Slow {
        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
            self.0.write_at(offset, bytes)
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read_at(offset, buf)
        }
    }
    on_both_runtimes(|| holds_the_contract(Slow(TempFileStore::new())));
}

#[test]
fn rule_13_a_spooled_temporary_file() {
    on_both_runtimes(|| holds_the_contract(SeekStore::new(tempfile::SpooledTempFile::new(MIB))));
}

#[test]
fn rule_13_a_cursor() {
    on_both_runtimes(|| holds_the_contract(SeekStore::new(Cursor::new(Vec::new()))));
}

#[cfg(feature = "checksums")]
#[test]
fn rule_13_stores_with_checksums() {
    on_both_runtimes(|| holds_the_contract(ChecksummedStore::new(TempFileStore::new())));
    on_both_runtimes(|| holds_the_contract(ChecksummedStore::new(SeekStore::new(Cursor::new(Vec::new())))));
}

#[cfg(feature = "checksums")]
#[tokio::test]
async fn rule_13_bytes_that_the_disk_has_changed_are_an_error_of_the_read_that_needs_them() {
    let store = Arc::new(ChecksummedStore::new(TempFileStore::new()));
    let buffer = StreamBuffer::builder().store(Arc::clone(&store)).spawn(ready(MIB as u64, 64 * 1024));
    buffer.load().await.unwrap();
    buffer.spill().await.unwrap();
    // Change a byte in the wrapped store, so that the wrapper does not notice.
    store.get_ref().write_at(500_000, &[!data(500_000, 1)[0]]).unwrap();
    // A caller reads a long range in steps of 16 KiB. The error names the step.
    for (offset, len, failed) in [(0, MIB, 491_520), (499_000, 2000, 499_000), (500_000, 1, 500_000)] {
        let error = buffer.read(offset, len).await.unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Spill, failed));
        assert_eq!(error.io_error().unwrap().kind(), io::ErrorKind::InvalidData);
        assert!(chain(&error)[1].contains("499712..503808"), "{error:?}");
    }
    assert_bytes(&buffer.read(0, 499_712).await.unwrap(), &data(0, 499_712), 0);
    assert_bytes(&buffer.read(503_808, 1000).await.unwrap(), &data(503_808, 1000), 503_808);
}

#[test]
fn rule_13_a_store_that_now_and_then_reads_at_once() {
    // Like a page cache when memory is short.
    let fickle = |call: Call| match call.number % 3 {
        0 => Act::WORKS,
        1 => Act::Takes(call.len / 2),
        _ => Act::fails(io::ErrorKind::WouldBlock),
    };
    on_both_runtimes(|| async {
        let script = Script::default();
        script.tries(fickle);
        holds_the_contract(script.store()).await;
    });
}

#[test]
fn rule_13_a_store_that_never_reads_at_once_is_not_asked_again() {
    for (why, expected) in [(io::ErrorKind::WouldBlock, 10), (io::ErrorKind::Unsupported, 1)] {
        on_both_runtimes(|| async {
            let script = Script::default();
            script.tries(move |_| Act::fails(why));
            let buffer = StreamBuffer::builder().store(script.store()).spawn(ready(100_000, 1000));
            buffer.load().await.unwrap();
            buffer.spill().await.unwrap();
            for n in 0..10 {
                assert_bytes(&buffer.read(n * 9000, 5000).await.unwrap(), &data(n * 9000, 5000), n * 9000);
            }
            assert_eq!(script.count(Access::Try), expected, "{why:?}");
        });
    }
}

#[test]
fn rule_13_stores_read_back_the_bytes_written_and_no_more() {
    let stores: [(&str, Box<dyn SpillStore>); 3] = [
        ("temporary file", Box::new(TempFileStore::new())),
        ("spooled", Box::new(SeekStore::new(tempfile::SpooledTempFile::new(4)))),
        ("cursor", Box::new(SeekStore::new(Cursor::new(Vec::new())))),
    ];
    for (name, store) in stores {
        let mut buf = [0; 10];
        assert_eq!(store.write_at(0, b"01234").unwrap(), 5, "{name}");
        assert_eq!(store.write_at(5, b"56789").unwrap(), 5, "{name}");
        assert_eq!(store.write_at(5, b"abcde").unwrap(), 5, "{name} writes again after a failure");
        assert_eq!(store.read_at(3, &mut buf[..4]).unwrap(), 4, "{name}");
        assert_eq!(&buf[..4], b"34ab", "{name}");
        assert_eq!(store.read_at(10, &mut buf).unwrap(), 0, "{name}");
    }
}

#[test]
fn rule_16_a_read_of_bytes_that_the_store_lost_fails() {
    on_both_runtimes(|| async {
        let script = Script::default();
        script.writes(|_| Act::Loses(1));
        let buffer = StreamBuffer::builder().store(script.store()).spawn(ragged(1000, 1));
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
        let error = buffer.read(0, 1000).await.unwrap_err();
        assert_eq!(io::Error::from(error.clone()).kind(), io::ErrorKind::InvalidData);
        assert_eq!(chain(&error)[1..], ["the store ends at offset 1"]);
    });
}

#[test]
fn rule_16_a_store_that_claims_more_than_was_asked_is_an_error_and_never_a_wrong_byte() {
    on_both_runtimes(|| async {
        let script = Script::default();
        let boast = || {
            script.writes(|_| Act::Claims(usize::MAX));
            script.reads(|call| Act::Claims(call.len + 1));
        };
        let size = 2 * BLOCK + 7;
        let buffer = StreamBuffer::builder().store(script.store()).spawn(ragged(size as u64, 1));
        buffer.load().await.unwrap();
        boast();
        let error = buffer.spill().await.unwrap_err();
        assert!(chain(&error)[1].contains("bytes where"), "{error:?}");
        script.heal();
        buffer.spill().await.unwrap();
        boast();
        let error = buffer.read(5, 1000).await.unwrap_err();
        assert_eq!(chain(&error)[1..], ["the store claims 1001 bytes where 1000 were asked for"]);
        script.heal();
        assert_bytes(&buffer.read(0, size).await.unwrap(), &data(0, size), 0);
    });
}
