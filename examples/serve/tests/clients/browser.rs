//! Headless Chromium plays the page. It seeks past the loaded bytes, waits, and seeks back. Position and
//! picture must be right each time.
//!
//! The clip has a white bar at the bottom that grows with the time. The tests read the time from the picture
//! and compare it with `currentTime`.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::origin::Origin;
use crate::support::{CLIP, Server, Upstream, clip_path, has_client, in_time};
use crate::webdriver::{Browser, PLAY, TIME, text_of};

/// The position of a player that can seek in the whole film.
const CAN_SEEK: &str = "const v = document.querySelector('video');
    return v?.seekable.length && v.seekable.end(0) > 23 && !v.seeking ? v.currentTime : null;";

/// The clip with its index at the start, as usual for films on the web. `None` without ffmpeg.
async fn with_index_first() -> Option<Vec<u8>> {
    if !has_client("ffmpeg", "-version") {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("first.mp4");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i", &clip_path(), "-c", "copy", "-movflags", "+faststart"]);
    assert!(in_time("ffmpeg", ffmpeg.arg(&path).stdin(Stdio::null()).status()).await.unwrap().success());
    Some(std::fs::read(path).unwrap())
}

#[tokio::test]
async fn a_film_plays_waits_for_missing_bytes_and_seeks_back() {
    let Some(film) = with_index_first().await else { return };
    let Some(browser) = Browser::start(1100, 1200).await else { return };
    let upstream = Upstream::start("film.mp4", Some(film.len())).await;
    let server = Server::start(&[&upstream.url, "--memory", "256", "--read-ahead", "0"]).await;
    let (here, rest) = film.split_at(film.len() / 2);
    upstream.send(here);

    browser.open(&server.url).await;
    browser.play(1.0).await;
    let (picture, claimed) = browser.shows().await;
    assert!((picture - claimed).abs() < 0.5, "it plays {claimed} s and shows {picture} s");

    // A seek past the loaded bytes: the player waits, and the page shows the waiting reader.
    browser.seek(21.0).await;
    let waits = "const v = document.querySelector('video'); return v.seeking && v.readyState < 3;";
    browser.until("the player waits", waits, |waits| waits == true).await;
    let waiting = "return document.querySelector('#readers li:not(.gone) .pace')?.textContent ?? '';";
    let waits = |pace: &Value| pace.as_str().unwrap().contains("waits") || pace == "at the live edge";
    browser.until("the page shows a reader that waits", waiting, waits).await;
    let state = browser.eval(&text_of("state")).await;
    assert_eq!(state, "pulling");

    // Chromium starts no other seek before this one ends. Other clients are answered meanwhile (contract
    // rule 4).
    let near = server.get("film.mp4", &[("range", "bytes=1000-300000")]).await;
    assert!(in_time("a near range", near.bytes()).await.unwrap() == film[1000..=300_000]);
    let still = browser.eval("return document.querySelector('video').seeking;").await;
    assert_eq!(still, true);

    upstream.send(rest);
    browser.looks_like(21.0).await;
    for second in [3.0, 17.0, 9.0, 0.5] {
        browser.seek_and_look(second).await;
    }
    let spilled = server.wait_for("film.mp4", "bytes on disk", |now| now["spilled"].as_u64() > Some(0)).await;
    assert!(spilled["size"] == film.len());
    browser.close().await;
}

#[tokio::test]
async fn a_film_plays_on_after_its_origin_was_stopped_and_started_again() {
    let Some(film) = with_index_first().await else { return };
    let Some(browser) = Browser::start(1100, 1200).await else { return };
    let mut origin = Origin::start("film.mp4", film.clone()).await;
    let server = Server::start(&[&origin.url, "--memory", "256"]).await;
    origin.send_to(film.len() / 2);
    browser.open(&server.url).await;
    browser.play(0.5).await;

    origin.stop().await;
    let counts_down = |story: &Value| {
        let story = story.as_str().unwrap();
        // The first attempts follow each other so quickly that the page need not show the cause of the break.
        story.contains("server") && story.contains("Next try in ") && story.ends_with(" s.")
    };
    browser.until("the page announces the retry", &text_of("story"), counts_down).await;
    browser.until("the state", &text_of("state"), |state| state == "retrying").await;
    let note = "const note = document.getElementById('note'); return note.hidden ? '' : note.textContent;";
    let calm =
        |text: &Value| text.as_str().unwrap().contains("It goes on from here once the server answers.");
    browser.until("a note over the film", note, calm).await;
    // The player has played all bytes that it has.
    let waits = "const v = document.querySelector('video'); v.playbackRate = 4; return v.readyState < 3;";
    browser.until("the player waits", waits, |waits| waits == true).await;
    let before = browser.eval(TIME).await.as_f64().unwrap();
    assert!(before < 20.0, "half of the film took the player to {before} s");

    origin.restart().await;
    origin.send_to(film.len());
    browser.until("it plays on", TIME, |time| time.as_f64().unwrap() > before + 1.0).await;
    browser.seek_and_look(before + 1.0).await;
    let error = browser.eval("return document.querySelector('video').error;").await;
    assert_eq!(error, Value::Null);
    browser.until("all bytes have arrived", &text_of("state"), |state| state == "complete").await;
    let whole = server.get("film.mp4", &[]).await;
    assert!(in_time("the whole", whole.bytes()).await.unwrap() == film);
    browser.close().await;
}

#[tokio::test]
async fn a_film_with_its_index_at_the_end_shows_its_first_frame_without_the_bytes_between() {
    // Rule 25: the frame needs the start and the index. Each takes one round trip to a source with ranges.
    let Some(browser) = Browser::start(1100, 1200).await else { return };
    let index = CLIP.windows(4).rposition(|word| word == b"moov").unwrap() - 4;
    assert!(index > 1_200_000, "the index is at the end");
    let origin = Origin::start("clip.mp4", CLIP.to_vec()).await;
    origin.withhold(600_000..index - 100_000);
    origin.send_to(CLIP.len());
    let server = Server::start(&[&origin.url]).await;
    browser.open(&server.url).await;
    let (picture, claimed) = browser.shows().await;
    assert!(picture < 0.3 && claimed < 0.1, "{picture} {claimed}");
    let requests = origin.requests();
    assert!(requests.len() <= 3, "three round trips at most: {requests:?}");
    let state = server.wait_for("clip.mp4", "two ranges", |now| now["frontier"] == 600_000).await;
    assert!(state["loaded"].as_u64().unwrap() < CLIP.len() as u64 / 2, "{state}");

    origin.withhold(0..0);
    browser.eval(PLAY).await;
    browser.until("all bytes have arrived", &text_of("state"), |state| state == "complete").await;
    let whole = server.get("clip.mp4", &[]).await;
    assert!(in_time("the whole", whole.bytes()).await.unwrap() == CLIP);
    browser.close().await;
}

#[tokio::test]
async fn a_film_with_its_index_at_the_end_plays_once_the_end_has_arrived() {
    let Some(browser) = Browser::start(1100, 1200).await else { return };
    let upstream = Upstream::start("clip.mp4", Some(CLIP.len())).await;
    let server = Server::start(&[&upstream.url, "--memory", "256"]).await;
    let (here, rest) = CLIP.split_at(600_000);
    upstream.send(here);

    browser.open(&server.url).await;
    // The player reads the first box and jumps to the index at the end. It shows nothing before it has the index.
    let jumped = |story: &Value| {
        story.as_str().unwrap().starts_with("player (")
            && story.as_str().unwrap().contains("has jumped ahead")
    };
    browser.until("the page mentions the jump", &text_of("story"), jumped).await;
    let ready = browser.eval("return document.querySelector('video').readyState;").await;
    assert_eq!(ready, 0);
    let label = browser.eval("return document.getElementById('bar').getAttribute('aria-label');").await;
    assert!(label.as_str().unwrap().starts_with("37 percent of 1.53 MiB loaded"), "{label}");

    upstream.send(rest);
    let (picture, claimed) = browser.shows().await;
    assert!(picture < 0.3 && claimed < 0.1, "{picture} {claimed}");
    for second in [20.0, 4.0, 12.0] {
        browser.seek_and_look(second).await;
    }
    browser.eval(PLAY).await;
    browser.until("it plays on", TIME, |time| time.as_f64().unwrap() > 13.0).await;
    browser.until("all bytes have arrived", &text_of("state"), |state| state == "complete").await;
    browser.close().await;
}

#[tokio::test]
async fn a_film_of_unknown_size_plays_on_and_can_be_seeked_in_once_the_size_is_known() {
    let Some(film) = with_index_first().await else { return };
    let Some(browser) = Browser::start(1100, 1200).await else { return };
    let upstream = Upstream::start("film.mp4", None).await;
    let server = Server::start(&[&upstream.url, "--memory", "256"]).await;
    let (here, rest) = film.split_at(film.len() / 2);
    upstream.send(here);
    browser.open(&server.url).await;
    browser.play(1.0).await;
    // The position at which the player starts again. The page adds its own listeners later, so this one runs first.
    let watch = "const v = window.before = document.querySelector('video');
        v.addEventListener('loadedmetadata', () => window.starts = v.currentTime);
        return !!v;";
    assert_eq!(browser.eval(watch).await, true);

    // The page loads the player again, and the player goes on at its position.
    let before = browser.eval(TIME).await.as_f64().unwrap();
    upstream.send(rest);
    drop(upstream);
    let after = browser.until("the player can seek", CAN_SEEK, Value::is_number).await.as_f64().unwrap();
    let starts = browser.eval("return window.starts;").await.as_f64().unwrap();
    assert!(starts >= before - 0.1, "the player starts again at {starts} s, and was at {before} s");
    assert!(after >= before - 0.1, "the player went back from {before} s to {after} s");
    browser.until("it plays on", TIME, |time| time.as_f64().unwrap() > after + 0.5).await;
    let same = "return document.querySelector('video') === window.before && !window.before.paused;";
    assert_eq!(browser.eval(same).await, true);
    for second in [20.0, 3.0] {
        browser.seek_and_look(second).await;
    }
    browser.close().await;
}

#[tokio::test]
async fn a_film_of_unknown_size_with_its_index_at_the_end_plays_once_all_bytes_have_arrived() {
    let Some(browser) = Browser::start(1100, 1200).await else { return };
    let mut server = Server::start_with(&["-"], Stdio::piped()).await;
    browser.open(&server.url).await;
    let mut stdin = server.stdin();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, CLIP).await.unwrap();
    drop(stdin);
    browser.until("the player can seek", CAN_SEEK, Value::is_number).await;
    for second in [20.0, 3.0] {
        browser.seek_and_look(second).await;
    }
    browser.close().await;
}
