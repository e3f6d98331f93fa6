//! The address of a resource: fixed, or asked for.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{IntoUrl, Url};

use super::errors::permanent;

const NOT_HTTP: &str = "the address is neither http nor https";

/// An opening that was given up after this time without an answer may have had a dead address. A shorter one was
/// given up for another stream.
const SILENCE: Duration = Duration::from_secs(1);

type Ask = dyn Fn() -> Pin<Box<dyn Future<Output = io::Result<Url>> + Send>> + Send + Sync;

pub(super) enum Address {
    Fixed(Url),
    Asked {
        ask: Box<Ask>,
        /// The last address, for the next opening.
        last: Mutex<Option<Url>>,
    },
}

impl Address {
    pub(super) fn asked<F, Fut>(address: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<Url>> + Send + 'static,
    {
        let ask = Box::new(move || Box::pin(address()) as Pin<Box<dyn Future<Output = _> + Send>>);
        Self::Asked { ask, last: Mutex::new(None) }
    }

    pub(super) async fn current(&self) -> io::Result<Url> {
        match self {
            Self::Fixed(url) => Ok(url.clone()),
            Self::Asked { ask, last } => {
                let known = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match known {
                    Some(url) => Ok(url),
                    None => Self::renew(ask, last).await,
                }
            }
        }
    }

    /// A new address in place of one that was refused. `None` if there is only one.
    pub(super) async fn next(&self) -> io::Result<Option<Url>> {
        match self {
            Self::Fixed(_) => Ok(None),
            Self::Asked { ask, last } => Self::renew(ask, last).await.map(Some),
        }
    }

    /// The next opening asks for an address.
    pub(super) fn forget(&self) {
        if let Self::Asked { last, .. } = self {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    async fn renew(ask: &Ask, last: &Mutex<Option<Url>>) -> io::Result<Url> {
        let url = ask().await?;
        if !is_http(&url) {
            return Err(permanent(io::ErrorKind::InvalidInput, NOT_HTTP));
        }
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.clone());
        Ok(url)
    }
}

/// Forgets the address of an opening that is dropped after a long silence.
pub(super) struct Trial<'a> {
    address: &'a Address,
    since: Instant,
    has_ended: bool,
}

impl<'a> Trial<'a> {
    pub(super) fn of(address: &'a Address) -> Self {
        Self { address, since: Instant::now(), has_ended: false }
    }

    pub(super) fn end(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if !self.has_ended && self.since.elapsed() >= SILENCE {
            self.address.forget();
        }
    }
}

pub(super) fn checked(url: impl IntoUrl) -> io::Result<Url> {
    let url =
        url.into_url().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.without_url()))?;
    if is_http(&url) { Ok(url) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, NOT_HTTP)) }
}

pub(super) fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}
