//! The display during the tour: three bars, or lines of text if the output is not a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressStyle};
use streamspool::{BufferHandle, Error, Progress, State};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::interval;

/// The time between two updates of the bars, and between two lines.
const FRAME: Duration = Duration::from_millis(50);
const LINE: Duration = Duration::from_secs(1);

pub(crate) struct Bars {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Shows the progress of a buffer and the number of checked bytes, until `stop`.
pub(crate) fn show(buffer: BufferHandle, checked: Arc<AtomicU64>) -> Bars {
    let (stop, stopped) = oneshot::channel();
    Bars { stop, task: tokio::spawn(run(buffer, checked, stopped)) }
}

impl Bars {
    /// Shows the final state and leaves it on the screen.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn run(buffer: BufferHandle, checked: Arc<AtomicU64>, mut stopped: oneshot::Receiver<()>) {
    let screen = MultiProgress::new();
    let plain = screen.is_hidden();
    let lines = Lines::new(&screen);
    let mut tick = interval(if plain { LINE } else { FRAME });
    loop {
        let stop = tokio::select! {
            _ = &mut stopped => true,
            _ = tick.tick() => false,
        };
        let (now, checked) = (buffer.progress(), checked.load(Ordering::Relaxed));
        let state = state(&now, buffer.error().as_ref());
        if plain {
            eprintln!("{} ({state})", line(&now, checked));
        } else {
            lines.set(&now, checked, &state);
        }
        if stop {
            break;
        }
    }
    if !plain {
        lines.leave();
    }
}

/// The progress as one line of text.
fn line(now: &Progress, checked: u64) -> String {
    format!(
        "loaded {}, in memory {}, spilled {}, checked {}",
        of(now.loaded, now.size),
        BinaryBytes(now.resident),
        BinaryBytes(now.spilled),
        BinaryBytes(checked),
    )
}

/// The state, with the cause of a failure that lasts.
fn state(now: &Progress, error: Option<&Error>) -> String {
    let cause = error.map(|error| {
        let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
        format!(": {}", causes.last().map(ToString::to_string).unwrap_or_default())
    });
    let cause = cause.unwrap_or_default();
    match now.state {
        State::Waiting => "waiting".to_owned(),
        // Bytes are loaded past the first missing one: a listener has jumped.
        State::Pulling if now.loaded > now.frontier - now.start => {
            format!(
                "loading after a jump, {} streams, next gap at {}",
                now.streams,
                BinaryBytes(now.frontier)
            )
        }
        State::Pulling => "loading".to_owned(),
        State::Complete => "complete".to_owned(),
        State::Ended => "ended, its first bytes are discarded".to_owned(),
        State::Failed => format!("failed{cause}"),
        State::Retrying { attempt, delay } => {
            format!("trying again in {:.1} s, attempt {attempt}{cause}", delay.as_secs_f64())
        }
        _ => String::new(),
    }
}

fn of(part: u64, whole: Option<u64>) -> String {
    match whole {
        Some(whole) => format!("{} of {}", BinaryBytes(part), BinaryBytes(whole)),
        None => BinaryBytes(part).to_string(),
    }
}

struct Lines {
    loaded: ProgressBar,
    resident: ProgressBar,
    spilled: ProgressBar,
    checked: ProgressBar,
}

impl Lines {
    fn new(screen: &MultiProgress) -> Self {
        let add = |name: &'static str, template: &str| {
            let style = ProgressStyle::with_template(template);
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─");
            screen.add(ProgressBar::new(1).with_style(style).with_prefix(name))
        };
        Self {
            loaded: add("loaded", "{prefix:>9} {wide_bar:.green} {msg:>24}"),
            resident: add("in memory", "{prefix:>9} {wide_bar:.cyan} {msg:>24}"),
            spilled: add("spilled", "{prefix:>9} {wide_bar:.yellow} {msg:>24}"),
            checked: add("checked", "{prefix:>9} {wide_msg}"),
        }
    }

    fn set(&self, now: &Progress, checked: u64, state: &str) {
        let whole = now.size.unwrap_or(now.loaded).max(1);
        for (bar, part) in
            [(&self.loaded, now.loaded), (&self.resident, now.resident), (&self.spilled, now.spilled)]
        {
            bar.set_length(whole);
            bar.set_position(part);
            bar.set_message(BinaryBytes(part).to_string());
        }
        self.loaded.set_message(of(now.loaded, now.size));
        self.checked.set_message(format!("{} read and compared ({state})", BinaryBytes(checked)));
    }

    fn leave(&self) {
        for bar in [&self.loaded, &self.resident, &self.spilled, &self.checked] {
            bar.abandon();
        }
        // The next output starts on a new line.
        eprintln!();
    }
}
