//! The output of a shell command.

use std::io;
use std::process::Stdio;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::process::{Child, Command};
use tokio_util::io::ReaderStream;

use crate::sources::ByteStream;

/// A running shell command. If this is dropped before the command has ended, all of its processes get
/// SIGTERM: a pipeline has more processes than the shell.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn start(command: &str) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        // A process group of its own, so that one signal reaches all of its processes.
        #[cfg(unix)]
        shell.process_group(0);
        Ok(Self { child: shell.spawn()? })
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
            Ok(())
        } else {
            Err(io::Error::other(format!("the command ended with {status}")))
        }
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
