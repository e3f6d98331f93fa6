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
/// about 25 microseconds of copying from the page cache.
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
                let mut pieces = Pieces::One(bytes);
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
    /// Whether memory is within its budget, and so has room for what the rooms keep.
    has_slack: bool,
    /// Whether the last write failed.
    failed: bool,
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
            failed: false,
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

    /// Tells whether no write is due. If none is under way either, nor the last one failed, then memory
    /// is within its budget.
    pub(crate) fn settle(&mut self, settled: bool) {
        self.has_slack = settled && self.writing.is_none() && !self.failed;
    }

    /// Gives back what is kept for later reads.
    pub(crate) fn shrink(&mut self) {
        self.rooms.clear();
    }

    /// Writes blocks, one behind the other, on a blocking thread.
    pub(crate) fn write(&mut self, offset: u64, blocks: Vec<Bytes>) {
        self.has_slack = false;
        self.shrink();
        let store = Arc::clone(&self.store);
        self.writing = Some(spawn_blocking(move || write_blocks(&*store, offset, &blocks)));
    }

    /// How the write under way ended, once it has.
    pub(crate) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(job) = &mut self.writing else { return Poll::Pending };
        let result = ready!(job.poll_unpin(cx));
        self.writing = None;
        let result = result.unwrap_or_else(|gone| Err(io::Error::other(gone)));
        self.failed = result.is_err();
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, channel};

    use tokio::sync::oneshot;

    use super::*;

    /// Zeros that are always at hand. A write ends when, and as, it is told.
    struct Gated(Mutex<Receiver<io::Result<usize>>>);

    impl SpillStore for Gated {
        fn write_at(&self, _: u64, _: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().recv().unwrap()
        }

        fn read_at(&self, _: u64, buf: &mut [u8]) -> io::Result<usize> {
            Ok(buf.len())
        }

        fn try_read_at(&self, _: u64, buf: &mut [u8]) -> io::Result<usize> {
            Ok(buf.len())
        }
    }

    /// Whether the room of a read that is at hand is kept.
    fn keeps(disk: &mut Disk) -> bool {
        let (token, answer) = oneshot::channel();
        disk.read(FileRead { token, offset: 0, len: 4096, enough: 4096, rest: Pieces::default() });
        drop(answer);
        !disk.rooms.is_empty()
    }

    #[tokio::test]
    async fn room_is_kept_only_while_memory_is_within_its_budget() {
        // Rule 9.
        let (end_write, ends) = channel();
        let mut disk = Disk::new(Arc::new(Gated(Mutex::new(ends))));
        assert!(!keeps(&mut disk), "nothing is known yet");
        disk.settle(true);
        assert!(keeps(&mut disk));

        for result in [Err(io::ErrorKind::StorageFull.into()), Ok(1)] {
            disk.write(0, vec![Bytes::from_static(b"x")]);
            assert!(disk.rooms.is_empty(), "memory is over its budget");
            disk.settle(true);
            assert!(!keeps(&mut disk), "while it is being written");
            let works = result.is_ok();
            end_write.send(result).unwrap();
            assert_eq!(poll_fn(|cx| disk.poll_written(cx)).await.is_ok(), works);
            assert!(!keeps(&mut disk), "more may be due");
            disk.settle(true);
            assert_eq!(keeps(&mut disk), works, "a failed write leaves memory as it was");
        }
        disk.shrink();
        assert!(disk.rooms.is_empty());
        disk.settle(false);
        assert!(!keeps(&mut disk));
    }
}
