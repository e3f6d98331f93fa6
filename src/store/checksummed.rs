//! A store that detects bytes that the disk has lost or changed.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crc32fast::Hasher;

use super::SpillStore;

/// The length of a page. Pages start at multiples of it, counted in offsets of the store.
const PAGE: u64 = 4096;

/// Wraps a [`SpillStore`] and verifies all bytes that it reads back.
///
/// A disk can lose bytes that it has accepted: the kernel reports a failed write to a file only to programs
/// that ask for it, and then reads return older bytes. Bits can also change on the disk. The plain stores
/// trust the disk, so such bytes are returned as if they were the stream's. This store keeps a CRC-32 of
/// each page of 4 KiB in memory, and compares it with each page that it reads. If it differs, the read fails
/// with [`InvalidData`](ErrorKind::InvalidData) and names the offset; the read of the
/// [`BufferHandle`](crate::BufferHandle) fails with [`Spill`](crate::ErrorKind::Spill).
///
/// A write may start and end anywhere. If several writes fill a page, and each continues the one before it, the
/// page has one checksum. Otherwise it has one for each part.
///
/// # Cost
///
/// 34 bytes of memory for each page: 9 MiB for a store of 1 GiB. They do not count towards
/// [`max_memory`](crate::Builder::max_memory). Each byte is hashed when it is written and for each read. On a
/// processor with carry-less multiplication, a block of 256 KiB from the page cache is read in 9.6 instead
/// of 5.6 microseconds, and written in 12 instead of 6.4 (`cargo bench --bench parts -- checksum`). A read
/// that starts or ends inside a page reads the whole page.
///
/// CRC-32 finds each change of up to 32 bits in a row, and all but one of 4 billion other changes. It does
/// not protect against a person who changes the file on purpose.
///
/// # Examples
///
/// ```
/// use streamspool::{ChecksummedStore, StreamBuffer, TempFileStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), streamspool::Error> {
/// # let stream = futures::stream::iter([Ok(streamspool::Bytes::from_static(b"0123456789"))]);
/// let store = ChecksummedStore::new(TempFileStore::new());
/// let buffer = StreamBuffer::builder().store(store).spawn(stream);
/// buffer.load().await?;
/// buffer.spill().await?;
/// assert_eq!(buffer.read(2, 3).await?, "234");
/// # Ok(())
/// # }
/// ```
pub struct ChecksummedStore<S> {
    store: S,
    parts: Mutex<Parts>,
}

/// The parts of pages that were written, by their offsets. They do not overlap, and none crosses the end of
/// a page.
type Parts = BTreeMap<u64, Part>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    len: u32,
    /// The CRC-32 of the bytes.
    crc: u32,
}

impl<S: SpillStore> ChecksummedStore<S> {
    /// Verifies what `store` returns. Only bytes that are written through this wrapper can be read.
    pub fn new(store: S) -> Self {
        Self { store, parts: Mutex::default() }
    }

    /// The wrapped store.
    pub fn get_ref(&self) -> &S {
        &self.store
    }

    /// The lock is never held while the wrapped store is used. Each change leaves the parts consistent, so a panic
    /// does no harm.
    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads into `buf` as many verified bytes as there are without a gap. `read` reads a range of the
    /// wrapped store completely.
    fn read_verified(
        &self,
        offset: u64,
        buf: &mut [u8],
        read: impl Fn(u64, &mut [u8]) -> Result<()>,
    ) -> Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let wanted = offset..offset.saturating_add(buf.len() as u64);
        let mut parts = touching(&self.parts(), &wanted);
        loop {
            let all = without_gap(&mut parts, offset).ok_or_else(|| unknown(offset))?;
            let end = wanted.end.min(all.end);
            let (result, read_now) = if all.start == wanted.start && all.end == end {
                // Whole parts: no copy.
                let target = buf.get_mut(..length(&all)).unwrap_or_default();
                (read(all.start, target), verify(target, &parts))
            } else {
                let mut bytes = vec![0; length(&all)];
                let result = read(all.start, &mut bytes);
                let from = length(&(all.start..offset));
                let found = bytes.get(from..).unwrap_or_default();
                buf.iter_mut().zip(found).for_each(|(to, byte)| *to = *byte);
                (result, verify(&bytes, &parts))
            };
            result?;
            let Err(wrong) = read_now else { return Ok(length(&(offset..end))) };
            // A write to another part of a page may have changed it meanwhile.
            let mut now = touching(&self.parts(), &wanted);
            without_gap(&mut now, offset);
            if now == parts {
                return Err(wrong);
            }
            parts = now;
        }
    }

    /// Forgets the bytes of `range`. The other bytes of the parts that it cuts get checksums of their own.
    fn forget(&self, range: &Range<u64>) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let cut: Vec<_> = touching(&self.parts(), range)
            .into_iter()
            .filter(|(start, part)| *start < range.start || part.end(*start) > range.end)
            .collect();
        let mut rests = Vec::new();
        for (start, part) in cut {
            let mut bytes = vec![0; part.len as usize];
            read_exactly(&self.store, start, &mut bytes)?;
            if verify(&bytes, &[(start, part)]).is_err() {
                // They are lost: a read of them fails.
                continue;
            }
            for rest in [start..range.start, range.end..part.end(start)] {
                let within = rest.start.max(start) - start..rest.end.max(start) - start;
                let bytes = bytes.get(length(&(0..within.start))..length(&(0..within.end)));
                if let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) {
                    rests.push((rest.start, Part::of(bytes)));
                }
            }
        }
        let mut parts = self.parts();
        for (start, _) in touching(&parts, range) {
            parts.remove(&start);
        }
        parts.extend(rests);
        Ok(())
    }

    /// These bytes are in the store now.
    fn remember(&self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(PAGE - offset % PAGE).unwrap_or(usize::MAX);
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            // One page at a time: tasks that read wait for the lock, and the checksum takes time.
            let mut parts = self.parts();
            match parts.range_mut(..offset).next_back() {
                Some((start, last)) if last.end(*start) == offset && !offset.is_multiple_of(PAGE) => {
                    last.extend(part);
                }
                _ => drop(parts.insert(offset, Part::of(part))),
            }
            offset += part.len() as u64;
            bytes = rest;
        }
    }
}

