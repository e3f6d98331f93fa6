//! The page in Chromium: how it shows failures, its controls, and whether people can use it on a small screen, with
//! the keyboard alone, or with a screen reader.

use std::path::Path;

use fantoccini::Locator;
use serde_json::{Value, json};

use crate::origin::Origin;
use crate::support::{CLIP, Server, Upstream, clip_path, is_required, pattern, skipped};
use crate::webdriver::{Browser, HAS_PLAYER, text_of};

/// Checks the page with axe-core: roles, names, live regions, contrast. `.ci/run` installs it.
pub(crate) async fn has_no_barriers(browser: &Browser, what: &str) {
    let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/npm/node_modules/axe-core/axe.min.js");
    let Ok(axe) = std::fs::read_to_string(&axe) else {
        assert!(!is_required(), "axe-core is missing: {}", axe.display());
        return skipped("axe-core");
    };
    browser.eval(&axe).await;
    let run = "const done = arguments[arguments.length - 1];
        axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations.map(
            (it) => [it.id, it.nodes.map((node) => [node.html.slice(0, 200), node.any[0]?.message])])));";
    let found = browser.client.execute_async(run, Vec::new()).await.unwrap();
    assert_eq!(found, json!([]), "{what}");
}

pub(crate) async fn click(browser: &Browser, id: &str) {
    browser.eval(&format!("document.getElementById('{id}').click();")).await;
}

#[tokio::test]
async fn the_page_fits_each_screen_and_has_no_barriers() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    let server = Server::start(&[]).await;
    for resource in ["film.mp4", "one-way.mp4", "tune.mp3"] {
        browser.open(&format!("{}/#{resource}", server.url)).await;
        let shows = |text: &Value| text.as_str().unwrap().contains("iB");
        browser.until("the picture", &text_of("in-memory"), shows).await;
        let player = "return !!document.querySelector('video, audio') && document.getElementById('readers').children.length;";
        browser.until("a reader", player, |count| count.as_u64() > Some(0)).await;
        for (width, height) in [(360, 740), (800, 1000), (1280, 800)] {
            for scheme in ["light", "dark"] {
                browser.view(width, height, scheme).await;
                let what = format!("{resource}, {width} pixels, {scheme}");
                let over =
                    "return document.documentElement.scrollWidth - document.documentElement.clientWidth;";
                assert_eq!(browser.eval(over).await, 0, "{what}");
                has_no_barriers(&browser, &what).await;
            }
        }
        // The bar and its legend are visible without scrolling.
        let below = "return innerHeight - document.getElementById('story').getBoundingClientRect().bottom;";
        let below = browser.until("the layout", below, |below| below.as_f64() >= Some(0.0)).await;
        assert!(below.as_f64() < Some(800.0));
    }
    let count = browser.eval("return document.querySelectorAll('#resources a').length;").await;
    assert_eq!(count, 3);
    browser.close().await;
}

#[tokio::test]
async fn the_film_that_is_shipped_plays_at_once_and_shows_its_playhead() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    let server = Server::start(&["--rate", "64"]).await;
    browser.open(&server.url).await;
    browser.play(0.5).await;
    let now = server.wait_for("film.mp4", "the state", |_| true).await;
    assert!(now["loaded"].as_u64() < now["size"].as_u64(), "it plays before all has arrived: {now}");
    // The playhead is at the place of the current time.
    let off = "const v = document.querySelector('video'); v.pause();
        const head = document.getElementById('playhead');
        return head.hidden ? 100 : Math.abs(parseFloat(head.style.left) - v.currentTime / v.duration * 100);";
    browser.until("the playhead", off, |off| off.as_f64() < Some(0.1)).await;
    // A reader that has left stays for a moment, with a label.
    click(&browser, "jump").await;
    let report = |text: &Value| text.as_str().unwrap().starts_with("Read ");
    browser.until("the read", &text_of("outcome"), report).await;
    let mark = "return [...document.querySelectorAll('.mark.gone .word')].map((mark) => mark.textContent);";
    browser.until("its mark", mark, |marks| marks.as_array().unwrap().contains(&json!("page"))).await;
    browser.close().await;
}

#[tokio::test]
async fn a_server_that_has_ended_is_shown_and_not_its_last_state() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    let mut server = Server::start(&[&clip_path()]).await;
    server.get("clip.mp4", &[]).await.bytes().await.unwrap();
    browser.open(&server.url).await;
    browser.until("the state", &text_of("state"), |state| state == "complete").await;
    server.child.kill().await.unwrap();
    browser.until("the end", &text_of("state"), |state| state == "no connection").await;
    // The page draws itself every 250 ms, and none of its drawings may show the last state again.
    let drawn = "setTimeout(arguments[0], 1000);";
    browser.client.execute_async(drawn, Vec::new()).await.unwrap();
    assert_eq!(browser.eval(&text_of("state")).await, "no connection");
    has_no_barriers(&browser, "a server that has ended").await;
    browser.close().await;
}

#[tokio::test]
async fn after_a_failure_missing_bytes_are_lost_and_the_error_of_the_player_is_shown() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    let upstream = Upstream::start("clip.mp4", Some(CLIP.len())).await;
    let server = Server::start(&[&upstream.url, "--one-way"]).await;
    upstream.send(&CLIP[..600_000]);
    browser.open(&server.url).await;
    let name = text_of("to-come-name");
    browser.until("missing bytes", &name, |name| name == "Still to come").await;
    browser.until("the player", HAS_PLAYER, |has| has == true).await;
    upstream.fail();
    browser.until("lost bytes", &name, |name| name == "Lost").await;
    assert_eq!(browser.eval(&text_of("to-come")).await, "985 KiB");
    let class = browser.eval("return document.getElementById('bar').className;").await;
    assert!(class.as_str().unwrap().contains("failed"), "{class}");
    let trouble = "const all = document.getElementById('trouble');
        return all.hidden ? '' : all.innerText;";
    let stopped = |text: &Value| text.as_str().unwrap().starts_with("The connection to the server broke.");
    browser.until("the error of the player", trouble, stopped).await;
    has_no_barriers(&browser, "a failed source").await;
    browser.close().await;
}

