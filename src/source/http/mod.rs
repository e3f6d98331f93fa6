//! A resource of an HTTP server.

mod address;
mod answer;
mod body;
mod content_range;
mod errors;
mod first;
mod learned;
mod requests;
mod validators;

use std::fmt;
use std::future::Future;
use std::io;
#[cfg(feature = "http")]
use std::sync::Arc;

use futures::stream;
use reqwest::header::{HeaderName, HeaderValue};
#[cfg(feature = "http")]
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, IntoUrl, Url};

use self::address::{Address, checked};
use self::errors::permanent;
pub use self::first::{FirstAnswer, HttpAnswer};
use self::requests::{Answered, Requests};
use super::{OpenAt, Opened, Source};

/// What a client of the crate sends as `User-Agent`.
const AGENT: &str = concat!("streamspool/", env!("CARGO_PKG_VERSION"));

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
/// A server that refuses a range, or whose answer leaves the place of its bytes in doubt, is asked once more without
/// a range. The source remembers the result. If a server ends a part before the requested range ends, the next part
/// is requested at once. That is no failure.
///
/// Which failures are transient: no connection, a body that breaks off or is shorter than its headers
/// say, and the statuses 408, 425, 429 and 5xx except 501 and 505. `Retry-After` is obeyed, up to 60 s. All other
/// answers that cannot be used, answers that are no HTTP, and invalid certificates are permanent failures. The
/// [design](crate::docs::design#http) lists the decision for each answer. A connection that breaks before the
/// answer is replaced at once, once for each request.
///
/// A version is as good as the server's validator. To replace a file on a server, write a new one and rename it:
/// if a file is overwritten while it is sent, the server itself mixes both versions. In HTTP/1, a body without a
/// length and without `Transfer-Encoding` ends where its connection ends, so a cut connection looks like the end.
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
/// sent with every request. A part that a client of yours may have decoded, because it has no length, is not
/// used; the whole resource is asked for. A part that is longer than its `Content-Range` is refused.
/// A body that the server sends encoded nevertheless is passed on as it is. With a strong `ETag`, ranges of the
/// encoded bytes are used. Without one, it has no known size and is not opened again.
///
/// A client of yours may use HTTP/2. There, a stream that the server resets is no end of the body. If reqwest was
/// built with a feature for decompression, a reset without an error cannot be seen, and is taken for the end of a
/// body without a length.
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
    requests: Requests,
    /// Why a header that the user gave is invalid.
    invalid: Option<&'static str>,
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
        let client = Self::client_builder()?.redirect(Policy::none()).build().map_err(errors::with_kind)?;
        let mut source = Self::at(client, Address::Fixed(url));
        (source.requests.may_be_decoded, source.requests.follows) = (false, true);
        Ok(source)
    }

    /// The builder of the client that [`HttpSource::new`] makes, for other timeouts or a proxy. Its client works
    /// without a crypto provider in the process, sends no `Referer`, decompresses nothing, and names itself
    /// `streamspool/VERSION` in `User-Agent`. It follows redirects; that of [`HttpSource::new`] leaves them to the
    /// source, as [`follow_redirects`](Self::follow_redirects) explains. Without the feature `http` it sets no TLS.
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
        let builder = builder.referer(false).user_agent(AGENT);
        // Ranges count encoded bytes, and another crate may have turned decompression on.
        Ok(builder.no_gzip().no_brotli().no_deflate().no_zstd())
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
    /// answers so, the failure is permanent. After each other failure of an opening, such as a refused connection
    /// or a status 5xx, the next opening calls the closure again: the address may lead to a dead server. An error of the closure fails the opening as an error of
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
        Self::at(client, Address::asked(address))
    }

    /// Adds a header to every request. `Range`, `If-Range` and `Accept-Encoding` are replaced.
    ///
    /// The header may be a secret, so a redirect to another host or port loses it, as it loses the credentials of
    /// the address (`https://user:password@…`). Only `User-Agent` is kept. A redirect from http to https on the same
    /// host keeps all headers. A [client of yours](Self#the-client) that follows redirects itself loses only
    /// `Authorization` and `Cookie`.
    ///
    /// A name or a value that is no valid header makes every opening fail.
    #[must_use]
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        if let Some((name, value)) = self.valid(name, value) {
            self.requests.headers.append(name, value);
        }
        self
    }

    /// Adds a header that is sent to each host: to that of the address, and to those that it redirects to. See
    /// [`header`](Self::header).
    #[must_use]
    pub fn header_for_all_hosts<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        if let Some((name, value)) = self.valid(name, value) {
            self.requests.shared_headers.append(name, value);
        }
        self
    }

    /// The source follows up to ten redirects itself. [`HttpSource::new`] does so. A [client of
    /// yours](Self#the-client) must be built with `redirect(Policy::none())`: then a
    /// [`header`](Self::header) is not sent to another host.
    #[must_use]
    pub fn follow_redirects(mut self) -> Self {
        self.requests.follows = true;
        self
    }

    /// A handle on the first usable answer: its content type, its tag, its date, its address, and all its headers.
    /// Keep it before the source is given to a buffer.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use streamspool::{HttpSource, StreamBuffer};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let source = HttpSource::new("https://example.com/film.mp4")?;
    /// let answer = source.first_answer();
    /// let buffer = StreamBuffer::spawn_source(source);
    /// let start = buffer.read(0, 4096).await?;
    /// if let Some(answer) = answer.get() {
    ///     println!("{:?} from {}", answer.content_type(), answer.url());
    ///     println!("{:?}, {:?}", answer.last_modified(), answer.header("x-cache"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn first_answer(&self) -> FirstAnswer {
        FirstAnswer(self.requests.first.subscribe())
    }

    fn at(client: Client, address: Address) -> Self {
        Self { requests: Requests::new(client, address), invalid: None }
    }

    fn valid<N, V>(&mut self, name: N, value: V) -> Option<(HeaderName, HeaderValue)>
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        match (name.try_into(), value.try_into()) {
            (Ok(name), Ok(value)) => return Some((name, value)),
            (Err(_), _) => self.invalid = Some("the name of a header is invalid"),
            (_, Err(_)) => self.invalid = Some("the value of a header is invalid"),
        }
        None
    }
}

impl Source for HttpSource {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        if let Some(text) = self.invalid {
            return Err(permanent(io::ErrorKind::InvalidInput, text));
        }
        Ok(match self.requests.ask(&at).await? {
            Answered::Body(answer, found) => {
                Opened::new(body::stream(&self.requests, answer, &found, at.end))
                    .starting_at(found.start)
                    .size(found.size)
                    .version(found.version)
                    .reopen(found.reopen)
            }
            Answered::Empty { size, version } => Opened::new(stream::empty()).size(size).version(version),
        })
    }
}

impl fmt::Debug for HttpSource {
    /// Prints neither the address nor the headers, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSource").finish_non_exhaustive()
    }
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

#[cfg(test)]
#[cfg(feature = "http")]
mod tests;
