//! Synchronous decoders on a `BlockingReader` (rule 32). Over a server that breaks, they must decode the same as
//! from memory.

mod server;

use std::io::{Cursor, Read, Seek};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt, stream};
use rodio::Source as _;
use streamspool::{BufferHandle, Bytes, State, StreamBuffer};
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, SeekMode, SeekTo, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::units::Time;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::server::breaking;

const TUNE: &[u8] = include_bytes!("../../assets/tune.mp3");

/// Runs `work` on a thread that may block, and fails if it hangs.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    timeout(Duration::from_secs(60), spawn_blocking(work)).await.expect("no hang").unwrap()
}

struct Player {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
}

impl Player {
    fn open(source: impl MediaSource + 'static) -> Self {
        let stream = MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default());
        let (format, meta) = (FormatOptions::default(), MetadataOptions::default());
        let format = symphonia::default::get_probe().probe(&Hint::new(), stream, format, meta).unwrap();
        let track = format.default_track(TrackType::Audio).unwrap();
        let parameters = track.codec_params.as_ref().unwrap().audio().unwrap();
        let options = AudioDecoderOptions::default();
        let decoder = symphonia::default::get_codecs().make_audio_decoder(parameters, &options).unwrap();
        Self { track: track.id, decoder, format }
    }

    /// The time and the samples of the next packet.
    fn packet(&mut self) -> Option<(i64, Vec<f32>)> {
        let packet = self.format.next_packet().unwrap()?;
        let mut samples = Vec::new();
        self.decoder.decode(&packet).unwrap().copy_to_vec_interleaved(&mut samples);
        Some((packet.pts.get(), samples))
    }

    fn packets(&mut self, most: usize) -> Vec<(i64, Vec<f32>)> {
        std::iter::from_fn(|| self.packet()).take(most).collect()
    }

    fn seek(&mut self, second: u32) -> Result<(), Error> {
        let to = SeekTo::Time { time: Time::from(second), track_id: Some(self.track) };
        self.format.seek(SeekMode::Accurate, to)?;
        self.decoder.reset();
        Ok(())
    }

    /// Ten packets from the start and after jumps in both directions, then all of the rest. Each jump must succeed.
    fn jump_about(mut self) -> Vec<(i64, Vec<f32>)> {
        let mut played = self.packets(10);
        for second in [7, 1, 9, 0] {
            self.seek(second).unwrap();
            played.extend(self.packets(10));
        }
        played.extend(self.packets(usize::MAX));
        played
    }
}

/// Twelve seconds of the tune in a file of this name, or `None` without ffmpeg.
fn file(name: &str, options: &[&str]) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i", concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/tune.mp3")]);
    ffmpeg.args(["-t", "12", "-ac", "2", "-strict", "-2"]).args(options).arg(&path);
    match ffmpeg.output() {
        Ok(output) if output.status.success() => Some(std::fs::read(path).unwrap()),
        _ if std::env::var_os("STREAMSPOOL_REQUIRE_CLIENTS").is_none() => None,
        other => panic!("ffmpeg makes no {name}: {other:?}"),
    }
}

fn ogg() -> Option<Vec<u8>> {
    file("song.ogg", &["-c:a", "vorbis"])
}

/// The first bytes of a stream whose rest never arrives.
fn stuck(whole: &[u8], first: usize) -> BufferHandle {
    let first = stream::iter([Ok(Bytes::copy_from_slice(&whole[..first]))]);
    StreamBuffer::builder().size(whole.len() as u64).spawn(first.chain(stream::pending()))
}

#[tokio::test]
async fn rule_32_symphonia_decodes_a_breaking_download_as_if_it_were_in_memory() {
    let (requests, buffer) = breaking(TUNE, 100_003).await;
    let reader = buffer.blocking_reader();
    let (remote, local) = blocking(|| {
        let remote = Player::open(reader).jump_about();
        (remote, Player::open(Cursor::new(TUNE)).jump_about())
    })
    .await;
    assert!(local.len() > 1000);
    assert!(remote == local, "the same packets and samples");
    assert!(requests.load(Ordering::Relaxed) >= 7, "the download broke");
}

