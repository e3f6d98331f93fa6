//! The output of real child processes: its end is proven by the exit status.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use streamspool::{BufferHandle, ErrorKind, State, StreamBuffer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// A shell with pipes for its three standard streams.
fn shell(script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn spawn(child: Child) -> BufferHandle {
    StreamBuffer::builder().spawn_child(child)
}

/// Loads all, which must fail with this text.
async fn assert_fails(buffer: &BufferHandle, text: &str) {
    let error = prompt(buffer.load()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Source);
    assert_eq!(error.io_error().unwrap().to_string(), text);
    assert_eq!(buffer.progress().state, State::Failed);
}

/// Fails instead of hanging.
async fn prompt<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("no hang")
}

#[tokio::test]
async fn rule_1_the_output_of_a_child_that_succeeds_is_read_to_its_end() {
    let buffer = spawn(shell("head -c 300000 /dev/zero; printf end"));
    assert_eq!(prompt(buffer.load()).await.unwrap(), 300_003);
    assert_eq!(buffer.read(299_999, 100).await.unwrap(), "\0end");
    assert_eq!(buffer.progress().state, State::Complete);
}

#[tokio::test]
async fn rule_15_a_child_that_fails_after_its_output_is_no_end() {
    for (end, status) in [("exit 3", "exit status: 3"), ("kill -9 $$", "signal: 9 (SIGKILL)")] {
        let buffer = spawn(shell(&format!("head -c 100000 /dev/zero; {end}")));
        assert_fails(&buffer, &format!("the child process ended with {status}")).await;
        let error = buffer.read(99_999, 2).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source);
        assert_eq!(buffer.read(0, 100_000).await.unwrap(), vec![0; 100_000]);
    }
}

#[tokio::test]
async fn rule_15_the_end_of_the_pipe_is_no_end_before_the_child_has_exited() {
    for (status, expected) in [(0, Ok(10)), (3, Err(ErrorKind::Source))] {
        let mut child = shell(&format!("printf 0123456789; exec >&-; read go; exit {status}"));
        let mut stdin = child.stdin.take().unwrap();
        let buffer = spawn(child);
        assert_eq!(prompt(buffer.read(0, 10)).await.unwrap(), "0123456789");
        let (loaded, ()) = tokio::join!(prompt(buffer.load()), async {
            stdin.write_all(b"go\n").await.unwrap();
        });
        assert_eq!(loaded.map_err(|error| error.kind()), expected);
    }
}

#[tokio::test]
async fn rule_17_the_end_of_the_buffer_kills_a_child_that_does_not_exit() {
    for is_closed in [true, false] {
        // With an open pipe, and with one that has ended.
        for script in ["printf 0; exec sleep 1000", "printf 0; exec >&-; exec sleep 1000"] {
            let mut child = shell(script);
            let mut stderr = child.stderr.take().unwrap();
            let buffer = spawn(child);
            assert_eq!(prompt(buffer.read(0, 1)).await.unwrap(), "0");
            if is_closed {
                buffer.close();
                assert_eq!(prompt(buffer.read(0, 2)).await.unwrap_err().kind(), ErrorKind::Closed);
            } else {
                drop(buffer);
            }
            // This pipe ends with the process.
            assert_eq!(prompt(stderr.read_to_end(&mut Vec::new())).await.unwrap(), 0);
        }
    }
}

#[tokio::test]
async fn rule_7_a_child_is_not_stopped_by_its_own_messages() {
    // More than a pipe holds, before the output and after it.
    let messages = "head -c 300000 /dev/zero | tr '\\0' m >&2";
    let buffer = spawn(shell(&format!("{messages}; printf 0123456789; {messages}; exec >&-; {messages}")));
    assert_eq!(prompt(buffer.load()).await.unwrap(), 10);
}

#[tokio::test]
async fn rule_19_the_error_of_a_child_ends_with_its_last_messages() {
    let buffer = spawn(shell("printf 0; echo no such file >&2; echo it is over >&2; exit 3"));
    assert_fails(&buffer, "the child process ended with exit status: 3: no such file\nit is over").await;

    let buffer = spawn(shell("printf 'x%.0s' $(seq 3000) >&2; printf last >&2; exit 3"));
    let kept = format!("{}last", "x".repeat(1020));
    assert_fails(&buffer, &format!("the child process ended with exit status: 3: {kept}")).await;

    // A caller that has taken the standard error reads it.
    let mut child = shell("echo message >&2; exit 3");
    let mut stderr = child.stderr.take().unwrap();
    assert_fails(&spawn(child), "the child process ended with exit status: 3").await;
    let mut message = String::new();
    prompt(stderr.read_to_string(&mut message)).await.unwrap();
    assert_eq!(message, "message\n");
}

#[tokio::test]
async fn rule_19_a_child_that_has_exited_fails_only_after_the_last_message_of_its_own_children() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    // The child of the child keeps the standard error open, and no other pipe.
    command.args(["-c", "mkfifo go; printf 0; { read go <go; echo late >&2; } <&- >&- & exit 3"]);
    command.current_dir(dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let buffer = spawn(child);
    assert_eq!(prompt(buffer.read(0, 1)).await.unwrap(), "0");
    let load = tokio::spawn({
        let buffer = buffer.clone();
        async move { buffer.load().await }
    });
    // More than the pipe holds, so this fails when the child exits.
    prompt(stdin.write_all(&vec![0; 1_000_000])).await.unwrap_err();
    // The runtime sees the exit of this later child only after that of the first one.
    prompt(shell("exit 0").wait()).await.unwrap();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let is_early = load.is_finished();
    // Before the assertion, so that no process stays behind.
    let go = dir.path().join("go");
    prompt(tokio::task::spawn_blocking(move || std::fs::write(go, "go\n"))).await.unwrap().unwrap();
    assert!(!is_early, "the buffer failed before the last message");
    assert_fails(&buffer, "the child process ended with exit status: 3: late").await;
}

#[tokio::test]
async fn rule_17_a_child_that_reads_its_input_to_the_end_ends() {
    assert_eq!(prompt(spawn(shell("cat; printf end")).load()).await.unwrap(), 3);
}

#[tokio::test]
async fn rule_15_a_child_without_a_pipe_is_an_error() {
    let mut child = shell("printf 0");
    child.stdout = None;
    let error = prompt(spawn(child).read(0, 1)).await.unwrap_err();
    assert_eq!(error.io_error().map(io::Error::kind), Some(io::ErrorKind::InvalidInput));
}
