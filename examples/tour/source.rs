//! The sender reads the input on its own thread and sends it like a network: in chunks of different sizes at
//! irregular times.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::sent::Sent;

/// The tune of the repository. `assets/make-tune.sh` makes it.
const TUNE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/tune.mp3");

/// The sizes of chunks: from less than a network packet to a full read of a busy socket.
const CHUNK: std::ops::RangeInclusive<usize> = 512..=16 * 1024;

/// Chunks that wait to be received, like the bytes in a socket's buffer.
const IN_FLIGHT: usize = 4;

/// How much of a delay the sender makes up for later. A network does not send faster after a pause of the
/// receiver.
const CATCH_UP: Duration = Duration::from_millis(50);

/// The input of the tour.
pub(crate) struct Input {
    pub name: String,
    /// Known for regular files only.
    pub size: Option<u64>,
    reader: Box<dyn Read + Send>,
}

impl Input {
    /// Opens a file, standard input for `-`, or the tune of the repository.
    pub(crate) fn open(file: Option<&Path>) -> Result<Self> {
        if file.is_some_and(|path| path.as_os_str() == "-") {
            return Ok(Self { name: "standard input".to_owned(), size: None, reader: Box::new(io::stdin()) });
        }
        let path = file.unwrap_or(Path::new(TUNE));
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let open = || -> io::Result<_> {
            let file = File::open(path)?;
            Ok((file.metadata()?, file))
        };
        let (metadata, file) = open().with_context(|| format!("can't open {}", path.display()))?;
        if metadata.is_dir() {
            bail!("{} is a directory; the tour needs a file", path.display());
        }
        let size = metadata.is_file().then_some(metadata.len());
        Ok(Self { name, size, reader: Box::new(file) })
    }
}

/// Sends `input` at `pace` bytes per second, or as fast as it is received. Keeps a copy in `sent`.
pub(crate) fn send(
    mut input: Input,
    pace: Option<u64>,
    seed: u64,
    sent: Sent,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (to, stream) = mpsc::channel(IN_FLIGHT);
    // A read of standard input cannot be interrupted. On a thread of the runtime's pool, it would delay the
    // end of the program.
    thread::spawn(move || {
        if let Err(error) = pump(&mut input, pace, seed, &sent, &to) {
            let _ = to.blocking_send(Err(error));
        }
    });
    ReceiverStream::new(stream)
}

fn pump(
    input: &mut Input,
    pace: Option<u64>,
    seed: u64,
    sent: &Sent,
    to: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut random = Rng::with_seed(seed);
    let mut due = Instant::now();
    loop {
        let mut chunk = BytesMut::zeroed(random.usize(CHUNK));
        let len = match input.reader.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if len == 0 {
            return Ok(());
        }
        chunk.truncate(len);
        let chunk = chunk.freeze();
        sent.append(&chunk)?;
        if let Some(pace) = pace {
            let now = Instant::now();
            let jitter = random.u64(50..=150);
            due = due.max(now.checked_sub(CATCH_UP).unwrap_or(now));
            due += Duration::from_nanos(len as u64 * 10_000_000 * jitter / pace);
            // This thread does nothing else, so it may sleep.
            thread::sleep(due.saturating_duration_since(now));
        }
        if to.blocking_send(Ok(chunk)).is_err() {
            // The buffer has dropped its source.
            return Ok(());
        }
    }
}
