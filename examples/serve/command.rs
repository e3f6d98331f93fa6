//! The output of a shell command.

use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use crate::sources::ByteStream;

/// The last bytes of the standard error that a failure repeats: a few lines.
const TAIL: usize = 1024;

/// How long a failed command may keep its standard error open. A process that it has started may keep it for ever.
const SOON: Duration = Duration::from_millis(500);

/// A running shell command. If this is dropped before the command has ended, all of its processes get
/// SIGTERM: a pipeline has more processes than the shell.
pub(crate) struct Running {
    child: Child,
    /// The end of its standard error.
    said: Arc<Mutex<Vec<u8>>>,
    /// Reads its standard error.
    repeats: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(command: &str) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        shell.kill_on_drop(true);
        // A process group of its own, so that one signal reaches all of its processes.
        #[cfg(unix)]
        shell.process_group(0);
        let mut child = shell.spawn()?;
        let said = Arc::default();
        // From the start, because a command whose standard error is a full pipe writes no output.
        let repeats = child.stderr.take().map(|errors| tokio::spawn(repeat(errors, Arc::clone(&said))));
        Ok(Self { child, said, repeats })
    }

    /// The output of the command. If the command fails, the stream fails, because the output may be incomplete.
    pub(crate) fn output(mut self, piece: usize) -> ByteStream {
        let Some(output) = self.child.stdout.take() else {
            return stream::iter([Err(io::Error::other("the command has no output"))]).boxed();
        };
        let verdict = stream::once(self.success()).try_filter_map(|()| async { Ok(None) });
        ReaderStream::with_capacity(output, piece).chain(verdict).boxed()
    }

    async fn success(mut self) -> io::Result<()> {
        let status = self.child.wait().await?;
        if status.success() {
            return Ok(());
        }
        if let Some(repeats) = self.repeats.take() {
            let _ = timeout(SOON, repeats).await;
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&said);
        let said = if said.trim().is_empty() { String::new() } else { format!(": {}", said.trim()) };
        Err(io::Error::other(format!("the command ended with {status}{said}")))
    }
}

/// Repeats the standard error of a command on that of this program, and keeps its last bytes.
async fn repeat(mut errors: ChildStderr, said: Arc<Mutex<Vec<u8>>>) {
    let mut piece = [0; TAIL];
    while let Ok(read @ 1..) = errors.read(&mut piece).await {
        let piece = piece.get(..read).unwrap_or_default();
        // Standard error may be closed.
        let _ = tokio::io::stderr().write_all(piece).await;
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(piece);
        let surplus = said.len().saturating_sub(TAIL);
        said.drain(..surplus);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // `id` is None after the command has ended. Its number may belong to another process then.
        #[cfg(unix)]
        if let Some(group) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let group = rustix::process::Pid::from_raw(group);
            // Fails only if all processes have ended.
            let _ =
                group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::TERM));
        }
    }
}
