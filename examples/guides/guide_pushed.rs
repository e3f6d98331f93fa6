//! Guide: data that is pushed by a thread or a callback. The end is a message of its own, so that a producer that
//! stops early is an error and not the end.

use std::io;
use std::thread;

use futures::{Stream, stream};
use streamspool::{Bytes, StreamBuffer};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// A chunk, or `None` for the end, or a failure of the producer.
type Pushed = io::Result<Option<Bytes>>;

fn pushed(chunks: Receiver<Pushed>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(chunks, async |mut chunks| match chunks.recv().await {
        Some(pushed) => Ok(pushed?.map(|chunk| (chunk, chunks))),
        None => Err(io::Error::other("the producer has stopped before the end")),
    })
}

/// Pushes lines from a thread. Stops without the end after this many lines. `None` if the buffer is gone.
fn produce(sender: &Sender<Pushed>, stops_after: usize) -> Option<()> {
    for number in 0..1000 {
        if number == stops_after {
            return None;
        }
        // This waits while the buffer pulls nothing.
        sender.blocking_send(Ok(Some(Bytes::from(format!("{number:4}\n"))))).ok()?;
    }
    sender.blocking_send(Ok(None)).ok()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (sender, chunks) = channel(16);
    let buffer = StreamBuffer::spawn(pushed(chunks));
    thread::spawn(move || produce(&sender, usize::MAX));
    println!("all {} bytes, the last line is {:?}", buffer.size().await?, buffer.slice(4995..).await?);

    let (sender, chunks) = channel(16);
    let buffer = StreamBuffer::spawn(pushed(chunks));
    thread::spawn(move || produce(&sender, 500));
    let Err(error) = buffer.load().await else { return Err("the producer has stopped early".into()) };
    println!("{error}: {}", error.io_error().map(ToString::to_string).unwrap_or_default());
    println!("bytes before it stay readable: {:?}", buffer.read(2495, 4).await?);
    Ok(())
}
