//! The models. Each is a race of two or three threads that the library can run into.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use loom::future::block_on;
use loom::thread;

use crate::actor::message::{self, AnswerFuture, Inbox, Message, Received, Reply};
use crate::actor::shared::Shared;
use crate::core::Token;
use crate::core::question::{Answer, Question};
use crate::error::Error;
use crate::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Runs `model` in every order with at most `preemptions` switches from a thread that could go on.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Stands for a `BufferHandle`.
#[derive(Clone)]
struct Handle {
    requests: UnboundedSender<Message>,
    shared: Arc<Shared>,
}

impl Handle {
    fn request(&self) -> AnswerFuture<Answer, Arc<Shared>> {
        message::send(&self.requests, Question, 0, Some, Arc::clone(&self.shared))
    }

    fn close(&self) {
        self.shared.close();
    }
}

fn buffer() -> (Handle, Inbox) {
    let shared = Arc::<Shared>::default();
    let (requests, received) = unbounded_channel();
    (Handle { requests, shared: Arc::clone(&shared) }, Inbox::new(received, shared))
}

/// How the actor of a model treats requests.
#[derive(Clone, Copy, PartialEq)]
enum Treat {
    Reply,
    Park,
}

/// Takes in requests as the event loop of `StreamBuffer` does. It ends when the inbox is closed, or
/// after `requests` requests when none of them is parked any more.
async fn run(mut inbox: Inbox, treat: Treat, requests: usize) {
    let (mut batch, mut parked, mut seen) = (Vec::new(), Vec::<Reply>::new(), 0);
    poll_fn(|cx| {
        loop {
            match inbox.poll(cx, &mut batch, 2) {
                Received::Messages => {
                    seen += batch.len();
                    let live = batch.drain(..).map(|message| message.token).filter(|to| !to.is_abandoned());
                    match treat {
                        Treat::Reply => live.for_each(|reply| reply.send(Ok(Answer))),
                        Treat::Park => parked.extend(live),
                    }
                }
                Received::Nothing { withdrawn } => {
                    if withdrawn {
                        parked.retain(|reply| !reply.is_abandoned());
                    }
                    let is_done = seen == requests && parked.is_empty();
                    return if is_done { Poll::Ready(()) } else { Poll::Pending };
                }
                Received::Closed => return Poll::Ready(()),
            }
        }
    })
    .await;
}

/// More requests than any model sends: the actor ends only after a close.
const UNENDING: usize = usize::MAX;

/// A request is sent while the actor goes idle, and its handle is dropped at once.
///
/// 1. The actor finds the channel empty, registers its waker and finds the channel empty again. Then
///    the send wakes it. Or the send comes earlier, and the second look finds the message.
/// 2. The drop of the last handle is a message too, and comes after the request. So the actor replies
///    before it sees the end.
/// 3. The caller looks for the reply, registers its waker and looks again.
///
/// Mutant: `Inbox::poll` polls the messages with a waker that is not the actor's.
#[test]
fn a_reply_reaches_its_caller_though_the_last_handle_is_gone() {
    check(3, || {
        let (handle, inbox) = buffer();
        let caller = thread::spawn(move || {
            let answer = handle.request();
            drop(handle);
            assert!(block_on(answer).is_ok());
        });
        block_on(run(inbox, Treat::Reply, UNENDING));
        caller.join().unwrap();
    });
}

/// Requests are sent while the actor ends, by handles that stay.
///
/// The sender reserves a place, writes the message and wakes the receiver. The inbox can be closed
/// between any two of these steps:
///
/// 1. Before the reservation: the sender gets the message back and drops it.
/// 2. After the reservation: `Inbox::drop` finds no message, or finds a whole message behind a half
///    sent one. It must not stop there, because the messages come later.
///
/// Mutants: `Inbox::drop` does not close; does not take out messages; stops at the first `Pending`.
///
/// Version 0.1 failed here. It took out messages with `try_recv`, which does not see a reserved place,
/// and the sender checked after the send whether the channel had been closed. Each thread wrote to one
/// atomic and then read the other's. That needs a `SeqCst` fence between write and read in both
/// threads; with the orderings of the channel alone, both may read the old value. Then the caller
/// waited for ever.
#[test]
fn requests_sent_while_the_actor_ends_are_answered() {
    check(2, || {
        let (handle, inbox) = buffer();
        let callers = [handle.clone(), handle.clone()].map(|handle| {
            thread::spawn(move || assert_eq!(block_on(handle.request()).unwrap_err(), Error::closed(0)))
        });
        drop(inbox);
        for caller in callers {
            caller.join().unwrap();
        }
        drop(handle);
    });
}

