//! Runs a test of this binary in a separate process.

use std::process::{Command, Stdio};

const NAME: &str = "STREAMSPOOL_CHILD";

/// The command that runs this test in a separate process, after these shell commands.
pub fn command(name: &str, setup: &str) -> Command {
    let mut command = Command::new("sh");
    // The shell can ignore a signal and lower a limit. In Rust this would need unsafe code.
    command.args(["-c", &format!("{setup}\nexec \"$0\" \"$@\"")]);
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(NAME, name);
    command.stdin(Stdio::null());
    command
}

pub fn is_child(name: &str) -> bool {
    std::env::var(NAME).is_ok_and(|of| of == name)
}

/// Whether the test is to run in this process. If not, it has run in another process when this returns.
pub fn alone(name: &str, setup: &str) -> bool {
    if is_child(name) {
        return true;
    }
    let output = command(name, setup).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", output.status);
    for line in err.lines().filter(|line| line.starts_with("notice: ")) {
        crate::tell(line);
    }
    false
}
