//! Guide: the output of a child process. Its end is proven by the exit status.

use std::process::Stdio;

use streamspool::{BufferHandle, StreamBuffer};
use tokio::process::Command;

/// Runs a shell command. Its output is read while it runs.
fn run(command: &str) -> std::io::Result<BufferHandle> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null());
    let child = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    Ok(StreamBuffer::builder().spawn_child(child))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let counted = run("seq 100000")?;
    println!("{} bytes, the last line is {:?}", counted.size().await?, counted.slice(588_888..).await?);

    // This one fails after all of its output. The pipe ends in the same way.
    let broken = run("seq 100000; echo 'no space left on device' >&2; exit 3")?;
    let Err(error) = broken.load().await else { return Err("the command has failed".into()) };
    println!("{error}: {}", error.io_error().map(ToString::to_string).unwrap_or_default());
    println!("bytes before it stay readable: {:?}", broken.read(588_888, 6).await?);
    Ok(())
}
