//! Guide: serve any range of a stream with axum, while the stream still arrives.
//!
//! This is the minimum of a range server. `examples/serve` implements the rest of the standard.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{StreamExt, stream};
use streamspool::{BufferHandle, Bytes, StreamBuffer};

async fn media(State(buffer): State<BufferHandle>, headers: HeaderMap) -> Result<Response, StatusCode> {
    // The declared size. Without one, this loads the stream to its end.
    let size = buffer.size().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let asked = headers.get(RANGE).and_then(|range| range.to_str().ok());
    let asked = asked.and_then(|range| http_range_header::parse_range_header(range).ok());
    let Some(asked) = asked else {
        let body = Body::from_stream(buffer.chunks(..));
        return Ok(
            ([(ACCEPT_RANGES, "bytes".into()), (CONTENT_LENGTH, size.to_string())], body).into_response()
        );
    };
    match asked.validate(size).as_deref() {
        Ok([range]) => {
            let (first, last) = (*range.start(), *range.end());
            let headers = [
                (CONTENT_RANGE, format!("bytes {first}-{last}/{size}")),
                (CONTENT_LENGTH, (last - first + 1).to_string()),
            ];
            // Each piece is sent as soon as it is loaded, without a copy. When the client disconnects, the
            // body is dropped and withdraws its demand. A failure of the source breaks the transfer.
            let body = Body::from_stream(buffer.chunks(first..=last));
            Ok((StatusCode::PARTIAL_CONTENT, headers, body).into_response())
        }
        _ => {
            Ok((StatusCode::RANGE_NOT_SATISFIABLE, [(CONTENT_RANGE, format!("bytes */{size}"))])
                .into_response())
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let slow = stream::iter(0..100_u8).then(async |number| {
        // As slow as a network, so that requests arrive before the stream has ended.
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok::<_, io::Error>(Bytes::from(vec![number; 10_000]))
    });
    let buffer = StreamBuffer::builder().size(1_000_000).spawn(slow);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let app = Router::new().route("/", get(media)).with_state(buffer);
    tokio::spawn(async move { axum::serve(listener, app).await });

    let _ = rustls::crypto::ring::default_provider().install_default();
    for range in ["bytes=-3", "bytes=0-2", "bytes=499999-500000"] {
        let response = reqwest::Client::new().get(&url).header("range", range).send().await?;
        println!("{range}: {} {:?}", response.status(), response.bytes().await?);
    }
    Ok(())
}
