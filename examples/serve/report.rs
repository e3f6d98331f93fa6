//! Reports failures on standard error, and makes texts safe for a terminal.

use std::io::Write;

use streamspool::{ProgressUpdates, State, WeakBufferHandle};

/// The message of an error and of each cause behind it, for a person.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors repeat the message of their cause.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// The text without characters that control a terminal or change the direction of writing.
pub(crate) fn plain(text: &str) -> String {
    let controls = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .flat_map(|c| {
            let escaped = controls(c).then(|| c.escape_default());
            let same = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(same)
        })
        .collect()
}

/// Writes a line to standard error, which may be closed.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "serve: {}", plain(text));
}

/// Reports each failure of a source or a disk, and its end, until the buffer is closed.
pub(crate) async fn failures(name: String, buffer: WeakBufferHandle, mut updates: ProgressUpdates) {
    let (mut said, mut disk_failed) = (State::Waiting, false);
    loop {
        let progress = updates.latest();
        let Some(buffer) = buffer.upgrade() else { return };
        let cause = buffer.error().map(|error| explain(&error)).unwrap_or_default();
        match progress.state {
            State::Retrying { attempt, delay } if said != progress.state => {
                let delay = delay.as_secs_f32();
                line(&format!("{name}: {cause}. Trying again in {delay:.1} s (attempt {attempt})"));
            }
            State::Failed if said != State::Failed => line(&format!("{name}: {cause}")),
            _ => {}
        }
        said = progress.state;
        let failure = buffer.store_error().filter(|_| progress.store_failing);
        if let Some(error) = failure.as_ref().filter(|_| !disk_failed) {
            let why = explain(error);
            line(&format!("{name}: the disk can't be written: {why}. The bytes stay in memory"));
        } else if disk_failed && failure.is_none() {
            line(&format!("{name}: the disk is written again"));
        }
        disk_failed = failure.is_some();
        // A handle keeps the buffer alive.
        drop(buffer);
        if updates.changed().await.is_err() {
            return;
        }
    }
}
