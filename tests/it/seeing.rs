//! Rules 19 and 20: errors, progress and `tracing`, and contents that are never printed.

use std::cell::Cell;
use std::sync::{Arc, Mutex, OnceLock};

use futures::StreamExt;
use streamspool::{Bytes, State, StreamBuffer};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_core::span::Current;

use crate::support::disk::Disk;
use crate::support::scripted_store::{Act, Script};
use crate::support::source::{ready, source};
use crate::support::{MIB, chain, poll_once, settled};

#[tokio::test(start_paused = true)]
async fn rule_19_debug_never_prints_contents() {
    let secret = Bytes::from_static(b"secret");
    let (mut feed, stream) = source();
    let (buffer, actor) = StreamBuffer::builder().name("a name").build(stream);
    feed.bytes(secret);
    feed.fail(std::io::Error::other("gone"));
    let shown = format!("{actor:?} {:?}", StreamBuffer::builder().size(7));
    tokio::spawn(actor.run());
    buffer.read(0, 6).await.unwrap();
    let mut reader = buffer.reader();
    tokio::io::AsyncReadExt::read(&mut reader, &mut [0; 3]).await.unwrap();
    let mut chunks = buffer.chunks(..);
    chunks.next().await.unwrap().unwrap();
    let error = buffer.load().await.unwrap_err();
    let shown = format!("{shown} {buffer:?} {reader:?} {chunks:?} {error:?}");
    assert!(!shown.contains("secret") && !shown.contains("115, 101"), "{shown}");
    assert!(shown.contains("loaded: 6") && shown.contains("position: 3"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn rule_20_progress_shows_each_stage() {
    let (mut feed, stream) = source();
    let buffer = Disk::running().serve(StreamBuffer::builder().size(3000).read_ahead(0)).spawn(stream);
    let told = || {
        let p = buffer.progress();
        (p.loaded, p.size, p.resident, p.spilled, p.state)
    };
    assert_eq!(told(), (0, Some(3000), 0, 0, State::Waiting));
    let read = tokio::spawn({
        let buffer = buffer.clone();
        async move { buffer.read(0, 1500).await }
    });
    settled().await;
    assert_eq!(told(), (0, Some(3000), 0, 0, State::Pulling));
    feed.chunk(1000);
    settled().await;
    assert_eq!(told(), (1000, Some(3000), 1000, 0, State::Pulling));
    feed.chunk(1000);
    read.await.unwrap().unwrap();
    assert_eq!((told().0, told().2), (2000, 2000), "published before the read is answered");
    settled().await;
    assert_eq!(told(), (2000, Some(3000), 2000, 0, State::Waiting));
    buffer.spill().await.unwrap();
    assert_eq!(told(), (2000, Some(3000), 0, 2000, State::Waiting));
    feed.chunk(1000);
    feed.end();
    buffer.load().await.unwrap();
    assert_eq!(told(), (3000, Some(3000), 1000, 2000, State::Complete));
}

#[tokio::test(start_paused = true)]
async fn rule_20_subscribers_see_progress_without_gaps_and_the_end_of_the_buffer() {
    let buffer = StreamBuffer::builder().read_ahead(u64::MAX).max_memory(MIB).spawn(ready(4 << 20, 70_000));
    let mut progress = buffer.subscribe();
    let mut last = progress.latest();
    while last.state != State::Complete {
        progress.changed().await.unwrap();
        let now = progress.latest();
        assert!(now.loaded >= last.loaded && now.spilled >= last.spilled, "{last:?} then {now:?}");
        assert_eq!(now.resident + now.spilled, now.loaded, "every byte is in one place");
        last = now;
    }
    assert_eq!(last.size, Some(4 << 20));
    drop(buffer);
    while progress.changed().await.is_ok() {}
}

#[tokio::test(start_paused = true)]
async fn rules_7_and_20_the_state_shows_a_withdrawn_demand_though_nothing_else_happens() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(0).spawn(stream);
    let mut read = Box::pin(buffer.read(0, 10));
    let mut chunks = buffer.chunks(..);
    let mut reader = buffer.reader();
    assert!(poll_once(&mut read).is_pending());
    assert!(poll_once(&mut chunks.next()).is_pending());
    let mut buf = [0; 4];
    assert!(poll_once(&mut Box::pin(tokio::io::AsyncReadExt::read(&mut reader, &mut buf))).is_pending());
    settled().await;
    assert_eq!(buffer.progress().state, State::Pulling);
    drop(read);
    drop(chunks);
    settled().await;
    assert_eq!(buffer.progress().state, State::Pulling, "one request is left");
    reader.set_position(0);
    settled().await;
    assert_eq!(buffer.progress().state, State::Waiting);
    feed.chunk(10);
    settled().await;
    assert_eq!(feed.taken(), 0, "nothing is pulled any more");
}

#[tokio::test(start_paused = true)]
async fn rules_15_and_20_error_reports_the_failure_of_the_source() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::builder().read_ahead(u64::MAX).spawn(stream);
    feed.chunk(10);
    settled().await;
    assert!(buffer.error().is_none());
    feed.fail(std::io::Error::other("peer went away"));
    buffer.subscribe().wait_for(|progress| progress.state.is_final()).await.unwrap();
    let error = buffer.error().expect("it has failed");
    assert_eq!(chain(&error), ["the source failed at offset 10", "peer went away"]);
}

#[test]
fn rule_20_disk_work_and_the_events_of_a_store_belong_to_the_span_of_their_buffer() {
    /// Records each event with its span.
    #[derive(Clone, Default)]
    struct Note(Arc<Mutex<Vec<String>>>, Arc<OnceLock<&'static Metadata<'static>>>);
    thread_local! {
        static SPAN: Cell<u64> = const { Cell::new(0) };
    }
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }
    impl Subscriber for Note {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.is_span() || *metadata.level() != tracing::Level::DEBUG
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            self.1.get_or_init(|| span.metadata());
            Id::from_u64(7)
        }
        fn current_span(&self) -> Current {
            match SPAN.get() {
                0 => Current::none(),
                id => Current::new(Id::from_u64(id), self.1.get().unwrap()),
            }
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut message = Message(String::new());
            event.record(&mut message);
            let thread = std::thread::current();
            let on_disk_thread = thread.name() == Some("streamspool-disk");
            let place = if on_disk_thread { "disk thread" } else { "caller" };
            self.0.lock().unwrap().push(format!("{} in span {} on {place}", message.0, SPAN.get()));
        }
        fn enter(&self, id: &Id) {
            SPAN.set(id.into_u64());
        }
        fn exit(&self, _: &Id) {
            SPAN.set(0);
        }
    }

    let note = Note::default();
    let notes = || std::mem::take(&mut *note.0.lock().unwrap());
    tracing::subscriber::with_default(note.clone(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let script = Script::default();
            script.writes(|_| {
                tracing::info!("writing");
                Act::WORKS
            });
            script.reads(|_| {
                tracing::info!("reading");
                Act::WORKS
            });
            let buffer = StreamBuffer::builder().store(script.store()).spawn(ready(10, 10));
            buffer.load().await.unwrap();
            assert_eq!(notes(), [""; 0]);
            buffer.spill().await.unwrap();
            assert_eq!(notes(), ["writing in span 7 on disk thread"]);
            // The caller of this read is in no span.
            buffer.read(0, 10).await.unwrap();
            assert_eq!(notes(), ["reading in span 7 on disk thread"]);
        });
    });
}

#[test]
fn rule_20_spans_and_events_name_the_buffer() {
    #[derive(Clone, Default)]
    struct Collect(Arc<Mutex<String>>);
    impl Visit for Collect {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0.lock().unwrap().push_str(&format!(" {field}={value:?}"));
        }
    }
    impl Subscriber for Collect {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("streamspool")
        }
        fn new_span(&self, span: &Attributes<'_>) -> Id {
            span.record(&mut self.clone());
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    let collect = Collect::default();
    tracing::subscriber::with_default(collect.clone(), || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut feed, stream) = source();
            let buffer = StreamBuffer::builder().name("song.mp3").spawn(stream);
            feed.bytes(Bytes::from_static(b"secret"));
            feed.fail(std::io::Error::other("peer went away"));
            buffer.load().await.unwrap_err();
        });
    });
    let told = collect.0.lock().unwrap().clone();
    assert!(told.contains("name=\"song.mp3\"") && told.contains("peer went away"), "{told}");
    assert!(!told.contains("secret"), "{told}");
}