impl<S: SpillStore> SpillStore for ChecksummedStore<S> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        // Forget the parts first: a write that fails may have changed any of these bytes.
        self.forget(&(offset..offset.saturating_add(bytes.len() as u64)))?;
        let written = self.store.write_at(offset, bytes)?;
        self.remember(offset, bytes.get(..written).unwrap_or(bytes));
        Ok(written)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read_verified(offset, buf, |offset, buf| read_exactly(&self.store, offset, buf))
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read_verified(offset, buf, |offset, buf| match self.store.try_read_at(offset, buf)? {
            read if read == buf.len() => Ok(()),
            _ => Err(ErrorKind::WouldBlock.into()),
        })
    }

    fn discard(&self, range: Range<u64>) {
        // If the other bytes of a page cannot be read now, the range keeps its space.
        if self.forget(&range).is_ok() {
            self.store.discard(range);
        }
    }
}

impl<S> fmt::Debug for ChecksummedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChecksummedStore").finish_non_exhaustive()
    }
}

impl Part {
    fn of(bytes: &[u8]) -> Self {
        let mut part = Self { len: 0, crc: 0 };
        part.extend(bytes);
        part
    }

    fn extend(&mut self, bytes: &[u8]) {
        // It continues the checksum of the bytes before.
        let mut hasher = Hasher::new_with_initial(self.crc);
        hasher.update(bytes);
        self.crc = hasher.finalize();
        self.len = self.len.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }

    fn end(self, start: u64) -> u64 {
        start.saturating_add(u64::from(self.len))
    }
}

/// The parts that have bytes of this range.
fn touching(parts: &Parts, range: &Range<u64>) -> Vec<(u64, Part)> {
    let before = parts.range(..range.start).next_back();
    let before = before.filter(|(start, part)| part.end(**start) > range.start);
    before.into_iter().chain(parts.range(range.clone())).map(|(start, part)| (*start, *part)).collect()
}

/// Keeps the parts that follow each other from `offset` on. Returns their range, if there are any.
fn without_gap(parts: &mut Vec<(u64, Part)>, offset: u64) -> Option<Range<u64>> {
    let start = parts.first().map(|(start, _)| *start).filter(|start| *start <= offset)?;
    let mut end = start;
    parts.retain(|(start, part)| {
        let follows = *start == end;
        end = if follows { part.end(*start) } else { end };
        follows
    });
    Some(start..end)
}

/// Compares the bytes of parts that follow each other with their checksums.
fn verify(mut bytes: &[u8], parts: &[(u64, Part)]) -> Result<()> {
    for (start, part) in parts {
        let (found, rest) = bytes.split_at_checked(part.len as usize).ok_or_else(|| unknown(*start))?;
        if Part::of(found) != *part {
            let message = format!("the store has lost or changed bytes of {start}..{}", part.end(*start));
            return Err(Error::new(ErrorKind::InvalidData, message));
        }
        bytes = rest;
    }
    Ok(())
}

/// Reads the whole range, with as many calls as it takes.
fn read_exactly(store: &impl SpillStore, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
    while !buf.is_empty() {
        let read = store.read_at(offset, buf)?;
        buf = buf.get_mut(read..).filter(|_| read > 0).ok_or_else(|| {
            Error::new(ErrorKind::InvalidData, format!("the store has no bytes at offset {offset}"))
        })?;
        offset += read as u64;
    }
    Ok(())
}

fn unknown(offset: u64) -> Error {
    let message = format!("the store has no checksum of the byte at offset {offset}");
    Error::new(ErrorKind::InvalidData, message)
}

/// The length of a range of bytes that are in memory.
fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
