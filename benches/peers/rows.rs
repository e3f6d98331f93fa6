//! The rows that compare this crate with others.

use std::time::Duration;

use stream_download::storage::StorageProvider;
use stream_download::storage::memory::MemoryStorageProvider;
use stream_download::storage::temp::TempStorageProvider;
use streamspool::Bytes;

use crate::common::args::Args;
use crate::common::compare::{Compared, compare};
use crate::common::data::{TINY, WHOLE, generate};
use crate::common::table::{line, rate, time};
use crate::ours::{Kept, Ours};
use crate::{by_hand, catcher, download, limits, ours};

const MEMORY: &str = "stream-download, memory";
const TEMP: &str = "stream-download, temp file";
const CATCHER: &str = "streamcatcher, one reader";
const HAND: &str = "mutex by hand";

/// Random reads in one round, by all tasks together.
const READS: usize = 96_000;
const TASKS: usize = 16;

pub(crate) async fn all(args: Args) {
    let data = generate(args.scale(WHOLE, TINY));
    let rows = Rows { args, data };
    rows.first_reads().await;
    rows.reads_again().await;
    rows.random_reads().await;
    rows.beside_the_bare_machine().await;
}

/// The rows run one after the other. Memory and files of a row are released before the next row.
struct Rows {
    args: Args,
    data: Bytes,
}

impl Rows {
    async fn first_reads(&self) {
        let (data, rounds) = (&self.data, self.args.rounds(9));
        let work = "first read through the reader, all in memory";
        self.first_read(work, MEMORY, Kept::InMemory, || MemoryStorageProvider, 5.0).await;
        if self.wants(work, CATCHER) {
            catcher::first_read(data, true).await;
            let compared = compare(
                rounds,
                async || ours::first_read(Kept::InMemory, data, false).await,
                async || catcher::first_read(data, false).await,
            );
            self.sequential(work, CATCHER, None, &compared.await);
        }
        let work = "first read through, 5 MiB in memory, rest spilled";
        self.first_read(work, TEMP, Kept::Spilled, TempStorageProvider::new, 6.0).await;
        let against = "our own first read, all in memory";
        if self.wants(work, against) {
            let compared = compare(
                rounds,
                async || ours::first_read(Kept::Spilled, data, false).await,
                async || ours::first_read(Kept::InMemory, data, false).await,
            );
            self.sequential(work, against, Some(0.7), &compared.await);
        }
    }

    /// The first read beside stream-download, which gets a new `storage` for each.
    async fn first_read<P>(&self, work: &str, against: &str, kept: Kept, storage: impl Fn() -> P, goal: f64)
    where
        P: StorageProvider<Reader: 'static> + 'static,
    {
        let (data, rounds) = (&self.data, self.args.rounds(9));
        if !self.wants(work, against) {
            return;
        }
        ours::first_read(kept, data, true).await;
        download::first_read(storage(), data, true).await;
        let compared = compare(
            rounds,
            async || ours::first_read(kept, data, false).await,
            async || download::first_read(storage(), data, false).await,
        );
        self.sequential(work, against, Some(goal), &compared.await);
    }

