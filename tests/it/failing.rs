//! Rules 14 to 16: failures of the source and the disk, and wrong declared sizes.

use std::error::Error as _;
use std::io;

use futures::StreamExt;
use streamspool::{Error, ErrorKind, State, StreamBuffer};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::support::disk::Disk;
use crate::support::scripted_store::{Fault, Script};
use crate::support::source::{ready, source};
use crate::support::{
    BLOCK, KIB, MIB, assert_bytes, assert_data, chain, data, on_both_runtimes, poll_once, settled,
};

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "peer went away")
}

#[tokio::test(start_paused = true)]
async fn rule_14_a_stream_that_ends_early_is_truncated() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().size(100).spawn(stream);
    assert_eq!(buffer.size().await.unwrap(), 100, "the declared size counts until it turns out wrong");
    feed.chunk(60);
    feed.end();
    let error = buffer.read(0, 100).await.unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Truncated, 60));
    assert_eq!(error.to_string(), "the source ended at offset 60, before its declared size of 100 bytes");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
    assert_bytes(&buffer.read(10, 50).await.unwrap(), &data(10, 50), 10);
    assert_data(&buffer.read_some(50, 100).await.unwrap(), 50);
    for result in [buffer.read_some(60, 1).await.map(drop), buffer.load().await.map(drop)] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Truncated);
    }
    assert_eq!(buffer.size().await.unwrap_err().kind(), ErrorKind::Truncated);
    assert_eq!((buffer.progress().state, buffer.progress().size), (State::Failed, None));
}

#[tokio::test(start_paused = true)]
async fn rule_14_a_stream_that_goes_on_is_oversized() {
    for step in [1, 7, 100, 150, 5 * MIB] {
        let (mut feed, stream) = source();
        let buffer = StreamBuffer::builder().size(100).spawn(stream);
        for _ in 0..=100 / step {
            feed.chunk(step);
        }
        feed.chunk(1);
        let error = buffer.read(0, 101).await.unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Oversized, 100));
        assert_eq!(
            error.to_string(),
            "the source went on at offset 100, past its declared size of 100 bytes"
        );
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
        assert_bytes(&buffer.read(0, 100).await.unwrap(), &data(0, 100), 0);
        assert_eq!(buffer.read_some(100, 1).await.unwrap_err().kind(), ErrorKind::Oversized);
        settled().await;
        assert!(feed.is_dropped(), "no request needs the rest");
    }
}

#[tokio::test(start_paused = true)]
async fn rule_14_a_correct_size_is_checked_and_kept() {
    let buffer = StreamBuffer::builder().size(Some(100)).spawn(ready(100, 7));
    assert_bytes(&buffer.read(0, 1000).await.unwrap(), &data(0, 100), 0);
    assert_eq!(buffer.load().await.unwrap(), 100);
    let empty = StreamBuffer::builder().size(0).spawn(ready(0, 7));
    assert_eq!(empty.load().await.unwrap(), 0);
    assert_eq!(empty.read(0, 10).await.unwrap(), "");
    // Far more than the memory of any machine: nothing is allocated from it.
    let huge = StreamBuffer::builder().size(u64::MAX).spawn(ready(100, 7));
    assert_eq!(huge.read(0, usize::MAX).await.unwrap_err().kind(), ErrorKind::Truncated);
    assert_bytes(&huge.read(0, 100).await.unwrap(), &data(0, 100), 0);
}

#[tokio::test(start_paused = true)]
async fn rule_14_without_a_declared_size_asking_for_it_loads_to_the_end() {
    let (mut feed, stream) = source();
    let buffer = Disk::running().serve(StreamBuffer::builder().read_ahead(0)).spawn(stream);
    let mut size = Box::pin(buffer.size());
    assert!(poll_once(&mut size).is_pending());
    feed.chunk(3 * MIB);
    settled().await;
    assert!(poll_once(&mut size).is_pending());
    feed.end();
    assert_eq!(size.await.unwrap(), 3 * MIB as u64);
    assert_eq!(buffer.progress().size, Some(3 * MIB as u64));
}

#[tokio::test(start_paused = true)]
async fn rule_15_an_error_of_the_source_is_shared_and_final_and_keeps_its_kind() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    let waiting: Vec<_> = (0..10)
        .map(|n| {
            let buffer = buffer.clone();
            tokio::spawn(async move { buffer.read(n, 100).await })
        })
        .collect();
    feed.chunk(50);
    feed.fail(reset());
    let mut errors = Vec::<Error>::new();
    for task in waiting {
        errors.push(task.await.unwrap().unwrap_err());
    }
    for _ in 0..3 {
        errors.push(buffer.read(49, 2).await.unwrap_err());
        errors.push(buffer.read_some(50, 2).await.unwrap_err());
        errors.push(buffer.read(u64::MAX, 1).await.unwrap_err());
        errors.push(buffer.load().await.unwrap_err());
        errors.push(buffer.size().await.unwrap_err());
    }
    for error in errors {
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Source, 50));
        assert_eq!(chain(&error), ["the source failed at offset 50", "peer went away"]);
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionReset);
    }
    assert_eq!(buffer.progress().state, State::Failed);
    // Bytes that arrived before the failure stay readable.
    assert_bytes(&buffer.read(0, 50).await.unwrap(), &data(0, 50), 0);
    buffer.spill().await.unwrap();
    assert_bytes(&buffer.read(0, 50).await.unwrap(), &data(0, 50), 0);
}

