//! Requests until an answer is usable: other forms, other addresses, redirects, other connections.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hyper::body::Body as _;
use reqwest::header::{
    ACCEPT_ENCODING, CONNECTION, HeaderMap, HeaderValue, IF_RANGE, LOCATION, RANGE, USER_AGENT,
};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::sync::watch;

use super::address::{Address, Trial, is_http};
use super::answer::{Asked, Body, Decision, Form, Head, accepts_ranges, decide};
use super::errors::{may_succeed_at_once, permanent, send_error};
use super::first::HttpAnswer;
use super::learned::Learned;
use super::{body, validators};
use crate::source::error::{Verdict, verdict};
use crate::source::{OpenAt, Reopen, SourceError, Version};

/// How often in a row a new address is asked for.
const MAX_NEW_ADDRESSES: u32 = 2;

/// How many redirects in a row are followed, as by reqwest.
const MAX_REDIRECTS: u32 = 10;

/// What a source sends, and what it knows. Clones share what they know.
#[derive(Clone)]
pub(super) struct Requests {
    pub(super) client: Client,
    /// Whether the client may decode bodies, because the user has made it.
    pub(super) may_be_decoded: bool,
    /// Whether redirects are followed here, and not by the client.
    pub(super) follows: bool,
    pub(super) address: Arc<Address>,
    /// For the host of the address only.
    pub(super) headers: HeaderMap,
    /// For each host that it redirects to, too.
    pub(super) shared_headers: HeaderMap,
    learned: Arc<Mutex<Learned>>,
    pub(super) first: Arc<watch::Sender<Option<HttpAnswer>>>,
}

/// A usable answer.
pub(super) enum Answered {
    Body(Response, Body),
    Empty { size: u64, version: Option<Version> },
}

impl Requests {
    pub(super) fn new(client: Client, address: Address) -> Self {
        Self {
            client,
            may_be_decoded: true,
            follows: false,
            address: Arc::new(address),
            headers: HeaderMap::new(),
            shared_headers: HeaderMap::new(),
            learned: Arc::default(),
            first: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Sends requests until an answer is usable, or until none will be.
    pub(super) async fn ask(&self, at: &OpenAt) -> io::Result<Answered> {
        let trial = Trial::of(&self.address);
        let answered = self.ask_in_turn(at).await;
        if let Err(error) = &answered
            && verdict(error) != Verdict::Permanent
        {
            // The address may lead to a server that is dead. The next one may not.
            self.address.forget();
        }
        trial.end();
        answered
    }

    async fn ask_in_turn(&self, at: &OpenAt) -> io::Result<Answered> {
        let mut url = self.address.current().await?;
        let mut form = if self.learned().refuses_ranges() { Form::Whole } else { Form::Conditional };
        let mut new_addresses = 0;
        // The status of the answer because of which the request has no `Range`.
        let mut refusal = None;
        // This loop ends: each form of a request leads only to a later form, and the number of new addresses is
        // limited.
        loop {
            let answer = self.send(url.clone(), at, form).await?;
            let status = answer.status();
            let may_refuse_range = self.learned().may_refuse_range(status);
            match self.decide(&answer, at, form, may_refuse_range) {
                Decision::Body(found) => {
                    let found = self.learn(&answer, found, form, refusal);
                    return Ok(Answered::Body(answer, found));
                }
                Decision::Empty { size, version } => {
                    self.show(&answer);
                    return Ok(Answered::Empty { size, version });
                }
                Decision::Ask(next) => form = next,
                Decision::AskWithoutRange => (form, refusal) = (Form::Whole, Some(status)),
                Decision::AskForAddress => {
                    let next =
                        if new_addresses < MAX_NEW_ADDRESSES { self.address.next().await? } else { None };
                    match next {
                        Some(next) => (url, new_addresses) = (next, new_addresses + 1),
                        None if form != Form::Whole
                            && may_refuse_range
                            && status != StatusCode::UNAUTHORIZED =>
                        {
                            (form, refusal) = (Form::Whole, Some(status));
                        }
                        None => {
                            let text = self.note(refusal, status, format!("the server answered {status}"));
                            return Err(permanent(kind_of(status), text));
                        }
                    }
                }
                Decision::Transient { text, retry_after } => {
                    let error = SourceError::transient(self.note(refusal, status, text));
                    return Err(match retry_after {
                        Some(delay) => error.retry_after(delay).into(),
                        None => error.into(),
                    });
                }
                Decision::Refuse { kind, text } => {
                    return Err(permanent(kind, self.note(refusal, status, text)));
                }
            }
        }
    }

    fn decide(&self, answer: &Response, at: &OpenAt, form: Form, may_refuse_range: bool) -> Decision {
        let head = Head {
            status: answer.status(),
            headers: answer.headers(),
            is_framed: answer.version() >= reqwest::Version::HTTP_2,
            may_be_decoded: self.may_be_decoded,
        };
        let known = at.version.as_ref();
        let date = self.learned().date_of(known).map(<[u8]>::to_vec);
        let (offset, end, date) = (at.offset, at.end, date.as_deref());
        decide(head, Asked { offset, end, known, date, form, may_refuse_range }, SystemTime::now())
    }

    /// The answer is usable.
    fn learn(&self, answer: &Response, mut found: Body, form: Form, refusal: Option<StatusCode>) -> Body {
        self.show(answer);
        let headers = answer.headers();
        let mut learned = self.learned();
        if let Some(refusal) = refusal {
            learned.served_whole_only(refusal, accepts_ranges(headers));
        } else if form != Form::Whole && found.part.is_some() {
            learned.served_part();
        }
        learned.saw(found.version.as_ref(), headers);
        if learned.refuses_ranges() && found.reopen == Reopen::Anywhere {
            found.reopen = Reopen::FromStart;
        }
        found
    }

    /// No answer is usable. Notes whether a request without `Range` has shown that.
    fn note(&self, refusal: Option<StatusCode>, status: StatusCode, text: String) -> String {
        let Some(refusal) = refusal else { return text };
        if status == refusal {
            self.learned().refused_whole(status);
        }
        format!("{text} (to a request without Range; to one with Range {refusal})")
    }

    fn show(&self, answer: &Response) {
        self.first.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| HttpAnswer::new(answer));
            is_first
        });
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- one request ----

