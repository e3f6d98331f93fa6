#!/bin/sh
# Makes clip.mp4 from ffmpeg's own test sources. The clip is in the public domain.
#
# Phones and cameras write such files: the index (the moov box) is at the end, so a player must jump
# there before it can show anything. A white bar at the bottom grows with the time. So a test, or a
# person, can read the time from the picture.
#
# Other versions of ffmpeg write other bytes. No test depends on them.
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
