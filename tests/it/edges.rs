//! Every method with sizes and offsets at every edge, and with declared sizes that are wrong.

use std::io::{self, SeekFrom};
use std::ops::Bound;

use futures::TryStreamExt;
use streamspool::{BufferHandle, Bytes, Error, ErrorKind, OpenAt, Opened, StreamBuffer, Version, source_fn};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::support::source::{ragged, ready};
use crate::support::{BLOCK, MIB, assert_bytes, data, on_both_runtimes};

const BLOCK_64: u64 = BLOCK as u64;
const SIZES: [u64; 6] = [0, 1, 2, BLOCK_64 - 1, BLOCK_64, BLOCK_64 + 1];
const OFFSETS: [u64; 12] = [
    0,
    1,
    BLOCK_64 - 1,
    BLOCK_64,
    BLOCK_64 + 1,
    2 * BLOCK_64,
    u32::MAX as u64,
    u32::MAX as u64 + 1,
    i64::MAX as u64,
    i64::MAX as u64 + 1,
    u64::MAX - 1,
    u64::MAX,
];
const LENGTHS: [usize; 9] = [0, 1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 4 * MIB + 1, usize::MAX - 1, usize::MAX];

/// The bytes of `[offset, offset + len)` that exist.
fn existing(size: u64, offset: u64, len: u64) -> Bytes {
    let start = offset.min(size);
    let end = offset.saturating_add(len).min(size);
    data(start, (end - start) as usize)
}

async fn read_to_end(buffer: &BufferHandle, target: SeekFrom) -> io::Result<(u64, Vec<u8>)> {
    let mut reader = buffer.reader();
    let at = reader.seek(target).await?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await?;
    Ok((at, bytes))
}

async fn every_method_at(buffer: &BufferHandle, size: u64, offset: u64) {
    for len in LENGTHS {
        let expected = existing(size, offset, len as u64);
        assert_bytes(&buffer.read(offset, len).await.unwrap(), &expected, offset);
        let some = buffer.read_some(offset, len).await.unwrap();
        assert_eq!(some.is_empty(), expected.is_empty(), "some of {len} at {offset} of {size}");
        assert_bytes(&some, &expected[..some.len()], offset);
        let end = offset.saturating_add(len as u64);
        assert_bytes(&buffer.slice(offset..end).await.unwrap(), &expected, offset);
        let pieces: Vec<Bytes> = buffer.chunks(offset..end).try_collect().await.unwrap();
        assert_bytes(&pieces.concat(), &expected, offset);
    }
    let rest = existing(size, offset, u64::MAX);
    assert_bytes(&buffer.slice(offset..).await.unwrap(), &rest, offset);
    assert_bytes(&buffer.slice(offset..=u64::MAX).await.unwrap(), &rest, offset);
    assert_bytes(&buffer.slice(..offset).await.unwrap(), &existing(size, 0, offset), 0);
    let after = (Bound::Excluded(offset), Bound::Unbounded);
    match buffer.slice(after).await {
        Ok(bytes) => assert_bytes(&bytes, &existing(size, offset.saturating_add(1), u64::MAX), offset),
        Err(error) => panic!("{error}"),
    }
    let (at, bytes) = read_to_end(buffer, SeekFrom::Start(offset)).await.unwrap();
    assert_eq!(at, offset);
    assert_bytes(&bytes, &rest, offset);
    if let Ok(by) = i64::try_from(offset) {
        assert_eq!(read_to_end(buffer, SeekFrom::End(by)).await.unwrap(), (size + offset, Vec::new()));
        match read_to_end(buffer, SeekFrom::End(-by)).await {
            Ok((at, bytes)) => {
                assert_eq!(at, size - offset);
                assert_bytes(&bytes, &existing(size, at, u64::MAX), at);
            }
            Err(error) => {
                assert!(offset > size && error.kind() == io::ErrorKind::InvalidInput, "{error}");
                assert!(error.to_string().contains(&format!("offset {size}")), "{error}");
            }
        }
    }
    assert_eq!((buffer.size().await.unwrap(), buffer.load().await.unwrap()), (size, size));
}

#[test]
fn rules_1_to_3_and_18_every_method_at_every_edge() {
    on_both_runtimes(|| async {
        for size in SIZES {
            for max_memory in [0, usize::MAX] {
                for offset in OFFSETS {
                    let builder = StreamBuffer::builder().max_memory(max_memory);
                    every_method_at(&builder.spawn(ragged(size, 3)), size, offset).await;
                }
            }
        }
    });
}

