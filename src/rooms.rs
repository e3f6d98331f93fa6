//! Room that reads from the store are given, used again once their readers are done with it: then it
//! needs no zeros, no allocator that other threads are at, and the caches have it.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// How many bytes of room are kept at the most: those of one long read, or of many short ones.
const MOST: usize = 256 * 1024;

/// How many rooms are kept at the most. So many reads may pass before one is looked at again: by then
/// whoever got it is nearly always done.
const MANY: usize = 32;

/// The rooms that were given last, oldest first.
#[derive(Default)]
pub(crate) struct Rooms {
    given: VecDeque<Bytes>,
    bytes: usize,
}

impl Rooms {
    /// Room for `len` bytes, of any content.
    pub(crate) fn take(&mut self, len: usize) -> BytesMut {
        let mut oldest = None;
        while (self.given.len() == MANY || self.bytes + len > MOST)
            && let Some(given) = self.given.pop_front()
        {
            self.bytes -= given.len();
            oldest = Some(given);
        }
        match oldest.filter(|room| room.len() == len).map(Bytes::try_into_mut) {
            Some(Ok(room)) => room,
            _ => BytesMut::zeroed(len),
        }
    }

    /// Keeps what has been given, to be used again.
    pub(crate) fn keep(&mut self, given: &Bytes) {
        self.bytes += given.len();
        self.given.push_back(given.clone());
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the disk does it: takes room, fills it and gives it away.
    fn give(rooms: &mut Rooms, len: usize) -> Bytes {
        let given = rooms.take(len).freeze();
        assert_eq!(given.len(), len);
        rooms.keep(&given);
        given
    }

    #[test]
    fn room_that_nobody_holds_is_used_again() {
        let mut rooms = Rooms::default();
        let first = give(&mut rooms, MOST).as_ptr();
        assert_eq!(give(&mut rooms, MOST).as_ptr(), first, "the only one there is room for");
        let short: Vec<_> = (0..MANY).map(|_| give(&mut rooms, 4096).as_ptr()).collect();
        let again: Vec<_> = (0..MANY).map(|_| give(&mut rooms, 4096).as_ptr()).collect();
        assert_eq!(again, short, "the oldest first");
    }

    #[test]
    fn room_that_is_held_is_left_alone() {
        let mut rooms = Rooms::default();
        let held: Vec<_> = (0..3 * MANY).map(|_| give(&mut rooms, 4096)).collect();
        let mut places: Vec<_> = held.iter().map(|bytes| bytes.as_ptr()).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 3 * MANY);
    }

    #[test]
    fn room_is_no_larger_than_what_it_is_given_for() {
        let mut rooms = Rooms::default();
        for len in [MOST, 1000, MOST, MOST - 1, 4096] {
            give(&mut rooms, len);
            assert_eq!(rooms.take(len).capacity(), len);
        }
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_in_number() {
        let mut rooms = Rooms::default();
        for len in [1, 4096, MOST / 2, MOST, 1, 100_000, 4096, MOST / 3].into_iter().cycle().take(500) {
            give(&mut rooms, len);
            assert!(rooms.bytes <= MOST && rooms.given.len() <= MANY);
            assert_eq!(rooms.bytes, rooms.given.iter().map(Bytes::len).sum::<usize>());
        }
        rooms.clear();
        assert_eq!((rooms.bytes, rooms.given.len()), (0, 0));
    }
}
