//! ffprobe and ffmpeg read a film with its index at the end. Over HTTP they must find the same as in the
//! file.

use std::process::Stdio;

use tokio::process::Command;

use crate::support::{Server, clip_path, has_client, in_time};

async fn output(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(["-v", "error"]).args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = in_time(program, command.output()).await.unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.is_empty(), "{program} {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A hash of each frame of sound and picture, one per line.
async fn frames(input: &str, from: &str) -> String {
    output("ffmpeg", &["-ss", from, "-i", input, "-map", "0", "-f", "framemd5", "-"]).await
}

#[tokio::test]
async fn ffprobe_finds_the_index_at_the_end_and_every_packet() {
    if !has_client("ffprobe", "-version") {
        return;
    }
    let server = Server::start(&[&clip_path(), "--rate", "4096", "--memory", "256"]).await;
    let show = ["-show_streams", "-show_packets", "-of", "csv"];
    let from = async |input: &str| output("ffprobe", &[&show[..], &[input]].concat()).await;
    let (plain, remote) = (from(&clip_path()).await, from(&server.media("clip.mp4")).await);
    assert!(plain.lines().count() > 1000, "24 seconds have more than 1000 packets");
    assert_eq!(plain, remote);
}

#[tokio::test]
async fn ffmpeg_decodes_the_same_frames_from_the_start_and_after_a_seek() {
    if !has_client("ffmpeg", "-version") {
        return;
    }
    let server = Server::start(&[&clip_path(), "--rate", "4096", "--memory", "256"]).await;
    let url = server.media("clip.mp4");
    for from in ["17.3", "0"] {
        let path = clip_path();
        let (plain, remote) = tokio::join!(frames(&path, from), frames(&url, from));
        assert!(plain.lines().count() > 100, "{plain}");
        assert_eq!(plain, remote, "from {from} s");
    }
    let disk = server.wait_for("clip.mp4", "all of it", |now| now["state"] == "complete").await;
    assert!(disk["spilled"].as_u64().unwrap() > 1_000_000, "most bytes were read from disk: {disk}");
}

#[tokio::test]
async fn ffmpeg_reads_the_output_of_another_ffmpeg_that_still_writes() {
    if !has_client("ffmpeg", "-version") {
        return;
    }
    // Matroska can be written to a pipe: it then has neither a size nor an index.
    let copy = format!("ffmpeg -v error -i '{}' -c copy -f matroska -", clip_path());
    let server = Server::start(&[&format!("exec:{copy}"), "--rate", "4096"]).await;
    let hashes =
        async |input: &str| output("ffmpeg", &["-i", input, "-map", "0:v", "-f", "framehash", "-"]).await;
    let remote = hashes(&server.media("output")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("copy.mkv");
    let whole = in_time("the whole", server.get("output", &[]).await.bytes()).await.unwrap();
    std::fs::write(&file, whole).unwrap();
    assert_eq!(remote, hashes(file.to_str().unwrap()).await);
    assert!(remote.lines().count() > 24 * 24, "{remote}");
}