/// A caller drops its request while the actor goes idle with it.
///
/// 1. The caller closes the reply channel, then sets the flag, then wakes.
/// 2. The actor registers its waker, then takes the flag, then checks the reply channels.
///
/// If the actor takes the flag before the caller wakes it, the wake-up finds no flag. So an actor that
/// has seen the flag must see the closed channel as well. If the actor finds no flag, it is registered,
/// and the caller's wake-up reaches it.
///
/// Mutants: `Answer::drop` withdraws before it drops the receiver; `withdraw` wakes before it sets the
/// flag; does not wake; sets the flag `Relaxed`. `poll_withdrawn` takes the flag before it registers;
/// does not register; takes it `Relaxed`. `Inbox::poll` looks for the flag before it polls the messages.
#[test]
fn a_dropped_request_is_seen_by_an_actor_that_goes_idle() {
    check(4, || {
        let (handle, inbox) = buffer();
        let answer = handle.request();
        let caller = thread::spawn(move || drop(answer));
        block_on(run(inbox, Treat::Park, 1));
        caller.join().unwrap();
        drop(handle);
    });
}

/// Two callers drop their requests at the same time.
///
/// 1. Both close their reply channels. Then the first sets the flag, then the second sets it again.
/// 2. The actor takes the flag once. It must see both closed channels: both wake-ups may come later,
///    and find the flag unset.
///
/// Mutants: `withdraw` uses `store` in place of `swap`: then the actor synchronizes with the second
/// caller only. `poll_withdrawn` uses `load`, and `store` if the flag is set: then it unsets the flag of
/// a caller that came in between.
///
/// (With `store` in place of `swap` loom fails the model above as well, without reason: it does not know
/// that a plain store comes after a `swap` that has not seen it.)
#[test]
fn two_requests_dropped_at_once_are_both_seen() {
    check(3, || {
        let (handle, inbox) = buffer();
        let callers = [handle.request(), handle.request()].map(|answer| thread::spawn(move || drop(answer)));
        block_on(run(inbox, Treat::Park, 2));
        for caller in callers {
            caller.join().unwrap();
        }
        drop(handle);
    });
}

/// A buffer is closed while its actor goes idle with a request.
///
/// 1. The handle sets the flag, then wakes.
/// 2. The actor registers its waker, then checks the flag, then returns `Pending`.
///
/// The actor ends, and with it go the reply channels that it has parked.
///
/// Mutants: `close` wakes before it sets the flag; does not wake. `Inbox::poll` checks the flag before
/// it registers; does not check it. (With `Relaxed` for this flag the model passes.)
#[test]
fn a_close_ends_an_actor_that_goes_idle_and_answers_its_requests() {
    check(3, || {
        let (handle, inbox) = buffer();
        let waiting = handle.request();
        let closing = thread::spawn(move || {
            handle.close();
            assert_eq!(block_on(waiting).unwrap_err(), Error::closed(0));
        });
        block_on(run(inbox, Treat::Park, UNENDING));
        closing.join().unwrap();
    });
}

/// One handle closes the buffer while another one sends a request, drops one, and the actor replies.
///
/// Every request resolves, to a reply or to `Closed`, whatever comes first; and the actor ends.
///
/// Mutants: `Inbox::drop` does not close; `close` does not wake.
#[test]
fn a_request_that_races_with_a_close_resolves() {
    check(2, || {
        let (handle, inbox) = buffer();
        let closing = thread::spawn({
            let handle = handle.clone();
            move || handle.close()
        });
        let actor = thread::spawn(move || block_on(run(inbox, Treat::Reply, UNENDING)));
        // Either result is right.
        let _ = block_on(handle.request());
        closing.join().unwrap();
        actor.join().unwrap();
        assert!(block_on(handle.request()).is_err(), "a request after the close is refused");
    });
}
