//! The callers of the driver: what they ask, and what they were answered.

use std::rc::Weak;

use super::*;
use crate::core::Token;
use crate::core::question::{Asked, Question};

pub(in super::super) type Answer = Result<Bytes, Error>;

/// Where a reply is sent. It counts as kept by the core until it is dropped.
pub(super) struct Ticket {
    id: usize,
    gone: Rc<Cell<bool>>,
    _kept: Rc<()>,
    held: Rc<Cell<usize>>,
}

thread_local! {
    static LOOKED_AT: Cell<u64> = const { Cell::new(0) };
}

/// How often a core of this thread has looked whether a caller still waits: a measure of its walks over requests.
pub(in super::super) fn looked_at() -> u64 {
    LOOKED_AT.get()
}

impl Token for Ticket {
    fn is_abandoned(&self) -> bool {
        LOOKED_AT.set(LOOKED_AT.get() + 1);
        self.gone.get()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.held.set(self.held.get() - 1);
    }
}

/// The asker's half of a ticket.
#[derive(Clone)]
pub(in super::super) struct Ask {
    pub(in super::super) id: usize,
    gone: Rc<Cell<bool>>,
    left: Rc<Cell<bool>>,
}

impl Ask {
    /// The caller drops its request. The driver reports that to the core before the next event.
    pub(in super::super) fn abandon(&self) {
        self.gone.set(true);
        self.left.set(true);
    }

    pub(in super::super) fn is_gone(&self) -> bool {
        self.gone.get()
    }
}

pub(super) struct Request {
    /// What is left of the range of an exact read.
    rest: Option<Read>,
    /// The first parts of an exact read that is answered in parts.
    parts: Vec<Bytes>,
    is_answered: bool,
    /// The answer, until the test takes it.
    answer: Option<Answer>,
    /// Whether the core keeps the ticket.
    kept: Weak<()>,
}

impl World {
    // ---- asking ----

    fn ticket(&mut self, rest: Option<Read>) -> (Ticket, Ask) {
        let (id, gone, kept) = (self.requests.len(), Rc::default(), Rc::new(()));
        self.held.set(self.held.get() + 1);
        let (answer, parts) = (None, Vec::new());
        self.requests.push(Request { rest, parts, is_answered: false, answer, kept: Rc::downgrade(&kept) });
        let ask = Ask { id, gone: Rc::clone(&gone), left: Rc::clone(&self.left) };
        (Ticket { id, gone, _kept: kept, held: Rc::clone(&self.held) }, ask)
    }

    fn ask_for(&mut self, question: Question, rest: Option<Read>) -> Ask {
        let (token, ask) = self.ticket(rest);
        self.event(Event::Asked(Asked { question, token }));
        ask
    }

    /// A caller asks for a range. As the handle does, it asks again for the rest of an exact read.
    pub(in super::super) fn ask(&mut self, read: Read) -> Ask {
        let rest = Some(read).filter(|read| read.want == Want::Exact);
        self.ask_for(Question::Read(read), rest)
    }

    /// A caller asks for a range, and takes what it gets.
    pub(in super::super) fn ask_once(&mut self, read: Read) -> Ask {
        self.ask_for(Question::Read(read), None)
    }

    pub(in super::super) fn read(&mut self, offset: u64, len: u64) -> Ask {
        self.ask(Read { offset, len, want: Want::Exact })
    }

    pub(in super::super) fn read_some(&mut self, offset: u64, len: u64) -> Ask {
        self.ask(Read { offset, len, want: Want::Piece })
    }

    /// A caller reads a range of loaded bytes, and gets all of it at once.
    pub(in super::super) fn reads(&mut self, offset: u64, len: u64) {
        let read = self.read(offset, len);
        assert!(self.bytes(&read) == source(offset, offset + len), "wrong bytes at {offset}");
    }

    pub(in super::super) fn load(&mut self, range: Range<u64>) -> Ask {
        self.ask_for(Question::load(range), None)
    }

    /// A caller asks for the size.
    pub(in super::super) fn ask_size(&mut self) -> Ask {
        self.ask_for(Question::Size, None)
    }

