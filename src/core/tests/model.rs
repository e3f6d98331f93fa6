//! Compares the core with a simple model, the first `loaded` bytes of the source, for any order of events.
//!
//! After every step the whole visible state of the core is computed again from the model. A failure is
//! reduced to the shortest list of steps. It is kept beside this file and run first from then on.
//! `PROPTEST_CASES=100000 cargo test -p streamspool --lib model` tries more cases.

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::demand::pull_to;
use super::steps::{At, Case, Declared, Step, case};
use super::*;

enum What {
    Read(Read),
    Load,
    /// All bytes before this offset are to be spilled.
    Spill(u64),
}

struct Asked {
    ask: Ask,
    what: What,
    /// Whether the request must fail with a failed write.
    spill_failed: bool,
}

/// The world, and its expected state.
struct Model {
    world: World,
    limits: Limits,
    /// The number of bytes of the source.
    total: u64,
    loaded: u64,
    spilled: u64,
    /// The number of bytes of the last chunk that are not loaded yet.
    arriving: u64,
    /// Whether the source has sent more than the declared size.
    excess: bool,
    ending: Option<Result<(), ErrorKind>>,
    delivered: Option<u64>,
    asked: Vec<Asked>,
    /// The offset up to which `spill` requests need all bytes to be spilled.
    spill_to: u64,
    /// Whether pulling stopped because of a failed write.
    stopped: bool,
    /// Whether the last write failed.
    store_failing: bool,
}

impl Model {
    fn new(case: &Case) -> Self {
        let declared = match case.declared {
            Declared::Nothing => None,
            Declared::Right => Some(case.total),
            Declared::Less(by) => Some(case.total.saturating_sub(by)),
            Declared::More(by) => Some(case.total + by),
        };
        let limits = Limits { declared, max_memory: case.max_memory, read_ahead: case.read_ahead, ..PLAIN };
        Self {
            world: World::slow(Kind::OneWay, limits),
            limits,
            total: case.total,
            loaded: 0,
            spilled: 0,
            arriving: 0,
            excess: false,
            ending: None,
            delivered: None,
            asked: Vec::new(),
            spill_to: 0,
            stopped: false,
            store_failing: false,
        }
    }