fn assert_lie(error: &Error, kind: ErrorKind, at: u64) {
    assert_eq!((error.kind(), error.offset()), (kind, at));
    assert!(error.to_string().contains(&format!("offset {at}")), "{error}");
}

#[test]
fn rule_14_a_wrong_declared_size_fails_every_method_and_loses_no_byte() {
    on_both_runtimes(|| async {
        for size in SIZES {
            for declared in SIZES.into_iter().chain([2 * BLOCK_64, u64::MAX - 1, u64::MAX]) {
                // Small chunks, and one chunk that is larger than the declared size.
                for chunk in [1000, 4 * BLOCK] {
                    let stream = ready(size, chunk);
                    let buffer = StreamBuffer::builder().size(declared).max_memory(0).spawn(stream);
                    let there = size.min(declared);
                    let kind = match declared.cmp(&size) {
                        std::cmp::Ordering::Less => ErrorKind::Oversized,
                        std::cmp::Ordering::Greater => ErrorKind::Truncated,
                        std::cmp::Ordering::Equal => {
                            assert_eq!(buffer.load().await.unwrap(), size);
                            continue;
                        }
                    };
                    for error in [
                        buffer.read(there, 1).await.unwrap_err(),
                        buffer.read(0, usize::MAX).await.unwrap_err(),
                        buffer.read(u64::MAX, 1).await.unwrap_err(),
                        buffer.read_some(there, 1).await.unwrap_err(),
                        buffer.slice(..).await.unwrap_err(),
                        buffer.chunks(there..).try_collect::<Vec<_>>().await.unwrap_err(),
                        buffer.load().await.unwrap_err(),
                        buffer.size().await.unwrap_err(),
                    ] {
                        assert_lie(&error, kind, there);
                    }
                    let error = read_to_end(&buffer, SeekFrom::Start(0)).await.unwrap_err();
                    assert!(error.to_string().contains(&format!("offset {there}")), "{error}");
                    let all = existing(size, 0, there);
                    assert_bytes(&buffer.read(0, there as usize).await.unwrap(), &all, 0);
                }
            }
        }
    });
}

#[test]
fn a_range_with_invalid_bounds_is_refused_with_its_offset() {
    on_both_runtimes(|| async {
        let buffer = StreamBuffer::spawn(ready(10, 3));
        for start in OFFSETS.into_iter().filter(|start| *start > 0) {
            for end in [0, start - 1] {
                let error = buffer.slice(start..end).await.unwrap_err();
                assert_lie(&error, ErrorKind::InvalidInput, start);
                let error = buffer.chunks(start..end).try_next().await.unwrap_err();
                assert_lie(&error, ErrorKind::InvalidInput, start);
            }
        }
    });
}

#[test]
fn rules_1_and_3_a_source_that_sends_bytes_at_the_largest_offsets_is_cut_there() {
    on_both_runtimes(|| async {
        // The source sends more bytes than there are offsets up to `u64::MAX`. Each byte is the lowest byte of its
        // offset.
        let source = source_fn(async |at: OpenAt| {
            let bytes: Vec<u8> = (0..1000).map(|by| at.offset.wrapping_add(by).to_be_bytes()[7]).collect();
            let stream = futures::stream::iter([Ok(Bytes::from(bytes))]);
            Ok(Opened::new(stream).version(Version::strong("v1")))
        });
        let buffer = StreamBuffer::spawn_source(source);
        let last: Vec<u8> = (245..255).collect();
        assert_eq!(buffer.read(u64::MAX - 10, 100).await.unwrap(), last);
        assert_eq!(buffer.read_some(u64::MAX - 10, usize::MAX).await.unwrap(), last);
        assert_eq!(buffer.slice(u64::MAX - 10..).await.unwrap(), last);
        let mut all = Vec::new();
        buffer.reader_at(u64::MAX - 10).read_to_end(&mut all).await.unwrap();
        assert_eq!(all, last);
        let pieces: Vec<_> = buffer.chunks(u64::MAX - 10..).try_collect().await.unwrap();
        assert_eq!(pieces.concat(), last);
        buffer.load_range(u64::MAX - 10..).await.unwrap();
        assert!(buffer.read(u64::MAX, 1).await.unwrap().is_empty());
    });
}
