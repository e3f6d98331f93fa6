//! The routes, and the response to a GET or HEAD of a resource.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream;
use serde_json::json;
use streamspool::{Bytes, Error, State as BufferState};

use crate::explain;
use crate::ranges::{ENDLESS, Part, Selection, asked, select};
use crate::resource::Resource;
use crate::{body, events, save};

const HTML: &str = include_str!("page/index.html");
const CSS: &str = include_str!("page/style.css");
const JS: &str = include_str!("page/page.js");

/// The page loads its own files only, and no other page can embed it.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The state of every handler.
#[derive(Clone)]
pub(crate) struct App {
    resources: Arc<[Arc<Resource>]>,
    pub(crate) save_to: Arc<PathBuf>,
}

impl App {
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Resource>, StatusCode> {
        let found = self.resources.iter().find(|resource| resource.name == name);
        found.cloned().ok_or(StatusCode::NOT_FOUND)
    }
}

pub(crate) fn routes(resources: Vec<Arc<Resource>>, save_to: PathBuf) -> Router {
    let page = |kind, text: &'static str| {
        let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, PAGE_POLICY)];
        get(async move || (headers, text))
    };
    Router::new()
        .route("/", page("text/html; charset=utf-8", HTML))
        .route("/style.css", page("text/css; charset=utf-8", CSS))
        .route("/page.js", page("text/javascript; charset=utf-8", JS))
        .route("/resources", get(list))
        .route("/media/{name}", get(media))
        .route("/media/{name}/events", get(events::events))
        .route("/media/{name}/save", post(save::start).delete(save::cancel))
        .with_state(App { resources: resources.into(), save_to: Arc::new(save_to) })
}

async fn list(State(app): State<App>) -> Response {
    let one = |resource: &Arc<Resource>| json!({ "name": resource.name, "path": resource.path(), "source": resource.source });
    let list: serde_json::Value = app.resources.iter().map(one).collect();
    ([(header::CONTENT_TYPE, "application/json")], list.to_string()).into_response()
}

/// Any range of the resource, whether it has arrived or not.
async fn media(
    State(app): State<App>,
    Path(name): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let resource = app.find(&name)?;
    let content_type = resource.content_type().await?;
    let label = label(&headers);

    let mut response = if method == Method::HEAD {
        // A HEAD ignores ranges. `Body::empty` would send a length of 0 for an unknown size.
        let mut response = Response::new(Body::from_stream(stream::empty::<Result<Bytes, Error>>()));
        if let Some(size) = resource.buffer.progress().size {
            response.headers_mut().insert(header::CONTENT_LENGTH, size.into());
        }
        response
    } else {
        match select(&resource.buffer, asked(&headers, &resource.etag)).await? {
            Selection::Whole { size } => {
                fail_early(&resource, 0)?;
                let mut response = Response::new(body::whole(&resource, &label));
                if let Some(size) = size {
                    response.headers_mut().insert(header::CONTENT_LENGTH, size.into());
                }
                response
            }
            Selection::Parts { parts, size } => partial(&resource, &label, &parts, size, content_type)?,
            Selection::Onward { first } => {
                fail_early(&resource, first)?;
                let mut response = Response::new(body::onward(&resource, &label, first));
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
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(content_type));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, text(&resource.etag));
    // The buffer is the cache, so no client needs one.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn partial(
    resource: &Arc<Resource>,
    label: &str,
    parts: &[Part],
    size: Option<u64>,
    content_type: &str,
) -> Result<Response, Refused> {
    if let Some(first) = parts.first() {
        fail_early(resource, first.first)?;
    }
    let mut response;
    if let &[part] = parts {
        response = Response::new(body::part(resource, label, part));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, part.len().into());
        headers.insert(header::CONTENT_RANGE, text(&part.content_range(size)));
    } else {
        // A boundary must not occur in the resource. It is very unlikely that this one does.
        let boundary = format!("streamspool-{}", resource.etag.trim_matches('"'));
        let (body, length) = body::parts(resource, label, parts, size, content_type, &boundary);
        response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, length.into());
        let kind = format!("multipart/byteranges; boundary=\"{boundary}\"");
        headers.insert(header::CONTENT_TYPE, text(&kind));
    }
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    Ok(response)
}

/// Refuses a request at or after the offset at which the source has failed. Its body would break at once.
fn fail_early(resource: &Resource, offset: u64) -> Result<(), Refused> {
    // An error of another state does not last: the source is opened again.
    let is_final = resource.buffer.progress().state == BufferState::Failed;
    match resource.buffer.error() {
        Some(error) if is_final && error.offset() <= offset => Err(error.into()),
        _ => Ok(()),
    }
}

/// A response without a body of the resource.
pub(crate) struct Refused(StatusCode, String);

impl From<Error> for Refused {
    /// The source or the disk has failed, so this is a 502.
    fn from(error: Error) -> Self {
        Self(StatusCode::BAD_GATEWAY, format!("{}\n", explain(&error)))
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
