//! tokio-util's codecs on a reader that starts anywhere (contract rules 1 and 2).

use futures::{SinkExt, StreamExt, TryStreamExt};
use streamspool::{Bytes, StreamBuffer};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec, LinesCodec};

use crate::support::{in_time, pattern, uneven};

#[tokio::test]
async fn lines_are_framed_from_any_offset() {
    let line = |number: usize| format!("line {number} {}", "x".repeat(number % 97));
    let text: String = (0..20_000).map(|number| line(number) + "\n").collect();
    let buffer = StreamBuffer::builder().max_memory(100_000).spawn(uneven(text.as_bytes()));

    for start in [12_345, 19_990, 0, 12_346] {
        let offset = (0..start).map(|number| line(number).len() as u64 + 1).sum();
        let lines = FramedRead::new(buffer.reader_at(offset), LinesCodec::new()).take(300).try_collect();
        let lines: Vec<String> = in_time("lines", lines).await.unwrap();
        let expected: Vec<_> = (start..20_000).take(300).map(line).collect();
        assert_eq!(lines, expected);
    }
}

#[tokio::test]
async fn frames_with_a_length_are_decoded_from_any_offset_to_the_end() {
    let frame = |number: usize| Bytes::from(pattern(number * 131 % 9000));
    let mut written = FramedWrite::new(Vec::new(), LengthDelimitedCodec::new());
    let mut offsets = Vec::new();
    for number in 0..300 {
        offsets.push(written.get_ref().len() as u64);
        written.send(frame(number)).await.unwrap();
    }
    let bytes = written.into_inner();
    let buffer = StreamBuffer::builder().max_memory(100_000).spawn(uneven(&bytes));

    for start in [250, 299, 0, 131] {
        let reader = buffer.reader_at(offsets[start]);
        let frames = FramedRead::new(reader, LengthDelimitedCodec::new()).try_collect();
        let frames: Vec<_> = in_time("frames", frames).await.unwrap();
        let expected: Vec<_> = (start..300).map(frame).collect();
        assert!(frames == expected, "from frame {start}");
    }
}