#[tokio::test]
async fn rule_32_symphonia_decodes_every_container_over_a_breaking_download_as_if_it_were_in_memory() {
    let clusters = ["-c:a", "vorbis", "-cluster_time_limit", "500"];
    for (name, options) in [
        ("song.caf", &["-c:a", "pcm_s16be"][..]),
        ("song.mkv", &clusters),
        ("song.webm", &clusters),
        ("song.flac", &[]),
        ("song.wav", &[]),
        ("index at the end.m4a", &[]),
    ] {
        let Some(whole) = file(name, options) else { return };
        let (requests, buffer) = breaking(&whole, whole.len() / 4).await;
        let (reader, early) = (buffer.blocking_reader(), buffer.blocking_reader());
        let played = blocking(|| Player::open(reader).jump_about()).await;
        let local = Player::open(Cursor::new(whole)).jump_about();
        assert!(local.len() > 50, "{name}");
        assert!(played == local, "{name}: the same packets and samples");
        assert!(requests.load(Ordering::Relaxed) >= 4, "{name}: the download broke");
        // The result is the same if all has arrived meanwhile, and if it had arrived before.
        buffer.load().await.unwrap();
        let late = buffer.blocking_reader();
        let (early, late) =
            blocking(|| (Player::open(early).jump_about(), Player::open(late).jump_about())).await;
        assert!(early == local && late == local, "{name}");
    }
}

#[tokio::test]
async fn rule_32_rodio_plays_and_seeks_back_with_the_line_of_the_guide() {
    for (name, options) in [
        ("song.mp3", &[][..]),
        ("song.flac", &[]),
        ("index at the end.m4a", &[]),
        ("index at the start.m4a", &["-movflags", "+faststart"]),
    ] {
        let Some(whole) = file(name, options) else { return };
        let (requests, buffer) = breaking(&whole, whole.len() / 4).await;
        let (size, reader) = (buffer.size().await.unwrap(), buffer.blocking_reader());
        let (remote, local) = blocking(move || {
            let remote = rodio::Decoder::builder().with_data(reader).with_byte_len(size).build().unwrap();
            let local = rodio::Decoder::builder().with_data(Cursor::new(whole)).with_byte_len(size).build();
            (seek_about(remote), seek_about(local.unwrap()))
        })
        .await;
        assert!(local.len() > 400_000, "{name}");
        assert!(remote == local, "{name}: the same samples");
        assert!(requests.load(Ordering::Relaxed) >= 4, "{name}: the download broke");
    }
}

/// Samples from the start, after seeks in both directions, and to the end. Each seek must succeed.
fn seek_about<R: Read + Seek>(mut decoder: rodio::Decoder<R>) -> Vec<f32> {
    let mut samples: Vec<_> = decoder.by_ref().take(100_000).collect();
    for second in [7, 1, 9, 0] {
        decoder.try_seek(Duration::from_secs(second)).unwrap();
        samples.extend(decoder.by_ref().take(10_000));
    }
    samples.extend(decoder);
    samples
}

#[tokio::test]
async fn rule_32_rodio_plays_the_first_bytes_before_the_rest_has_arrived() {
    let buffer = stuck(TUNE, 100_000);
    let (size, reader) = (buffer.size().await.unwrap(), buffer.blocking_reader());
    let played = blocking(move || {
        let decoder = rodio::Decoder::builder().with_data(reader).with_byte_len(size).build();
        decoder.unwrap().take(20_000).collect::<Vec<_>>()
    });
    let local = rodio::Decoder::new(Cursor::new(TUNE)).unwrap();
    assert!(played.await == local.take(20_000).collect::<Vec<_>>());
    assert!(buffer.progress().loaded <= 100_000);
}

#[tokio::test]
async fn rule_32_the_first_bytes_play_before_the_rest_has_arrived() {
    let buffer = stuck(TUNE, 100_000);
    let reader = buffer.blocking_reader();
    let played = blocking(move || {
        assert_eq!(reader.byte_len(), None);
        Player::open(reader).packets(20)
    });
    assert!(played.await == Player::open(Cursor::new(TUNE)).packets(20));
    assert!(buffer.progress().loaded <= 100_000);
}

