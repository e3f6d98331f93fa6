//! Accepts connections, and refuses requests that are not for this server.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// How long a connection may take to send the headers of a request. An idle connection is closed after this time too.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The policy of every response except the page: a browser runs no script of a resource, and the resource has
/// no access to the page's origin.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox");

/// Serves the routes. While `most` connections are open, further ones wait.
pub(crate) async fn serve(listener: TcpListener, routes: Router, most: usize) -> io::Result<()> {
    let routes = routes.layer(from_fn(guard));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let permits = Arc::new(Semaphore::new(most));
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await.map_err(io::Error::other)?;
        let Ok((stream, _)) = listener.accept().await else {
            // The process has no file descriptor left, for example. One may be closed soon.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Small events must not wait for more data. If the option can't be set, they are only late.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(routes.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // An error means that the client has left or was too slow.
            let _ = connection.await;
            drop(permit);
        });
    }
}

/// Refuses requests for other hosts, and adds the headers that keep a browser from trusting resources.
async fn guard(request: Request, next: Next) -> Response {
    if !is_for_loopback(&request) {
        let text = "This server answers requests for localhost and loopback addresses only.\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(SANDBOX);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A page of another origin must not embed a resource that it may not read.
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

/// Whether the request names a loopback host. A page of another site can give its own name the address of this
/// server (DNS rebinding), but its requests still carry that name.
fn is_for_loopback(request: &Request) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse().ok());
    let is_loopback = |authority: &Authority| {
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    };
    // A request can name a host in its target too.
    host.as_ref().is_some_and(is_loopback) && request.uri().authority().is_none_or(is_loopback)
}
