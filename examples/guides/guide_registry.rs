//! Guide: one buffer for each resource, shared by all who listen, and gone with the last of them.
//!
//! A handle keeps its buffer alive, and so does a reader; a weak handle in the map does not.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use futures::{Stream, stream};
use streamspool::{BufferHandle, Bytes, StreamBuffer, WeakBufferHandle};

#[derive(Default)]
struct Registry {
    buffers: Mutex<HashMap<String, WeakBufferHandle>>,
}

impl Registry {
    /// Joins those who listen to `key`, or opens it where nobody does.
    fn listen<S>(&self, key: &str, open: impl FnOnce() -> S) -> BufferHandle
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = buffers.get(key).and_then(WeakBufferHandle::upgrade) {
            return shared;
        }
        // What others have left behind is no more than a key.
        buffers.retain(|_, buffer| buffer.upgrade().is_some());
        let buffer = StreamBuffer::builder().name(key).spawn(open());
        buffers.insert(key.into(), buffer.downgrade());
        buffer
    }
}

fn download(key: &'static str) -> impl Stream<Item = io::Result<Bytes>> + Send {
    println!("{key} is opened");
    stream::iter((0..1000).map(|number| Ok(Bytes::from(format!("{number:4}\n")))))
}

#[tokio::main]
async fn main() -> Result<(), streamspool::Error> {
    let registry = Registry::default();
    let one = registry.listen("song", || download("song"));
    let two = registry.listen("song", || download("song"));
    println!("one reads {:?}, two reads {:?}", one.read(0, 4).await?, two.read(4995, 4).await?);

    // The receiver does not keep the buffer alive, so it tells when the buffer is gone.
    let mut gone = one.subscribe();
    drop((one, two));
    while gone.changed().await.is_ok() {}
    println!("song is gone");

    let again = registry.listen("song", || download("song"));
    println!("again: {:?}", again.read(500, 4).await?);
    Ok(())
}
