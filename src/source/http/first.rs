//! What the first answer of the server says.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, LAST_MODIFIED};
use reqwest::{Response, StatusCode, Url};
use tokio::sync::watch;

/// A handle on the first usable answer of a server: [`HttpSource::first_answer`](super::HttpSource::first_answer).
/// Clones are cheap. The handle keeps neither the source nor its buffer alive.
#[derive(Clone)]
pub struct FirstAnswer(pub(super) watch::Receiver<Option<HttpAnswer>>);

impl FirstAnswer {
    /// The answer, if it has arrived. It has if a read of the buffer has returned bytes.
    #[must_use]
    pub fn get(&self) -> Option<HttpAnswer> {
        self.0.borrow().clone()
    }

    /// Waits for the answer. Returns `None` if the source was dropped without one.
    ///
    /// This sends no request: the buffer opens its source when a read needs bytes. After a failure the buffer may
    /// keep its source. So await a read first, or the read and this at the same time.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Dropping the future changes nothing.
    pub async fn wait(&self) -> Option<HttpAnswer> {
        let mut receiver = self.0.clone();
        let answer = receiver.wait_for(Option::is_some).await.ok()?;
        answer.clone()
    }
}

impl fmt::Debug for FirstAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FirstAnswer").field(&self.get()).finish()
    }
}

/// The status, the headers and the address of an answer of a server. Clones are cheap.
///
/// [`Debug`] prints only the status, because the address and headers may be secret.
#[derive(Clone)]
pub struct HttpAnswer(Arc<Parts>);

struct Parts {
    status: StatusCode,
    headers: HeaderMap,
    url: Url,
}

impl HttpAnswer {
    pub(super) fn new(answer: &Response) -> Self {
        let (status, headers, url) = (answer.status(), answer.headers().clone(), answer.url().clone());
        Self(Arc::new(Parts { status, headers, url }))
    }

    /// The status: 200 or 206, or 416 if the resource has no byte at the requested offset.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// All headers, as the client passes them on. `Content-Length` and `Content-Range` are those of this answer, and
    /// it may be a part of the resource: use [`size`](crate::BufferHandle::size) for its size.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The value of a header, without spaces around it. `None` if there is none, or if it is not visible ASCII. Of a
    /// repeated header it is the first value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers.get(name)?.to_str().ok().map(str::trim)
    }

    /// The address that the answer came from, after all redirects.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// The `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.header(CONTENT_TYPE.as_str())
    }

    /// The `ETag`, with its quotes.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.header(ETAG.as_str())
    }

    /// The `Last-Modified`, if it is a valid date.
    #[must_use]
    pub fn last_modified(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(self.header(LAST_MODIFIED.as_str())?).ok()
    }
}

impl fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAnswer").field("status", &self.0.status).finish_non_exhaustive()
    }
}