    async fn reads_again(&self) {
        let (data, rounds) = (&self.data, self.args.rounds(15));
        let work = "read again through the reader, in memory";
        let against = "memcpy";
        if self.wants(work, against) {
            let ours = Ours::loaded(Kept::InMemory, data).await;
            ours::read_again(&ours.buffer, Some(data)).await;
            let compared = compare(
                rounds,
                async || ours::read_again(&ours.buffer, None).await,
                async || limits::copy(data),
            );
            self.sequential(work, against, Some(0.7), &compared.await);
            ours.end().await;
        }
        if self.wants(work, MEMORY) {
            let ours = Ours::loaded(Kept::InMemory, data).await;
            let mut theirs = Some(download::loaded(MemoryStorageProvider, data).await);
            let compared = compare(
                rounds,
                async || ours::read_again(&ours.buffer, None).await,
                async || download::read_again(&mut theirs).await,
            );
            self.sequential(work, MEMORY, Some(1.0), &compared.await);
            ours.end().await;
        }
        if self.wants(work, CATCHER) {
            let ours = Ours::loaded(Kept::InMemory, data).await;
            let mut catcher = Some(catcher::loaded(data).await);
            let compared = compare(
                rounds,
                async || ours::read_again(&ours.buffer, None).await,
                async || catcher::read_again(&mut catcher).await,
            );
            self.sequential(work, CATCHER, None, &compared.await);
            ours.end().await;
        }
        let work = "read again through the reader, spilled";
        let against = "bare pread loop, 64 KiB";
        if self.wants(work, against) {
            let ours = Ours::loaded(Kept::Spilled, data).await;
            ours::read_again(&ours.buffer, Some(data)).await;
            let file = limits::file(data);
            let compared = compare(
                rounds,
                async || ours::read_again(&ours.buffer, None).await,
                async || limits::pread(&file),
            );
            self.sequential(work, against, Some(0.85), &compared.await);
            ours.end().await;
        }
    }

    async fn random_reads(&self) {
        let work = "random 4 KiB by handle, in memory, 1 task";
        self.random_by_one(work, MEMORY, Kept::InMemory, MemoryStorageProvider, 1.25).await;
        self.random_by_hand("random 4 KiB by handle, in memory, 16 tasks", TASKS, Kept::InMemory, 3.2).await;
        let work = "random 4 KiB by handle, spilled, 1 task";
        self.random_by_one(work, TEMP, Kept::Spilled, TempStorageProvider::new(), 0.8).await;
        self.random_by_hand(work, 1, Kept::Spilled, 0.9).await;
        self.random_by_hand("random 4 KiB by handle, spilled, 16 tasks", TASKS, Kept::Spilled, 1.5).await;
    }

    /// Random reads of one task beside stream-download, which has one reader.
    async fn random_by_one<P>(&self, work: &str, against: &str, kept: Kept, storage: P, goal: f64)
    where
        P: StorageProvider<Reader: 'static> + 'static,
    {
        let (data, rounds, reads) = (&self.data, self.args.rounds(9), self.args.scale(READS, 160));
        if !self.wants(work, against) {
            return;
        }
        let ours = Ours::loaded(kept, data).await;
        ours::random(&ours.buffer, data, 1, reads, true).await;
        let mut theirs = Some(download::loaded(storage, data).await);
        download::random(&mut theirs, data, reads, true).await;
        let compared = compare(
            rounds,
            async || ours::random(&ours.buffer, data, 1, reads, false).await,
            async || download::random(&mut theirs, data, reads, false).await,
        );
        self.random(work, against, Some(goal), &compared.await);
        ours.end().await;
    }

    /// Random reads beside a mutex by hand.
    async fn random_by_hand(&self, work: &str, tasks: usize, kept: Kept, goal: f64) {
        let (data, rounds) = (&self.data, self.args.rounds(9));
        let each = self.args.scale(READS, 160) / tasks;
        if !self.wants(work, HAND) {
            return;
        }
        let ours = Ours::loaded(kept, data).await;
        ours::random(&ours.buffer, data, tasks, each, true).await;
        let theirs = by_hand::loaded(kept, data);
        by_hand::random(&theirs, data, tasks, each, true).await;
        let compared = compare(
            rounds,
            async || ours::random(&ours.buffer, data, tasks, each, false).await,
            async || by_hand::random(&theirs, data, tasks, each, false).await,
        );
        self.random(work, HAND, Some(goal), &compared.await);
        ours.end().await;
    }

