//! Rule 13: the contract holds with every kind of store.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[cfg(feature = "checksums")]
use streamspool::{ChecksummedStore, ErrorKind};
use streamspool::{SeekStore, SpillStore, StreamBuffer, TempFileStore};
use tokio::io::AsyncReadExt;

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
    let never = |_: usize, _: &TempFileStore, _: u64, _: &mut [u8]| Err(io::ErrorKind::Unsupported.into());
    on_both_runtimes(|| holds_the_contract(Trying::new(never)));
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

/// A temporary file whose `try_read_at` is the closure `go`. The closure also gets the number of the attempt.
struct Trying<F> {
    file: TempFileStore,
    tries: AtomicUsize,
    go: F,
}

impl<F> Trying<F> {
    fn new(go: F) -> Self {
        Self { file: TempFileStore::new(), tries: AtomicUsize::new(0), go }
    }
}

impl<F> SpillStore for Trying<F>
where
    F: Fn(usize, &TempFileStore, u64, &mut [u8]) -> io::Result<usize> + Send + Sync + 'static,
{
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buf)
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (self.go)(self.tries.fetch_add(1, Ordering::Relaxed), &self.file, offset, buf)
    }
}

#[test]
fn rule_13_a_store_that_now_and_then_reads_at_once() {
    // Like a page cache when memory is short.
    let fickle = |n: usize, file: &TempFileStore, offset: u64, buf: &mut [u8]| {
        let half = buf.len() / 2;
        match n % 3 {
            0 => file.read_at(offset, buf),
            1 => file.read_at(offset, &mut buf[..half]),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    };
    on_both_runtimes(|| holds_the_contract(Trying::new(fickle)));
}

#[test]
fn rule_13_a_store_that_never_reads_at_once_is_not_asked_again() {
    for (why, expected) in [(io::ErrorKind::WouldBlock, 10), (io::ErrorKind::Unsupported, 1)] {
        let slow = move |_: usize, _: &TempFileStore, _: u64, _: &mut [u8]| Err(why.into());
        on_both_runtimes(|| async {
            let store = Arc::new(Trying::new(slow));
            let buffer = StreamBuffer::builder().store(Arc::clone(&store)).spawn(ready(100_000, 1000));
            buffer.load().await.unwrap();
            buffer.spill().await.unwrap();
            for n in 0..10 {
                assert_bytes(&buffer.read(n * 9000, 5000).await.unwrap(), &data(n * 9000, 5000), n * 9000);
            }
            assert_eq!(store.tries.load(Ordering::Relaxed), expected, "{why:?}");
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
    struct Lossy(TempFileStore);
    impl SpillStore for Lossy {
        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
            self.0.write_at(offset, &bytes[..1])?;
            Ok(bytes.len())
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read_at(offset, buf)
        }
    }
    on_both_runtimes(|| async {
        let buffer = StreamBuffer::builder().store(Lossy(TempFileStore::new())).spawn(ragged(1000, 1));
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
        let error = buffer.read(0, 1000).await.unwrap_err();
        assert_eq!(io::Error::from(error.clone()).kind(), io::ErrorKind::InvalidData);
        assert_eq!(chain(&error)[1..], ["the store ends at offset 1"]);
    });
}

#[test]
fn rule_16_a_store_that_claims_more_than_was_asked_is_an_error_and_never_a_wrong_byte() {
    #[derive(Default)]
    struct Boastful(TempFileStore, AtomicBool);
    impl SpillStore for Boastful {
        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
            let written = self.0.write_at(offset, bytes)?;
            Ok(if self.1.load(Ordering::SeqCst) { usize::MAX } else { written })
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read_at(offset, buf)?;
            Ok(if self.1.load(Ordering::SeqCst) { read + 1 } else { read })
        }
    }
    on_both_runtimes(|| async {
        let store = Arc::new(Boastful::default());
        let boast = |boasts| store.1.store(boasts, Ordering::SeqCst);
        let size = 2 * BLOCK + 7;
        let buffer = StreamBuffer::builder().store(Arc::clone(&store)).spawn(ragged(size as u64, 1));
        buffer.load().await.unwrap();
        boast(true);
        let error = buffer.spill().await.unwrap_err();
        assert!(chain(&error)[1].contains("bytes where"), "{error:?}");
        boast(false);
        buffer.spill().await.unwrap();
        boast(true);
        let error = buffer.read(5, 1000).await.unwrap_err();
        assert_eq!(chain(&error)[1..], ["the store claims 1001 bytes where 1000 were asked for"]);
        boast(false);
        assert_bytes(&buffer.read(0, size).await.unwrap(), &data(0, size), 0);
    });
}