    pub(in super::super) fn spill(&mut self) -> Ask {
        self.ask_for(Question::Spill, None)
    }

    pub(in super::super) fn set_limits(&mut self, memory: Option<usize>, max_disk: Option<u64>) -> Ask {
        self.disk.is_limited |= max_disk.is_some_and(|most| most < u64::MAX);
        self.ask_for(Question::SetLimits { max_memory: memory, max_disk }, None)
    }

    /// A caller reads the slice that it was lent, as the handle does: it asks again if the slice is not valid any more.
    /// Returns whether it was.
    pub(in super::super) fn read_lent(&mut self, number: usize) -> bool {
        let (token, lent) = self.disk.lent.swap_remove(number);
        let is_valid = self.disk.is_valid(&lent);
        if is_valid {
            let bytes = self.disk.read(lent.position, lent.len());
            self.answer(token, Ok(bytes));
        } else {
            let read = Read { offset: lent.range.start, len: lent.len(), want: Want::Piece };
            self.event(Event::Asked(Asked { question: Question::Read(read), token }));
        }
        is_valid
    }

    /// The callers that were lent a slice and have left read it no more.
    pub(in super::super) fn forget_slices(&mut self, ask: &Ask) {
        self.disk.lent.retain(|(token, _)| token.id != ask.id);
    }

    // ---- answers ----

    /// A reply arrives.
    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        let id = ticket.id;
        let request = &mut self.requests[id];
        if let (Ok(bytes), Some(rest)) = (&answer, &mut request.rest)
            && !bytes.is_empty()
        {
            request.parts.push(bytes.clone());
            rest.offset += bytes.len() as u64;
            rest.len -= bytes.len() as u64;
            if rest.len > 0 {
                let read = *rest;
                return self.tell(Event::Asked(Asked { question: Question::Read(read), token: ticket }));
            }
        }
        let answer = answer.map(|bytes| match &std::mem::take(&mut request.parts)[..] {
            [] => bytes,
            [whole] => whole.clone(),
            parts => parts.concat().into(),
        });
        assert!(!request.is_answered, "answered twice");
        (request.is_answered, request.answer) = (true, Some(answer));
        self.fresh.push_back(id);
    }

    /// How many requests the core keeps, those of callers that have left included.
    pub(in super::super) fn kept_requests(&self) -> usize {
        self.held.get()
    }

    /// Whether the core keeps this request.
    pub(in super::super) fn is_kept(&self, ask: &Ask) -> bool {
        self.requests[ask.id].kept.strong_count() > 0
    }

    pub(in super::super) fn is_waiting(&self, ask: &Ask) -> bool {
        !self.requests[ask.id].is_answered
    }

    pub(in super::super) fn answered(&self, ask: &Ask) -> Answer {
        self.requests[ask.id].answer.clone().expect("it is answered")
    }

    pub(in super::super) fn bytes(&self, ask: &Ask) -> Bytes {
        self.answered(ask).expect("it is answered with bytes")
    }

    pub(in super::super) fn error_of(&self, ask: &Ask) -> Error {
        self.answered(ask).expect_err("it is answered with an error")
    }

    /// Takes the bytes of an answer out of the world, so that only the test holds them.
    pub(in super::super) fn take_bytes(&mut self, ask: &Ask) -> Bytes {
        self.requests[ask.id].answer.take().expect("it is answered").expect("it is answered with bytes")
    }

    /// The next answer that the test has not looked at, and the number of its request.
    pub(in super::super) fn next_answer(&mut self) -> (usize, Answer) {
        let id = self.fresh.pop_front().expect("an answer");
        (id, self.requests[id].answer.take().expect("it is taken once"))
    }

    pub(in super::super) fn next_bytes(&mut self) -> Bytes {
        self.next_answer().1.expect("bytes")
    }

    pub(in super::super) fn next_error(&mut self) -> Error {
        self.next_answer().1.expect_err("an error")
    }

    /// The callers drop all their answers.
    pub(in super::super) fn drop_answers(&mut self) {
        self.fresh.clear();
        self.requests.iter_mut().for_each(|request| request.answer = None);
    }
}
