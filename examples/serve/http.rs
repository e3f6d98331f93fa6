//! The routes, and the response to a GET or HEAD of a resource.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures::stream;
use serde_json::json;
use streamspool::{Bytes, Error, ErrorKind, State as BufferState};

use crate::conditions::{self, Validators};
use crate::ranges::{ENDLESS, Part, Selection, asked, select};
use crate::report::explain;
use crate::resource::{Content, Resource, Run};
use crate::{body, save, state};

const HTML: &str = include_str!("page/index.html");
const CSS: &str = include_str!("page/style.css");
const SCRIPTS: [(&str, &str); 4] = [
    ("/page.js", include_str!("page/page.js")),
    ("/bar.js", include_str!("page/bar.js")),
    ("/player.js", include_str!("page/player.js")),
    ("/text.js", include_str!("page/text.js")),
];

/// The page loads its own files only, and no other page can embed it.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The state of every handler.
#[derive(Clone)]
pub(crate) struct App {
    resources: Arc<[Arc<Resource>]>,
}

impl App {
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Resource>, StatusCode> {
        let found = self.resources.iter().find(|resource| resource.name == name);
        found.cloned().ok_or(StatusCode::NOT_FOUND)
    }
}

pub(crate) fn routes(resources: Vec<Arc<Resource>>) -> Router {
    let page = |kind, text: &'static str| {
        let headers = [
            (header::CONTENT_TYPE, kind),
            (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
            // Another version of this program has another page.
            (header::CACHE_CONTROL, "no-cache"),
        ];
        get(async move || (headers, text))
    };
    let mut routes = Router::new()
        .route("/", page("text/html; charset=utf-8", HTML))
        .route("/style.css", page("text/css; charset=utf-8", CSS));
    for (path, script) in SCRIPTS {
        routes = routes.route(path, page("text/javascript; charset=utf-8", script));
    }
    routes
        .route("/resources", get(list))
        .route("/media/{name}", get(media))
        .route("/media/{name}/state", get(state::state))
        .route("/media/{name}/events", get(state::events))
        .route("/media/{name}/save", post(save::start).delete(save::cancel))
        .route("/media/{name}/start-over", post(start_over))
        .route("/media/{name}/pace/{kib}", put(set_pace))
        .with_state(App { resources: resources.into() })
}

async fn list(State(app): State<App>) -> Response {
    let one = |resource: &Arc<Resource>| {
        json!({
            "name": resource.name,
            "path": resource.path(),
            "about": resource.about,
            "source": resource.source,
            "can_start_over": resource.origin.can_start_over(),
        })
    };
    let list: serde_json::Value = app.resources.iter().map(one).collect();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, list.to_string()).into_response()
}

/// A request that changes something. A page of another site cannot send it: because of the header, the browser
/// first asks this server for permission, and the server does not grant it.
pub(crate) struct FromThePage;

impl<S: Sync> FromRequestParts<S> for FromThePage {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts.headers.get("x-streamspool").map(|_| Self).ok_or(StatusCode::FORBIDDEN)
    }
}

/// Reads the source from its start again.
async fn start_over(
    State(app): State<App>,
    Path(name): Path<String>,
    _: FromThePage,
) -> Result<StatusCode, Refused> {
    let resource = app.find(&name)?;
    if !resource.origin.can_start_over() {
        return Err(Refused(StatusCode::CONFLICT, "The source can't be read again.\n".into()));
    }
    match resource.start_over().await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err(Refused(StatusCode::BAD_GATEWAY, format!("{}\n", explain(&*error)))),
    }
}

/// Sets the rate limit of the source in KiB per second. 0 means no limit.
async fn set_pace(
    State(app): State<App>,
    Path((name, kib)): Path<(String, u32)>,
    _: FromThePage,
) -> Result<StatusCode, StatusCode> {
    app.find(&name)?.pace.set(Some(kib));
    Ok(StatusCode::NO_CONTENT)
}

