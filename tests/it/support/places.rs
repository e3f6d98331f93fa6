//! The bytes of a store whose places are used again: an offset of the store says nothing about its bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use super::BLOCK;

/// Bytes by the number of their block of the store.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<u64, Vec<u8>>);

impl Places {
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut rest = bytes;
        for (number, within) in parts(offset..offset + bytes.len() as u64) {
            let (now, later) = rest.split_at(within.len());
            let block = self.0.entry(number).or_insert_with(|| vec![0; BLOCK]);
            block[within].copy_from_slice(now);
            rest = later;
        }
    }

    /// Reads bytes that were written before. Those of a freed block are zeros.
    pub fn read(&self, offset: u64, buf: &mut [u8]) {
        let mut rest = buf;
        for (number, within) in parts(offset..offset + rest.len() as u64) {
            let (now, later) = rest.split_at_mut(within.len());
            match self.0.get(&number) {
                Some(block) => now.copy_from_slice(&block[within]),
                None => now.fill(0),
            }
            rest = later;
        }
    }

    /// Frees all blocks of this range.
    pub fn free(&mut self, range: &Range<u64>) {
        let (first, end) = (range.start.div_ceil(BLOCK as u64), range.end / BLOCK as u64);
        self.0.retain(|number, _| !(first..end).contains(number));
    }
}

/// The parts of a range in each block: the number of the block, and the range in it.
fn parts(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    let block = BLOCK as u64;
    let numbers = range.start / block..range.end.div_ceil(block);
    numbers.map(move |number| {
        let (start, end) = (range.start.max(number * block), range.end.min((number + 1) * block));
        (number, (start - number * block) as usize..(end - number * block) as usize)
    })
}
