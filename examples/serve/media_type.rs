//! The content type of a resource: from its first bytes, its name, and its server.

/// The types of names with these endings. The bytes show the types of most other media.
const BY_NAME: &[(&str, &str)] = &[
    ("aac", "audio/aac"),
    ("avif", "image/avif"),
    ("bin", UNKNOWN),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("md", "text/markdown; charset=utf-8"),
    ("mka", "audio/x-matroska"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("parquet", "application/vnd.apache.parquet"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("srt", "text/plain; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("ts", "video/mp2t"),
    ("txt", "text/plain; charset=utf-8"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("wav", "audio/wav"),
    ("weba", "audio/webm"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("xml", "text/xml"),
    ("zip", "application/zip"),
];

/// The type of a resource about which nothing is known.
pub(crate) const UNKNOWN: &str = "application/octet-stream";

/// The type of a file with this name.
pub(crate) fn of_name(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    BY_NAME.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known)).map(|(_, kind)| *kind)
}

/// The type of a resource that starts with `head`. The bytes decide, except between sound and picture: the same
/// containers hold both, so there the name decides.
pub(crate) fn of(head: &[u8], name: &str) -> Option<&'static str> {
    let named = of_name(name);
    let sniffed = infer::get(head).map(|kind| kind.mime_type());
    let is_media = |kind: &str| kind.starts_with("audio/") || kind.starts_with("video/");
    match (sniffed, named) {
        (Some(sniffed), Some(named)) if is_media(sniffed) && is_media(named) => Some(named),
        (Some(sniffed), _) => Some(sniffed),
        (None, named) => named,
    }
}