#[tokio::test(start_paused = true)]
async fn rule_15_readers_deliver_the_loaded_bytes_and_then_the_error() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    feed.chunk(50);
    feed.fail(reset());
    let mut reader = buffer.reader();
    let mut seen = Vec::new();
    let error = reader.read_to_end(&mut seen).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_bytes(&seen, &data(0, 50), 0);
    for _ in 0..3 {
        assert_eq!(reader.read(&mut [0; 4]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
    // A reader can still seek in the loaded bytes and read them.
    reader.seek(io::SeekFrom::Start(20)).await.unwrap();
    let mut part = [0; 30];
    reader.read_exact(&mut part).await.unwrap();
    assert_data(&part, 20);

    let mut chunks = buffer.chunks(..);
    let mut seen = Vec::new();
    let error = loop {
        match chunks.next().await.expect("an error is not an end") {
            Ok(piece) => seen.extend_from_slice(&piece),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Source);
    assert_bytes(&seen, &data(0, 50), 0);
    assert!(chunks.next().await.is_none());
}

#[test]
fn rule_15_a_panic_in_the_source_is_an_error_of_the_source() {
    on_both_runtimes(|| async {
        let (mut feed, stream) = source();
        let buffer = StreamBuffer::spawn(stream);
        feed.chunk(50);
        feed.panic();
        let error = buffer.read(0, 51).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source);
        let texts = ["the source failed at offset 50", "the source panicked: as the test asked"];
        assert_eq!(chain(&error), texts);
        assert_bytes(&buffer.read(0, 50).await.unwrap(), &data(0, 50), 0);
    });
}

#[test]
fn rule_15_a_panic_while_the_source_is_dropped_is_caught() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("as the test asked");
        }
    }
    on_both_runtimes(|| async {
        let bomb = Bomb;
        let stream = ready(10, 10).chain(futures::stream::poll_fn(move |_| {
            let _ = &bomb;
            std::task::Poll::Ready(None)
        }));
        let (buffer, actor) = StreamBuffer::builder().build(stream);
        let actor = tokio::spawn(actor.run());
        assert_eq!(buffer.load().await.unwrap(), 10);
        assert_eq!(buffer.read(0, 10).await.unwrap(), data(0, 10));
        drop(buffer);
        actor.await.expect("no panic in the actor");
    });
}

#[tokio::test(start_paused = true)]
async fn rule_15_the_cause_can_be_inspected() {
    #[derive(Debug)]
    struct Status(u16);
    impl std::fmt::Display for Status {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "status {}", self.0)
        }
    }
    impl std::error::Error for Status {}

    let (feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    feed.fail(io::Error::other(Status(503)));
    let error = buffer.read(0, 1).await.unwrap_err();
    let status = error.io_error().unwrap().get_ref().unwrap().downcast_ref::<Status>().unwrap();
    assert_eq!(status.0, 503);
    let cause = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert!(std::ptr::eq(cause, error.io_error().unwrap()), "the source of the error is the I/O error");
}

#[test]
fn rule_16_a_failed_write_loses_no_byte_and_is_retried() {
    on_both_runtimes(|| async {
        let script = Script::default();
        let size = 8 * MIB as u64;
        script.limit(Some(2 * MIB as u64));
        // Without read-ahead no byte is needed after the requests have failed. So the write is not retried in the
        // background, however long the reads below take.
        let builder = StreamBuffer::builder().max_memory(MIB).read_ahead(0).store(script.store());
        let buffer = builder.spawn(ready(size, 64 * KIB));
        // Two requests wait for more bytes than fit. Both get the error.
        let (first, second) = tokio::join!(buffer.read(size - 1, 1), buffer.load());
        for error in [first.unwrap_err(), second.unwrap_err()] {
            assert_eq!(
                (error.kind(), error.io_error().unwrap().kind()),
                (ErrorKind::Spill, io::ErrorKind::StorageFull)
            );
            assert!(error.to_string().starts_with("could not move bytes from memory to the spill store at"));
        }
        // No byte is lost, and loaded bytes are readable.
        let progress = buffer.progress();
        assert!(progress.spilled <= 2 * MIB as u64 && progress.loaded > 3 * MIB as u64, "{progress:?}");
        let loaded = progress.loaded as usize;
        assert_bytes(&buffer.read(0, loaded).await.unwrap(), &data(0, loaded), 0);
        assert_eq!(buffer.progress().loaded, progress.loaded, "pulling has stopped");
        // The disk is still full: the next read of missing bytes retries the write, and gets the error.
        assert_eq!(buffer.read(size - 1, 1).await.unwrap_err().kind(), ErrorKind::Spill);
        // The disk has space again: loading continues.
        script.limit(None);
        assert_eq!(buffer.load().await.unwrap(), size);
        assert_bytes(&buffer.read(0, 8 * MIB).await.unwrap(), &data(0, 8 * MIB), 0);
    });
}

