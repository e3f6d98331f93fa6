//! mpv, VLC, `GStreamer`, fsspec and Firefox on a stream of unknown size, and on a stream whose size is given. The
//! sound that they decode must be that of the file.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::marionette::Firefox;
use crate::support::{Server, TUNE, Upstream, has_client, in_time};

fn tune_path() -> String {
    format!("{}/../../assets/tune.mp3", env!("CARGO_MANIFEST_DIR"))
}

/// A server whose source has sent all of the tune, without a size and without its end.
async fn endless() -> (Server, Upstream) {
    let upstream = Upstream::start("tune.mp3", None).await;
    upstream.send(TUNE);
    let server = Server::start(&[&upstream.url]).await;
    (server, upstream)
}

async fn run(command: &mut Command) {
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = in_time("a player", run).await.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The samples of a WAV file.
fn samples(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    assert!(bytes.starts_with(b"RIFF"), "{} is no sound", path.display());
    bytes[44..].to_vec()
}

#[tokio::test]
async fn mpv_seeks_in_a_stream_of_unknown_size_and_plays_on() {
    if !has_client("mpv", "--version") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let play = async |input: &str, name: &str| {
        let out = dir.path().join(name);
        let mut mpv = Command::new("mpv");
        mpv.args(["--no-config", "--no-video", "--ao=pcm", "--untimed", "--start=20", "--length=8"]);
        // Without its cache, mpv asks the server again for each seek.
        mpv.args(["--cache=no", "--demuxer-seekable-cache=no", "--demuxer-max-bytes=32KiB"]);
        run(mpv.arg(format!("--ao-pcm-file={}", out.display())).arg(input)).await;
        samples(&out)
    };
    let (server, _upstream) = endless().await;
    let (plain, remote) =
        (play(&tune_path(), "plain.wav").await, play(&server.media("tune.mp3"), "remote.wav").await);
    assert!(plain.len() > 7 * 44_100 * 2, "{} bytes", plain.len());
    assert!(plain == remote, "{} and {} bytes", plain.len(), remote.len());
}

#[cfg(unix)]
#[tokio::test]
async fn vlc_seeks_in_a_stream_of_unknown_size() {
    // As root, VLC does not even print its version.
    if !Path::new("/usr/bin/cvlc").exists() && !has_client("cvlc", "--version") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (server, upstream) = endless().await;
    let out = dir.path().join("out.wav");
    let mut vlc = Command::new("sh");
    // VLC refuses to run as root.
    vlc.args([
        "-c",
        "[ \"$(id -u)\" = 0 ] && set -- setpriv --reuid 65534 --clear-groups \"$@\"; exec \"$@\"",
        "sh",
    ]);
    vlc.args(["cvlc", "--no-video", "--start-time=20", "--run-time=5", "--play-and-exit"]);
    vlc.arg(format!("--sout=#transcode{{acodec=s16l}}:std{{access=file,mux=wav,dst={}}}", out.display()));
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    vlc.arg(server.media("tune.mp3")).env("HOME", dir.path());
    run(&mut vlc).await;
    let seconds = samples(&out).len() / (44_100 * 4);
    assert!((4..=8).contains(&seconds), "{seconds} s");
    drop(upstream);
}

#[tokio::test]
async fn gstreamer_decodes_a_stream_of_unknown_size_to_its_end() {
    if !has_client("gst-launch-1.0", "--version") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let play = async |source: &[&str], name: &str| {
        let out = dir.path().join(name);
        let mut gst = Command::new("gst-launch-1.0");
        gst.arg("-q").args(source);
        gst.args(["!", "decodebin", "!", "audioconvert", "!", "wavenc", "!", "filesink"]);
        run(gst.arg(format!("location={}", out.display()))).await;
        samples(&out)
    };
    let (server, upstream) = endless().await;
    drop(upstream);
    let plain = play(&["filesrc", &format!("location={}", tune_path())], "plain.wav").await;
    let remote =
        play(&["souphttpsrc", &format!("location={}", server.media("tune.mp3"))], "remote.wav").await;
    assert!(plain.len() > 37 * 44_100 * 2, "{} bytes", plain.len());
    assert!(plain == remote, "{} and {} bytes", plain.len(), remote.len());
}

#[tokio::test]
async fn fsspec_reads_ranges_of_a_stream_of_unknown_size_and_seeks_if_the_size_is_given() {
    let mut here = Command::new("/usr/bin/python3");
    here.args(["-c", "import fsspec.implementations.http"]).stdin(Stdio::null()).stderr(Stdio::null());
    if !here.status().await.is_ok_and(|status| status.success()) {
        assert!(
            !crate::support::is_required(),
            "fsspec, aiohttp or requests is missing for /usr/bin/python3"
        );
        return crate::support::skipped("fsspec");
    }
    let script = "
import fsspec, sys
url, known, path, end = sys.argv[1], sys.argv[2] == 'known', sys.argv[3], sys.argv[4]
want = open(path, 'rb').read()
fs = fsspec.filesystem('http')
assert fs.cat_file(url, start=1000, end=3000) == want[1000:3000]
with fs.open(url, block_size=65536) as file:
    assert file.size == (len(want) if known else None), file.size
    assert file.read(1000) == want[:1000]
    if known:
        for offset in (500_000, 3, 615_000):
            file.seek(offset)
            assert file.read(2000) == want[offset:offset + 2000], offset
open(end, 'w').close()
assert fs.cat_file(url, start=1000) == want[1000:]
";
    let size = TUNE.len().to_string();
    for known in [false, true] {
        // The source has no end before the script says so, so its size is unknown until then.
        let dir = tempfile::tempdir().unwrap();
        let end = dir.path().join("end").display().to_string();
        let command = format!("exec:cat '{}'; until [ -e '{end}' ]; do sleep 0.1; done", tune_path());
        let args = [&*command, "--size", &size];
        let server = Server::start(&args[..if known { 3 } else { 1 }]).await;
        let mut python = Command::new("/usr/bin/python3");
        let (url, known) = (server.media("output"), if known { "known" } else { "unknown" });
        run(python.args(["-c", script, &url, known, &tune_path(), &end])).await;
    }
}

#[tokio::test]
async fn firefox_plays_and_seeks_before_and_after_the_size_is_known() {
    let Some(mut firefox) = Firefox::start().await else { return };
    let upstream = Upstream::start("tune.mp3", None).await;
    let server = Server::start(&[&upstream.url]).await;
    let (here, rest) = TUNE.split_at(TUNE.len() / 2);
    upstream.send(here);
    firefox.open(&server.url).await;
    let audio = "const a = document.querySelector('audio');";
    firefox.until(&format!("{audio} return !!a;"), |has| has == true).await;
    firefox.eval(&format!("{audio} a.muted = true; a.play();")).await;
    firefox.until(&format!("{audio} return a.currentTime;"), |time| time.as_f64() > Some(1.0)).await;
    upstream.send(rest);
    drop(upstream);
    firefox.until("return document.getElementById('state').textContent;", |state| state == "complete").await;
    let reach = format!("{audio} return a.seekable.length ? a.seekable.end(0) : 0;");
    firefox.until(&reach, |end| end.as_f64() > Some(37.0)).await;
    for second in [30, 5] {
        firefox.eval(&format!("{audio} a.currentTime = {second}; a.play();")).await;
        let plays = format!("{audio} return !a.seeking && a.error === null ? a.currentTime : 0;");
        let fits = |time: &serde_json::Value| {
            time.as_f64().is_some_and(|time| time > f64::from(second) && time < f64::from(second) + 5.0)
        };
        firefox.until(&plays, fits).await;
    }
}
