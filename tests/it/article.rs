//! The examples of the article that this design is based on: a text of numbered lines is read at the start,
//! forward, backward, with overlaps, and ahead with a gap. For a read after the index, the article's code
//! returned bytes from before the offset. These tests expect the right bytes.

use std::io;

use streamspool::{BufferHandle, Bytes, StreamBuffer};

use crate::support::on_both_runtimes;

fn text() -> String {
    (0..1000).map(|n| format!("{n}\n")).collect()
}

fn buffer() -> BufferHandle {
    // One line per chunk, as in the article.
    let lines = (0..1000).map(|n| io::Result::Ok(Bytes::from(format!("{n}\n"))));
    StreamBuffer::builder().read_ahead(0).spawn(futures::stream::iter(lines))
}

async fn check(buffer: &BufferHandle, offset: u64, len: usize) {
    let text = text();
    let expected = text.as_bytes().iter().skip(offset as usize).take(len).copied();
    assert_eq!(
        buffer.read(offset, len).await.unwrap(),
        expected.collect::<Bytes>(),
        "{len} bytes at {offset}"
    );
}

#[test]
fn rule_1_reads_at_the_start() {
    on_both_runtimes(|| async {
        assert_eq!(buffer().read(0, 10).await.unwrap(), "0\n1\n2\n3\n4\n");
        assert_eq!(buffer().read(0, 3).await.unwrap(), "0\n1");
    });
}

#[test]
fn rule_1_reads_forward() {
    on_both_runtimes(|| async {
        let buffer = buffer();
        for offset in (0..4000).step_by(7) {
            check(&buffer, offset, 7).await;
        }
    });
}

#[test]
fn rule_1_reads_backward() {
    on_both_runtimes(|| async {
        let buffer = buffer();
        for offset in (0..500).rev() {
            check(&buffer, offset * 8, 8).await;
        }
    });
}

#[test]
fn rule_1_reads_overlapping_ranges() {
    on_both_runtimes(|| async {
        let buffer = buffer();
        check(&buffer, 0, 10).await;
        check(&buffer, 5, 10).await;
        check(&buffer, 3, 20).await;
        check(&buffer, 0, 100).await;
        check(&buffer, 99, 2).await;
    });
}

#[test]
fn rule_1_a_read_far_ahead_keeps_the_bytes_before_it() {
    on_both_runtimes(|| async {
        let buffer = buffer();
        // The article's test expected the bytes at offset 6 here.
        assert_eq!(buffer.read(20, 6).await.unwrap(), "10\n11\n");
        assert_eq!(buffer.read(2000, 5).await.unwrap(), "7\n528");
        check(&buffer, 0, 20).await;
        check(&buffer, 1000, 1000).await;
        check(&buffer, 3885, 100).await;
    });
}
