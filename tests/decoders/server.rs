//! A server whose connections break.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use streamspool::{BufferHandle, HttpSource, StreamBuffer};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Serves a resource from any offset, and breaks each connection after a number of bytes. Opens a buffer on
/// it. The counter is the number of its requests.
pub(crate) async fn breaking(whole: &[u8], after: usize) -> (Arc<AtomicUsize>, BufferHandle) {
    let whole: Arc<[u8]> = whole.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/tune", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let whole = Arc::clone(&whole);
            // The client may leave at any time.
            tokio::spawn(async move { serve(connection, &whole, after).await });
        }
    });
    (requests, StreamBuffer::spawn_source(HttpSource::new(url).unwrap()))
}

async fn serve(connection: TcpStream, whole: &[u8], after: usize) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut start = 0;
    let mut line = String::new();
    while connection.read_line(&mut line).await? > 2 {
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            start = range.split('-').next().unwrap().parse().unwrap();
        }
        line.clear();
    }
    let (last, len) = (whole.len() - 1, whole.len());
    let head = format!(
        "HTTP/1.1 206 Partial\r\nConnection: close\r\nContent-Range: bytes {start}-{last}/{len}\r\n\
         Content-Length: {}\r\nETag: \"a\"\r\n\r\n",
        len - start
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(&whole[start..len.min(start + after)]).await?;
    connection.shutdown().await
}