#[tokio::test]
async fn rule_32_the_format_and_not_the_progress_decides_whether_symphonia_gets_the_length() {
    for (magic, is_told) in [
        ("OggS", true),
        ("caff", true),
        ("\u{1a}E", false),
        ("ID3\u{4}", false),
        ("fLaC", false),
        ("RIFF", false),
    ] {
        let whole = [magic.as_bytes(), &vec![0; 100_000]].concat();
        assert_is_told(whole, is_told).await;
    }
    assert_is_told([&b"\x1a\x45\xdf\xa3"[..], &vec![0; 100_000]].concat(), true).await;
    assert_is_told(b"Og".to_vec(), false).await;
}

/// Whether Symphonia gets the length of a known size is the same before, while and after the bytes arrive.
async fn assert_is_told(whole: Vec<u8>, is_told: bool) {
    let size = whole.len() as u64;
    let (mut feed, parts) = futures::channel::mpsc::unbounded();
    let buffer = StreamBuffer::builder().size(size).spawn(parts.map(Ok));
    let told = is_told.then_some(size);
    let reader = buffer.blocking_reader();
    assert!(reader.is_seekable());
    assert_eq!(reader.byte_len(), None, "this thread must not block");
    let (first, rest) = whole.split_at(whole.len().min(1000));
    feed.start_send(Bytes::copy_from_slice(first)).unwrap();
    if !rest.is_empty() {
        let reader = buffer.blocking_reader();
        assert_eq!(blocking(move || reader.byte_len()).await, told);
    }
    feed.start_send(Bytes::copy_from_slice(rest)).unwrap();
    feed.close_channel();
    buffer.load().await.unwrap();
    assert_eq!(buffer.progress().state, State::Complete);
    assert_eq!(blocking(move || reader.byte_len()).await, told);

    // A caller that has loaded all bytes first gives Symphonia the length, on any thread.
    assert_eq!(buffer.blocking_reader().byte_len(), Some(size));
}

#[tokio::test]
async fn rule_32_symphonia_opens_caf_of_an_unknown_size_as_soon_as_the_size_is_known() {
    let Some(caf) = file("song.caf", &["-c:a", "pcm_s16be"]) else { return };
    let parts: Vec<_> = caf.chunks(10_000).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    let reader = StreamBuffer::spawn(stream::iter(parts)).blocking_reader();
    let played = blocking(move || Player::open(reader).jump_about()).await;
    assert!(played == Player::open(Cursor::new(caf)).jump_about());
}

#[tokio::test]
async fn rule_32_symphonia_seeks_in_ogg_over_a_breaking_download() {
    let Some(ogg) = ogg() else { return };
    let (requests, buffer) = breaking(&ogg, ogg.len() / 4).await;
    let reader = buffer.blocking_reader();
    let ours = ogg.clone();
    let (remote, local) =
        blocking(move || (Player::open(reader).jump_about(), Player::open(Cursor::new(ours)).jump_about()))
            .await;
    assert!(local.len() > 100);
    assert!(remote == local, "the same packets and samples");
    assert!(requests.load(Ordering::Relaxed) >= 4, "the download broke");
}

#[tokio::test]
async fn rule_32_symphonia_gets_a_known_size_of_ogg_early_and_plays_ogg_of_an_unknown_size_at_once() {
    let Some(ogg) = ogg() else { return };
    let size = ogg.len() as u64;
    let reader = stuck(&ogg, 50_000).blocking_reader();
    assert_eq!(blocking(move || reader.byte_len()).await, Some(size));

    let first = stream::iter([Ok(Bytes::copy_from_slice(&ogg[..50_000]))]);
    let reader = StreamBuffer::spawn(first.chain(stream::pending())).blocking_reader();
    let played = blocking(move || {
        let mut player = Player::open(reader);
        let start = player.packets(5);
        assert!(player.seek(1).is_err());
        start
    });
    assert!(played.await == Player::open(Cursor::new(ogg)).packets(5));
}
