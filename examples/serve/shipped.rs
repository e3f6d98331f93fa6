//! The media in `assets/`. Rate, memory and read-ahead are low, so that the page shows bytes that are missing, in
//! memory and on disk.

use std::path::Path;

use crate::resource::Described;
use crate::sources::{Options, Origin};

/// Name, description, bytes and rate in KiB per second.
const MEDIA: [(&str, &str, &[u8], u32); 3] = [
    (
        "film.mp4",
        "A film with its index at the front. It plays at once.",
        include_bytes!("../../assets/film.mp4"),
        24,
    ),
    (
        "clip.mp4",
        "A film with its index at the end. The player jumps there first, and shows nothing until all has arrived.",
        include_bytes!("../../assets/clip.mp4"),
        96,
    ),
    ("tune.mp3", "A tune.", include_bytes!("../../assets/tune.mp3"), 32),
];

pub(crate) fn all(options: &Options, rate: Option<u32>, save_to: &Path) -> Vec<Described> {
    let one = |(name, about, bytes, own_rate): (&str, &str, &'static [u8], u32)| {
        let rate = rate.unwrap_or(own_rate);
        Described {
            name: name.into(),
            about: about.into(),
            source: format!("shipped, delivered at {rate} KiB/s"),
            origin: Origin::Shipped(bytes),
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
