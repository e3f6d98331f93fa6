#!/bin/sh
# Makes clip.mp4 anew from ffmpeg's own test sources; it is in the public domain.
#
# clip.mp4 is what a phone or a camera writes: its index (the moov box) stands at the end of the
# file, so a player has to jump there before it can show anything. The white bar at the bottom
# grows with the time, so that a test, or an eye, can tell from the picture where it stands.
#
# Another version of ffmpeg writes other bytes; nothing depends on them.
set -eu
cd "$(dirname "$0")"

seconds=24
ffmpeg -v error -y \
    -f lavfi -i "mandelbrot=size=640x360:rate=24:end_scale=0.02:end_pts=600" \
    -f lavfi -i "color=c=white:size=640x10:rate=24" \
    -f lavfi -i "aevalsrc=exprs='0.16*sin(2*PI*110*t)*(1+sin(2*PI*t/8))/2+0.10*sin(2*PI*165*t)*(1+sin(2*PI*t/6))/2|0.16*sin(2*PI*110.5*t)*(1+cos(2*PI*t/8))/2+0.10*sin(2*PI*220*t)*(1+cos(2*PI*t/5))/2':s=44100" \
    -filter_complex "[0][1]overlay=x='-W+W*t/$seconds':y=H-h:eval=frame,format=yuv420p[picture]" \
    -map "[picture]" -map 2:a -t "$seconds" \
    -c:v libx264 -preset veryslow -crf 31 -maxrate 460k -bufsize 920k -g 48 -threads 1 \
    -c:a aac -b:a 64k -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
    clip.mp4
