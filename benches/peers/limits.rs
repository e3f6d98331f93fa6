//! What the machine gives at most.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use streamspool::Bytes;

use crate::common::data::BUFFER;

/// Copies `all` into a buffer of the size that the readers use.
pub(crate) fn copy(all: &Bytes) -> Duration {
    let mut buf = vec![0; BUFFER];
    let start = Instant::now();
    for piece in all.chunks(BUFFER) {
        buf[..piece.len()].copy_from_slice(piece);
        black_box(&buf);
    }
    start.elapsed()
}

pub(crate) fn file(all: &Bytes) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(all).expect("writes");
    file
}

/// Reads the file from start to end with positional reads, 64 KiB each.
#[cfg(unix)]
pub(crate) fn pread(file: &File) -> Duration {
    use std::os::unix::fs::FileExt;
    let mut buf = vec![0; BUFFER];
    let start = Instant::now();
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buf, at).expect("reads");
        if read == 0 {
            break start.elapsed();
        }
        black_box(&buf);
        at += read as u64;
    }
}

#[cfg(windows)]
pub(crate) fn pread(file: &File) -> Duration {
    use std::os::windows::fs::FileExt;
    let mut buf = vec![0; BUFFER];
    let start = Instant::now();
    let mut at = 0;
    loop {
        let read = file.seek_read(&mut buf, at).expect("reads");
        if read == 0 {
            break start.elapsed();
        }
        black_box(&buf);
        at += read as u64;
    }
}
