#!/bin/sh
# Makes clip.mp4 and chimes.mp3 anew from ffmpeg's own test sources; both are in the public domain.
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

# chimes.mp3 has a constant bit rate and no index at all: a player can start at once, and seek by
# arithmetic.
notes='220*pow(2,if(eq(mod(ld(0)*3,5),0),0,if(eq(mod(ld(0)*3,5),1),3,if(eq(mod(ld(0)*3,5),2),7,if(eq(mod(ld(0)*3,5),3),10,12))))/12)*if(lt(mod(ld(0),16),8),1,0.75)'
left="exp(-3*mod(t,1/3))*(sin(2*PI*t*($notes))+0.4*sin(4*PI*t*($notes)))"
right="exp(-3*mod(t,1/3))*(sin(2*PI*t*1.003*($notes))+0.3*sin(6*PI*t*($notes)))"
ffmpeg -v error -y \
    -f lavfi -i "aevalsrc=exprs='st(0,floor(t*3));0.4*$left|st(0,floor(t*3));0.4*$right':s=44100" \
    -af "aecho=0.8:0.7:222:0.35,afade=t=out:st=57:d=3" -t 60 \
    -c:a libmp3lame -b:a 64k -write_xing 0 -fflags +bitexact -flags:a +bitexact \
    chimes.mp3
