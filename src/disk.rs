//! The store, as the actor uses it: at once where that takes no waiting, on a blocking thread where it
//! may.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt;
use tokio::task::{self, JoinHandle, JoinSet, spawn_blocking};

use crate::core::Token;
use crate::core::memory::Pieces;
use crate::error::Error;
use crate::message::Reply;
use crate::rooms::Rooms;
use crate::spill::{SpillStore, read_range, try_read_range, write_blocks};

/// The longest range that is read from the store on the actor itself, if that takes no waiting:
/// about 20 microseconds of copying from the page cache.
const READ_AT_ONCE: usize = 256 * 1024;

/// How many blocking reads are under way at once. More would take threads of the runtime's pool from
/// others, and a disk no further.
const READS_AT_ONCE: usize = 8;

/// A range to be read back, and where it goes.
pub(crate) struct FileRead {
    pub(crate) token: Reply,
    pub(crate) offset: u64,
    pub(crate) len: usize,
    /// How many bytes will do if they are at hand. The others are read where one waits anyway.
    pub(crate) enough: usize,
    /// What follows it, resident.
    pub(crate) rest: Pieces,
}

impl FileRead {
    fn finish(self, result: io::Result<Bytes>) {
        let Self { token, offset, len, rest, .. } = self;
        let result = match result {
            Ok(bytes) => {
                let mut pieces = Pieces::default();
                pieces.push(bytes);
                pieces.extend(rest);
                Ok(pieces)
            }
            Err(error) => Err(Error::spill_read(offset, len as u64, error)),
        };
        let _ = token.send(result);
    }
}

pub(crate) struct Disk {
    store: Arc<dyn SpillStore>,
    /// Whether the store ever reads without waiting.
    reads_at_once: bool,
    rooms: Rooms,
    /// Whether the last write succeeded and no other is under way: then memory is within its budget,
    /// and what the rooms keep within its bound.
    has_slack: bool,
    writing: Option<JoinHandle<io::Result<()>>>,
    reading: JoinSet<io::Result<Bytes>>,
    /// Who waits for them. Kept here and not with the job, so that a disk that hangs keeps nobody
    /// from learning that the actor is gone.
    readers: HashMap<task::Id, FileRead>,
    /// Reads that wait for others to end.
    queue: VecDeque<FileRead>,
}

impl Disk {
    pub(crate) fn new(store: Arc<dyn SpillStore>) -> Self {
        let (reading, readers) = (JoinSet::new(), HashMap::new());
        Self {
            store,
            reads_at_once: true,
            rooms: Rooms::default(),
            has_slack: false,
            writing: None,
            reading,
            readers,
            queue: VecDeque::new(),
        }
    }

    /// Answers a read: now if that takes no waiting, else when a blocking thread has read it.
    pub(crate) fn read(&mut self, read: FileRead) {
        if self.reads_at_once && read.enough <= READ_AT_ONCE {
            let room = self.rooms.take(read.enough);
            match try_read_range(&*self.store, read.offset, room) {
                Ok(bytes) => {
                    if self.has_slack {
                        self.rooms.keep(&bytes);
                    }
                    return read.finish(Ok(bytes));
                }
                // To ask costs room, with zeros in it.
                Err(error) => self.reads_at_once = error.kind() != io::ErrorKind::Unsupported,
            }
        }
        self.queue.push_back(read);
        self.start_reads();
    }

    fn start_reads(&mut self) {
        while self.reading.len() < READS_AT_ONCE {
            let Some(read) = self.queue.pop_front() else { break };
            if read.token.is_abandoned() {
                continue;
            }
            let (store, offset, len) = (Arc::clone(&self.store), read.offset, read.len);
            let job = self.reading.spawn_blocking(move || read_range(&*store, offset, len));
            self.readers.insert(job.id(), read);
        }
    }

    /// Answers whoever waited for a read that has ended, and starts the next ones.
    pub(crate) fn poll_reads(&mut self, cx: &mut Context<'_>) {
        // It is asked all the time, and hardly ever is there anything.
        if self.reading.is_empty() {
            return;
        }
        while let Poll::Ready(Some(done)) = self.reading.poll_join_next_with_id(cx) {
            let (id, result) = done.unwrap_or_else(|gone| (gone.id(), Err(io::Error::other(gone))));
            if let Some(read) = self.readers.remove(&id) {
                read.finish(result);
            }
            self.start_reads();
        }
    }

    /// Writes blocks, one behind the other, on a blocking thread.
    pub(crate) fn write(&mut self, offset: u64, blocks: Vec<Bytes>) {
        self.has_slack = false;
        self.rooms.clear();
        let store = Arc::clone(&self.store);
        self.writing = Some(spawn_blocking(move || write_blocks(&*store, offset, &blocks)));
    }

    /// How the write under way ended, once it has.
    pub(crate) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(job) = &mut self.writing else { return Poll::Pending };
        let result = ready!(job.poll_unpin(cx));
        self.writing = None;
        let result = result.unwrap_or_else(|gone| Err(io::Error::other(gone)));
        self.has_slack = result.is_ok();
        Poll::Ready(result)
    }

    /// Waits for what is under way, so that the store is gone when the actor is. Who waits for a read
    /// does not wait for that.
    pub(crate) async fn finish(mut self) {
        self.queue.clear();
        self.readers.clear();
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
        while self.reading.join_next().await.is_some() {}
    }
}
