#!/bin/sh
# Makes tune.mp3, the music that the examples stream.
#
# The tune, its sound and this script are our own work, under the licences of the crate
# (MIT OR Apache-2.0). The script needs python3 and an ffmpeg with libmp3lame. Other versions of the
# encoder may write other bytes of the same music.
#
# The format is MP3, because a player can start it before the end has arrived. The bit rate is
# constant, so the bytes are spread evenly over the time.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
wav=$(mktemp)
trap 'rm -f "$wav"' EXIT

python3 - "$wav" <<'PYTHON'
import array, math, random, sys, wave

RATE = 44100
BEAT = 0.6                      # seconds: 100 beats a minute, three to a bar
BARS = 20
TAIL = 2.4                      # seconds for the last chord to ring out
LENGTH = int((BARS * 3 * BEAT + TAIL) * RATE)
left = array.array("d", bytes(8 * LENGTH))
right = array.array("d", bytes(8 * LENGTH))

STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def frequency(note):
    """Hertz of a note such as F#4."""
    step = STEPS[note[0]] + ("#" in note) - ("b" in note)
    return 440.0 * 2 ** ((step + 12 * (int(note[-1]) - 4) - 9) / 12)


def tone(note, beat, beats, loud, pan, partials, attack, decay):
    """Adds a note: sine partials, a soft attack, an exponential decay, a short release."""
    begin, hold = int(beat * BEAT * RATE), beats * BEAT
    release = 0.12
    gains = loud * math.cos(pan * math.pi / 2), loud * math.sin(pan * math.pi / 2)
    for number, weight in enumerate(partials, 1):
        step = 2 * math.pi * frequency(note) * number / RATE
        for i in range(min(int((hold + release) * RATE), LENGTH - begin)):
            t = i / RATE
            level = min(1.0, t / attack) * math.exp(-t * decay * number ** 0.5)
            if t > hold:
                level *= 1 - (t - hold) / release
            sound = weight * level * math.sin(step * i)
            left[begin + i] += gains[0] * sound
            right[begin + i] += gains[1] * sound


def pluck(note, beat, beats, loud, pan):
    tone(note, beat, beats, loud, pan, (1.0, 0.45, 0.25, 0.12, 0.06), 0.004, 2.6)


def flute(note, beat, beats, loud, pan):
    tone(note, beat, beats, loud, pan, (1.0, 0.28, 0.10), 0.06, 0.35)


def bass(note, beat, beats, loud, pan):
    tone(note, beat, beats, loud, pan, (1.0, 0.35, 0.08), 0.012, 0.9)


# A waltz in D major: two phrases of eight bars, and four to come home.
CHORDS = {
    "D": ("D2", "A3 D4 F#4"), "Bm": ("B2", "B3 D4 F#4"), "G": ("G2", "B3 D4 G4"),
    "A": ("A2", "A3 C#4 E4"), "Em": ("E2", "B3 E4 G4"), "F#m": ("F#2", "A3 C#4 F#4"),
}
HARMONY = "D Bm G A D Bm Em A D F#m G A Bm G A D G A Bm D".split()
MELODY = """
F#5:2 E5:1   D5:2 F#5:1   G5:1 B5:1 A5:1   A5:3
F#5:2 A5:1   B5:2 F#5:1   G5:1 F#5:1 E5:1  E5:3
F#5:1 G5:1 A5:1   C#6:2 A5:1   B5:1 A5:1 G5:1   E5:3
D5:1 F#5:1 B5:1   B5:2 G5:1   A5:1 E5:1 C#5:1   D5:3
B4:1 D5:1 G5:1   A5:1 G5:1 E5:1   F#5:2 E5:1   D5:3
""".split()

for bar, chord in enumerate(HARMONY):
    root, notes = CHORDS[chord]
    notes, beat, last = notes.split(), bar * 3, bar == BARS - 1
    bass(root, beat, 6 if last else 2.8, 0.30, 0.5)
    if last:
        for delay, note in enumerate(notes + ["A4", "D5"]):
            pluck(note, beat + delay * 0.25, 6, 0.20, 0.2 + 0.15 * delay)
    else:
        # Up and down in quavers.
        for quaver, pick in enumerate((0, 1, 2, 1, 2, 1)):
            pluck(notes[pick], beat + quaver / 2, 1.4, 0.16, 0.25 + 0.1 * pick)

beat = 0.0
for item in MELODY:
    note, beats = item.split(":")
    flute(note, beat, float(beats) * 0.97, 0.26, 0.6)
    if beat >= 24:              # from the second phrase on, a second voice an octave below
        flute(note[:-1] + str(int(note[-1]) - 1), beat, float(beats) * 0.97, 0.11, 0.3)
    beat += float(beats)

# Reverberation: echoes that cross between the sides.
delay = int(0.27 * RATE)
for i in range(delay, LENGTH):
    left[i] += 0.22 * right[i - delay]
    right[i] += 0.22 * left[i - delay]

peak = max(max(map(abs, left)), max(map(abs, right)))
fade_in, fade_out = 0.05 * RATE, 2.0 * RATE
dither = random.Random(1)
frames = array.array("h")
for i in range(LENGTH):
    gain = 29000 / peak * min(1.0, i / fade_in, (LENGTH - i) / fade_out)
    for side in (left, right):
        frames.append(round(side[i] * gain + dither.uniform(-0.5, 0.5)))
if sys.byteorder == "big":
    frames.byteswap()
with wave.open(sys.argv[1], "wb") as out:
    out.setnchannels(2)
    out.setsampwidth(2)
    out.setframerate(RATE)
    out.writeframes(frames.tobytes())
PYTHON

# Write neither tags nor the encoder's version.
ffmpeg -nostdin -loglevel error -y -f wav -i "$wav" -map_metadata -1 -fflags +bitexact -flags:a +bitexact \
    -c:a libmp3lame -b:a 128k -id3v2_version 0 "$here/tune.mp3"
