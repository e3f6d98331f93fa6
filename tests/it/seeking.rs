//! Rule 18, and the whole reader: `AsyncRead + AsyncBufRead + AsyncSeek`, with codecs on top of it.

use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::time::Duration;

use futures::StreamExt;
use streamspool::{Bytes, StreamBuffer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeek, AsyncSeekExt};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec, LinesCodec};
use tokio_util::io::ReaderStream;

use crate::support::source::{ragged, ready, source};
use crate::support::{
    BLOCK, MIB, Random, assert_bytes, assert_data, data, on_both_runtimes, poll_once, settled,
};

#[test]
fn rule_18_seeks_and_reads_like_a_file() {
    // The first run reads mostly from the file. The second one reads from memory: several blocks at a time.
    for max_memory in [BLOCK, usize::MAX] {
        on_both_runtimes(|| seeks_and_reads_like_a_file(max_memory));
    }
}

async fn seeks_and_reads_like_a_file(max_memory: usize) {
    let size = 6 * BLOCK as u64 + 100;
    let buffer = StreamBuffer::builder().max_memory(max_memory).spawn(ragged(size, 2));
    let mut reader = buffer.reader();
    let mut model = io::Cursor::new(data(0, size as usize));
    let mut random = Random(18);
    for _ in 0..500 {
        let target = match random.below(4) {
            0 => SeekFrom::Start(random.below(size + 1000)),
            1 => SeekFrom::Current(random.below(2 * size) as i64 - size as i64),
            2 => SeekFrom::Current(random.below(BLOCK as u64) as i64 - BLOCK as i64 / 2),
            _ => SeekFrom::End(random.below(size + 1000) as i64 - size as i64),
        };
        let expected = io::Seek::seek(&mut model, target);
        match (reader.seek(target).await, expected) {
            (Ok(actual), Ok(expected)) => assert_eq!(actual, expected, "{target:?}"),
            (Err(actual), Err(expected)) => assert_eq!(actual.kind(), expected.kind(), "{target:?}"),
            (actual, expected) => panic!("{target:?}: {actual:?}, but {expected:?} expected"),
        }
        assert_eq!(reader.position(), model.position());
        let mut bytes = Vec::new();
        let len = random.below(2 * BLOCK as u64);
        (&mut reader).take(len).read_to_end(&mut bytes).await.unwrap();
        let mut expected = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&mut model, len), &mut expected).unwrap();
        assert_bytes(&bytes, &expected, reader.position());
    }
}

#[tokio::test(start_paused = true)]
async fn rule_18_a_negative_position_is_invalid_input_and_moves_nothing() {
    let buffer = StreamBuffer::spawn(ready(100, 10));
    let mut reader = buffer.reader();
    reader.set_position(5);
    let error = reader.seek(SeekFrom::Current(-6)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "a seek by -6 bytes from offset 5 leads out of the range of offsets");
    assert_eq!(reader.seek(SeekFrom::End(-101)).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    reader.set_position(u64::MAX);
    assert_eq!(reader.seek(SeekFrom::Current(1)).await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(reader.position(), u64::MAX);
    reader.set_position(5);
    assert_eq!(reader.read_u8().await.unwrap(), data(5, 1)[0]);
}

#[tokio::test(start_paused = true)]
async fn rule_18_a_position_past_the_end_is_legal_and_reads_nothing() {
    let buffer = StreamBuffer::spawn(ready(100, 10));
    let mut reader = buffer.reader();
    for target in [SeekFrom::Start(101), SeekFrom::Start(u64::MAX), SeekFrom::End(7)] {
        reader.seek(target).await.unwrap();
        assert_eq!(reader.read(&mut [0; 9]).await.unwrap(), 0, "{target:?}");
        assert!(reader.fill_buf().await.unwrap().is_empty());
    }
    assert_eq!(reader.seek(SeekFrom::End(-1)).await.unwrap(), 99);
    assert_eq!(reader.read_u8().await.unwrap(), data(99, 1)[0]);
}

#[tokio::test(start_paused = true)]
async fn rule_18_a_seek_cancels_the_read_in_flight() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(0).spawn(stream);
    feed.chunk(10);
    buffer.read(0, 1).await.unwrap();
    let mut reader = buffer.reader();
    reader.set_position(500);
    timeout(Duration::from_millis(1), reader.read(&mut [0; 4])).await.expect_err("far ahead");
    reader.seek(SeekFrom::Start(2)).await.unwrap();
    let mut buf = [0; 4];
    assert_eq!(reader.read(&mut buf).await.unwrap(), 4);
    assert_data(&buf, 2);
    for _ in 0..100 {
        feed.chunk(10);
    }
    settled().await;
    assert!(feed.taken() <= 2, "its demand is withdrawn, but {} chunks were taken", feed.taken());
}

#[tokio::test(start_paused = true)]
async fn rule_18_a_seek_from_the_end_keeps_its_target_across_polls() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    let mut reader = buffer.reader();
    let mut seek = Box::pin(reader.seek(SeekFrom::End(-4)));
    for _ in 0..10 {
        assert!(poll_once(&mut seek).is_pending());
        feed.chunk(10);
        settled().await;
    }
    feed.end();
    assert_eq!(seek.await.unwrap(), 96);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
    assert_bytes(&rest, &data(96, 4), 96);
}

