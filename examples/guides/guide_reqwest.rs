//! Guide: buffer the body of a request, and read its end before its middle.
//!
//! The server in this file stands for any HTTP server. It sends a body once, from front to back.

use std::io;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::routing::get;
use futures::{TryStreamExt, stream};
use streamspool::{BufferHandle, Bytes, StreamBuffer};

type Error = Box<dyn std::error::Error>;

/// Starts the request and buffers its body. The body is not pulled before the first read.
async fn open(url: &str) -> Result<BufferHandle, reqwest::Error> {
    let response = reqwest::get(url).await?.error_for_status()?;
    Ok(StreamBuffer::builder()
        // The buffer checks the size, and knows it without loading the body.
        .size(response.content_length())
        .spawn(response.bytes_stream().map_err(io::Error::other)))
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    // In this workspace, reqwest is built without a TLS provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let buffer = open(&serve().await?).await?;

    println!("{} bytes, of which {} are here", buffer.size().await?, buffer.progress().loaded);
    println!("the last line: {}", String::from_utf8_lossy(&buffer.slice(1_199_988..).await?).trim());
    println!("the first:     {}", String::from_utf8_lossy(&buffer.read(0, 11).await?));
    Ok(())
}

async fn serve() -> Result<String, io::Error> {
    let body = async || {
        let lines = (0..100_000).map(|number| Ok::<_, io::Error>(Bytes::from(format!("line {number:6}\n"))));
        ([(CONTENT_LENGTH, "1200000")], Body::from_stream(stream::iter(lines)))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(body))).await });
    Ok(url)
}
