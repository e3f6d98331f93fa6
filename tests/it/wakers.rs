//! Foreign wakers, and timers whose runtime is gone: rules 17 and 24.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use streamspool::{Bytes, ErrorKind, OpenAt, Opened, StreamBuffer, source_fn};
use tokio::runtime::Builder;

use crate::support::source::source;
use crate::support::{data, settled};

/// Panics whenever it is woken.
struct Alarm;

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics, as the test asked");
    }
}

#[tokio::test]
async fn rule_17_a_waker_that_panics_does_not_end_the_buffer_for_the_other_callers() {
    let (mut feed, stream) = source();
    let buffer = StreamBuffer::spawn(stream);
    let waker = Waker::from(Arc::new(Alarm));
    let mut cx = Context::from_waker(&waker);
    // This read is woken by its reply, and a second one by the end of the buffer.
    let mut first = pin!(buffer.read(0, 10));
    let mut last = pin!(buffer.read(0, 1_000_000));
    let mut updates = buffer.subscribe();
    let mut change = pin!(updates.changed());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(last.as_mut().poll(&mut cx).is_pending());
    assert!(change.as_mut().poll(&mut cx).is_pending());
    let other = buffer.clone();
    let read = tokio::spawn(async move { other.read(5, 10).await });
    settled().await;
    feed.chunk(20);
    assert_eq!(read.await.unwrap().unwrap(), data(5, 10));
    assert_eq!(first.await.unwrap(), data(0, 10));
    change.await.unwrap();
    assert_eq!(buffer.read(0, 20).await.unwrap().len(), 20);
    buffer.close();
    settled().await;
    assert_eq!(last.await.unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn rule_24_an_actor_goes_on_without_its_timer_when_the_runtime_of_the_timer_is_gone() {
    let attempts = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&attempts);
    let broken = source_fn(move |_: OpenAt| {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        async move {
            if first {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            let bytes = Bytes::from_static(b"0123456789");
            Ok(Opened::new(futures::stream::iter([Ok(bytes)])).size(10))
        }
    });
    let (buffer, actor) = StreamBuffer::builder().build_source(broken);
    let mut actor = pin!(actor.run());
    let mut cx = Context::from_waker(Waker::noop());
    let mut read = pin!(buffer.read(0, 10));
    assert!(read.as_mut().poll(&mut cx).is_pending());
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    // The attempt fails, and the timer waits for the next one.
    let entered = runtime.enter();
    assert!(actor.as_mut().poll(&mut cx).is_pending());
    drop(entered);
    drop(runtime);
    // Without a timer, the failure fails the read.
    assert!(actor.as_mut().poll(&mut cx).is_pending());
    let Poll::Ready(Err(error)) = read.as_mut().poll(&mut cx) else { panic!("the read waits for a timer") };
    assert_eq!(error.kind(), ErrorKind::Source);
    // The next one makes a new attempt.
    let mut read = pin!(buffer.read(0, 10));
    assert!(read.as_mut().poll(&mut cx).is_pending());
    assert!(actor.as_mut().poll(&mut cx).is_pending());
    let Poll::Ready(Ok(bytes)) = read.as_mut().poll(&mut cx) else { panic!("the read is not answered") };
    assert_eq!(bytes, "0123456789");
}
