//! Where a range lies, seen from the two watermarks of a stream that only goes forward.

/// Where a range of bytes lies, relative to how far the stream has been loaded.
///
/// The index is the offset of the first byte that has not arrived yet. A range may lie before it,
/// across it, start exactly at it, or start after it; that alone decides whether a read is answered
/// now or waits.
///
/// | location | the range | an exact read | a read of what is there |
/// |---|---|---|---|
/// | `BeforeIndex` | wholly loaded | answered now | answered now |
/// | `Bisected` | its start is loaded | waits for the rest | answered now, short |
/// | `AtIndex` | starts where the stream stands | waits | waits for the next byte |
/// | `AfterIndex` | starts beyond | waits; what comes before it is kept too | waits |
///
/// Ask [`Progress::locate`](crate::Progress::locate) for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Location {
    /// All of the range has been loaded.
    BeforeIndex,
    /// The start of the range has been loaded, its end has not.
    Bisected,
    /// The range starts with the very next byte to come.
    AtIndex,
    /// The range starts beyond the next byte to come.
    AfterIndex,
}

impl Location {
    /// All four, in the order of the table above.
    pub const ALL: [Self; 4] = [Self::BeforeIndex, Self::Bisected, Self::AtIndex, Self::AfterIndex];

    /// Where `len` bytes from `offset` lie when `loaded` bytes have arrived. An empty range lies
    /// before the index wherever it starts: it needs nothing.
    pub(crate) fn of(offset: u64, len: u64, loaded: u64) -> Self {
        if len == 0 || offset.saturating_add(len) <= loaded {
            Self::BeforeIndex
        } else if offset < loaded {
            Self::Bisected
        } else if offset == loaded {
            Self::AtIndex
        } else {
            Self::AfterIndex
        }
    }
}
