//! A message and its reply, and nothing else. This is the runtime's share of a read by handle.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Sends messages to a task that only answers them. All clones send to the same task.
#[derive(Clone)]
pub(crate) struct Echo(mpsc::UnboundedSender<oneshot::Sender<()>>);

impl Echo {
    /// Starts the task. It ends when the last clone is dropped.
    pub(crate) fn spawn() -> (Self, JoinHandle<()>) {
        let (messages, mut received) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
        let task = tokio::spawn(async move {
            let mut batch = Vec::new();
            while received.recv_many(&mut batch, 64).await > 0 {
                for reply in batch.drain(..) {
                    reply.send(()).expect("the caller waits");
                }
            }
        });
        (Self(messages), task)
    }

    /// Sends a message and awaits the reply.
    pub(crate) async fn ask(&self) {
        let (reply, answer) = oneshot::channel();
        self.0.send(reply).expect("the task is there");
        answer.await.expect("a reply");
    }
}
