//! Offsets beyond 4 GiB: a stream of 16 GiB with 1 MiB of memory. A store that needs no disk checks every
//! byte that is written.

use std::io::SeekFrom;
use std::sync::LazyLock;

use streamspool::{Bytes, StreamBuffer};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::support::scripted_store::{Fault, Script};
use crate::support::{MIB, assert_bytes, data};
use crate::{runtime, tell};

const GIB: u64 = 1 << 30;

/// The bytes repeat after this many. No power of 2 is a multiple of it, so an offset that is truncated to
/// 32 bits, or computed with a wrong block size, leads to different bytes.
const PERIOD: usize = MIB - 3;

/// Two periods, so that any range of up to one period is a slice of it.
static PATTERN: LazyLock<Bytes> = LazyLock::new(|| [data(0, PERIOD), data(0, PERIOD)].concat().into());

/// The bytes from `offset`, at most one period.
fn pattern(offset: u64, len: usize) -> Bytes {
    let start = (offset % PERIOD as u64) as usize;
    PATTERN.slice(start..start + len)
}

#[test]
fn rule_1_a_stream_of_16_gib_is_read_at_both_ends() {
    let gibs = std::env::var("STREAMSPOOL_GIB").map_or(16, |gibs| gibs.parse().unwrap());
    let size = gibs * GIB + 12_345;
    let start = std::time::Instant::now();
    runtime().block_on(async {
        let chunks = (0..size).step_by(PERIOD);
        let chunks = chunks.map(move |at| Ok(pattern(at, PERIOD.min((size - at) as usize))));
        let script = Script::of(pattern);
        script.fault(Fault::Short(PERIOD));
        let builder = StreamBuffer::builder().size(size).max_memory(MIB).store(script.store());
        let buffer = builder.spawn(futures::stream::iter(chunks));
        let check = async |offset: u64, len: usize| {
            let exists = len.min((size - offset) as usize);
            assert_bytes(&buffer.read(offset, len).await.unwrap(), &pattern(offset, exists), offset);
        };
        check(0, 5000).await;
        check(size - 5000, 10_000).await;
        check(0, 5000).await;
        for edge in [u64::from(u32::MAX) / 2 + 1, u64::from(u32::MAX) + 1, 3 * GIB, size - GIB] {
            for offset in [edge - 1, edge, edge + 1, edge - MIB as u64 / 2] {
                check(offset, 900_000).await;
            }
        }
        let mut reader = buffer.reader();
        let mut buf = vec![0; 70_000];
        assert_eq!(reader.seek(SeekFrom::End(-70_000)).await.unwrap(), size - 70_000);
        reader.read_exact(&mut buf).await.unwrap();
        assert_bytes(&buf, &pattern(size - 70_000, 70_000), size - 70_000);
        assert_eq!(reader.read(&mut buf).await.unwrap(), 0);
        assert_eq!(reader.seek(SeekFrom::Current(-(size as i64 - 5))).await.unwrap(), 5);
        reader.read_exact(&mut buf).await.unwrap();
        assert_bytes(&buf, &pattern(5, 70_000), 5);
        let progress = buffer.progress();
        assert_eq!((progress.loaded, progress.size), (size, Some(size)));
        assert!(progress.spilled > size - 2 * MIB as u64, "{progress:?}");
        let mut next = 0;
        for (offset, len) in script.written() {
            assert_eq!(offset, next, "each byte once and in order");
            next += len as u64;
        }
    });
    tell(&format!("notice: {gibs} GiB through 1 MiB of memory in {:.1?}", start.elapsed()));
}
