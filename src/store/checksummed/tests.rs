#![allow(clippy::cast_possible_truncation, reason = "the offsets of the tests are small")]

use std::sync::{Arc, Barrier};

use super::*;

/// Bytes in memory, with faults that the test chooses.
#[derive(Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    /// Writes are accepted, and change nothing.
    drops_writes: Mutex<bool>,
    /// The next write accepts this many bytes.
    most: Mutex<Option<usize>>,
    discarded: Mutex<Vec<Range<u64>>>,
    /// The next read waits twice for the test: before and after it looks at the bytes.
    gate: Mutex<Option<Arc<Barrier>>>,
}

impl Disk {
    fn flip(&self, offset: usize) {
        self.bytes.lock().unwrap()[offset] ^= 1;
    }
}

impl SpillStore for Disk {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        let most = self.most.lock().unwrap().take().unwrap_or(usize::MAX).min(bytes.len());
        if most == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        if !*self.drops_writes.lock().unwrap() {
            let mut held = self.bytes.lock().unwrap();
            let start = offset as usize;
            let len = held.len().max(start + most);
            held.resize(len, 0);
            held[start..start + most].copy_from_slice(&bytes[..most]);
        }
        Ok(most)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let gate = self.gate.lock().unwrap().take();
        if let Some(gate) = &gate {
            gate.wait();
            gate.wait();
        }
        let held = self.bytes.lock().unwrap();
        let held = held.get(offset as usize..).unwrap_or_default();
        // Not more than 1000 bytes at once.
        let len = buf.len().min(held.len()).min(1000);
        buf[..len].copy_from_slice(&held[..len]);
        Ok(len)
    }

    fn try_read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read_at(offset, buf)
    }

    fn discard(&self, range: Range<u64>) {
        self.bytes.lock().unwrap()[range.start as usize..range.end as usize].fill(0);
        self.discarded.lock().unwrap().push(range);
    }
}

fn store() -> ChecksummedStore<Disk> {
    ChecksummedStore::new(Disk::default())
}

