//! The server, the archive and the table that the guides use.

use std::io::{self, Cursor, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, RANGE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use parquet::column::writer::ColumnWriter;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use streamspool::Bytes;
use tokio::sync::oneshot;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A server of one resource, with ranges and an `ETag`. It sends about 10 MB per second.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    sent: Arc<Sent>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// The requests and bytes that the server has sent so far.
#[derive(Debug, Default)]
struct Sent {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Server {
    /// Starts on this port, or on a free one if it is 0.
    ///
    /// # Errors
    ///
    /// The errors of `bind`.
    pub fn start(resource: impl Into<Bytes>, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        let (address, sent) = (listener.local_addr()?, Arc::<Sent>::default());
        let app = Router::new().fallback(serve).with_state((resource.into(), Arc::clone(&sent)));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // The end of the runtime breaks all connections.
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    _ = axum::serve(listener, app) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { address, sent, stop, thread })
    }

    /// The address of the resource.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The number of requests and of bytes sent.
    #[must_use]
    pub fn sent(&self) -> (u64, u64) {
        (self.sent.requests.load(Relaxed), self.sent.bytes.load(Relaxed))
    }

    /// Stops the server, breaks all connections, and returns the port.
    #[must_use]
    pub fn stop(self) -> u16 {
        drop(self.stop);
        let _ = self.thread.join();
        self.address.port()
    }
}

async fn serve(State((resource, sent)): State<(Bytes, Arc<Sent>)>, headers: HeaderMap) -> Response {
    sent.requests.fetch_add(1, Relaxed);
    let size = resource.len() as u64;
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok()).unwrap_or("bytes=0-");
    let range = http_range_header::parse_range_header(range).ok().and_then(|range| range.validate(size).ok());
    let Some((first, last)) =
        range.and_then(|ranges| ranges.first().map(|range| (*range.start(), *range.end())))
    else {
        return (StatusCode::RANGE_NOT_SATISFIABLE, [(CONTENT_RANGE, format!("bytes */{size}"))])
            .into_response();
    };
    let starts = stream::iter((first..=last).step_by(16 * 1024));
    let body = starts.then(move |start| {
        let end = (last + 1).min(start + 16 * 1024);
        let part = resource.slice(usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0));
        sent.bytes.fetch_add(end - start, Relaxed);
        async {
            // As slow as a network, so that clients ask for other bytes before all have arrived.
            tokio::time::sleep(Duration::from_millis(1)).await;
            io::Result::Ok(part)
        }
    });
    let headers = [
        (ETAG, "\"1\"".to_owned()),
        (CONTENT_RANGE, format!("bytes {first}-{last}/{size}")),
        (CONTENT_LENGTH, (last - first + 1).to_string()),
    ];
    (StatusCode::PARTIAL_CONTENT, headers, Body::from_stream(body)).into_response()
}

/// A zip archive of 40 pictures of 200 KB.
///
/// # Errors
///
/// None: the writer is memory.
pub fn archive() -> io::Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut state = 1_u32;
    for number in 1..=40 {
        archive.start_file(format!("picture {number}.raw"), SimpleFileOptions::default())?;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        archive.write_all(&(0..200_000).map(|_| noise()).collect::<Vec<_>>())?;
    }
    Ok(archive.finish()?.into_inner())
}

/// A Parquet file with the columns `id` and `name`.
///
/// # Errors
///
/// None: the writer is memory.
pub fn table() -> Result<Vec<u8>, parquet::errors::ParquetError> {
    let schema = "message table { REQUIRED INT64 id; REQUIRED BYTE_ARRAY name (UTF8); }";
    let mut bytes = Vec::new();
    let mut file =
        SerializedFileWriter::new(&mut bytes, Arc::new(parse_message_type(schema)?), Arc::default())?;
    for group in 0..10 {
        let ids = group * 10_000..(group + 1) * 10_000;
        let names: Vec<_> = ids.clone().map(|id| format!("name {id}").into_bytes().into()).collect();
        let mut rows = file.next_row_group()?;
        while let Some(mut column) = rows.next_column()? {
            match column.untyped() {
                ColumnWriter::Int64ColumnWriter(column) => {
                    column.write_batch(&ids.clone().collect::<Vec<_>>(), None, None)?;
                }
                ColumnWriter::ByteArrayColumnWriter(column) => {
                    column.write_batch(&names, None, None)?;
                }
                _ => {}
            }
            column.close()?;
        }
        rows.close()?;
    }
    file.close()?;
    Ok(bytes)
}
