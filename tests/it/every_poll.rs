//! Rule 7: every async method is dropped after each number of polls that it takes. The source sends chunks
//! between the polls. Afterwards no byte is lost or repeated, and no demand is left.

use std::future::Future;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Poll;

use futures::StreamExt;
use streamspool::{BufferHandle, ErrorKind, State, StreamBuffer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt};

use crate::support::disk::Disk;
use crate::support::scripted_store::Script;
use crate::support::source::{Feed, source};
use crate::support::{KIB, MIB, assert_bytes, data, poll_once, settled};

type Request = Pin<Box<dyn Future<Output = ()>>>;

/// The number of chunks of the source.
const CHUNKS: usize = 12;

/// More polls than any request takes. A read of 6 MiB yields after each 32 KiB that it copies.
const MANY: usize = 300;

struct Trial {
    feed: Feed,
    fed: usize,
    chunk: usize,
    buffer: BufferHandle,
    dir: tempfile::TempDir,
}

impl Trial {
    async fn new(chunk: usize, max_memory: usize) -> Self {
        let (feed, stream) = source();
        let builder = StreamBuffer::builder().read_ahead(0).max_memory(max_memory);
        let buffer = Disk::running().serve(builder).spawn(stream);
        let mut trial = Self { feed, fed: 0, chunk, buffer, dir: tempfile::tempdir().unwrap() };
        trial.step();
        trial.buffer.read(0, chunk).await.unwrap();
        trial
    }

    /// The source sends one more chunk, or ends.
    fn step(&mut self) {
        match self.fed {
            ..CHUNKS => self.feed.chunk(self.chunk),
            CHUNKS => self.feed.end(),
            _ => {}
        }
        self.fed += 1;
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("saved")
    }

    /// Checks the state after the request was dropped.
    async fn check(mut self, polls: usize, is_done: bool) {
        settled().await;
        let taken = self.feed.taken();
        for _ in 0..3 {
            self.step();
        }
        settled().await;
        let more = self.feed.taken() - taken;
        assert!(more <= usize::from(!is_done), "{more} chunks after {polls} polls and the drop");
        let state = self.buffer.progress().state;
        assert!(state == State::Waiting || self.feed.is_dropped(), "{state:?} after {polls} polls");
        let names = names(self.dir.path());
        let total = CHUNKS * self.chunk;
        if !names.is_empty() {
            // The rename was running already. Then the file is complete.
            assert_eq!(names, ["saved"], "after {polls} polls");
            assert_bytes(&std::fs::read(self.path()).unwrap(), &data(0, total), 0);
        }
        while self.fed <= CHUNKS {
            self.step();
        }
        assert_eq!(self.buffer.load().await.unwrap(), total as u64);
        assert_bytes(&self.buffer.read(0, usize::MAX).await.unwrap(), &data(0, total), 0);
    }
}

