//! A resource of an HTTP server.

mod answer;
mod body;
mod validators;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
#[cfg(feature = "http")]
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use futures::stream;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Client, ClientBuilder, IntoUrl, Response, Url};

use self::answer::{Asked, Decision, Form, Head};
use super::{OpenAt, Opened, Source, SourceError};

const NOT_HTTP: &str = "the address is neither http nor https";

/// How often in a row a new address is asked for.
const MAX_NEW_ADDRESSES: u32 = 2;

/// A resource of an HTTP server, as a [`Source`]. Needs the feature `http`, or `http-client` for a client of yours.
///
/// A buffer of it fetches with range requests. It continues after a broken connection, and it never mixes
/// two versions of the resource: a strong `ETag` is its [`Version`](super::Version), else a
/// `Last-Modified` that is at least 60 s older than the answer. With a version, a read far ahead sends a
/// request of its own, and up to [`Builder::streams`](crate::Builder::streams) answers arrive at once.
/// Without one, bytes are loaded from front to back. Servers that ignore ranges work too; then a broken
/// download starts again at byte 0. Redirects are followed, and each opening starts again at the address
/// that was given.
///
/// Which failures are transient: no connection, a body that breaks off or is shorter than its headers
/// say, and the statuses 408, 425, 429 and 5xx. `Retry-After` is obeyed, up to 60 s. All other answers
/// that cannot be used are permanent failures. The
/// [design](crate::docs::design#http) lists the decision for each answer.
///
/// A version is as good as the server's validator. To replace a file on a server, write a new one and rename it:
/// if a file is overwritten while it is sent, the server itself mixes both versions. A body without a length
/// ends where its connection ends, so a cut connection looks like the end.
///
/// # The client
///
/// Types of reqwest 0.13 are part of this interface. [`HttpSource::new`] makes a client with TLS by
/// rustls. Its certificate roots are those of the system. Its cryptography is the provider that the
/// process has installed, else ring. Sources share connections if they share a client:
/// [`HttpSource::with_client`].
///
/// A client with decompression (reqwest's features `gzip`, `brotli`, `deflate`, `zstd`) must be built
/// with it off, for example with `no_gzip()`: ranges count encoded bytes. `Accept-Encoding: identity` is
/// sent with every request. A part of a resource that the client has decoded is refused where that
/// can be seen: its `Content-Length` is missing, or its length is not that of its `Content-Range`.
/// A body that the server sends encoded nevertheless is passed on as it is; it has no known size and is
/// not opened again.
///
/// A client of yours may send the address in `Referer` when it follows a redirect. If the address is
/// secret, build the client with `referer(false)`, as [`HttpSource::new`] does.
///
/// A total timeout of the client ends a long download, which then costs a new request. Silence is
/// handled by [`Retry::stall_timeout`](crate::Retry::stall_timeout).
///
/// # Examples
///
/// ```no_run
/// use streamspool::{HttpSource, StreamBuffer};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let source = HttpSource::new("https://example.com/film.mp4")?.header("authorization", "Bearer abc");
/// let buffer = StreamBuffer::spawn_source(source);
/// let start = buffer.read(0, 4096).await?;
/// # Ok(())
/// # }
/// ```
pub struct HttpSource {
    client: Client,
    address: Address,
    headers: HeaderMap,
    /// Why a header that the user gave is invalid.
    invalid: Option<&'static str>,
}

type AskForAddress = dyn Fn() -> Pin<Box<dyn Future<Output = io::Result<Url>> + Send>> + Send + Sync;

enum Address {
    Fixed(Url),
    Asked {
        ask: Box<AskForAddress>,
        /// The last address, for the next opening.
        last: Mutex<Option<Url>>,
    },
}