/// Bytes that differ from place to place and from version to version.
fn bytes(version: u64, range: Range<u64>) -> Vec<u8> {
    let byte = |offset: u64| ((offset + version * 7919).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    range.map(byte).collect()
}

fn write(store: &ChecksummedStore<Disk>, version: u64, range: Range<u64>) {
    let len = length(&range);
    assert_eq!(store.write_at(range.start, &bytes(version, range)).unwrap(), len);
}

fn read(store: &ChecksummedStore<Disk>, range: Range<u64>) -> Result<Vec<u8>> {
    let mut buf = vec![0; length(&range)];
    let read = store.read_at(range.start, &mut buf)?;
    buf.truncate(read);
    Ok(buf)
}

/// The message of a read that must fail as wrong bytes do.
fn refused(store: &ChecksummedStore<Disk>, range: Range<u64>) -> String {
    let error = read(store, range).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    error.to_string()
}

#[test]
fn a_changed_bit_is_an_error_that_names_its_page_and_other_pages_stay_readable() {
    // Rule 13.
    let store = store();
    write(&store, 0, 0..10_000);
    store.store.flip(5000);
    for range in [4096..8192, 5000..5001, 4096..4097, 8191..8192, 0..10_000, 100..6000] {
        assert!(refused(&store, range).contains("4096..8192"));
    }
    for range in [0..4096, 8192..10_000, 5..4096, 9999..10_000] {
        assert!(read(&store, range.clone()).unwrap() == bytes(0, range));
    }
    // At once, without a thread, only whole reads are possible.
    let mut buf = [0; 900];
    assert_eq!(store.try_read_at(9100, &mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
    write(&store, 0, 20_480..21_380);
    assert_eq!(store.try_read_at(20_480, &mut buf).unwrap(), 900);
    store.store.flip(21_000);
    assert_eq!(store.try_read_at(20_480, &mut buf).unwrap_err().kind(), ErrorKind::InvalidData);
}

#[test]
fn a_write_that_the_disk_accepts_and_loses_is_an_error() {
    // Rule 13. A slot is written again, and the disk keeps the old bytes.
    let store = store();
    write(&store, 0, 0..8192);
    write(&store, 1, 0..8192);
    assert!(read(&store, 0..8192).unwrap() == bytes(1, 0..8192));
    *store.store.drops_writes.lock().unwrap() = true;
    write(&store, 2, 0..4096);
    write(&store, 0, 20_000..20_010);
    assert!(refused(&store, 0..1).contains("0..4096"));
    assert!(refused(&store, 20_000..20_010).contains("20000"), "the file ends before it");
    assert!(read(&store, 4096..8192).unwrap() == bytes(1, 4096..8192));
}

#[test]
fn parts_of_pages_are_written_in_any_order_and_over_each_other() {
    // Rule 13. All orders of a few edges, and a model that knows the version of each byte.
    const SIZE: usize = 3 * PAGE as usize;
    let store = store();
    let mut model: Vec<Option<u8>> = vec![None; SIZE];
    let mut state = 1_u64;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    for version in 0..2000 {
        let start = if below(3) == 0 { below(3) * PAGE } else { below(SIZE as u64) };
        let len = [1, 10, 100, PAGE, 2 * PAGE][below(5) as usize];
        let range = start..(start + len).min(SIZE as u64);
        let places = range.start as usize..range.end as usize;
        match below(8) {
            0 => {
                store.discard(range);
                model[places].fill(None);
            }
            1 => {
                // Only a part is accepted, and the rest fails.
                let most = below(len) as usize;
                *store.store.most.lock().unwrap() = Some(most);
                let new = bytes(version, range.clone());
                let written = store.write_at(range.start, &new).unwrap_or(0);
                assert_eq!(written, most.min(new.len()));
                model[places.clone()].fill(None);
                for (place, byte) in places.zip(&new[..written]) {
                    model[place] = Some(*byte);
                }
            }
            _ => {
                let new = bytes(version, range.clone());
                write(&store, version, range);
                for (place, byte) in places.zip(new) {
                    model[place] = Some(byte);
                }
            }
        }
        let start = below(SIZE as u64) as usize;
        let end = (start + below(2 * PAGE) as usize + 1).min(SIZE);
        let known: Vec<u8> = model[start..end].iter().map_while(|byte| *byte).collect();
        match read(&store, start as u64..end as u64) {
            Ok(found) => assert!(found == known, "{start}..{end} after {version}"),
            Err(error) => assert!(known.is_empty(), "{start}..{end} after {version}: {error}"),
        }
        for (start, part) in &*store.parts() {
            assert!(part.len > 0 && start / PAGE == (part.end(*start) - 1) / PAGE);
        }
    }
    assert!(!store.store.discarded.lock().unwrap().is_empty());
}

#[test]
fn bytes_beside_a_write_that_were_lost_before_it_stay_an_error() {
    // Rule 13.
    let store = store();
    write(&store, 0, 0..4096);
    store.store.flip(10);
    write(&store, 1, 1000..2000);
    assert!(read(&store, 1000..2000).unwrap() == bytes(1, 1000..2000));
    for range in [0..1, 999..1000, 2000..2001] {
        refused(&store, range);
    }
}

#[test]
fn small_writes_that_continue_each_other_share_one_checksum() {
    // Rule 13: memory is for each page, not for each write.
    let store = store();
    for offset in 0..9000 {
        write(&store, 0, offset..offset + 1);
    }
    assert_eq!(store.parts().len(), 3);
    assert!(read(&store, 0..9000).unwrap() == bytes(0, 0..9000));
    store.discard(0..8192);
    assert_eq!(store.parts().len(), 1);
    assert_eq!(*store.store.discarded.lock().unwrap(), [0..8192]);
    refused(&store, 0..1);
}

#[test]
fn a_write_to_another_part_of_the_page_does_not_disturb_a_read_that_runs() {
    // Rule 10.
    let store = Arc::new(store());
    write(&store, 0, 0..1000);
    let gate = Arc::new(Barrier::new(2));
    *store.store.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let reading = std::thread::spawn({
        let store = Arc::clone(&store);
        move || read(&store, 0..100)
    });
    gate.wait();
    write(&store, 1, 500..600);
    gate.wait();
    assert!(reading.join().unwrap().unwrap() == bytes(0, 0..100));
}
