//! Resources of other HTTP servers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use streamspool::{FirstAnswer, HttpSource, OpenAt, Opened, Reopen, Source, SourceError};
use tokio::time::timeout;

use crate::BoxError;
use crate::pace::{Pace, paced};
use crate::streams::Streams;

/// What is missing for the scheme `https`.
const NO_TLS: &str =
    "this build has no TLS: run it with `cargo run --release -p serve --features tls -- https://…`";

/// The clients for all HTTP sources.
#[derive(Clone)]
pub(crate) struct Clients {
    /// It follows redirects.
    pub(crate) any: Client,
    /// It stops at a redirect to another host. [`HttpSource`] follows that one itself, without the headers of the command
    /// line, which may be secret.
    pub(crate) one_host: Client,
}

impl Clients {
    /// `connect` is the most time for making a connection.
    pub(crate) fn new(connect: Duration) -> Result<Self, BoxError> {
        let client = |stops: bool| -> Result<Client, BoxError> {
            let redirects = Policy::custom(move |attempt| {
                // A redirect to `https` would be retried without an end otherwise.
                if let Err(error) = check_scheme(attempt.url()) {
                    return attempt.error(error);
                }
                let is_other =
                    attempt.previous().last().is_some_and(|last| last.origin() != attempt.url().origin());
                if stops && is_other { attempt.stop() } else { Policy::default().redirect(attempt) }
            });
            Ok(HttpSource::client_builder()?.connect_timeout(connect).redirect(redirects).build()?)
        };
        Ok(Self { any: client(false)?, one_host: client(true)? })
    }
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

/// An [`HttpSource`] that keeps what its first answer says of the content.
pub(crate) struct Noticed {
    pub(crate) source: HttpSource,
    pub(crate) first: FirstAnswer,
    pub(crate) streams: Arc<Streams>,
}

impl Source for Noticed {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        let opened = self.source.open(at).await?;
        if let Some(answer) = self.first.get() {
            self.streams.declare(Declared::of(answer.headers()));
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
    streams: Arc<Streams>,
    requested: AtomicBool,
}

impl Once {
    pub(crate) fn new(
        client: Client,
        url: Url,
        headers: HeaderMap,
        silence: Duration,
        streams: Arc<Streams>,
    ) -> Self {
        Self { client, url, headers, silence, streams, requested: AtomicBool::new(false) }
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
        self.streams.declare(Declared::of(response.headers()));
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

/// The type and the encoding of the content as the server reports them.
#[derive(Clone, Default)]
pub(crate) struct Declared {
    pub(crate) kind: Option<String>,
    pub(crate) encoding: Option<String>,
}

impl Declared {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| Some(headers.get(name)?.to_str().ok()?.trim().to_owned());
        let is_coding = |coding: &String| !["", "identity", "none"].contains(&&*coding.to_ascii_lowercase());
        Self { kind: text(CONTENT_TYPE), encoding: text(CONTENT_ENCODING).filter(is_coding) }
    }
}
