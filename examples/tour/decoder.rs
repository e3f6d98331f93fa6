//! The player: a synchronous decoder that decodes from start to end, and jumps back and forth in between.

use anyhow::Result;
use fastrand::Rng;
use streamspool::BufferHandle;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, SeekMode, SeekTo, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::units::{Time, TimeBase};

use crate::check::Witness;
use crate::media::{Fault, Media};

/// The number of jumps during playback, from which it returns, and the number of jumps after it.
const JUMPS: u32 = 6;

/// Seconds between two jumps if the length of the audio is unknown.
const SECONDS: f64 = 6.0;

/// The seconds that it decodes after a jump, and the seconds of the longest jump ahead.
const LISTEN: f64 = 0.5;
const AHEAD: f64 = 5.0;

/// How much of the declared length may be missing, in seconds and as a share. Some formats round the length,
/// and others estimate it.
const MISSING: f64 = 0.5;
const MISSING_SHARE: f64 = 0.02;

/// A longer pause between two packets counts as a hole, in seconds.
const HOLE: f64 = 0.02;

/// The result.
pub(crate) enum Played {
    /// From start to end, or nearly so.
    Whole { format: String, seconds: f64, jumps: u32, damaged: u64 },
    /// No audio, or a format that the decoder does not know.
    NotAudio { why: String },
    /// Audio that ended early or has holes.
    Broken { why: String },
}

/// Plays the stream of the buffer. Blocks. Fails if the buffer fails.
pub(crate) fn play(buffer: &BufferHandle, witness: Witness, seed: u64) -> Result<Played> {
    let fault = Fault::default();
    let media = Media::new(buffer, witness, Fault::clone(&fault));
    let played = Player::open(media, seed).map(|mut player| {
        let end = player.play();
        player.judge(end)
    });
    match (fault.get(), played) {
        (Some(error), _) => Err(error.clone().into()),
        (None, Ok(played)) => Ok(played),
        (None, Err(error)) => Ok(Played::NotAudio { why: error.to_string() }),
    }
}

struct Player {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    base: TimeBase,
    /// The length that the header declares, in seconds.
    promised: Option<f64>,
    /// The second at which the audio begins, nearly always 0.
    begin: f64,
    /// The second up to which the audio has been played, without the jumps.
    position: f64,
    /// Seconds before that without audio.
    holes: f64,
    decoded: u64,
    damaged: u64,
    jumps: u32,
    random: Rng,
}

impl Player {
    fn open(media: Media, seed: u64) -> Result<Self, Error> {
        let media = MediaSourceStream::new(Box::new(media), MediaSourceStreamOptions::default());
        let format = symphonia::default::get_probe().probe(
            &Hint::new(),
            media,
            FormatOptions::default(),
            MetadataOptions::default(),
        )?;
        let track = format.default_track(TrackType::Audio).ok_or(Error::Unsupported("no audio track"))?;
        let params = track.codec_params.as_ref().and_then(|params| params.audio());
        let params = params.ok_or(Error::Unsupported("an unknown codec"))?;
        let options = AudioDecoderOptions::default();
        let decoder = symphonia::default::get_codecs().make_audio_decoder(params, &options)?;
        let base = track.time_base.ok_or(Error::Unsupported("a track without a clock"))?;
        let promised = track.duration.and_then(|duration| base.calc_duration(duration));
        Ok(Self {
            decoder,
            track: track.id,
            base,
            promised: promised.map(|time| time.as_secs_f64()),
            begin: 0.0,
            position: 0.0,
            holes: 0.0,
            decoded: 0,
            damaged: 0,
            jumps: 0,
            random: Rng::with_seed(seed),
            format,
        })
    }

