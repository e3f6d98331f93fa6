//! Headless Chromium plays the page. It seeks past the loaded bytes, waits, and seeks back. Position and
//! picture must be right each time.
//!
//! The clip has a white bar at the bottom that grows with the time. The tests read the time from the picture
//! and compare it with `currentTime`.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::origin::Origin;
use crate::support::{CLIP, Server, Upstream, clip_path, has_client, in_time};

/// A browser. Each test has its own. It ends when this is dropped.
struct Browser {
    client: Client,
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    async fn start(width: u32, height: u32) -> Option<Self> {
        if !has_client("chromium", "--version") || !has_client("chromedriver", "--version") {
            return None;
        }
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("chromedriver ended");
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return port.trim_end_matches('.').to_owned();
                }
            }
        };
        let port = in_time("chromedriver", port).await;
        let profile = tempfile::tempdir().unwrap();
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--autoplay-policy=no-user-gesture-required",
            &format!("--window-size={width},{height}"),
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "goog:chromeOptions": { "args": args } });
        let Value::Object(wanted) = wanted else { unreachable!() };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(wanted);
        let address = format!("http://127.0.0.1:{port}");
        let client = in_time("a browser", builder.connect(&address)).await.unwrap();
        Some(Self { client, _driver: driver, _profile: profile })
    }

    async fn open(&self, url: &str) {
        in_time("the page", self.client.goto(url)).await.unwrap();
    }

    async fn eval(&self, script: &str) -> Value {
        in_time(script, self.client.execute(script, Vec::new())).await.unwrap()
    }

    /// Runs the script until its result fits. `WebDriver` has no notifications, so this polls.
    async fn until(&self, what: &str, script: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let asked = async {
            loop {
                let value = self.client.execute(script, Vec::new()).await.unwrap();
                if fits(&value) {
                    return value;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        in_time(what, asked).await
    }

    async fn close(self) {
        in_time("the end of the browser", self.client.close()).await.unwrap();
    }

    /// The second that the picture shows and the second that the player reports, after its seek has ended.
    async fn shows(&self) -> (f64, f64) {
        let settled = "const v = document.querySelector('video');
            return v && !v.seeking && v.readyState >= 2 ? [BAR, v.currentTime] : null;";
        let bar = "(() => {
                const canvas = document.createElement('canvas');
                canvas.width = v.videoWidth; canvas.height = v.videoHeight;
                const context = canvas.getContext('2d');
                context.drawImage(v, 0, 0);
                const row = context.getImageData(0, canvas.height - 4, canvas.width, 1).data;
                let end = 0;
                while (end < canvas.width && Math.min(...row.slice(end * 4, end * 4 + 3)) > 200) end++;
                return end / canvas.width * 24;
            })()";
        let shown = self.until("a picture", &settled.replace("BAR", bar), Value::is_array).await;
        (shown[0].as_f64().unwrap(), shown[1].as_f64().unwrap())
    }

    /// Pauses, seeks, and checks position and picture.
    async fn seek_and_look(&self, second: f64) {
        self.seek(second).await;
        self.looks_like(second).await;
    }

    async fn seek(&self, second: f64) {
        let script =
            format!("const v = document.querySelector('video'); v.pause(); v.currentTime = {second};");
        self.eval(&script).await;
    }

    async fn looks_like(&self, second: f64) {
        let (picture, claimed) = self.shows().await;
        assert!((claimed - second).abs() < 0.1, "at {claimed} s and not {second} s");
        assert!((picture - second).abs() < 0.3, "the picture is of {picture} s, and not {second} s");
    }
}

const PLAY: &str = "const v = document.querySelector('video'); v.muted = true; v.play(); return true;";
const TIME: &str = "return document.querySelector('video')?.currentTime ?? 0;";
const HAS_PLAYER: &str = "return !!document.querySelector('video');";

fn text_of(id: &str) -> String {
    format!("return document.getElementById('{id}').textContent;")
}