    /// The same work on the bare machine. It shows how much of a missed goal is our cost.
    async fn beside_the_bare_machine(&self) {
        let (data, rounds, reads) = (&self.data, self.args.rounds(9), self.args.scale(READS, 160));
        let (work, against) = ("first read through the reader, all in memory", "copied into new memory");
        if self.wants(work, against) {
            let compared = compare(
                rounds,
                async || ours::first_read(Kept::InMemory, data, false).await,
                async || limits::into_new_memory(data).await,
            );
            self.sequential(work, against, None, &compared.await);
        }
        let work = "first read through, 5 MiB in memory, rest spilled";
        let against = "copied and written by two bare threads";
        if self.wants(work, against) {
            let compared = compare(
                rounds,
                async || ours::first_read(Kept::Spilled, data, false).await,
                async || limits::into_file(data),
            );
            self.sequential(work, against, None, &compared.await);
        }
        let (work, against) = ("read again as chunks, spilled", "bare pread loop, 64 KiB");
        if self.wants(work, against) {
            let ours = Ours::loaded(Kept::Spilled, data).await;
            ours::chunks_again(&ours.buffer, Some(data)).await;
            let file = limits::file(data);
            let compared = compare(
                rounds,
                async || ours::chunks_again(&ours.buffer, None).await,
                async || limits::pread(&file),
            );
            self.sequential(work, against, None, &compared.await);
            ours.end().await;
        }
        for (tasks, name) in [(1, "1 task"), (TASKS, "16 tasks")] {
            let work = format!("random 4 KiB by handle, in memory, {name}");
            let theirs = async || limits::message_and_reply(data, tasks, reads / tasks).await;
            self.random_beside(&work, "message and reply alone", Kept::InMemory, tasks, theirs).await;
        }
        let file = limits::file(data);
        for (tasks, name) in [(1, "1 task"), (TASKS, "16 tasks")] {
            let work = format!("random 4 KiB by handle, spilled, {name}");
            let theirs = async || limits::random_pread(&file, data, reads).await;
            self.random_beside(&work, "bare pread loop, 4 KiB", Kept::Spilled, tasks, theirs).await;
        }
    }

    async fn random_beside(
        &self,
        work: &str,
        against: &str,
        kept: Kept,
        tasks: usize,
        theirs: impl AsyncFnMut() -> Duration,
    ) {
        let (data, rounds, reads) = (&self.data, self.args.rounds(9), self.args.scale(READS, 160));
        if self.wants(work, against) {
            let ours = Ours::loaded(kept, data).await;
            let random = async || ours::random(&ours.buffer, data, tasks, reads / tasks, false).await;
            self.random(work, against, None, &compare(rounds, random, theirs).await);
            ours.end().await;
        }
    }

    fn wants(&self, work: &str, against: &str) -> bool {
        self.args.wants(&format!("{work} | {against}"))
    }

    fn sequential(&self, work: &str, against: &str, goal: Option<f64>, compared: &Compared) {
        let size = self.data.len();
        let (ours, theirs) = (rate(size, compared.ours), rate(size, compared.theirs));
        self.line([work, against, &ours, &theirs], goal, compared);
    }

    fn random(&self, work: &str, against: &str, goal: Option<f64>, compared: &Compared) {
        let reads = u32::try_from(self.args.scale(READS, 160)).expect("fits");
        let (ours, theirs) = (time(compared.ours / reads), time(compared.theirs / reads));
        self.line([work, against, &ours, &theirs], goal, compared);
    }

    fn line(&self, [work, against, ours, theirs]: [&str; 4], goal: Option<f64>, compared: &Compared) {
        let Compared { ratio, spread: (low, high), .. } = compared;
        let reached = match goal {
            Some(goal) if !self.args.quick => if *ratio >= goal { "yes" } else { "no" }.to_owned(),
            _ => String::new(),
        };
        let goal = goal.map_or(String::new(), |goal| format!("{goal}"));
        let (ratio, spread) = (format!("{ratio:.2}"), format!("{low:.2}–{high:.2}"));
        line([work, against, ours, theirs, &ratio, &spread, &goal, &reached]);
    }
}
