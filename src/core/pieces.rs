//! The bytes of a reply: slices of blocks, not yet joined.

use std::collections::{VecDeque, vec_deque};
use std::{iter, slice};

use bytes::{Bytes, BytesMut};

/// The bytes of a range in order. Nearly always one piece.
pub(crate) enum Pieces {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Default for Pieces {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl Pieces {
    pub(crate) fn push(&mut self, piece: Bytes) {
        match self {
            Self::One(first) if first.is_empty() => *first = piece,
            Self::One(first) => *self = Self::Many(vec![std::mem::take(first), piece]),
            Self::Many(pieces) => pieces.push(piece),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(piece) => piece.len(),
            Self::Many(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }

    pub(crate) fn as_slice(&self) -> &[Bytes] {
        match self {
            Self::One(piece) => slice::from_ref(piece),
            Self::Many(pieces) => pieces,
        }
    }

    /// All bytes as one `Bytes`: the piece itself if there is only one, else a copy.
    pub(crate) fn join(self) -> Bytes {
        match self {
            Self::One(piece) => piece,
            many @ Self::Many(_) => {
                let mut joined = BytesMut::with_capacity(many.len());
                for piece in many.as_slice() {
                    joined.extend_from_slice(piece);
                }
                joined.freeze()
            }
        }
    }

    /// The first piece, and those that follow it.
    pub(crate) fn split_first(self) -> (Bytes, VecDeque<Bytes>) {
        match self {
            Self::One(piece) => (piece, VecDeque::new()),
            Self::Many(pieces) => {
                let mut rest = VecDeque::from(pieces);
                (rest.pop_front().unwrap_or_default(), rest)
            }
        }
    }
}

impl IntoIterator for Pieces {
    type Item = Bytes;
    type IntoIter = iter::Chain<iter::Once<Bytes>, vec_deque::IntoIter<Bytes>>;

    fn into_iter(self) -> Self::IntoIter {
        let (first, rest) = self.split_first();
        iter::once(first).chain(rest)
    }
}