impl HttpSource {
    /// A resource at this address, with a client of its own.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if this is not an absolute `http` or `https` address. Any kind if the client cannot
    /// be made: the system has no certificate roots.
    ///
    /// # Examples
    ///
    /// ```
    /// use streamspool::HttpSource;
    ///
    /// assert!(HttpSource::new("film.mp4").is_err());
    /// ```
    #[cfg(feature = "http")]
    pub fn new(url: impl IntoUrl) -> io::Result<Self> {
        let url = checked(url)?;
        let client = Self::client_builder()?.build().map_err(body::with_kind)?;
        Ok(Self::at(client, Address::Fixed(url)))
    }

    /// The builder of the client that [`HttpSource::new`] makes, for other timeouts or a proxy. Its client works
    /// without a crypto provider in the process, and sends no `Referer`. Without the feature `http` it sets no TLS.
    ///
    /// # Errors
    ///
    /// Any kind if the system has no certificate roots.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use streamspool::HttpSource;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = HttpSource::client_builder()?.connect_timeout(Duration::from_secs(10)).build()?;
    /// let source = HttpSource::with_client(client, "https://example.com/film.mp4")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn client_builder() -> io::Result<ClientBuilder> {
        let builder = Client::builder();
        #[cfg(feature = "http")]
        let builder = builder.tls_backend_preconfigured(tls()?);
        // An address may be secret. `Referer` would tell it to each host that it redirects to.
        Ok(builder.referer(false))
    }

    /// A resource at this address, with a client that may be shared. Its decompression must be
    /// [off](Self#the-client).
    ///
    /// # Errors
    ///
    /// `InvalidInput` if this is not an absolute `http` or `https` address.
    pub fn with_client(client: Client, url: impl IntoUrl) -> io::Result<Self> {
        Ok(Self::at(client, Address::Fixed(checked(url)?)))
    }

    /// A resource whose address expires, such as a signed one.
    ///
    /// The closure is called for the first opening. The address is used until the server answers 400, 401,
    /// 403, 404 or 410. Then the closure is called again, at most twice in a row. If the server still
    /// answers so, the failure is permanent. An error of the closure fails the opening as an error of
    /// [`Source::open`] does. The client's decompression must be [off](Self#the-client).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use streamspool::{HttpSource, StreamBuffer};
    ///
    /// # async fn sign(name: &str) -> std::io::Result<reqwest::Url> { unimplemented!() }
    /// # fn example(client: reqwest::Client) {
    /// let source = HttpSource::addressed_by(client, || sign("film.mp4"));
    /// let buffer = StreamBuffer::spawn_source(source);
    /// # }
    /// ```
    pub fn addressed_by<F, Fut>(client: Client, address: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<Url>> + Send + 'static,
    {
        let ask = Box::new(move || Box::pin(address()) as Pin<Box<dyn Future<Output = _> + Send>>);
        Self::at(client, Address::Asked { ask, last: Mutex::new(None) })
    }

    /// Adds a header to every request. `Range`, `If-Range` and `Accept-Encoding` are replaced. A redirect
    /// to another host or port loses `Authorization` and `Cookie`, also those of the address
    /// (`https://user:password@…`), and keeps all other headers.
    ///
    /// A name or a value that is no valid header makes every opening fail.
    #[must_use]
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
            }
            (Err(_), _) => self.invalid = Some("the name of a header is invalid"),
            (_, Err(_)) => self.invalid = Some("the value of a header is invalid"),
        }
        self
    }

    fn at(client: Client, address: Address) -> Self {
        Self { client, address, headers: HeaderMap::new(), invalid: None }
    }

    async fn send(&self, url: Url, at: &OpenAt, form: Form) -> io::Result<Response> {
        let mut headers = self.headers.clone();
        headers.remove(RANGE);
        headers.remove(IF_RANGE);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if form != Form::Whole {
            headers.insert(RANGE, range(at)?);
        }
        if form == Form::Conditional
            && let Some(condition) = at.version.as_ref().and_then(validators::if_range)
        {
            headers.insert(IF_RANGE, condition);
        }
        self.client.get(url).headers(headers).send().await.map_err(body::send_error)
    }
}

