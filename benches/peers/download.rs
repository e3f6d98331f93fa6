//! The crate stream-download: one synchronous reader on a blocking thread.
//!
//! It knows the size of the stream. All other settings are its defaults.

use std::convert::Infallible;
use std::hint::black_box;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::Stream;
use stream_download::source::SourceStream;
use stream_download::storage::StorageProvider;
use stream_download::{Settings, StreamDownload};
use streamspool::Bytes;
use tokio::task::spawn_blocking;

use crate::check::{Check, verify};
use crate::common::data::{BUFFER, PAGE, Source, offsets};

struct Told {
    source: Source,
    size: u64,
}

impl Stream for Told {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.source).poll_next(cx)
    }
}

impl SourceStream for Told {
    type Params = Self;
    type StreamCreationError = Infallible;

    async fn create(params: Self::Params) -> Result<Self, Infallible> {
        Ok(params)
    }

    fn content_length(&self) -> Option<u64> {
        Some(self.size)
    }

    async fn seek_range(&mut self, _: u64, _: Option<u64>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn reconnect(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn supports_seek(&self) -> bool {
        false
    }
}

async fn open<P: StorageProvider>(storage: P, all: &Bytes) -> StreamDownload<P> {
    let stream = Told { source: Source::of(all), size: all.len() as u64 };
    StreamDownload::from_stream(stream, storage, Settings::default()).await.expect("opens")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    spawn_blocking(work).await.expect("the work ends")
}

/// Reads the stream from the first byte to the last.
pub(crate) async fn first_read<P>(storage: P, all: &Bytes, check: bool) -> Duration
where
    P: StorageProvider<Reader: 'static> + 'static,
{
    let start = Instant::now();
    let mut reader = open(storage, all).await;
    let done = reader.handle();
    let all = all.clone();
    let taken = blocking(move || {
        read_through(&mut reader, check.then_some(&all));
        start.elapsed()
    })
    .await;
    done.wait_for_completion().await;
    taken
}

/// A reader of a stream that is loaded to its end.
pub(crate) async fn loaded<P>(storage: P, all: &Bytes) -> StreamDownload<P>
where
    P: StorageProvider<Reader: 'static> + 'static,
{
    let mut reader = open(storage, all).await;
    let all = all.clone();
    blocking(move || {
        read_through(&mut reader, Some(&all));
        reader
    })
    .await
}

/// Reads all loaded bytes once more. The reader moves to the blocking thread and back.
pub(crate) async fn read_again<P>(reader: &mut Option<StreamDownload<P>>) -> Duration
where
    P: StorageProvider<Reader: 'static> + 'static,
{
    let mut inner = reader.take().expect("a reader");
    let (inner, taken) = blocking(move || {
        let start = Instant::now();
        inner.seek(SeekFrom::Start(0)).expect("seeks");
        read_through(&mut inner, None);
        (inner, start.elapsed())
    })
    .await;
    *reader = Some(inner);
    taken
}

/// `count` random reads. The reader moves to the blocking thread and back.
pub(crate) async fn random<P>(
    reader: &mut Option<StreamDownload<P>>,
    all: &Bytes,
    count: usize,
    check: bool,
) -> Duration
where
    P: StorageProvider<Reader: 'static> + 'static,
{
    let mut inner = reader.take().expect("a reader");
    let all = all.clone();
    let (inner, taken) = blocking(move || {
        let start = Instant::now();
        let mut page = [0; PAGE];
        for at in offsets(all.len(), 0).take(count) {
            inner.seek(SeekFrom::Start(at as u64)).expect("seeks");
            inner.read_exact(&mut page).expect("reads");
            verify(&page, &all, at, check);
        }
        (inner, start.elapsed())
    })
    .await;
    *reader = Some(inner);
    taken
}

pub(crate) fn read_through(reader: &mut impl Read, check: Option<&Bytes>) {
    let (mut buf, mut check) = (vec![0; BUFFER], Check::new(check));
    loop {
        let read = reader.read(&mut buf).expect("reads");
        if read == 0 {
            return check.end();
        }
        check.next(&buf[..read]);
        black_box(&buf);
    }
}
