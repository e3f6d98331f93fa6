//! Guide: one buffer per resource. All listeners share it, and it is dropped with the last of them.
//!
//! A handle or a reader keeps its buffer alive. The weak handle in the map does not.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use futures::{Stream, stream};
use streamspool::{BufferHandle, Bytes, State, StreamBuffer, WeakBufferHandle};

#[derive(Default)]
struct Registry {
    buffers: Mutex<HashMap<String, WeakBufferHandle>>,
}

impl Registry {
    /// Returns the buffer of `key`. Opens the resource if it has no listener yet, or if its source has failed: the
    /// listeners of the failed buffer keep the bytes that it has.
    fn listen<S>(&self, key: &str, open: impl FnOnce() -> S) -> BufferHandle
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = buffers.get(key).and_then(WeakBufferHandle::upgrade);
        if let Some(shared) = shared.filter(|buffer| buffer.progress().state != State::Failed) {
            return shared;
        }
        // Remove the keys of buffers that no longer exist.
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

    // A subscription does not keep the buffer alive. It ends with the buffer.
    let mut gone = one.subscribe();
    drop((one, two));
    while gone.changed().await.is_ok() {}
    println!("song is gone");

    let again = registry.listen("song", || download("song"));
    println!("again: {:?}", again.read(500, 4).await?);

    let failed = registry.listen("radio", || stream::iter([Err(io::ErrorKind::ConnectionReset.into())]));
    println!("radio fails: {}", failed.read(0, 4).await.is_err());
    let retried = registry.listen("radio", || download("radio"));
    println!("radio goes on: {:?}", retried.read(500, 4).await?);
    Ok(())
}
