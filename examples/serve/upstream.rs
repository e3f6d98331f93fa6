//! Resources of other HTTP servers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use streamspool::{HttpSource, OpenAt, Opened, Reopen, Source, SourceError};
use tokio::time::timeout;

use crate::BoxError;
use crate::pace::{Pace, paced};
use crate::streams::Streams;

/// How long the server may take to tell the type of the content.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is missing for the scheme `https`.
const NO_TLS: &str =
    "this build has no TLS: run it with `cargo run --release -p serve --features tls -- https://…`";

/// The client for all HTTP sources. `connect` is the most time for making a connection.
pub(crate) fn client(connect: Duration) -> Result<Client, BoxError> {
    // A redirect to `https` would be retried without an end otherwise.
    let redirects = Policy::custom(|attempt| match check_scheme(attempt.url()) {
        Ok(()) => Policy::default().redirect(attempt),
        Err(error) => attempt.error(error),
    });
    Ok(HttpSource::client_builder()?.connect_timeout(connect).redirect(redirects).build()?)
}

/// Refuses `https` if this program was built without TLS.
pub(crate) fn check_scheme(url: &Url) -> Result<(), BoxError> {
    if url.scheme() == "https" && !cfg!(feature = "tls") {
        return Err(NO_TLS.into());
    }
    Ok(())
}

/// A resource at the pace that the page sets. Its streams are shown on the page.
pub(crate) struct Shown<S> {
    pub(crate) source: S,
    pub(crate) pace: Arc<Pace>,
    pub(crate) streams: Arc<Streams>,
}

impl<S: Source> Source for Shown<S> {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        let requested = at.offset;
        let opened = self.source.open(at).await?;
        let start = opened.start().unwrap_or(requested);
        Ok(opened.map_stream(|stream| self.streams.follow(paced(stream, &self.pace), start)))
    }
}

/// An [`HttpSource`] that notices an encoded body: only such a body can't be requested again.
pub(crate) struct Noticed(pub(crate) HttpSource, pub(crate) Arc<Streams>);

impl Source for Noticed {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        let opened = self.0.open(at).await?;
        if opened.reopens() == Reopen::Never {
            self.1.set_coded();
        }
        Ok(opened)
    }
}

/// A resource that is requested once and never again: all of its failures are permanent.
pub(crate) struct Once {
    client: Client,
    url: Url,
    headers: HeaderMap,
    silence: Duration,
    requested: AtomicBool,
}

impl Once {
    pub(crate) fn new(client: Client, url: Url, headers: HeaderMap, silence: Duration) -> Self {
        Self { client, url, headers, silence, requested: AtomicBool::new(false) }
    }
}

impl Source for Once {
    async fn open(&self, _: OpenAt) -> io::Result<Opened> {
        if self.requested.swap(true, Ordering::Relaxed) {
            return Err(permanent("it was requested once, and --one-way allows no second request"));
        }
        let request = self.client.get(self.url.clone()).headers(self.headers.clone());
        let request = request.header(ACCEPT_ENCODING, "identity");
        let Ok(response) = timeout(self.silence, request.send()).await else {
            let text = format!("the server did not answer within {} s", self.silence.as_secs());
            return Err(permanent(io::Error::new(io::ErrorKind::TimedOut, text)));
        };
        let response = response.map_err(|error| permanent(error.without_url()))?;
        // The body of any other answer is not the whole resource: a 206 is a part of it.
        if response.status() != StatusCode::OK {
            return Err(permanent(format!("the server answered {}", response.status())));
        }
        if let Some(encoding) = response.headers().get(CONTENT_ENCODING)
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            return Err(permanent(format!(
                "the server sent the encoding {encoding:?}, which was not asked for"
            )));
        }
        let size = response.content_length();
        let stream = response.bytes_stream().map_err(|error| permanent(error.without_url()));
        Ok(Opened::new(stream).size(size).reopen(Reopen::Never))
    }
}

fn permanent(cause: impl Into<BoxError>) -> io::Error {
    let cause = cause.into();
    SourceError::permanent(match cause.downcast::<io::Error>() {
        Ok(error) => *error,
        Err(cause) => io::Error::other(cause),
    })
    .into()
}

/// The type and the encoding of the content as the server tells them, for a resource whose bytes do not show them.
#[derive(Default)]
pub(crate) struct Declared {
    pub(crate) kind: Option<String>,
    pub(crate) encoding: Option<String>,
}

/// Asks the server for the headers of the resource. The answer to a HEAD need not have the encoding of a GET, so the
/// question for an encoding is a GET whose body is not read.
pub(crate) async fn declared(client: &Client, url: &Url, headers: &HeaderMap, is_coded: bool) -> Declared {
    let request =
        if is_coded { client.get(url.clone()).header(RANGE, "bytes=0-") } else { client.head(url.clone()) };
    let request = request.headers(headers.clone()).header(ACCEPT_ENCODING, "identity");
    let Ok(Ok(response)) = timeout(PATIENCE, request.send()).await else { return Declared::default() };
    if !response.status().is_success() {
        return Declared::default();
    }
    let text = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
    Declared { kind: text(CONTENT_TYPE), encoding: text(CONTENT_ENCODING).filter(|_| is_coded) }
}