    // ---- steps ----

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Read { ref at, len, want } => {
                let offset = match *at {
                    At::Loaded(by) => self.loaded.saturating_add_signed(by),
                    At::Spilled(by) => self.spilled.saturating_add_signed(by),
                    At::Within(part) => self.loaded * part / 256,
                    At::Last(before) => u64::MAX - before,
                };
                self.read(Read { offset, len, want });
            }
            Step::Spill => {
                let ask = self.world.spill();
                self.asked.push(Asked { ask, what: What::Spill(self.loaded), spill_failed: false });
                (self.spill_to, self.stopped) = (self.loaded, false);
            }
            Step::Load => self.load(),
            Step::Abandon(number) => {
                if let Some(asked) = self.asked.get(number % self.asked.len().max(1)) {
                    asked.ask.abandon();
                }
            }
            Step::Append(len) if self.wants_chunk() => self.append(len as u64),
            Step::End if self.wants_chunk() => self.end(),
            Step::Fail if self.wants_chunk() => {
                self.world.breaks();
                self.ending = Some(Err(ErrorKind::Source));
            }
            Step::WriteSucceeds if self.world.disk.is_writing() => {
                self.world.write_succeeds();
                self.spilled = self.world.disk.end;
                self.store_failing = false;
            }
            Step::WriteFails if self.world.disk.is_writing() => self.write_fails(),
            Step::Deadline => {
                let is_stopped = self.stopped && self.ending.is_none();
                let is_due = self.world.pass_deadline().is_some();
                let retries = is_stopped && self.is_needed().unwrap_or(is_due);
                assert_eq!(is_due, retries, "a failed write is retried in time while bytes are needed");
                self.stopped &= !retries;
            }
            Step::Act => {
                self.act();
            }
            Step::Pump => while self.act() {},
            _ => {}
        }
        self.check();
    }

    fn read(&mut self, read: Read) {
        let was_idle = self.world.is_idle();
        let ask = self.world.ask(read);
        let now = !self.world.is_waiting(&ask);
        let answerable = self.is_answerable(&read);
        assert!(answerable || !now, "answered too early: {read:?}");
        if was_idle && answerable && self.is_repeated(&read) {
            assert!(now, "an idle core answers at once: {read:?}");
        }
        // A read that needs missing bytes retries a failed write.
        self.stopped &= answerable;
        self.asked.push(Asked { ask, what: What::Read(read), spill_failed: false });
        self.look();
    }

    fn load(&mut self) {
        let ask = self.world.load(ALL);
        self.asked.push(Asked { ask, what: What::Load, spill_failed: false });
        self.stopped = false;
    }

    fn append(&mut self, len: u64) {
        let sent = self.world.source.sent;
        if sent == self.total {
            return self.end();
        }
        let len = len.min(self.total - sent);
        self.world.send(len);
        let allowed = self.limits.declared.map_or(u64::MAX, |size| size - self.loaded);
        self.arriving = len.min(allowed);
        self.excess = len > allowed;
        self.tell_excess();
        self.absorb();
    }

    fn end(&mut self) {
        self.world.ends();
        let early = self.limits.declared.is_some_and(|size| self.loaded < size);
        self.ending = Some(if early { Err(ErrorKind::Truncated) } else { Ok(()) });
    }

    fn tell_excess(&mut self) {
        if self.excess && self.arriving == 0 {
            self.ending = Some(Err(ErrorKind::Oversized));
        }
    }

    fn write_fails(&mut self) {
        self.world.write_fails();
        self.stopped = self.is_over_budget();
        self.store_failing = true;
        self.spill_to = 0;
        let needy: Vec<bool> = self.asked.iter().map(|asked| self.needs_more(asked)).collect();
        for (asked, needy) in self.asked.iter_mut().zip(needy) {
            if self.world.is_waiting(&asked.ask) {
                asked.spill_failed |= match asked.what {
                    What::Read(_) | What::Load => self.stopped && needy,
                    What::Spill(_) => true,
                };
            }
        }
    }

    fn act(&mut self) -> bool {
        let over_budget = self.is_over_budget();
        let done = self.world.act();
        match done {
            Done::WriteStarted => {
                assert!(!self.stopped && (over_budget || self.spill_to > self.spilled), "a needless write");
            }
            Done::Absorbed(bytes) => assert_eq!(bytes as u64, self.absorb()),
            Done::Other => {}
            Done::Nothing => {
                self.check_idle();
                assert!(self.arriving == 0 || !self.has_room(), "a chunk waits, and there is room");
            }
        }
        self.look();
        done != Done::Nothing
    }

    /// Loads up to one block of the chunk that is arriving.
    fn absorb(&mut self) -> u64 {
        let bytes = self.arriving.min(BLOCK as u64 - self.loaded % BLOCK as u64);
        self.loaded += bytes;
        self.arriving -= bytes;
        self.tell_excess();
        bytes
    }

    // ---- expected state ----

    fn end_of(read: &Read) -> u64 {
        read.offset.saturating_add(read.len)
    }

    /// Whether a read can be answered: with bytes, as at the end, or with an error.
    fn is_answerable(&self, read: &Read) -> bool {
        self.ending.is_some() || self.is_loaded(read)
    }

    fn is_loaded(&self, read: &Read) -> bool {
        let enough = match read.want {
            Want::Exact => Self::end_of(read) <= self.loaded,
            Want::Piece | Want::Run => read.offset < self.loaded,
        };
        enough || read.len == 0
    }

    /// Whether all bytes of a read were delivered before and are in one place.
    fn is_repeated(&self, read: &Read) -> bool {
        let end = Self::end_of(read);
        let in_one_place = end <= self.spilled || read.offset >= self.spilled;
        Some(end) <= self.delivered && in_one_place && end <= self.loaded
    }

    /// Whether a caller still waits for this request, and it needs missing bytes.
    fn needs_more(&self, asked: &Asked) -> bool {
        let answerable = match &asked.what {
            What::Read(read) => self.is_answerable(read),
            What::Load => self.ending.is_some(),
            What::Spill(_) => return false,
        };
        self.world.is_waiting(&asked.ask) && !asked.spill_failed && !answerable
    }

    /// Whether missing bytes are needed. `None` if that depends on a reply that is decided, perhaps, and not sent yet.
    fn is_needed(&self) -> Option<bool> {
        let is_ahead =
            |delivered| pull_to(self.limits.read_ahead, delivered, std::iter::empty()) > self.loaded;
        let waits = self.asked.iter().any(|asked| !asked.ask.is_gone() && self.needs_more(asked));
        if waits || is_ahead(self.delivered) {
            return Some(true);
        }
        let deciding = self.asked.iter().filter_map(|asked| match &asked.what {
            What::Read(read) if self.is_loaded(read) && self.world.is_kept(&asked.ask) => {
                Some(Self::end_of(read).min(self.loaded))
            }
            _ => None,
        });
        let may_be_ahead = deciding.max().is_some_and(|end| is_ahead(self.delivered.max(Some(end))));
        if may_be_ahead { None } else { Some(false) }
    }

    fn has_room(&self) -> bool {
        let most = self.limits.max_memory.saturating_add(SLACK);
        !self.stopped && self.world.allocated() + BLOCK <= most
    }

    /// Whether memory exceeds its limit and has a full block that can be spilled.
    fn is_over_budget(&self) -> bool {
        let full_at = (self.spilled / BLOCK as u64 + 1) * BLOCK as u64;
        let has_full = self.spilled < self.loaded && (full_at <= self.loaded || self.ending.is_some());
        has_full && self.world.allocated() > self.limits.max_memory
    }

    fn wants_chunk(&mut self) -> bool {
        let open = self.ending.is_none() && !self.excess && self.arriving == 0;
        let wants = self.world.wants();
        let is_needed = self.is_needed().unwrap_or(wants);
        assert_eq!(wants, open && self.has_room() && is_needed, "wants a chunk");
        wants
    }

    // ---- checks ----

    fn check(&mut self) {
        self.wants_chunk();
        let is_needed = self.is_needed().unwrap_or_else(|| self.world.progress().state == State::Pulling);
        let (phase, size) = match self.ending {
            None if is_needed && !self.stopped => (State::Pulling, self.limits.declared),
            None => (State::Waiting, self.limits.declared),
            Some(Ok(())) => (State::Complete, Some(self.loaded)),
            Some(Err(ErrorKind::Source)) => (State::Failed, self.limits.declared),
            Some(Err(_)) => (State::Failed, None),
        };
        let store_failing = self.store_failing;
        let expected = Progress { store_failing, ..progress(self.loaded, self.spilled, size, phase) };
        assert_eq!(self.world.progress(), expected);
        let (allocated, resident) = (self.world.allocated(), (self.loaded - self.spilled) as usize);
        assert!(allocated <= self.limits.max_memory.saturating_add(SLACK), "{allocated} bytes in memory");
        let spare = self.world.spare();
        assert!(
            allocated + spare <= self.limits.max_memory.saturating_add(SLACK),
            "{spare} bytes of spare blocks"
        );
        assert!(allocated >= resident, "{allocated} bytes hold {resident}");
        assert!(allocated == 0 || resident > 0, "{allocated} bytes hold nothing");
        if self.ending.is_some() && self.spilled == 0 {
            assert!(allocated <= resident + resident / 8, "{allocated} bytes for {resident}");
        }
    }

    /// Checks an idle core: no request that can be answered waits, and no write that can start is missing.
    fn check_idle(&self) {
        for asked in self.asked.iter().filter(|asked| !asked.ask.is_gone()) {
            if self.world.is_waiting(&asked.ask) {
                let waits = match &asked.what {
                    What::Read(read) => !self.is_answerable(read),
                    What::Load => self.ending.is_none(),
                    What::Spill(to) => *to > self.spilled,
                };
                assert!(waits && !asked.spill_failed, "forgotten");
            }
        }
        let due = self.spill_to > self.spilled || self.is_over_budget();
        assert!(self.world.disk.is_writing() || self.stopped || !due, "a write is due");
        let spare = self.world.spare();
        assert!(self.world.disk.is_writing() || spare == 0, "an idle buffer keeps spare blocks");
    }

    /// Checks the new answers.
    fn look(&mut self) {
        for id in std::mem::take(&mut self.world.fresh) {
            let asked = &self.asked[id];
            let answer = &self.world.answered(&asked.ask);
            match (&asked.what, answer) {
                (_, Err(error)) if asked.spill_failed => assert_eq!(error.kind(), ErrorKind::Spill),
                (_, _) if asked.spill_failed => panic!("a failed write was not told"),
                (What::Load, Ok(bytes)) => assert!(bytes.is_empty() && self.ending == Some(Ok(()))),
                (What::Load, Err(error)) => assert_eq!(Some(Err(error.kind())), self.ending),
                (What::Spill(to), Ok(bytes)) => assert!(bytes.is_empty() && *to <= self.spilled),
                (What::Spill(_), Err(error)) => panic!("{error}"),
                (What::Read(read), Ok(bytes)) => {
                    let start = read.offset.min(self.loaded);
                    let most = (Self::end_of(read).min(self.loaded) - start) as usize;
                    let least = match read.want {
                        Want::Exact => most,
                        Want::Piece | Want::Run => most.min(1),
                    };
                    assert!(self.is_loaded(read) || self.ending == Some(Ok(())), "short: {read:?}");
                    assert!((least..=most).contains(&bytes.len()), "{} bytes for {read:?}", bytes.len());
                    assert!(*bytes == source(start, start + bytes.len() as u64), "wrong bytes for {read:?}");
                    if read.want != Want::Exact && self.ending.is_none() {
                        let piece = Some(start + BLOCK as u64);
                        let end = Some(start + bytes.len() as u64);
                        assert!(end <= self.delivered.max(piece), "more than a piece of news: {read:?}");
                    }
                    if !bytes.is_empty() {
                        self.delivered = self.delivered.max(Some(start + bytes.len() as u64));
                    }
                }
                (What::Read(read), Err(error)) => {
                    assert!(!self.is_loaded(read), "{error} for {read:?}");
                    assert_eq!(Some(Err(error.kind())), self.ending, "{read:?}");
                }
            }
        }
    }

    /// Lets writes succeed and the source continue. Then every request must be answered: no order of events
    /// may leave memory, disk and source waiting for each other.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.step(&Step::Pump);
            if self.world.disk.is_writing() {
                self.step(&Step::WriteSucceeds);
            } else if self.wants_chunk() {
                self.step(&Step::Append(100 * KIB));
            } else {
                let mut living = self.asked.iter().filter(|asked| !asked.ask.is_gone());
                assert!(living.all(|asked| !self.world.is_waiting(&asked.ask)), "never answered");
                return;
            }
        }
        panic!("there is no end to it");
    }
}

/// 512 cases, which take a few seconds, or `PROPTEST_CASES` if that is more.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let kept = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { cases: default.cases.max(512), failure_persistence: Some(Box::new(kept)), ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_order_of_events_does_what_the_model_does(case in case()) {
        let mut model = Model::new(&case);
        model.check();
        for step in &case.steps {
            model.step(step);
            if case.eager {
                model.step(&Step::Pump);
            }
        }
        model.settle();
        // All bytes received within the declared size are readable, wherever they are now.
        model.read(Read { offset: 0, len: model.loaded, want: Want::Exact });
        // The end is known too.
        model.load();
        model.settle();
    }
}