/// Any range of the resource, whether it has arrived or not.
async fn media(
    State(app): State<App>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let resource = app.find(&name)?;
    let run = resource.current().await;
    let content = resource.content(&run).await?;
    let label = label(&headers);
    let validators = Validators { etag: &run.etag, modified: run.modified };
    if let Some(status) = conditions::answer(&headers, &validators) {
        let mut response = status.into_response();
        describe(response.headers_mut(), &run);
        return Ok(response);
    }

    let mut response = if method == Method::HEAD {
        fail_early(&run, 0)?;
        // A HEAD ignores ranges. `Body::empty` would send a length of 0 for an unknown size.
        let mut response = Response::new(Body::from_stream(stream::empty::<Result<Bytes, Error>>()));
        if let Some(size) = run.buffer.progress().size {
            response.headers_mut().insert(header::CONTENT_LENGTH, size.into());
        }
        response
    } else {
        match select(&run.buffer, asked(&headers, &run.etag)).await? {
            Selection::Whole { size } => {
                fail_early(&run, 0)?;
                let mut response = Response::new(body::whole(&run, &label));
                if let Some(size) = size {
                    response.headers_mut().insert(header::CONTENT_LENGTH, size.into());
                }
                response
            }
            Selection::Parts { parts, size } => partial(&run, &label, &parts, size, &content.kind)?,
            Selection::Onward { first } => {
                fail_early(&run, first)?;
                let mut response = Response::new(body::onward(&run, &label, first));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let range = text(&format!("bytes {first}-{ENDLESS}/*"));
                response.headers_mut().insert(header::CONTENT_RANGE, range);
                response
            }
            Selection::Nothing { size } => {
                let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
                response.headers_mut().insert(header::CONTENT_RANGE, text(&format!("bytes */{size}")));
                response
            }
        }
    };

    let headers = response.headers_mut();
    let Content { kind, encoding } = content;
    headers.entry(header::CONTENT_TYPE).or_insert(text(kind));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, text(encoding));
    }
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    describe(headers, &run);
    Ok(response)
}

/// The headers of a resource that every response of it has, also one without its bytes.
fn describe(headers: &mut HeaderMap, run: &Run) {
    headers.insert(header::ETAG, text(&run.etag));
    if let Some(date) = run.modified {
        headers.insert(header::LAST_MODIFIED, text(&httpdate::fmt_http_date(date)));
    }
    // The buffer is the cache, so no client needs one.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn partial(
    run: &Arc<Run>,
    label: &str,
    parts: &[Part],
    size: Option<u64>,
    content_type: &str,
) -> Result<Response, Refused> {
    if let Some(first) = parts.first() {
        fail_early(run, first.first)?;
    }
    let mut response;
    if let &[part] = parts {
        response = Response::new(body::part(run, label, part));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, part.len().into());
        headers.insert(header::CONTENT_RANGE, text(&part.content_range(size)));
    } else {
        // The boundary must not occur in the resource. This one is so unlikely to occur there that nothing checks it.
        let boundary = format!("streamspool-{}", run.etag.trim_matches('"'));
        let (body, length) = body::parts(run, label, parts, size, content_type, &boundary);
        response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length.into());
        let kind = format!("multipart/byteranges; boundary=\"{boundary}\"");
        headers.insert(header::CONTENT_TYPE, text(&kind));
    }
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    Ok(response)
}

/// Refuses a request for bytes that were discarded, and a request at or after the offset at which the source has
/// failed. Its body would break at once.
fn fail_early(run: &Run, offset: u64) -> Result<(), Refused> {
    let kept = run.buffer.progress().start;
    if offset < kept {
        let text =
            format!("the byte at offset {offset} was discarded: the first byte that is kept is at {kept}\n");
        return Err(Refused(StatusCode::GONE, text));
    }
    // An error of another state does not last: the source is opened again.
    let is_final = run.buffer.progress().state == BufferState::Failed;
    match run.buffer.error() {
        Some(error) if is_final && error.offset() <= offset => Err(error.into()),
        _ => Ok(()),
    }
}

/// A response without a body of the resource.
pub(crate) struct Refused(StatusCode, String);

impl From<Error> for Refused {
    /// The source or the disk has failed, so this is a 502; or the bytes were discarded.
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::Closed {
            let text = "The resource has started over.\n";
            return Self(StatusCode::SERVICE_UNAVAILABLE, text.into());
        }
        let is_gone = error.kind() == ErrorKind::Discarded;
        let status = if is_gone { StatusCode::GONE } else { StatusCode::BAD_GATEWAY };
        Self(status, format!("{}\n", explain(&error)))
    }
}

impl From<StatusCode> for Refused {
    fn from(status: StatusCode) -> Self {
        Self(status, String::new())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
}

/// The name of a client for the page: the kind of element that sends the request, or the program.
fn label(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-dest") {
        Some("video" | "audio") => "player".into(),
        Some("document") => "browser".into(),
        Some("empty") => "page".into(),
        _ => {
            let agent = text("user-agent").unwrap_or("client");
            let product = agent.split(['/', ' ']).next().unwrap_or(agent);
            product.chars().take(24).collect()
        }
    }
}
