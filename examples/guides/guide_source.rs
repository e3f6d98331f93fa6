//! Guide: your own `Source`. This one reads a blob of a database page by page, and some queries fail.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::{io, sync::Arc};

use futures::stream;
use streamspool::{Bytes, OpenAt, Opened, Source, StreamBuffer, Version};

/// Stands for the client of a database.
struct Database(AtomicU32);
impl Database {
    async fn page(&self, offset: u64) -> io::Result<Bytes> {
        tokio::task::yield_now().await;
        if self.0.fetch_add(1, Relaxed) % 4 == 3 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(Bytes::from(vec![7; 10_000_u64.saturating_sub(offset).min(1024) as usize]))
    }
}

struct Blob(Arc<Database>);

impl Source for Blob {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        println!("opened at {}", at.offset);
        let pages = stream::try_unfold((Arc::clone(&self.0), at.offset), async |(database, offset)| {
            let page = database.page(offset).await?;
            let next = (database, offset + page.len() as u64);
            Ok::<_, io::Error>((!page.is_empty()).then_some((page, next)))
        });
        Ok(Opened::new(pages).size(10_000).version(Version::strong("revision 1")))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let buffer = StreamBuffer::spawn_source(Blob(Arc::new(Database(AtomicU32::new(0)))));
    println!("{} bytes", buffer.load().await?);
    Ok(())
}
