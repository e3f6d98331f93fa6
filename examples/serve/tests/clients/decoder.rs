//! Symphonia, a blocking decoder that seeks, on `SyncIoBridge`. It must decode the same samples as from a
//! file.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Cursor, Read, Seek, SeekFrom};

use streamspool::{BufferReader, StreamBuffer};
use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, SeekMode, SeekTo, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::units::Time;
use tokio_util::io::SyncIoBridge;

use crate::support::{CLIP, TUNE, in_time, uneven};

/// A reader with the interface that symphonia needs.
struct Source {
    reader: SyncIoBridge<BufferReader>,
    size: u64,
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(buf)
    }
}

impl Seek for Source {
    fn seek(&mut self, target: SeekFrom) -> std::io::Result<u64> {
        self.reader.seek(target)
    }
}

impl MediaSource for Source {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.size)
    }
}

/// The time of each packet and a hash of its samples, from the start and after each seek.
fn heard(source: Box<dyn MediaSource>, extension: &str, seeks: &[u32]) -> Vec<(i64, u64)> {
    let stream = MediaSourceStream::new(source, symphonia::core::io::MediaSourceStreamOptions::default());
    let mut hint = Hint::new();
    hint.with_extension(extension);
    let mut format = symphonia::default::get_probe()
        .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
        .unwrap();
    let track = format.default_track(TrackType::Audio).unwrap();
    let track_id = track.id;
    let parameters = track.codec_params.as_ref().unwrap().audio().unwrap();
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .unwrap();

    let mut heard = Vec::new();
    let mut samples: Vec<f32> = Vec::new();
    for seek in std::iter::once(None).chain(seeks.iter().map(Some)) {
        if let Some(&second) = seek {
            let time = Time::from(second);
            format.seek(SeekMode::Accurate, SeekTo::Time { time, track_id: Some(track_id) }).unwrap();
            decoder.reset();
        }
        // Decode to the end after the last seek, and a few seconds otherwise.
        let most = if seek == seeks.last() { usize::MAX } else { 100 };
        let mut count = 0;
        while count < most
            && let Some(packet) = format.next_packet().unwrap()
        {
            if packet.track_id != track_id {
                continue;
            }
            count += 1;
            let sound: GenericAudioBufferRef<'_> = decoder.decode(&packet).unwrap();
            sound.copy_to_vec_interleaved(&mut samples);
            let mut hasher = DefaultHasher::new();
            for sample in &samples {
                sample.to_bits().hash(&mut hasher);
            }
            heard.push((packet.pts.get(), hasher.finish()));
        }
    }
    heard
}

async fn hears_the_same(bytes: &'static [u8], extension: &'static str, seeks: &'static [u32]) {
    let size = bytes.len() as u64;
    let buffer = StreamBuffer::builder().size(size).max_memory(64 * 1024).read_ahead(0).spawn(uneven(bytes));
    let reader = SyncIoBridge::new(buffer.reader());
    let served =
        tokio::task::spawn_blocking(move || heard(Box::new(Source { reader, size }), extension, seeks));
    let served = in_time("the decoder", served).await.unwrap();
    let expected = heard(Box::new(Cursor::new(bytes)), extension, seeks);
    assert!(expected.len() > 300, "only {} packets", expected.len());
    assert!(served == expected);
    assert!(buffer.progress().spilled > 0, "some bytes were read from disk");
}

#[tokio::test]
async fn an_mp3_sounds_the_same_after_every_seek() {
    hears_the_same(TUNE, "mp3", &[30, 3, 37, 20]).await;
}

#[tokio::test]
async fn the_sound_of_a_film_with_its_index_at_the_end_is_the_same_after_every_seek() {
    hears_the_same(CLIP, "mp4", &[20, 1, 11]).await;
}
