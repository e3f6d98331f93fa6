//! How the page looks to a person: the first seek, errors in words, and marks and players that fit.

use serde_json::{Value, json};

use crate::page::{click, has_no_barriers};
use crate::support::{CLIP, FILM, Server, Upstream, pattern};
use crate::webdriver::{Browser, PLAY, TIME, text_of};

#[tokio::test]
async fn the_first_resource_plays_at_a_missing_part_after_one_click() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    // So slow that nothing but a second stream can bring the bytes within the deadline.
    let server = Server::start(&["--rate", "8"]).await;
    browser.open(&server.url).await;
    let ready = "return !document.getElementById('ahead').hidden;";
    browser.until("the button", ready, |ready| ready == true).await;
    browser.eval(PLAY).await;
    click(&browser, "ahead").await;
    let report = |text: &Value| text.as_str().unwrap().starts_with("It plays there after ");
    browser.until("the report", &text_of("outcome"), report).await;
    browser.until("the position", TIME, |time| time.as_f64() > Some(20.0)).await;
    let now = server.wait_for("film.mp4", "the state", |_| true).await;
    assert!(
        now["frontier"].as_u64().unwrap() < FILM.len() as u64 / 3,
        "nothing waited for the bytes between"
    );
    // Where the streams are.
    let streams = "return document.querySelectorAll('.stream').length;";
    browser.until("the streams on the bar", streams, |count| count.as_u64() > Some(0)).await;
    browser.close().await;
}

#[tokio::test]
async fn a_missing_file_is_explained_in_the_place_of_the_player() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    let upstream = Upstream::start("film.mp4", None).await;
    let server = Server::start(&[&upstream.url.replace("film", "missing")]).await;
    browser.open(&server.url).await;
    let what = "return document.getElementById('trouble').hidden ? '' : document.getElementById('trouble-what').textContent;";
    browser.until("the cause", what, |what| what == "The server does not have this file.").await;
    let page = browser.eval("return document.body.innerText;").await;
    let page = page.as_str().unwrap();
    assert!(page.contains("Check the address"), "{page}");
    for wrong in ["can't play this format", "stay readable", "404"] {
        assert!(!page.contains(wrong), "{wrong}: {page}");
    }
    let details = browser.eval(&text_of("trouble-text")).await;
    assert!(details.as_str().unwrap().contains("404"), "{details}");
    assert_eq!(browser.eval("return document.getElementById('player').hidden;").await, true);
    for (width, height) in [(360, 740), (1280, 800)] {
        browser.view(width, height, "dark").await;
        has_no_barriers(&browser, "a missing file").await;
    }
    browser.close().await;
}

#[tokio::test]
async fn what_a_failed_command_has_written_is_in_the_details() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    let server = Server::start(&["exec:echo no such codec >&2; exit 1"]).await;
    browser.open(&server.url).await;
    let details = |text: &Value| text.as_str().unwrap().contains("no such codec");
    browser.until("the details", &text_of("trouble-text"), details).await;
    browser.close().await;
}

#[tokio::test]
async fn no_mark_covers_another_and_no_bars_stand_beside_the_film() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    let upstream = Upstream::start("clip.mp4", Some(CLIP.len())).await;
    let server = Server::start(&[&upstream.url]).await;
    upstream.send(CLIP);
    browser.open(&server.url).await;
    browser.shows().await;
    let off = "const v = document.querySelector('video'), box = v.getBoundingClientRect();
        return Math.abs(box.width / box.height - v.videoWidth / v.videoHeight);";
    browser.until("the shape of the film", off, |off| off.as_f64() < Some(0.02)).await;
    // Six readers at almost the same place.
    for first in [1_500_000, 1_500_100, 1_500_200, 1_500_300, 1_500_400] {
        server
            .get("clip.mp4", &[("range", &format!("bytes={first}-{}", first + 99))])
            .await
            .bytes()
            .await
            .unwrap();
    }
    let marks = "return document.querySelectorAll('.mark').length;";
    browser.until("the marks", marks, |count| count.as_u64() > Some(4)).await;
    for (width, height) in [(360, 740), (800, 1000), (1280, 800)] {
        browser.view(width, height, "light").await;
        browser.eval("dispatchEvent(new Event('resize'));").await;
        let covered = "const bar = document.getElementById('marks').getBoundingClientRect();
            const all = [...document.querySelectorAll('.mark .label')].map((it) => it.getBoundingClientRect());
            all.sort((a, b) => a.left - b.left);
            return all.filter((it, index) => it.right > bar.right + 1 || it.left < bar.left - 1
                || (index && it.left < all[index - 1].right)).length;";
        assert_eq!(browser.eval(covered).await, 0, "{width} pixels");
    }
    browser.close().await;
}

#[tokio::test]
async fn sizes_and_durations_are_in_units_that_a_person_would_use() {
    let Some(browser) = Browser::start(1280, 800).await else { return };
    let server = Server::start(&[]).await;
    browser.open(&server.url).await;
    let run = "const done = arguments[arguments.length - 1];
        import('/text.js').then(({ bytes, duration }) => done([
            ...[999, 2048, 5 * 2 ** 20, 1503238553].map(bytes), ...[1200, 11200, 150000].map(duration)]));";
    let found = browser.client.execute_async(run, Vec::new()).await.unwrap();
    let expected = json!(["999 B", "2.0 KiB", "5.00 MiB", "1.40 GiB", "1 second", "11 seconds", "3 minutes"]);
    assert_eq!(found, expected);
    // The loudest control shows what the library does.
    let loud = "return [...document.querySelectorAll('button.primary')].map((it) => it.id);";
    assert_eq!(browser.eval(loud).await, json!(["ahead"]));
    browser.close().await;
}

#[tokio::test]
async fn the_bar_of_an_endless_stream_leaves_space_after_its_last_byte() {
    let Some(browser) = Browser::start(360, 740).await else { return };
    let upstream = Upstream::start("radio.bin", None).await;
    let server = Server::start(&[&upstream.url, "--memory", "256", "--disk", "512"]).await;
    upstream.send(&pattern(3_000_000));
    let mut live = server.get("radio.bin", &[]).await;
    let mut got = 0;
    while got < 3_000_000 {
        got += live.chunk().await.unwrap().unwrap().len();
    }
    browser.open(&server.url).await;
    let discarded = "return !document.getElementById('discarded-entry').hidden;";
    browser.until("discarded bytes", discarded, |are| are == true).await;
    let end = "return Math.max(...[...document.querySelectorAll('.part')].map(
        (it) => parseFloat(it.style.left) + parseFloat(it.style.width)));";
    let end = browser.eval(end).await.as_f64().unwrap();
    assert!((80.0..86.0).contains(&end), "the last byte is at {end} percent");
    browser.close().await;
}