fn names(dir: &Path) -> Vec<String> {
    dir.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Drops a request after each number of polls, until a request resolves before its drop.
async fn at_every_poll(chunk: usize, max_memory: usize, request: impl Fn(&Trial) -> Request) {
    for polls in 0..MANY {
        let mut trial = Trial::new(chunk, max_memory).await;
        let mut request = request(&trial);
        let mut is_done = false;
        for _ in 0..polls {
            is_done = poll_once(&mut request).is_ready();
            if is_done {
                break;
            }
            settled().await;
            trial.step();
            settled().await;
        }
        drop(request);
        trial.check(polls, is_done).await;
        if is_done {
            assert!(polls > 1, "the request has to wait for something");
            return;
        }
    }
    panic!("not done after {MANY} polls");
}

#[tokio::test(start_paused = true)]
async fn rule_7_reads_dropped_at_any_poll_leave_nothing_behind() {
    for max_memory in [0, MIB] {
        at_every_poll(KIB, max_memory, |trial| {
            let buffer = trial.buffer.clone();
            Box::pin(async move {
                assert_bytes(&buffer.read(500, 5000).await.unwrap(), &data(500, 5000), 500);
            })
        })
        .await;
        at_every_poll(KIB, max_memory, |trial| {
            let buffer = trial.buffer.clone();
            Box::pin(async move {
                let bytes = buffer.read_some(4500, 5000).await.unwrap();
                assert_bytes(&bytes, &data(4500, bytes.len()), 4500);
            })
        })
        .await;
        at_every_poll(KIB, max_memory, |trial| {
            let buffer = trial.buffer.clone();
            Box::pin(async move {
                assert_bytes(&buffer.slice(10..9000).await.unwrap(), &data(10, 8990), 10);
            })
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn rule_7_a_read_of_several_requests_dropped_at_any_poll_leaves_nothing_behind() {
    at_every_poll(MIB, MIB, |trial| {
        let buffer = trial.buffer.clone();
        Box::pin(async move {
            assert_bytes(&buffer.read(7, 6 * MIB).await.unwrap(), &data(7, 6 * MIB), 7);
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn rule_7_size_and_load_dropped_at_any_poll_leave_nothing_behind() {
    at_every_poll(KIB, MIB, |trial| {
        let buffer = trial.buffer.clone();
        Box::pin(async move { assert_eq!(buffer.size().await.unwrap(), (CHUNKS * KIB) as u64) })
    })
    .await;
    at_every_poll(KIB, 0, |trial| {
        let buffer = trial.buffer.clone();
        Box::pin(async move { assert_eq!(buffer.load().await.unwrap(), (CHUNKS * KIB) as u64) })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn rules_7_and_12_a_spill_and_a_save_dropped_at_any_poll_leave_nothing_behind() {
    at_every_poll(KIB, MIB, |trial| {
        let buffer = trial.buffer.clone();
        Box::pin(async move { buffer.spill().await.unwrap() })
    })
    .await;
    // Longer than one request, so that the temporary file exists during the save.
    at_every_poll(256 * KIB, MIB, |trial| {
        let (buffer, path) = (trial.buffer.clone(), trial.path());
        Box::pin(async move {
            assert_eq!(buffer.save(&path).await.unwrap(), (CHUNKS * 256 * KIB) as u64);
            assert_bytes(&std::fs::read(&path).unwrap(), &data(0, CHUNKS * 256 * KIB), 0);
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn rule_7_readers_and_chunks_dropped_at_any_poll_leave_nothing_behind() {
    at_every_poll(KIB, 0, |trial| {
        let mut reader = trial.buffer.reader();
        Box::pin(async move {
            let mut buf = vec![0; 6000];
            reader.read_exact(&mut buf).await.unwrap();
            assert_bytes(&buf, &data(0, 6000), 0);
        })
    })
    .await;
    at_every_poll(KIB, MIB, |trial| {
        let mut reader = trial.buffer.reader();
        Box::pin(async move {
            reader.seek(SeekFrom::Start(5000)).await.unwrap();
            let bytes = reader.fill_buf().await.unwrap();
            assert_bytes(bytes, &data(5000, bytes.len()), 5000);
        })
    })
    .await;
    at_every_poll(KIB, MIB, |trial| {
        let mut reader = trial.buffer.reader();
        Box::pin(async move {
            assert_eq!(reader.seek(SeekFrom::End(-5)).await.unwrap(), (CHUNKS * KIB - 5) as u64);
        })
    })
    .await;
    at_every_poll(KIB, 0, |trial| {
        let mut chunks = trial.buffer.chunks(100..7000);
        Box::pin(async move {
            let mut seen = Vec::new();
            while let Some(piece) = chunks.next().await {
                seen.extend_from_slice(&piece.unwrap());
            }
            assert_bytes(&seen, &data(100, 6900), 100);
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn rule_7_a_reader_whose_every_future_is_dropped_goes_on_where_it_was() {
    for max_memory in [0, MIB] {
        let mut trial = Trial::new(KIB, max_memory).await;
        let mut reader = trial.buffer.reader();
        let mut seen = Vec::new();
        let mut buf = [0; 700];
        // Each poll has a new future, which continues the work of the one before.
        for turn in 0_usize.. {
            let done = if turn.is_multiple_of(2) {
                match poll_once(&mut Box::pin(reader.read(&mut buf))) {
                    Poll::Ready(read) => {
                        let read = read.unwrap();
                        seen.extend_from_slice(&buf[..read]);
                        read == 0
                    }
                    Poll::Pending => false,
                }
            } else {
                let filled = match poll_once(&mut Box::pin(reader.fill_buf())) {
                    Poll::Ready(bytes) => Some(bytes.unwrap().to_vec()),
                    Poll::Pending => None,
                };
                let part = filled.as_ref().map_or(0, |bytes| bytes.len().div_ceil(3));
                seen.extend_from_slice(&filled.as_deref().unwrap_or_default()[..part]);
                reader.consume(part);
                filled.is_some() && part == 0
            };
            assert_eq!(reader.position(), seen.len() as u64);
            if done {
                break;
            }
            trial.step();
            settled().await;
        }
        assert_bytes(&seen, &data(0, CHUNKS * KIB), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn rule_7_chunks_whose_every_future_is_dropped_go_on_where_they_were() {
    let mut trial = Trial::new(KIB, 0).await;
    let mut chunks = trial.buffer.chunks(3..);
    let mut seen = Vec::new();
    loop {
        match poll_once(&mut chunks.next()) {
            Poll::Ready(Some(piece)) => seen.extend_from_slice(&piece.unwrap()),
            Poll::Ready(None) => break,
            Poll::Pending => {}
        }
        trial.step();
        settled().await;
    }
    assert_bytes(&seen, &data(3, CHUNKS * KIB - 3), 3);
}

#[tokio::test(start_paused = true)]
async fn rule_18_a_seek_from_the_end_dropped_at_any_poll_moves_nothing() {
    for polls in 0..CHUNKS {
        let mut trial = Trial::new(KIB, MIB).await;
        let mut reader = trial.buffer.reader();
        reader.set_position(40);
        let mut seek = Box::pin(reader.seek(SeekFrom::End(-1)));
        for _ in 0..polls {
            assert!(poll_once(&mut seek).is_pending());
            trial.step();
            settled().await;
        }
        drop(seek);
        assert_eq!(reader.position(), 40, "after {polls} polls");
        let mut buf = [0; 30];
        reader.read_exact(&mut buf).await.unwrap();
        assert_bytes(&buf, &data(40, 30), 40);
        // That read withdrew the demand of the seek, although the reader still exists.
        trial.check(polls, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rule_17_an_actor_dropped_at_any_poll_answers_every_request_and_leaves_nothing_behind() {
    for polls in 0..30 {
        let (mut feed, stream) = source();
        let script = Script::default();
        let dir = tempfile::tempdir().unwrap();
        let builder = StreamBuffer::builder().max_memory(0).read_ahead(0).store(script.store());
        let (buffer, actor) = Disk::running().serve(builder).build(stream);
        let (path, handle) = (dir.path().join("saved"), buffer.clone());
        let mut requests: Vec<Pin<Box<dyn Future<Output = Option<ErrorKind>>>>> = vec![
            Box::pin(async { buffer.read(0, 100 * MIB).await.err().map(|e| e.kind()) }),
            Box::pin(async { buffer.read_some(90_000_000, 5).await.err().map(|e| e.kind()) }),
            Box::pin(async { buffer.size().await.err().map(|e| e.kind()) }),
            Box::pin(async { buffer.spill().await.err().map(|e| e.kind()) }),
            Box::pin(async { handle.save(path).await.err().map(|e| e.kind()) }),
            Box::pin(async { buffer.chunks(90_000_000..).next().await.unwrap().err().map(|e| e.kind()) }),
        ];
        for request in &mut requests {
            assert!(poll_once(request).is_pending());
        }
        let mut waiting = requests;
        let mut run = Box::pin(actor.run());
        for _ in 0..polls {
            assert!(poll_once(&mut run).is_pending());
            feed.chunk(MIB);
            waiting.retain_mut(|request| poll_once(request).is_pending());
            settled().await;
        }
        drop(run);
        assert!(feed.is_dropped());
        assert!(waiting.len() >= 5, "only the spill can be done");
        for request in waiting {
            assert_eq!(request.await, Some(ErrorKind::Closed), "after {polls} polls");
        }
        settled().await;
        assert!(script.is_dropped());
        assert_eq!(names(dir.path()), [""; 0]);
    }
}
