//! Range requests by hand: each range that is not yet there is one request.

use std::io;
use std::time::Duration;

use futures::future::try_join_all;
use reqwest::header::{CONTENT_LENGTH, RANGE};
use reqwest::{Client, Response, StatusCode};
use streamspool::Bytes;
use tokio::time::Instant;

use crate::traces::{Place, Seen, Step, Trace};

pub(crate) async fn read(client: &Client, url: &str, trace: &Trace, all: &Bytes) -> io::Result<Duration> {
    let start = Instant::now();
    caller(client.clone(), url.to_owned(), trace.first.clone(), all.clone()).await?;
    let callers = trace.then.iter().map(|steps| {
        let caller = caller(client.clone(), url.to_owned(), steps.clone(), all.clone());
        async { tokio::spawn(caller).await.expect("a caller ends") }
    });
    try_join_all(callers).await?;
    Ok(start.elapsed())
}

async fn caller(client: Client, url: String, steps: Vec<Step>, all: Bytes) -> io::Result<()> {
    let (mut seen, mut size) = (Seen::default(), None);
    for step in steps {
        if matches!(step.place, Place::BeforeEnd(_)) && size.is_none() {
            let answer = client.head(&url).send().await.map_err(io::Error::other)?;
            size = answer.headers().get(CONTENT_LENGTH).and_then(|size| size.to_str().ok()?.parse().ok());
            assert_eq!(size, Some(all.len() as u64));
        }
        for part in seen.add(step.range(all.len() as u64)) {
            let bytes = format!("bytes={}-{}", part.start, part.end - 1);
            let answer = client.get(&url).header(RANGE, bytes).send().await.map_err(io::Error::other)?;
            compare(answer, all.slice(part.start as usize..part.end as usize)).await?;
        }
    }
    Ok(())
}

async fn compare(mut answer: Response, mut expected: Bytes) -> io::Result<()> {
    assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
    while let Some(chunk) = answer.chunk().await.map_err(io::Error::other)? {
        if expected.len() < chunk.len() || expected.split_to(chunk.len()) != chunk {
            return Err(crate::wrong_bytes());
        }
    }
    if expected.is_empty() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
