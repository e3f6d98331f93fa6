//! The crate stream-download: one synchronous reader of one download, on a blocking thread.

use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

use futures::future::try_join_all;
use reqwest::Client;
use stream_download::http::HttpStream;
use stream_download::source::SourceStream;
use stream_download::storage::temp::TempStorageProvider;
use stream_download::{Settings, StreamDownload};
use streamspool::Bytes;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::traces::{Place, Step, Trace};

pub(crate) async fn read(client: &Client, url: &str, trace: &Trace, all: &Bytes) -> io::Result<Duration> {
    let start = Instant::now();
    if !trace.first.is_empty() {
        caller(client.clone(), url.to_owned(), trace.first.clone(), all.clone()).await?;
    }
    let callers =
        trace.then.iter().map(|steps| caller(client.clone(), url.to_owned(), steps.clone(), all.clone()));
    try_join_all(callers).await?;
    Ok(start.elapsed())
}

async fn caller(client: Client, url: String, steps: Vec<Step>, all: Bytes) -> io::Result<()> {
    let stream = HttpStream::new(client, url.parse().expect("a URL")).await.map_err(io::Error::other)?;
    assert_eq!(stream.content_length(), Some(all.len() as u64));
    let storage = TempStorageProvider::default();
    let reader = StreamDownload::from_stream(stream, storage, Settings::default()).await;
    let mut reader = reader.map_err(|error| io::Error::other(error.to_string()))?;
    spawn_blocking(move || read_steps(&mut reader, &steps, &all)).await.expect("the work ends")
}

fn read_steps(reader: &mut (impl Read + Seek), steps: &[Step], all: &Bytes) -> io::Result<()> {
    let mut piece = Vec::new();
    for step in steps {
        let range = step.range(all.len() as u64);
        reader.seek(match step.place {
            Place::At(offset) => SeekFrom::Start(offset),
            Place::BeforeEnd(len) => SeekFrom::End(-len.cast_signed()),
        })?;
        let mut rest = all.slice(range.start as usize..range.end as usize);
        while !rest.is_empty() {
            let expected = rest.split_to(rest.len().min(crate::READ));
            piece.resize(expected.len(), 0);
            reader.read_exact(&mut piece)?;
            if piece != expected {
                return Err(crate::wrong_bytes());
            }
        }
    }
    Ok(())
}
