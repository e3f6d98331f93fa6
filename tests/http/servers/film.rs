//! The resource that the servers serve: bytes that depend on their offset and on a version.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};
use streamspool::{BufferHandle, Error};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// The name of the film in the directory that a server serves.
pub(super) const NAME: &str = "film.bin";

const HOUR: Duration = Duration::from_secs(3600);

/// The age of the file by its time of modification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// Hours: its `Last-Modified` is strong.
    Hours,
    /// It was written just now: its `Last-Modified` is weak.
    New,
}

/// Each version differs from the others in every byte.
pub(super) fn film(version: u8, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| ((at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).wrapping_add(version))
        .collect()
}

/// Replaces the film by these bytes with a rename, so that no server sees a part of them.
pub(super) fn put(root: &Path, bytes: &[u8], version: u8, age: Age) {
    let (new, path) = (root.join("new"), root.join(NAME));
    fs::write(&new, bytes).unwrap();
    if age == Age::Hours {
        // Each version has a time of its own.
        let time = SystemTime::now() - HOUR * (10 - u32::from(version));
        File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
    }
    fs::rename(new, path).unwrap();
}

/// Plays the film: its head, jumps in both directions, its tail, then all of it from the front. Compares
/// every byte, and the checksum of all bytes with that of the file.
pub(super) async fn play(buffer: &BufferHandle, root: &Path, film: &[u8]) {
    let len = film.len();
    for (offset, most) in [
        (0, 65_536),
        (400_000, 100_000),
        (100_000, 50_000),
        (1_500_000, 10_000),
        (700_000, 200_000),
        (len - 65_536, len),
    ] {
        let found = buffer.read(offset as u64, most).await.unwrap();
        let expected = &film[offset..len.min(offset + most)];
        assert!(found == expected, "{} bytes differ at {offset}", found.len());
    }
    let mut reader = buffer.reader();
    reader.seek(std::io::SeekFrom::Start(0)).await.unwrap();
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.unwrap();
    assert!(all == film, "{} bytes of {len}, or wrong ones", all.len());
    let served = fs::read(root.join(NAME)).unwrap();
    assert_eq!(digest(&SHA256, &all).as_ref(), digest(&SHA256, &served).as_ref());
}

/// Reads from the front until an error. Every byte before the error must be that of `film`.
pub(super) async fn error_after(what: &str, buffer: &BufferHandle, film: &[u8]) -> (usize, Error) {
    let mut at = 0;
    loop {
        match buffer.read(at as u64, 10_000).await {
            Ok(bytes) => {
                assert!(!bytes.is_empty(), "{what}: an end at {at}");
                assert!(bytes == film[at..at + bytes.len()], "{what}: wrong bytes at {at}");
                at += bytes.len();
            }
            Err(error) => return (at, error),
        }
    }
}
