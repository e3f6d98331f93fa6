//! Rule 17: destructors of foreign values (payloads, chunks, sources, stores, errors) that panic.

use std::fmt;
use std::io;
use std::panic::panic_any;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use streamspool::{Bytes, ErrorKind, StreamBuffer, TempFileStore};

use crate::support::disk::Disk;
use crate::support::scripted_store::{Act, Script};
use crate::support::source::{ready, source};
use crate::support::{MIB, assert_bytes, chain, data, on_both_runtimes, settled};

/// Panics when it is dropped, and counts how often that happens.
#[derive(Clone, Debug, Default)]
struct Bomb(Arc<AtomicUsize>);

impl Bomb {
    fn drops(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// The value that panics. A clone counts for the test.
    fn armed(&self) -> Armed {
        Armed(self.clone())
    }
}

#[derive(Debug)]
struct Armed(Bomb);

impl Drop for Armed {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        // A panic while unwinding would abort the process.
        assert!(std::thread::panicking(), "a destructor panics, as the test asked");
    }
}

impl fmt::Display for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("armed")
    }
}

impl std::error::Error for Armed {}

/// The memory of a chunk.
struct Owner(Bytes, #[allow(dead_code, reason = "it is only dropped")] Armed);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Bomb {
    /// Bytes of `data` whose owner panics when it is dropped.
    fn chunk(&self, offset: u64, len: usize) -> Bytes {
        Bytes::from_owner(Owner(data(offset, len), self.armed()))
    }
}

#[test]
fn rule_17_a_panic_payload_that_panics_again_is_an_error_of_the_source() {
    on_both_runtimes(|| async {
        let bomb = Bomb::default();
        let payload = bomb.clone();
        let stream = ready(50, 50).chain(futures::stream::poll_fn(move |_| panic_any(payload.armed())));
        let (buffer, actor) = StreamBuffer::builder().build(stream);
        let actor = tokio::spawn(actor.run());
        let error = buffer.read(0, 51).await.unwrap_err();
        assert_eq!(chain(&error)[1..], ["the source panicked: (no message)"]);
        assert_eq!(bomb.drops(), 1);
        assert_bytes(&buffer.read(0, 50).await.unwrap(), &data(0, 50), 0);
        drop(buffer);
        actor.await.expect("no panic in the actor");
    });
}

#[test]
fn rule_17_a_store_whose_panics_and_errors_panic_again_fails_only_its_calls() {
    on_both_runtimes(|| async {
        for bad in ["panics", "fails", "is interrupted"] {
            let (bomb, own) = (Bomb::default(), Bomb::default());
            let script = Script::cached();
            // Each call panics or fails with a value whose destructor panics. That of the store panics too.
            let detonate = || {
                let bomb = bomb.clone();
                let act = move |_| match bad {
                    "panics" => Act::Panics(Box::new(bomb.armed())),
                    "fails" => Act::Fails(io::Error::other(bomb.armed())),
                    _ => Act::Fails(io::Error::new(io::ErrorKind::Interrupted, bomb.armed())),
                };
                script.writes(act.clone());
                script.reads(act.clone());
                script.tries(act);
            };
            let works = || {
                script.heal();
                script.tries(|_| Act::WORKS);
            };
            detonate();
            let store = script.store_with(own.armed());
            let (buffer, actor) = StreamBuffer::builder().store(store).build(ready(1000, 100));
            let actor = tokio::spawn(actor.run());
            buffer.load().await.unwrap();
            let error = buffer.spill().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Spill);
            let cause = if bad == "panics" { "the spill store panicked: (no message)" } else { "armed" };
            assert_eq!(chain(&error)[1..], [cause]);
            drop(error);
            works();
            buffer.spill().await.unwrap();
            detonate();
            // The attempt without waiting fails first.
            let before = bomb.drops();
            let error = buffer.read(0, 1000).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Spill);
            drop(error);
            assert!(bomb.drops() > before + 1, "{}", bomb.drops());
            works();
            assert_bytes(&buffer.read(0, 1000).await.unwrap(), &data(0, 1000), 0);
            drop(buffer);
            actor.await.expect("no panic in the actor");
            assert_eq!(own.drops(), 1, "the store is dropped");
        }
    });
}

#[tokio::test(start_paused = true)]
async fn rule_17_a_panic_in_the_drop_of_a_store_is_ignored_wherever_it_happens() {
    let bomb = Bomb::default();
    let builder = || StreamBuffer::builder().store(Script::default().store_with(bomb.armed()));
    drop(builder());
    assert_eq!(bomb.drops(), 1);
    drop(builder().store(TempFileStore::new()));
    assert_eq!(bomb.drops(), 2);
    drop(builder().build(ready(10, 10)));
    assert_eq!(bomb.drops(), 3);
    let (buffer, actor) = builder().build(ready(10, 10));
    let actor = tokio::spawn(actor.run());
    buffer.load().await.unwrap();
    actor.abort();
    assert!(actor.await.unwrap_err().is_cancelled());
    assert_eq!(bomb.drops(), 4);
    let (buffer, actor) = builder().build(ready(10, 10));
    tokio::join!(async move { buffer.close() }, actor.run());
    assert_eq!(bomb.drops(), 5);
}