/// The clip with its index at the start, as usual for films on the web.
async fn with_index_first() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("first.mp4");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i", &clip_path(), "-c", "copy", "-movflags", "+faststart"]);
    assert!(in_time("ffmpeg", ffmpeg.arg(&path).stdin(Stdio::null()).status()).await.unwrap().success());
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn a_film_plays_waits_past_what_has_arrived_and_seeks_back() {
    if !has_client("ffmpeg", "-version") {
        return;
    }
    let Some(browser) = Browser::start(1100, 1200).await else { return };
    let film = with_index_first().await;
    let upstream = Upstream::start("film.mp4", Some(film.len())).await;
    let server = Server::start(&[&upstream.url, "--memory", "256", "--read-ahead", "0"]).await;
    let (here, rest) = film.split_at(film.len() / 2);
    upstream.send(here);

    browser.open(&server.url).await;
    browser.until("the player", HAS_PLAYER, |has| has == true).await;
    browser.eval(PLAY).await;
    browser.until("it plays", TIME, |time| time.as_f64().unwrap() > 1.0).await;
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
    if !has_client("ffmpeg", "-version") {
        return;
    }
    let Some(browser) = Browser::start(1100, 1200).await else { return };
    let film = with_index_first().await;
    let mut origin = Origin::start("film.mp4", film.clone()).await;
    let server = Server::start(&[&origin.url, "--memory", "256"]).await;
    origin.send_to(film.len() / 2);
    browser.open(&server.url).await;
    browser.until("the player", HAS_PLAYER, |has| has == true).await;
    browser.eval(PLAY).await;
    browser.until("it plays", TIME, |time| time.as_f64().unwrap() > 0.5).await;

    origin.stop().await;
    let counts_down = |story: &Value| {
        let story = story.as_str().unwrap();
        story.starts_with("Connection lost: ") && story.contains("Trying again in 1 s (attempt ")
    };
    browser.until("the page announces the retry", &text_of("story"), counts_down).await;
    browser.until("the state", &text_of("state"), |state| state == "retrying").await;
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
    browser.until("all is here", &text_of("state"), |state| state == "complete").await;
    let whole = server.get("film.mp4", &[]).await;
    assert!(in_time("the whole", whole.bytes()).await.unwrap() == film);
    browser.close().await;
}

#[tokio::test]
async fn a_film_with_its_index_at_the_end_plays_once_the_end_is_here() {
    let Some(browser) = Browser::start(1100, 1200).await else { return };
    let upstream = Upstream::start("clip.mp4", Some(CLIP.len())).await;
    let server = Server::start(&[&upstream.url, "--memory", "256"]).await;
    let (here, rest) = CLIP.split_at(600_000);
    upstream.send(here);

    browser.open(&server.url).await;
    // The player reads the first box and jumps to the index at the end. It shows nothing before it has that.
    let jumped = |story: &Value| {
        story.as_str().unwrap().starts_with("player (")
            && story.as_str().unwrap().contains("has jumped ahead")
    };
    browser.until("the page tells of the jump", &text_of("story"), jumped).await;
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
    browser.until("all is here", &text_of("state"), |state| state == "complete").await;
    browser.close().await;
}

#[tokio::test]
async fn the_page_works_by_keyboard_on_a_narrow_screen_and_saves() {
    let Some(browser) = Browser::start(500, 900).await else { return };
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start("clip.mp4", Some(CLIP.len())).await;
    let args = [&upstream.url, "--save-to", dir.path().to_str().unwrap()];
    let server = Server::start(&args).await;
    upstream.send(&CLIP[..1_200_000]);
    browser.open(&server.url).await;
    browser.until("the player", HAS_PLAYER, |has| has == true).await;
    browser.open(&server.url).await;
    browser.until("the picture", &text_of("in-memory"), |text| text.as_str().unwrap().contains("iB")).await;
    let body = browser.client.find(Locator::Css("body")).await.unwrap();
    let mut reached = false;
    for _ in 0..40 {
        body.send_keys("\u{e004}").await.unwrap();
        reached = browser.eval("return document.activeElement.id;").await == "save";
        if reached {
            break;
        }
    }
    assert!(reached, "Tab leads to the save button");
    browser.client.active_element().await.unwrap().send_keys("\u{e007}").await.unwrap();
    let progress = "const all = document.getElementById('saving');
        return all.hidden ? 0 : document.getElementById('saving-bar').value;";
    let value = browser.until("the progress", progress, |value| value.as_f64() > Some(0.5)).await;
    assert!(value.as_f64() < Some(0.75), "what has not come can't be saved: {value}");
    upstream.send(&CLIP[1_200_000..]);
    browser
        .until("the outcome", &text_of("outcome"), |text| {
            text.as_str().unwrap().starts_with("Saved 1.53 MiB")
        })
        .await;
    assert!(std::fs::read(dir.path().join("clip.mp4")).unwrap() == CLIP);
    browser.close().await;
}