#[test]
fn rule_16_a_failed_spill_stops_no_read() {
    on_both_runtimes(|| async {
        let script = Script::default();
        script.fault(Fault::NoSpace);
        let (mut feed, stream) = source();
        let buffer = StreamBuffer::builder().store(script.store()).spawn(stream);
        feed.chunk(1000);
        buffer.read(0, 1).await.unwrap();
        let waiting = tokio::spawn({
            let buffer = buffer.clone();
            async move { buffer.read(0, 2000).await }
        });
        let error = buffer.spill().await.unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Spill, 0));
        feed.chunk(1000);
        assert_bytes(&waiting.await.unwrap().unwrap(), &data(0, 2000), 0);
    });
}

#[test]
fn rule_16_a_failed_disk_read_fails_that_read_alone() {
    on_both_runtimes(|| async {
        let script = Script::default();
        let buffer =
            StreamBuffer::builder().max_memory(0).store(script.store()).spawn(ready(2 * MIB as u64, BLOCK));
        buffer.load().await.unwrap();
        buffer.spill().await.unwrap();
        script.fault(Fault::NoSpace);
        let error = buffer.read(1234, 100).await.unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Spill, 1234));
        let message = "could not read 100 bytes back from the spill store at offset 1234";
        assert_eq!(chain(&error), [message, "as the test asked"]);
        script.heal();
        assert_bytes(&buffer.read(1234, 100).await.unwrap(), &data(1234, 100), 1234);
    });
}

#[test]
fn rules_13_and_16_short_accesses_and_panics_of_a_store_are_survived() {
    on_both_runtimes(|| async {
        let script = Script::default();
        let size = 2 * MIB;
        let buffer = StreamBuffer::builder().store(script.store()).spawn(ready(size as u64, BLOCK));
        buffer.load().await.unwrap();
        script.fault(Fault::Panic);
        let error = buffer.spill().await.unwrap_err();
        assert_eq!(chain(&error)[1..], ["the spill store panicked: as the test asked"]);
        script.heal();
        script.fault(Fault::Short(70_001));
        buffer.spill().await.unwrap();
        assert_bytes(&buffer.read(0, size).await.unwrap(), &data(0, size), 0);
        script.fault(Fault::Panic);
        assert_eq!(buffer.read(0, size).await.unwrap_err().kind(), ErrorKind::Spill);
        script.heal();
        assert_bytes(&buffer.read(0, size).await.unwrap(), &data(0, size), 0);
    });
}

#[test]
fn rule_16_a_failed_write_is_published_and_a_background_load_retries_it() {
    on_both_runtimes(|| async {
        let script = Script::default();
        script.fault(Fault::NoSpace);
        let size = 4 * MIB as u64;
        let builder = StreamBuffer::builder().max_memory(0).read_ahead(u64::MAX).store(script.store());
        let buffer = builder.spawn(ready(size, 64 * KIB));
        let mut updates = buffer.subscribe();
        updates.wait_for(|progress| progress.store_failing).await.unwrap();
        let error = buffer.store_error().unwrap();
        assert_eq!(error.kind(), ErrorKind::Spill);
        assert!(buffer.error().is_none(), "the source has not failed");
        script.heal();
        // No further request is made: the load continues by itself.
        let progress = updates.wait_for(|progress| progress.state == State::Complete).await.unwrap();
        assert_eq!((progress.loaded, progress.store_failing), (size, false));
        assert!(buffer.store_error().is_none());
        assert_bytes(&buffer.read(0, 4 * MIB).await.unwrap(), &data(0, 4 * MIB), 0);
    });
}

#[test]
fn rule_16_without_a_timer_a_failed_write_is_an_error_and_the_next_read_retries_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let script = Script::default();
        script.fault(Fault::NoSpace);
        let builder = StreamBuffer::builder().max_memory(0).read_ahead(u64::MAX).store(script.store());
        let buffer = builder.spawn(ready(4 * MIB as u64, 64 * KIB));
        buffer.subscribe().wait_for(|progress| progress.store_failing).await.unwrap();
        assert_eq!(buffer.load().await.unwrap_err().kind(), ErrorKind::Spill);
        assert_eq!(buffer.store_error().unwrap().kind(), ErrorKind::Spill);
        script.heal();
        assert_eq!(buffer.load().await.unwrap(), 4 * MIB as u64);
        assert_bytes(&buffer.read(0, 4 * MIB).await.unwrap(), &data(0, 4 * MIB), 0);
    });
}