    async fn send(&self, url: Url, at: &OpenAt, form: Form) -> io::Result<Response> {
        let mut headers = self.headers_for(at, form, true)?;
        if !self.follows {
            return self.get(url, headers).await;
        }
        let mut url = url;
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.get(url.clone(), headers.clone()).await?;
            let Some(next) = redirect(&url, &answer)? else { return Ok(answer) };
            if !is_same_host(&url, &next) {
                headers = self.headers_for(at, form, false)?;
            }
            url = next;
        }
        Err(permanent(io::ErrorKind::Other, format!("the server redirects more than {MAX_REDIRECTS} times")))
    }

    /// If the connection breaks before the answer, the request is sent once more, on a connection that is used
    /// for nothing else. Some servers close a connection after an answer without announcing it.
    async fn get(&self, url: Url, mut headers: HeaderMap) -> io::Result<Response> {
        let request = self.client.get(url.clone()).headers(headers.clone());
        match request.send().await {
            Ok(answer) => Ok(answer),
            Err(error) if may_succeed_at_once(&error) => {
                // If the client follows a redirect, it does not use the connection again.
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
                self.client.get(url).headers(headers).send().await.map_err(send_error)
            }
            Err(error) => Err(send_error(error)),
        }
    }

    fn headers_for(&self, at: &OpenAt, form: Form, is_first_host: bool) -> io::Result<HeaderMap> {
        let mut headers = self.shared_headers.clone();
        for (name, value) in &self.headers {
            if is_first_host || name == USER_AGENT {
                headers.append(name, value.clone());
            }
        }
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
        Ok(headers)
    }

    // ---- bodies ----

    /// Whether the client shows that the end of a body of HTTP/2 was marked. A client that can decompress hides it
    /// (tower-http 0.6), even where its decompression is off. The answer to HEAD has an end and no bytes. It needs
    /// no secret header: an error has no bytes either.
    pub(super) async fn shows_ends(&self, url: &Url) -> io::Result<bool> {
        let answer = self.client.head(url.clone()).send().await.map_err(send_error)?;
        let mut body = reqwest::Body::from(answer);
        while let Some(Ok(_)) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await
        {
        }
        Ok(body.is_end_stream())
    }

    pub(super) fn too_long(&self) -> io::Error {
        body::too_long(self.may_be_decoded)
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

/// The address that an answer redirects to. Errors do not name it, because it may be secret.
fn redirect(from: &Url, answer: &Response) -> io::Result<Option<Url>> {
    let status = answer.status();
    let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = answer.headers().get(LOCATION).filter(|_| is_redirect) else { return Ok(None) };
    let url = location.to_str().ok().and_then(|location| from.join(location).ok());
    let Some(mut url) = url.filter(|url| is_http(url) && url.has_host()) else {
        let text = format!("the server answered {status} with a Location that is no http or https address");
        return Err(permanent(io::ErrorKind::InvalidData, text));
    };
    if is_same_host(from, &url) && url.username().is_empty() && url.password().is_none() {
        // The credentials in the address belong to the host. An http address has a host, so this cannot fail.
        let _ = url.set_username(from.username());
        let _ = url.set_password(from.password());
    }
    Ok(Some(url))
}

/// Whether secrets of the first address may be sent to the second one: to the same port of the same host, or from
/// http to https there.
fn is_same_host(first: &Url, second: &Url) -> bool {
    let is_upgrade = first.scheme() == "http"
        && second.scheme() == "https"
        && (first.port_or_known_default(), second.port_or_known_default()) == (Some(80), Some(443));
    let is_same_port =
        first.scheme() == second.scheme() && first.port_or_known_default() == second.port_or_known_default();
    first.host_str() == second.host_str() && (is_same_port || is_upgrade)
}

fn kind_of(status: StatusCode) -> io::ErrorKind {
    match status.as_u16() {
        401 | 403 => io::ErrorKind::PermissionDenied,
        404 | 410 => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_with_the_port_of_their_host_or_move_to_https() {
        // Rule 21.
        for (first, second, is_same) in [
            ("http://a/x", "http://a/y", true),
            ("http://a/x", "http://a:80/y", true),
            ("http://a/x", "https://a/y", true),
            ("https://a/x", "http://a/y", false),
            ("http://a:8080/x", "https://a/y", false),
            ("http://a/x", "https://a:8443/y", false),
            ("http://a/x", "http://a:81/y", false),
            ("http://a/x", "http://b/x", false),
            ("http://a/x", "https://b/x", false),
            ("https://a:80/x", "http://a:80/x", false),
        ] {
            let found = is_same_host(&first.parse().unwrap(), &second.parse().unwrap());
            assert_eq!(found, is_same, "{first} {second}");
        }
    }
}
