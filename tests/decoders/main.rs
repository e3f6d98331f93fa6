//! Synchronous decoders on a `BlockingReader` (rule 32). Over a server that breaks, they must decode the same as
//! from memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

mod server;

use std::io::Cursor;
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

    /// Ten packets from the start and after jumps in both directions, then all of the rest.
    fn jump_about(mut self) -> Vec<(i64, Vec<f32>)> {
        let mut played = self.packets(10);
        for second in [7, 1, 10, 0] {
            self.seek(second).unwrap();
            played.extend(self.packets(10));
        }
        played.extend(self.packets(usize::MAX));
        played
    }
}

/// An Ogg file, or `None` without ffmpeg.
fn ogg() -> Option<Vec<u8>> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i", concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/tune.mp3")]);
    ffmpeg.args(["-t", "12", "-c:a", "vorbis", "-strict", "-2", "-ac", "2", "-f", "ogg", "-"]);
    match ffmpeg.output() {
        Ok(output) if output.status.success() => Some(output.stdout),
        _ if std::env::var_os("STREAMSPOOL_REQUIRE_CLIENTS").is_none() => None,
        other => panic!("ffmpeg makes no Ogg: {other:?}"),
    }
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
async fn rule_32_rodio_takes_the_reader_as_it_is() {
    let (requests, buffer) = breaking(TUNE, 10_000).await;
    let reader = buffer.blocking_reader();
    let (remote, local) = blocking(|| {
        let mut remote = rodio::Decoder::new(reader).unwrap();
        let mut local = rodio::Decoder::new(Cursor::new(TUNE)).unwrap();
        assert_eq!((remote.channels(), remote.sample_rate()), (local.channels(), local.sample_rate()));
        let both: (Vec<_>, Vec<_>) =
            (remote.by_ref().take(100_000).collect(), local.by_ref().take(100_000).collect());
        assert!(both.0 == both.1, "the same samples before the jump");
        let second = Duration::from_secs(1);
        assert_eq!(remote.try_seek(second).is_ok(), local.try_seek(second).is_ok());
        (remote.take(200_000).collect::<Vec<_>>(), local.take(200_000).collect::<Vec<_>>())
    })
    .await;
    assert_eq!(local.len(), 200_000);
    assert!(remote == local, "the same samples after the jump");
    assert!(requests.load(Ordering::Relaxed) >= 3, "the download broke");
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
async fn rule_32_symphonia_gets_the_length_once_all_bytes_are_loaded() {
    let buffer =
        StreamBuffer::spawn(stream::iter(TUNE.chunks(4096).map(|part| Ok(Bytes::from_static(part)))));
    let reader = buffer.blocking_reader();
    assert!(reader.is_seekable());
    assert_eq!(reader.byte_len(), None, "this thread must not block");
    buffer.load().await.unwrap();
    assert_eq!(buffer.progress().state, State::Complete);
    assert_eq!(reader.byte_len(), Some(TUNE.len() as u64));
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
