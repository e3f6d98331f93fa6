//! The page's controls: start over, and the pace of a source.

use std::process::Stdio;

use reqwest::Method;

use crate::support::{CLIP, Server, clip_path, in_time};

const NAME: &str = "clip.mp4";

#[tokio::test]
async fn a_resource_that_starts_over_is_read_again_from_its_start() {
    let command = format!("exec:cat '{}'", clip_path());
    let server = Server::start(&[&clip_path(), &command, "--read-ahead", "0", "--rate", "100000"]).await;
    for name in [NAME, "output"] {
        let first = server.get(name, &[("range", "bytes=0-999999")]).await;
        let etag = first.headers()["etag"].clone();
        assert!(in_time("a body", first.bytes()).await.unwrap() == CLIP[..1_000_000]);
        let before =
            server.wait_for(name, "the bytes", |now| now["loaded"].as_u64() >= Some(1_000_000)).await;
        assert_eq!(server.ask(Method::POST, name, "start-over").await, 204);
        let after = server.wait_for(name, "the new buffer", |now| now["run"] != before["run"]).await;
        assert_eq!((&after["loaded"], &after["state"]), (&0.into(), &"waiting".into()), "{after}");
        let again = server.get(name, &[]).await;
        assert_ne!(again.headers()["etag"], etag, "parts of both buffers must not be joined");
        assert!(in_time("the whole", again.bytes()).await.unwrap() == CLIP);
    }
}

#[tokio::test]
async fn a_reader_of_the_old_buffer_gets_an_error_and_no_end() {
    let server = Server::start(&[&clip_path(), "--rate", "1"]).await;
    let mut old = server.get(NAME, &[]).await;
    in_time("a piece", old.chunk()).await.unwrap().unwrap();
    assert_eq!(server.ask(Method::POST, NAME, "start-over").await, 204);
    let broken = async {
        while old.chunk().await?.is_some() {}
        Ok::<_, reqwest::Error>(())
    };
    in_time("the break", broken).await.unwrap_err();
    assert_eq!(*server.errors.borrow(), "", "the source has not failed");
}

#[tokio::test]
async fn standard_input_does_not_start_over() {
    let mut server = Server::start_with(&["-"], Stdio::piped()).await;
    assert_eq!(server.ask(Method::POST, "stdin", "start-over").await, 409);
    drop(server.stdin());
    let list = crate::support::http().get(format!("{}/resources", server.url)).send().await.unwrap();
    assert!(list.text().await.unwrap().contains("\"can_start_over\":false"));
}

#[tokio::test]
async fn the_pace_of_a_source_changes_while_it_is_read() {
    let server = Server::start(&[&clip_path(), "--rate", "1"]).await;
    let whole = server.get(NAME, &[]).await;
    let now = server.wait_for(NAME, "the pace", |now| now["state"] == "pulling").await;
    assert_eq!(now["pace"], 1);
    assert_eq!(server.ask(Method::PUT, NAME, "pace/0").await, 204);
    assert!(in_time("the whole", whole.bytes()).await.unwrap() == CLIP);
    let now = server.wait_for(NAME, "the end", |now| now["state"] == "complete").await;
    assert!(now["pace"].is_null(), "{now}");
    assert_eq!(server.ask(Method::PUT, NAME, "pace/x").await, 400);
}

#[tokio::test]
async fn only_the_page_may_change_something() {
    let server = Server::start(&[&clip_path()]).await;
    for (method, what) in [
        (Method::POST, "start-over"),
        (Method::PUT, "pace/1"),
        (Method::POST, "save"),
        (Method::DELETE, "save"),
    ] {
        let request = crate::support::http().request(method, format!("{}/{what}", server.media(NAME)));
        assert_eq!(in_time("an answer", request.send()).await.unwrap().status(), 403, "{what}");
    }
}
