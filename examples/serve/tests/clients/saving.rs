//! Contract rule 12 through the page's save button: the file is complete or absent, and readers are not
//! affected.

use std::path::Path;

use serde_json::Value;

use crate::support::{Server, Upstream, http, in_time, pattern};

const NAME: &str = "bytes.bin";

fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

async fn ask(server: &Server, method: reqwest::Method) -> u16 {
    server.ask(method, NAME, "save").await
}

#[tokio::test]
async fn a_save_shows_its_progress_and_leaves_the_whole_resource() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = pattern(2_800_000);
    let upstream = Upstream::start(NAME, Some(bytes.len())).await;
    let server = Server::start(&[&upstream.url, "--save-to", dir.path().to_str().unwrap()]).await;
    upstream.send(&bytes[..1_300_000]);
    let idle = server.wait_for(NAME, "the target of a save", |now| now["saving"]["state"] == "idle").await;
    assert_eq!(idle["saving"]["target"], dir.path().canonicalize().unwrap().join(NAME).to_str().unwrap());
    assert_eq!(ask(&server, reqwest::Method::POST).await, 202);
    let written = |now: &Value| now["saving"]["written"].as_u64();
    let half = server.wait_for(NAME, "a save under way", |now| written(now) > Some(1_000_000)).await;
    assert_eq!(half["saving"]["state"], "running");
    assert!(written(&half) <= Some(1_300_000), "{half}");
    assert!(!dir.path().join(NAME).exists(), "complete or not at all");

    let other = server.get(NAME, &[("range", "bytes=100-199")]).await;
    assert!(in_time("a body", other.bytes()).await.unwrap() == bytes[100..200]);

    upstream.send(&bytes[1_300_000..]);
    let saved = server.wait_for(NAME, "the save", |now| now["saving"]["state"] == "saved").await;
    assert_eq!(saved["saving"]["size"], 2_800_000);
    assert!(saved["saving"]["target"].as_str().unwrap().ends_with("2-bytes.bin"), "the next one: {saved}");
    assert_eq!(files(dir.path()), [NAME]);
    assert!(std::fs::read(dir.path().join(NAME)).unwrap() == bytes);

    // A second save does not overwrite the first file.
    assert_eq!(ask(&server, reqwest::Method::POST).await, 202);
    let second =
        |now: &Value| now["saving"]["path"].as_str().is_some_and(|path| path.ends_with("2-bytes.bin"));
    server.wait_for(NAME, "the second save", second).await;
    assert!(std::fs::read(dir.path().join("2-bytes.bin")).unwrap() == bytes);
}

#[tokio::test]
async fn a_save_overwrites_no_file_that_was_made_while_it_ran() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = pattern(800_000);
    let upstream = Upstream::start(NAME, Some(bytes.len())).await;
    let server = Server::start(&[&upstream.url, "--save-to", dir.path().to_str().unwrap()]).await;
    upstream.send(&bytes[..600_000]);
    assert_eq!(ask(&server, reqwest::Method::POST).await, 202);
    let begun = |now: &Value| now["saving"]["written"].as_u64() > Some(0);
    server.wait_for(NAME, "a save under way", begun).await;
    std::fs::write(dir.path().join(NAME), "of another program").unwrap();
    std::fs::write(dir.path().join("2-bytes.bin"), "of a third one").unwrap();
    upstream.send(&bytes[600_000..]);
    let saved = server.wait_for(NAME, "the save", |now| now["saving"]["state"] != "running").await;
    assert!(saved["saving"]["path"].as_str().is_some_and(|path| path.ends_with("3-bytes.bin")), "{saved}");
    assert_eq!(std::fs::read(dir.path().join(NAME)).unwrap(), b"of another program");
    assert_eq!(std::fs::read(dir.path().join("2-bytes.bin")).unwrap(), b"of a third one");
    assert!(std::fs::read(dir.path().join("3-bytes.bin")).unwrap() == bytes);
    assert_eq!(files(dir.path()).len(), 3);
}

#[tokio::test]
async fn a_save_fails_when_all_names_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(NAME, Some(10)).await;
    let server = Server::start(&[&upstream.url, "--save-to", dir.path().to_str().unwrap()]).await;
    upstream.send(&pattern(10));
    std::fs::write(dir.path().join(NAME), "the original").unwrap();
    for number in 2..1000 {
        std::fs::write(dir.path().join(format!("{number}-{NAME}")), "a copy").unwrap();
    }
    assert_eq!(ask(&server, reqwest::Method::POST).await, 202);
    let ended = |now: &Value| now["saving"]["state"] != "running";
    let failed = server.wait_for(NAME, "the end of the save", ended).await;
    assert_eq!(failed["saving"]["state"], "failed");
    assert!(failed["saving"]["error"].as_str().unwrap().contains("999-bytes.bin"), "{failed}");
    assert_eq!(files(dir.path()).len(), 999);
    assert_eq!(std::fs::read(dir.path().join(NAME)).unwrap(), b"the original");
}

#[tokio::test]
async fn a_cancelled_or_failed_save_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = pattern(300_000);
    let upstream = Upstream::start(NAME, Some(800_000)).await;
    let args = [&upstream.url, "--read-ahead", "0", "--save-to", dir.path().to_str().unwrap()];
    let server = Server::start(&args).await;
    upstream.send(&bytes);
    assert_eq!(ask(&server, reqwest::Method::POST).await, 202);
    server.wait_for(NAME, "a save under way", |now| now["loaded"] == 300_000).await;
    assert_eq!(ask(&server, reqwest::Method::DELETE).await, 204);
    let idle = |now: &Value| now["saving"]["state"] == "idle" && now["state"] == "waiting";
    server.wait_for(NAME, "no demand any more", idle).await;
    assert_eq!(files(dir.path()), [""; 0]);

    assert_eq!(ask(&server, reqwest::Method::POST).await, 202);
    server.wait_for(NAME, "a save under way", |now| now["saving"]["state"] == "running").await;
    upstream.fail();
    let failed = server.wait_for(NAME, "the fault", |now| now["saving"]["state"] == "failed").await;
    assert!(failed["saving"]["error"].as_str().unwrap().contains("offset 300000"), "{failed}");
    assert_eq!(files(dir.path()), [""; 0]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_that_is_killed_during_a_save_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(NAME, Some(800_000)).await;
    let mut server = Server::start(&[&upstream.url, "--save-to", dir.path().to_str().unwrap()]).await;
    upstream.send(&pattern(600_000));
    assert_eq!(ask(&server, reqwest::Method::POST).await, 202);
    let begun = |now: &Value| now["saving"]["written"].as_u64() > Some(0);
    server.wait_for(NAME, "a save under way", begun).await;
    server.child.kill().await.unwrap();
    assert_eq!(files(dir.path()), [""; 0]);
}

#[tokio::test]
async fn a_page_of_another_site_cannot_save() {
    let upstream = Upstream::start(NAME, Some(10)).await;
    let server = Server::start(&[&upstream.url]).await;
    let request = http().post(format!("{}/save", server.media(NAME)));
    assert_eq!(in_time("an answer", request.send()).await.unwrap().status(), 403);
}
