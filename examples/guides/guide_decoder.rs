//! Guide: feed a blocking decoder that seeks, here symphonia, from an asynchronous stream that cannot seek.

use std::io::{self, Read, Seek, SeekFrom};

use futures::stream;
use streamspool::{BufferHandle, BufferReader, Bytes, State, StreamBuffer};
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, SeekMode, SeekTo, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::units::Time;
use tokio_util::io::SyncIoBridge;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// `SyncIoBridge` makes the reader `Read + Seek`. Symphonia also needs the size.
struct Source {
    reader: SyncIoBridge<BufferReader>,
    buffer: BufferHandle,
}

impl Source {
    /// Call this on the runtime. Use the result on a thread that may block.
    fn new(buffer: BufferHandle) -> Self {
        Self { reader: SyncIoBridge::new(buffer.reader()), buffer }
    }
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buf)
    }
}

impl Seek for Source {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        self.reader.seek(target)
    }
}

impl MediaSource for Source {
    fn is_seekable(&self) -> bool {
        true
    }

    /// If symphonia knows the size, it looks for tags at the end before it plays, and so waits for the whole
    /// stream. So it gets the size only when all bytes are loaded.
    ///
    /// Ogg is the exception: symphonia seeks in it only if it knows the size from the beginning.
    /// `examples/tour` recognizes Ogg by the first four bytes.
    fn byte_len(&self) -> Option<u64> {
        let progress = self.buffer.progress();
        progress.size.filter(|_| progress.state == State::Complete)
    }
}

/// Decodes a packet at the start and one at 30 s.
fn decode(source: Source) -> Result<(), Error> {
    let stream = MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default());
    let probe = symphonia::default::get_probe();
    let (format, meta) = (FormatOptions::default(), MetadataOptions::default());
    let mut format = probe.probe(Hint::new().with_extension("mp3"), stream, format, meta)?;
    let track = format.default_track(TrackType::Audio).ok_or("no sound")?;
    let (track_id, parameters) = (Some(track.id), track.codec_params.as_ref().and_then(|all| all.audio()));
    let parameters = parameters.ok_or("no codec")?;
    let mut decoder =
        symphonia::default::get_codecs().make_audio_decoder(parameters, &AudioDecoderOptions::default())?;

    for second in [0_u32, 30] {
        format.seek(SeekMode::Accurate, SeekTo::Time { time: Time::from(second), track_id })?;
        decoder.reset();
        let packet = format.next_packet()?.ok_or("it ended")?;
        println!("second {second}: {} samples at {}", decoder.decode(&packet)?.frames(), packet.pts.get());
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let song = include_bytes!("../../assets/tune.mp3").as_slice();
    let buffer = StreamBuffer::builder()
        .size(song.len() as u64)
        .spawn(stream::iter(song.chunks(4096).map(|piece| Ok(Bytes::from_static(piece)))));

    let source = Source::new(buffer);
    tokio::task::spawn_blocking(move || decode(source)).await?
}
