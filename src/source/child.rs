//! The output of a child process, whose end is proven by the exit status.

use std::io;
use std::pin::{Pin, pin};
use std::process::ExitStatus;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio_stream::Stream;

use super::reader::{Chunks, chunks_of};

/// The last bytes of the standard error that a failure repeats: a few lines.
const TAIL: usize = 1024;

/// The chunks of the child's standard output. The stream ends if the child succeeds, and fails if it does not.
/// Dropping the stream kills the child.
pub(crate) fn output_of(mut child: Child) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    // A child that reads its standard input to the end would wait for ever otherwise.
    drop(child.stdin.take());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    Output {
        stdout: stdout.map_or(Stdout::Missing, |stdout| Stdout::Open(chunks_of(stdout))),
        stderr: stderr.map(chunks_of),
        tail: Vec::new(),
        child,
    }
}

struct Output {
    stdout: Stdout,
    /// `None` after its end, and if it is no pipe or the caller has taken it.
    stderr: Option<Chunks<ChildStderr>>,
    tail: Vec<u8>,
    child: Child,
}

enum Stdout {
    Open(Chunks<ChildStdout>),
    Ended,
    Missing,
}

impl Stream for Output {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // First, because a child whose standard error is a full pipe writes no output.
        let is_silent = self.poll_stderr(cx).is_ready();
        match &mut self.stdout {
            Stdout::Missing => {
                let error = "the standard output of the child is not piped, or was taken";
                return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::InvalidInput, error))));
            }
            Stdout::Open(chunks) => match ready!(Pin::new(chunks).poll_next(cx)) {
                None => self.stdout = Stdout::Ended,
                chunk => return Poll::Ready(chunk),
            },
            Stdout::Ended => {}
        }
        if !is_silent {
            return Poll::Pending;
        }
        // The future keeps nothing between two polls.
        let status = ready!(pin!(self.child.wait()).poll(cx));
        Poll::Ready(match status {
            Ok(status) if status.success() => None,
            Ok(status) => Some(Err(failure(status, &self.tail))),
            Err(error) => Some(Err(error)),
        })
    }
}

impl Output {
    /// Keeps the last bytes that the child writes to its standard error. Ready after its end.
    fn poll_stderr(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(stderr) = &mut self.stderr {
            match ready!(Pin::new(stderr).poll_next(cx)) {
                Some(Ok(chunk)) => {
                    self.tail.extend_from_slice(&chunk);
                    self.tail.drain(..self.tail.len().saturating_sub(TAIL));
                }
                // A failure to read the standard error is no failure of the output.
                Some(Err(_)) | None => self.stderr = None,
            }
        }
        Poll::Ready(())
    }
}

/// The error of a child that did not succeed, with the last lines of its standard error, if there are any.
fn failure(status: ExitStatus, stderr: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(stderr);
    let said = match text.trim() {
        "" => String::new(),
        said => format!(": {said}"),
    };
    io::Error::other(format!("the child process ended with {status}{said}"))
}

impl Drop for Output {
    fn drop(&mut self) {
        // Fails only if the child has ended.
        let _ = self.child.start_kill();
    }
}
