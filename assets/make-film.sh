#!/bin/sh
# Makes film.mp4 from ffmpeg's own sources and tune.mp3. The film is our own work, under the licences of the crate
# (MIT OR Apache-2.0).
#
# Films on the web are like this one: the index (the moov box) is at the front, so a player shows the first
# picture at once. The clock and the white bar at the bottom tell the time of the picture, to people and to tests.
# The file is small, so that it can be a part of the repository: 72 seconds in about 780 KiB.
#
# Other versions of ffmpeg write other bytes. No test depends on them.
set -eu
cd "$(dirname "$0")"

seconds=72
font="fontfile=/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf:fontcolor=white:x=(w-tw)/2"
ffmpeg -v error -y \
    -f lavfi -i "gradients=size=640x360:rate=15:nb_colors=5:c0=0x1b1b4f:c1=0x4f5bd5:c2=0xc9537a:c3=0xc98a2b:c4=0x123a4a:x0=0:y0=0:x1=640:y1=360:speed=0.012:seed=7" \
    -f lavfi -i "color=c=white:size=640x10:rate=15" \
    -stream_loop 1 -i tune.mp3 \
    -filter_complex "[2:a]asplit[sound][seen];
        [sound]aresample=32000,afade=t=out:st=$((seconds - 3)):d=3[audio];
        [seen]showfreqs=s=640x140:rate=15:mode=bar:ascale=sqrt:fscale=log:win_size=2048:averaging=3:colors=white|white,
            format=gbrp,scale=40:140:flags=area,scale=640:140:flags=neighbor,colorkey=black:0.15:0,format=rgba,colorchannelmixer=aa=0.4[bars];
        [0]drawtext=text='%{eif\:t/60\:d}\:%{eif\:mod(t,60)\:d\:2}':fontsize=110:y=95:$font,
            drawtext=text='a stream that only goes forward':fontsize=22:alpha=0.85:y=62:$font[scene];
        [scene][bars]overlay=x=0:y=205:shortest=0[lively];
        [lively][1]overlay=x='-W+W*t/$seconds':y=H-h:eval=frame,format=yuv420p[picture]" \
    -map "[picture]" -map "[audio]" -t "$seconds" \
    -c:v libx264 -preset veryslow -crf 31 -maxrate 70k -bufsize 280k -g 60 -threads 1 \
    -c:a aac -b:a 40k -ac 1 -movflags +faststart \
    -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
    film.mp4