#[tokio::test]
async fn a_reader_at_the_live_edge_is_not_shown_as_waiting() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    let upstream = Upstream::start("bytes.bin", None).await;
    let server = Server::start(&[&upstream.url]).await;
    upstream.send(&pattern(100_000));
    let _live = server.get("bytes.bin", &[]).await;
    browser.open(&server.url).await;
    let pace = "return document.querySelector('#readers li.edge .pace')?.textContent ?? '';";
    browser.until("the reader", pace, |pace| pace == "at the live edge").await;
    assert_eq!(browser.eval("return document.querySelectorAll('.waits').length;").await, 0);
    let story = browser.eval(&text_of("story")).await;
    assert_eq!(story, "A reader at the live edge gets each byte as it arrives.");
    browser.close().await;
}

#[tokio::test]
async fn a_read_far_ahead_is_shown_with_its_own_stream_and_range() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    let bytes = pattern(3_000_000);
    let origin = Origin::start("bytes.bin", bytes.clone()).await;
    let server = Server::start(&[&origin.url, "--read-ahead", "0"]).await;
    origin.send_to(1000);
    server.get("bytes.bin", &[("range", "bytes=0-999")]).await.bytes().await.unwrap();
    browser.open(&server.url).await;
    let far = tokio::spawn(server.get("bytes.bin", &[("range", "bytes=2000000-2000999")]).await.bytes());
    let jumped =
        |story: &Value| story.as_str().unwrap().contains("has jumped ahead, and the source is opened");
    browser.until("the jump", &text_of("story"), jumped).await;
    let streams = |rate: &Value| rate.as_str().unwrap().ends_with(", 2 streams");
    browser.until("the streams", &text_of("rate"), streams).await;
    origin.send_to(bytes.len());
    assert!(far.await.unwrap().unwrap() == bytes[2_000_000..2_001_000]);
    let parts = "return [...document.querySelectorAll('.part')].map((part) => Math.round(parseFloat(part.style.left)));";
    browser.until("both ranges", parts, |parts| *parts == json!([0, 67])).await;
    browser.close().await;
}

#[tokio::test]
async fn a_resource_that_is_html_runs_no_script() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("page.html");
    std::fs::write(&path, "<!doctype html><title>read</title><script>document.title = 'ran'</script>")
        .unwrap();
    let server = Server::start(&[path.to_str().unwrap()]).await;
    browser.open(&server.media("page.html")).await;
    assert_eq!(browser.client.title().await.unwrap(), "read");
    browser.close().await;
}

#[tokio::test]
async fn the_controls_start_over_and_set_the_pace() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    let server = Server::start(&[&clip_path(), "--rate", "24"]).await;
    browser.open(&server.url).await;
    browser.until("the pace", "return document.getElementById('pace').value;", |pace| pace == "24").await;
    let set = "const pace = document.getElementById('pace'); pace.value = '0'; pace.dispatchEvent(new Event('change'));";
    browser.eval(set).await;
    server.wait_for("clip.mp4", "the new pace", |now| now["pace"].is_null()).await;
    let before = server.wait_for("clip.mp4", "all bytes", |now| now["loaded"].as_u64() > Some(500_000)).await;
    click(&browser, "start-over").await;
    server.wait_for("clip.mp4", "a new buffer", |now| now["run"] != before["run"]).await;
    let report = |text: &Value| text == "The source is read from its start again.";
    browser.until("the report", &text_of("outcome"), report).await;
    // The player is loaded from the new buffer.
    browser.seek_and_look(12.0).await;
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
    browser.until("the picture", &text_of("in-memory"), |text| text.as_str().unwrap().contains("iB")).await;
    let body = browser.client.find(Locator::Css("body")).await.unwrap();
    let target = browser.eval(&text_of("target")).await;
    let expected = format!("It will be {}", dir.path().canonicalize().unwrap().join("clip.mp4").display());
    assert_eq!(target, expected, "the target is shown before the save starts");
    let mut reached = Vec::new();
    while reached.last() != Some(&json!("save")) {
        assert!(reached.len() < 40, "Tab leads to the save button: {reached:?}");
        body.send_keys("\u{e004}").await.unwrap();
        reached
            .push(browser.eval("return document.activeElement.id || document.activeElement.tagName;").await);
    }
    for control in ["VIDEO", "jump", "pace", "start-over"] {
        assert!(reached.contains(&json!(control)), "Tab leads to {control}: {reached:?}");
    }
    browser.client.active_element().await.unwrap().send_keys("\u{e007}").await.unwrap();
    let progress = "const all = document.getElementById('saving');
        return all.hidden ? 0 : document.getElementById('saving-bar').value;";
    let value = browser.until("the progress", progress, |value| value.as_f64() > Some(0.5)).await;
    assert!(value.as_f64() < Some(0.75), "only bytes that have arrived can be saved: {value}");
    upstream.send(&CLIP[1_200_000..]);
    browser
        .until("the outcome", &text_of("outcome"), |text| {
            text.as_str().unwrap().starts_with("Saved 1.53 MiB")
        })
        .await;
    assert!(std::fs::read(dir.path().join("clip.mp4")).unwrap() == CLIP);
    browser.close().await;
}