impl Source for HttpSource {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        if let Some(text) = self.invalid {
            return Err(permanent(io::ErrorKind::InvalidInput, text));
        }
        let mut url = self.address.current().await?;
        let mut form = Form::Conditional;
        let mut new_addresses = 0;
        // This loop ends: each form of a request leads only to a later form, and the number of new addresses is
        // limited.
        loop {
            let answer = self.send(url.clone(), &at, form).await?;
            let status = answer.status();
            let is_framed = answer.version() >= reqwest::Version::HTTP_2;
            let head = Head { status, headers: answer.headers(), is_framed };
            let asked = Asked { offset: at.offset, end: at.end, known: at.version.as_ref(), form };
            match answer::decide(head, asked, SystemTime::now()) {
                Decision::Body(found) => {
                    return Ok(Opened::new(body::stream(answer, found.part))
                        .starting_at(found.start)
                        .size(found.size)
                        .version(found.version)
                        .reopen(found.reopen));
                }
                Decision::Empty { size, version } => {
                    return Ok(Opened::new(stream::empty()).size(size).version(version));
                }
                Decision::Ask(next) => form = next,
                Decision::AskForAddress => {
                    let next =
                        if new_addresses < MAX_NEW_ADDRESSES { self.address.next().await? } else { None };
                    let Some(next) = next else {
                        return Err(permanent(kind_of(status), format!("the server answered {status}")));
                    };
                    url = next;
                    new_addresses += 1;
                }
                Decision::Transient { text, retry_after } => {
                    let error = SourceError::transient(text);
                    return Err(match retry_after {
                        Some(delay) => error.retry_after(delay).into(),
                        None => error.into(),
                    });
                }
                Decision::Refuse { kind, text } => return Err(permanent(kind, text)),
            }
        }
    }
}

impl Address {
    async fn current(&self) -> io::Result<Url> {
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
    async fn next(&self) -> io::Result<Option<Url>> {
        match self {
            Self::Fixed(_) => Ok(None),
            Self::Asked { ask, last } => Self::renew(ask, last).await.map(Some),
        }
    }

    async fn renew(ask: &AskForAddress, last: &Mutex<Option<Url>>) -> io::Result<Url> {
        let url = ask().await?;
        if !is_http(&url) {
            return Err(permanent(io::ErrorKind::InvalidInput, NOT_HTTP));
        }
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.clone());
        Ok(url)
    }
}

impl fmt::Debug for HttpSource {
    /// Prints neither the address nor the headers, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSource").finish_non_exhaustive()
    }
}

/// The value of `Range`, also at offset 0: the answer shows whether ranges work.
fn range(at: &OpenAt) -> io::Result<HeaderValue> {
    let last = at.end.filter(|end| *end > at.offset).map(|end| end - 1);
    let value = match last {
        Some(last) => format!("bytes={}-{last}", at.offset),
        None => format!("bytes={}-", at.offset),
    };
    HeaderValue::try_from(value).map_err(io::Error::other)
}

fn checked(url: impl IntoUrl) -> io::Result<Url> {
    let url =
        url.into_url().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.without_url()))?;
    if is_http(&url) { Ok(url) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, NOT_HTTP)) }
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// TLS that works without a crypto provider in the process, and installs none.
#[cfg(feature = "http")]
fn tls() -> io::Result<rustls::ClientConfig> {
    let provider = rustls::crypto::CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let verifier =
        rustls_platform_verifier::Verifier::new(Arc::clone(&provider)).map_err(io::Error::other)?;
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

fn kind_of(status: reqwest::StatusCode) -> io::ErrorKind {
    match status.as_u16() {
        401 | 403 => io::ErrorKind::PermissionDenied,
        404 | 410 => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    }
}

fn permanent(kind: io::ErrorKind, text: impl Into<String>) -> io::Error {
    SourceError::permanent(io::Error::new(kind, text.into())).into()
}

#[cfg(all(test, feature = "http"))]
mod tests;