    fn play(&mut self) -> Result<(), Error> {
        let every = self.promised.map_or(SECONDS, |promised| promised / f64::from(JUMPS + 1));
        while let Some((start, end)) = self.packet()? {
            if self.position == 0.0 {
                // The recording of a broadcast may start at a time other than 0.
                self.begin = start.max(0.0);
            } else if start > self.position + HOLE {
                self.holes += start - self.position;
            }
            self.position = self.position.max(end);
            let next = self.begin + every * f64::from(self.jumps + 1);
            if self.jumps < JUMPS && self.position >= next {
                self.jump_and_return()?;
            }
        }
        // All bytes are loaded now, so it jumps anywhere.
        for _ in 0..JUMPS {
            let anywhere = self.anywhere();
            if self.jump(anywhere).is_err() {
                // Some formats cannot seek after they have been played to the end.
                break;
            }
        }
        Ok(())
    }

    /// Jumps, alternately back to audio that was played and ahead to audio that may not have arrived, and
    /// returns.
    fn jump_and_return(&mut self) -> Result<(), Error> {
        let here = self.position;
        let there = if self.jumps.is_multiple_of(2) {
            self.anywhere()
        } else {
            let left = self.promised.map_or(AHEAD, |promised| (self.begin + promised - here) / 2.0);
            here + left.clamp(0.0, AHEAD)
        };
        self.jump(there)?;
        self.seek(here)?;
        Ok(())
    }

    /// A random second of the audio that has been played.
    fn anywhere(&mut self) -> f64 {
        self.begin + (self.position - self.begin) * self.random.f64()
    }

    /// Seeks and decodes for a moment.
    fn jump(&mut self, there: f64) -> Result<(), Error> {
        self.jumps += 1;
        if self.seek(there)? {
            while self.packet()?.is_some_and(|(_, end)| end < there + LISTEN) {}
        }
        Ok(())
    }

    /// Seeks. Returns whether the format was able to.
    fn seek(&mut self, seconds: f64) -> Result<bool, Error> {
        let Some(time) = Time::try_from_secs_f64(seconds) else { return Ok(false) };
        match self.format.seek(SeekMode::Accurate, SeekTo::Time { time, track_id: Some(self.track) }) {
            Ok(_) => {
                self.decoder.reset();
                Ok(true)
            }
            Err(Error::SeekError(_) | Error::DecodeError(_) | Error::Unsupported(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Decodes the next packet. Returns the seconds at which it starts and ends, or `None` at the end.
    fn packet(&mut self) -> Result<Option<(f64, f64)>, Error> {
        loop {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => packet,
                Ok(Some(_)) => continue,
                // Some formats mark the end only by the end of the file. A reset means that another recording follows.
                Ok(None) | Err(Error::ResetRequired) => return Ok(None),
                Err(Error::IoError(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            match self.decoder.decode(&packet) {
                Ok(_) => self.decoded += 1,
                Err(Error::DecodeError(_) | Error::IoError(_)) => self.damaged += 1,
                Err(error) => return Err(error),
            }
            let end = packet.pts.saturating_add(packet.dur);
            let seconds = |at| self.base.calc_time_saturating(at).as_secs_f64();
            return Ok(Some((seconds(packet.pts), seconds(end))));
        }
    }

    fn judge(&self, end: Result<(), Error>) -> Played {
        let format = self.format.format_info().short_name.to_owned();
        let seconds = self.position - self.begin;
        if self.decoded <= self.damaged {
            return Played::NotAudio { why: format!("parts of it look like {format}, but it is not") };
        }
        if let Err(error) = end {
            return Played::Broken { why: format!("the {format} breaks off after {seconds:.1} s: {error}") };
        }
        let promised = self.promised.unwrap_or(seconds);
        let played = seconds - self.holes;
        if promised - played > MISSING + promised * MISSING_SHARE {
            let why = format!(
                "of {promised:.1} s of {format} only {played:.1} s could be played: it is cut short or damaged"
            );
            return Played::Broken { why };
        }
        Played::Whole { format, seconds, jumps: self.jumps, damaged: self.damaged }
    }
}
