//! A stream of the bytes of an `AsyncRead`.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_stream::Stream;

/// The most bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// The chunks that `reader` yields. The stream ends when a read returns no bytes.
pub(crate) fn chunks_of<R: AsyncRead>(reader: R) -> Chunks<R> {
    Chunks { reader: Box::pin(reader), buffer: BytesMut::new() }
}

pub(crate) struct Chunks<R> {
    reader: Pin<Box<R>>,
    buffer: BytesMut,
}

impl<R: AsyncRead> Stream for Chunks<R> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { reader, buffer } = &mut *self;
        buffer.reserve(CHUNK);
        // The future keeps nothing between two polls, so a new one for each poll loses no byte.
        let read = pin!(reader.read_buf(buffer)).poll(cx);
        read.map(|read| match read {
            Ok(0) => None,
            Ok(_) => Some(Ok(buffer.split().freeze())),
            Err(error) => Some(Err(error)),
        })
    }
}