#[test]
fn rule_17_a_panic_in_the_drop_of_an_error_is_ignored_while_the_actor_ends() {
    on_both_runtimes(|| async {
        for writes_fail in [false, true] {
            let (disk, script, bomb) = (Disk::running(), Script::default(), Bomb::default());
            let builder = disk.serve(StreamBuffer::builder().store(script.store()));
            let (buffer, actor) = builder.build(ready(1000, 100));
            let actor = tokio::spawn(actor.run());
            buffer.load().await.unwrap();
            let (armed, fails) =
                (bomb.clone(), move |bomb: &Bomb| Act::Fails(io::Error::other(bomb.armed())));
            let held = if writes_fail {
                script.writes(move |_| fails(&armed));
                disk.hold();
                let buffer = buffer.clone();
                tokio::spawn(async move { buffer.spill().await.map(drop) })
            } else {
                buffer.spill().await.unwrap();
                script.reads(move |_| fails(&armed));
                disk.hold();
                let buffer = buffer.clone();
                tokio::spawn(async move { buffer.read(0, 1000).await.map(drop) })
            };
            disk.until_waiting().await;
            buffer.close();
            assert_eq!(held.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
            assert_eq!(bomb.drops(), 0);
            disk.go_on();
            actor.await.expect("no panic in the actor");
            assert_eq!(bomb.drops(), 1);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn rule_17_a_chunk_whose_owner_panics_is_taken_in() {
    let bomb = Bomb::default();
    let (mut feed, stream) = source();
    let (buffer, actor) = StreamBuffer::builder().build(stream);
    let actor = tokio::spawn(actor.run());
    feed.bytes(bomb.chunk(0, 100));
    feed.bytes(bomb.chunk(100, 0));
    feed.bytes(bomb.chunk(100, 3 * MIB));
    feed.end();
    let size = 100 + 3 * MIB;
    assert_eq!(buffer.load().await.unwrap(), size as u64);
    assert_eq!(bomb.drops(), 3, "the memory of each chunk is freed");
    assert_bytes(&buffer.read(0, size).await.unwrap(), &data(0, size), 0);
    drop(buffer);
    actor.await.expect("no panic in the actor");
}

#[tokio::test(start_paused = true)]
async fn rules_14_and_17_a_chunk_whose_owner_panics_is_cut_at_the_declared_size() {
    for declared in [70, 100, 150] {
        let bomb = Bomb::default();
        let (mut feed, stream) = source();
        let (buffer, actor) = StreamBuffer::builder().size(declared).build(stream);
        let actor = tokio::spawn(actor.run());
        feed.bytes(bomb.chunk(0, 100));
        feed.bytes(bomb.chunk(100, 100));
        assert_eq!(buffer.load().await.unwrap_err().kind(), ErrorKind::Oversized);
        assert_bytes(&buffer.read(0, declared as usize).await.unwrap(), &data(0, declared as usize), 0);
        drop(buffer);
        actor.await.expect("no panic in the actor");
        drop(feed);
        assert_eq!(bomb.drops(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn rule_17_a_panic_in_the_drop_of_a_chunk_is_ignored_while_it_arrives() {
    for aborts in [false, true] {
        let (bomb, disk, script) = (Bomb::default(), Disk::running(), Script::default());
        disk.hold();
        let (mut feed, stream) = source();
        let builder = StreamBuffer::builder().max_memory(0).read_ahead(u64::MAX).store(script.store());
        let (buffer, actor) = disk.serve(builder).build(stream);
        let actor = tokio::spawn(actor.run());
        feed.bytes(bomb.chunk(0, 5 * MIB));
        while buffer.progress().loaded < MIB as u64 {
            tokio::task::yield_now().await;
        }
        assert_eq!(bomb.drops(), 0, "memory has no room for all of it");
        if aborts {
            actor.abort();
        } else {
            buffer.close();
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        disk.go_on();
        let ended = actor.await;
        assert!(if aborts { ended.unwrap_err().is_cancelled() } else { ended.is_ok() });
        // An aborted actor leaves its memory to a disk thread.
        settled().await;
        assert_eq!(bomb.drops(), 1);
    }
}

/// A stream whose destructor panics.
struct Source(#[allow(dead_code, reason = "it is only dropped")] Armed);

impl Stream for Source {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn rule_17_a_panic_in_the_drop_of_a_source_is_ignored_wherever_it_happens() {
    let bomb = Bomb::default();
    let build = || StreamBuffer::builder().build(Source(bomb.armed()));
    drop(build());
    assert_eq!(bomb.drops(), 1);
    let (buffer, actor) = build();
    let actor = tokio::spawn(actor.run());
    settled().await;
    actor.abort();
    assert!(actor.await.unwrap_err().is_cancelled());
    assert_eq!(buffer.load().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(bomb.drops(), 2);
    let (buffer, actor) = build();
    tokio::join!(async move { buffer.close() }, actor.run());
    assert_eq!(bomb.drops(), 3);
}

#[tokio::test(start_paused = true)]
async fn rules_15_and_17_a_panic_in_the_drop_of_an_error_of_the_source_is_ignored() {
    let bomb = Bomb::default();
    let (feed, stream) = source();
    let (buffer, actor) = StreamBuffer::builder().build(stream);
    let actor = tokio::spawn(actor.run());
    feed.fail(io::Error::other(bomb.armed()));
    let errors = [buffer.load().await.unwrap_err(), buffer.error().unwrap()];
    assert_eq!(chain(&errors[0]), ["the source failed at offset 0", "armed"]);
    drop(buffer);
    actor.await.expect("no panic in the actor");
    assert_eq!(bomb.drops(), 0, "a caller still has the error");
    drop(errors);
    assert_eq!(bomb.drops(), 1);
}
