//! The sources of the server. Each kind must give the same bytes.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::support::{CLIP, FILM, Server, TUNE, Upstream, clip_path, in_time};

async fn gives_the_clip(server: &Server, name: &str, size_known: bool) {
    let head = in_time("a HEAD", crate::support::http().head(server.media(name)).send()).await.unwrap();
    assert_eq!(head.headers()["content-type"], "video/mp4");
    assert_eq!(head.headers().contains_key("content-length"), size_known);
    let tail = server.get(name, &[("range", "bytes=-20000")]).await;
    assert_eq!(tail.status(), 206);
    assert!(in_time("the tail", tail.bytes()).await.unwrap() == CLIP[CLIP.len() - 20_000..]);
    let whole = server.get(name, &[]).await;
    assert!(in_time("the whole", whole.bytes()).await.unwrap() == CLIP);
}

#[tokio::test]
async fn the_shipped_media_arrive_at_their_own_pace() {
    let server = Server::start(&[]).await;
    let tune = server.get("tune.mp3", &[("range", "bytes=0-29999")]);
    let film = server.get("one-way.mp4", &[("range", "bytes=10000-99999")]);
    let (tune, film) = tokio::join!(tune, film);
    assert_eq!(tune.headers()["content-type"], "audio/mpeg");
    assert!(in_time("tune", tune.bytes()).await.unwrap() == TUNE[..30_000]);
    assert!(in_time("film", film.bytes()).await.unwrap() == FILM[10_000..100_000]);
    let now = server.wait_for("one-way.mp4", "no demand", |now| now["state"] == "waiting").await;
    assert!(now["loaded"].as_u64().unwrap() < FILM.len() as u64, "no client asked for all bytes: {now}");
}

#[tokio::test]
async fn the_first_resource_jumps_and_two_streams_move() {
    let server = Server::start(&["--read-ahead", "4000000"]).await;
    let start = server.get("film.mp4", &[("range", "bytes=0-")]).await;
    let far = server.get("film.mp4", &[("range", "bytes=700000-709999")]).await;
    let two = |now: &serde_json::Value| now["positions"].as_array().unwrap().len() == 2;
    let before = server.wait_for("film.mp4", "two streams", two).await;
    assert!(in_time("the far bytes", far.bytes()).await.unwrap() == FILM[700_000..710_000]);
    let moved = |now: &serde_json::Value| {
        two(now) && (0..2).all(|at| now["positions"][at].as_u64() > before["positions"][at].as_u64())
    };
    let after = server.wait_for("film.mp4", "both streams move", moved).await;
    assert!(after["frontier"].as_u64().unwrap() < 700_000, "nothing waited for the bytes between: {after}");
    drop(start);
}

#[tokio::test]
async fn a_path_is_a_source() {
    let server = Server::start(&[&clip_path()]).await;
    gives_the_clip(&server, "clip.mp4", true).await;
}

#[tokio::test]
async fn standard_input_is_a_source() {
    let mut server = Server::start_with(&["-"], Stdio::piped()).await;
    let mut stdin = server.stdin();
    let feed = async {
        stdin.write_all(CLIP).await.unwrap();
        drop(stdin);
    };
    tokio::join!(gives_the_clip(&server, "stdin", false), feed);
}

#[tokio::test]
async fn the_output_of_a_command_is_a_source() {
    let server = Server::start(&[&format!("exec:cat '{}'", clip_path())]).await;
    gives_the_clip(&server, "output", false).await;
}

#[tokio::test]
async fn the_body_of_a_request_is_a_source() {
    let upstream = Upstream::start("film.mp4", Some(CLIP.len())).await;
    CLIP.chunks(10_000).for_each(|piece| upstream.send(piece));
    let server = Server::start(&[&upstream.url]).await;
    gives_the_clip(&server, "film.mp4", true).await;
}

#[tokio::test]
async fn resources_of_the_same_name_get_different_paths() {
    let server = Server::start(&[&clip_path(), &clip_path()]).await;
    let (one, two) = tokio::join!(server.get("clip.mp4", &[]), server.get("2-clip.mp4", &[]));
    assert_ne!(one.headers()["etag"], two.headers()["etag"]);
    assert!(in_time("one", one.bytes()).await.unwrap() == CLIP);
    assert!(in_time("two", two.bytes()).await.unwrap() == CLIP);
}
