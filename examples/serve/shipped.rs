//! The media in `assets/`. Rate, memory and read-ahead are low, so that the page shows bytes that are missing, in
//! memory and on disk.

use std::io;
use std::path::Path;
use std::time::Duration;

use futures::stream;
use streamspool::{Bytes, OpenAt, Opened, Source, Version};
use tokio::time::sleep;

use crate::resource::Described;
use crate::sources::{Options, Origin};

const FILM: &[u8] = include_bytes!("../../assets/film.mp4");
const TUNE: &[u8] = include_bytes!("../../assets/tune.mp3");

/// Name, description, origin and rate in KiB per second.
const MEDIA: [(&str, &str, Origin, u32); 3] = [
    (
        "film.mp4",
        "A film on a slow server. Jump anywhere: it plays from there at once.",
        Origin::Slow(FILM),
        48,
    ),
    (
        "one-way.mp4",
        "The same film as a stream that only goes forward. A jump ahead waits for all bytes before it.",
        Origin::Shipped(FILM),
        24,
    ),
    ("tune.mp3", "A tune, as a stream that only goes forward.", Origin::Shipped(TUNE), 32),
];

/// The time from a request to the first byte of the slow server.
const LATENCY: Duration = Duration::from_millis(80);

/// The longest chunk of the slow server.
const CHUNK: usize = 16 * 1024;

/// A server of one file: it sends any part of it, after a moment.
pub(crate) struct SlowOrigin(pub(crate) &'static [u8]);

impl Source for SlowOrigin {
    async fn open(&self, at: OpenAt) -> io::Result<Opened> {
        sleep(LATENCY).await;
        let start = usize::try_from(at.offset).unwrap_or(usize::MAX);
        let rest = self.0.get(start..).unwrap_or_default();
        let chunks = stream::iter(rest.chunks(CHUNK).map(|chunk| Ok(Bytes::from_static(chunk))));
        Ok(Opened::new(chunks).size(self.0.len() as u64).version(Version::strong("shipped")))
    }
}

pub(crate) fn all(options: &Options, rate: Option<u32>, save_to: &Path) -> Vec<Described> {
    let one = |(name, about, origin, own_rate): (&str, &str, Origin, u32)| {
        let rate = rate.unwrap_or(own_rate);
        Described {
            name: name.into(),
            about: about.into(),
            source: format!("shipped, delivered at {rate} KiB/s"),
            origin,
            pace: Some(rate),
            options: Options {
                memory: options.memory.or(Some(256)),
                read_ahead: options.read_ahead.or(Some(64)),
                ..*options
            },
            save_to: save_to.into(),
        }
    };
    MEDIA.into_iter().map(one).collect()
}
