//! Guide: a signed URL that expires. The first address in this file breaks off and then is refused.

use axum::http::{StatusCode, header::CONTENT_LENGTH};
use axum::{Router, body::Body, extract::RawQuery, response::IntoResponse, routing::get};
use futures::stream;
use reqwest::{Client, Url};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use streamspool::{HttpSource, StreamBuffer};

/// Stands for a call of the service that signs addresses.
async fn sign(address: std::net::SocketAddr) -> io::Result<Url> {
    static SIGNED: AtomicU32 = AtomicU32::new(0);
    tokio::task::yield_now().await;
    let key = SIGNED.fetch_add(1, Relaxed) + 1;
    println!("signed address {key}");
    Url::parse(&format!("http://{address}/?key={key}")).map_err(io::Error::other)
}

async fn film(RawQuery(query): RawQuery) -> impl IntoResponse {
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    let first = REQUESTS.fetch_add(1, Relaxed) == 0;
    if !first && query.as_deref() == Some("key=1") {
        return Err(StatusCode::FORBIDDEN);
    }
    let rest = if first { Err(io::Error::other("broken")) } else { Ok([2; 500]) };
    let body = stream::iter([Ok([1; 500]), rest].map(|part| part.map(Vec::from)));
    Ok(([(CONTENT_LENGTH, 1000)], Body::from_stream(body)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(film))).await });
    let source = HttpSource::addressed_by(Client::new(), move || sign(address));
    println!("{} bytes", StreamBuffer::spawn_source(source).load().await?);
    Ok(())
}