#[tokio::test(start_paused = true)]
async fn rule_18_a_seek_from_the_end_of_a_declared_size_waits_for_nothing() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().size(100).spawn(stream);
    let mut reader = buffer.reader();
    assert_eq!(reader.seek(SeekFrom::End(-90)).await.unwrap(), 10);
    settled().await;
    assert_eq!(feed.taken(), 0);
    feed.chunk(20);
    let mut buf = [0; 50];
    assert_eq!(reader.read(&mut buf).await.unwrap(), 10);
    assert_data(&buf[..10], 10);
}

#[tokio::test(start_paused = true)]
async fn rule_18_a_seek_from_the_end_that_was_dropped_is_forgotten_by_the_next_read() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(0).spawn(stream);
    let mut reader = buffer.reader();
    timeout(Duration::from_millis(1), reader.seek(SeekFrom::End(0))).await.expect_err("no end yet");
    feed.chunk(10);
    let mut buf = [0; 4];
    reader.read_exact(&mut buf).await.unwrap();
    assert_data(&buf, 0);
    timeout(Duration::from_millis(1), reader.seek(SeekFrom::End(0))).await.expect_err("no end yet");
    reader.set_position(2);
    reader.seek(SeekFrom::Current(1)).await.unwrap();
    reader.read_exact(&mut buf).await.unwrap();
    assert_data(&buf, 3);
    // Polled by hand: a new seek replaces a pending one.
    Pin::new(&mut reader).start_seek(SeekFrom::End(0)).unwrap();
    Pin::new(&mut reader).start_seek(SeekFrom::Start(1)).unwrap();
    assert_eq!(reader.stream_position().await.unwrap(), 1);
}

#[test]
fn lines_are_read_without_another_buffer() {
    on_both_runtimes(|| async {
        let text: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
        let chunks: Vec<_> = text.as_bytes().chunks(777).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let buffer = StreamBuffer::builder().max_memory(0).spawn(futures::stream::iter(chunks));
        let mut lines = buffer.reader().lines();
        let mut count = 0;
        while let Some(line) = lines.next_line().await.unwrap() {
            assert_eq!(line, format!("line {count}"));
            count += 1;
        }
        assert_eq!(count, 50_000);
    });
}

#[test]
fn codecs_start_at_any_offset() {
    on_both_runtimes(|| async {
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        for n in 0..2000_u32 {
            starts.push(bytes.len() as u64);
            let frame = vec![n as u8; n as usize % 700];
            bytes.extend_from_slice(&(frame.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&frame);
        }
        let chunks: Vec<_> = bytes.chunks(1000).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let buffer = StreamBuffer::builder().max_memory(0).spawn(futures::stream::iter(chunks));
        for first in [1500, 0, 1999, 700] {
            let mut reader = buffer.reader();
            reader.seek(SeekFrom::Start(starts[first])).await.unwrap();
            let mut frames = FramedRead::new(reader, LengthDelimitedCodec::new());
            let mut n = first;
            while let Some(frame) = frames.next().await {
                assert_eq!(frame.unwrap(), vec![n as u8; n % 700]);
                n += 1;
            }
            assert_eq!(n, 2000);
        }
        let text = StreamBuffer::spawn(futures::stream::iter([Ok(Bytes::from("skip\none\ntwo"))]));
        let mut reader = text.reader();
        reader.set_position(5);
        let lines: Vec<_> = FramedRead::new(reader, LinesCodec::new()).map(Result::unwrap).collect().await;
        assert_eq!(lines, ["one", "two"]);
    });
}

#[test]
fn a_reader_becomes_a_stream_again() {
    on_both_runtimes(|| async {
        let size = 2 * MIB as u64 + 3;
        let inner = StreamBuffer::builder().max_memory(0).spawn(ragged(size, 4));
        // A buffer whose source is a buffer: `ReaderStream` makes a stream of any `AsyncRead`.
        let outer = StreamBuffer::spawn(ReaderStream::new(inner.reader()));
        assert_bytes(&outer.read(0, size as usize).await.unwrap(), &data(0, size as usize), 0);
    });
}
