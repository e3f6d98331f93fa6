//! Resources of other HTTP servers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use streamspool::{HttpSource, OpenAt, Opened, Reopen, Source, SourceError};
use tokio::time::timeout;

use crate::BoxError;
use crate::pace::{Pace, paced};

/// How long the server may take to tell the content type.
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

/// A resource at the pace that the page sets.
pub(crate) struct Slow<S>(pub(crate) S, pub(crate) Arc<Pace>);

impl<S: Source> Source for Slow<S> {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        let opened = self.0.open(at).await?;
        Ok(opened.map_stream(|stream| paced(stream, &self.1)))
    }
}

/// A resource that is requested once and never again: all of its failures are permanent.
pub(crate) struct Once {
    client: Client,
    url: Url,
    silence: Duration,
    requested: AtomicBool,
}

impl Once {
    pub(crate) fn new(client: Client, url: Url, silence: Duration) -> Self {
        Self { client, url, silence, requested: AtomicBool::new(false) }
    }
}

impl Source for Once {
    async fn open(&self, _: OpenAt) -> io::Result<Opened> {
        if self.requested.swap(true, Ordering::Relaxed) {
            return Err(permanent("it was requested once, and --one-way allows no second request"));
        }
        let request = self.client.get(self.url.clone()).header(ACCEPT_ENCODING, "identity").send();
        let Ok(response) = timeout(self.silence, request).await else {
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

/// The content type that the server tells, for a resource whose bytes and name do not show it.
pub(crate) async fn declared_type(client: &Client, url: &Url) -> Option<String> {
    let response = timeout(PATIENCE, client.head(url.clone()).send()).await.ok()?.ok()?;
    let declared = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    response.status().is_success().then(|| declared.to_owned())
}
