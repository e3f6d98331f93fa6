//! Guide: decode audio from HTTP while it arrives. Symphonia is synchronous, and seeks.

use guides::Server;
use streamspool::{BlockingReader, HttpSource, StreamBuffer};
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::formats::{FormatOptions, SeekMode, SeekTo, TrackType, probe::Hint};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::{meta::MetadataOptions, units::Time};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Decodes a packet at the start and one at 10 s. Call it on a thread that may block.
fn decode(reader: BlockingReader) -> Result<(), Error> {
    let buffer = reader.handle().clone();
    let stream = MediaSourceStream::new(Box::new(reader), MediaSourceStreamOptions::default());
    let (format, meta) = (FormatOptions::default(), MetadataOptions::default());
    let mut format = symphonia::default::get_probe().probe(&Hint::new(), stream, format, meta)?;
    let track = format.default_track(TrackType::Audio).ok_or("no sound")?;
    let (track_id, parameters) = (Some(track.id), track.codec_params.as_ref().and_then(|all| all.audio()));
    let (codecs, options) = (symphonia::default::get_codecs(), AudioDecoderOptions::default());
    let mut decoder = codecs.make_audio_decoder(parameters.ok_or("no codec")?, &options)?;
    for second in [0_u32, 10] {
        format.seek(SeekMode::Accurate, SeekTo::Time { time: Time::from(second), track_id })?;
        decoder.reset();
        let packet = format.next_packet()?.ok_or("it ended")?;
        let (frames, progress) = (decoder.decode(&packet)?.frames(), buffer.progress());
        println!("second {second}: {frames} samples; {} of {:?} bytes", progress.loaded, progress.size);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let server = Server::start(include_bytes!("../../assets/tune.mp3").as_slice(), 0)?;
    let buffer = StreamBuffer::spawn_source(HttpSource::new(server.url())?);
    let reader = buffer.blocking_reader();
    tokio::task::spawn_blocking(|| decode(reader)).await?
}
