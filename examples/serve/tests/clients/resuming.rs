//! Contract rules 21 and 24 for clients of the server: the origin is stopped and started again, and a client
//! gets every byte once. It notices only that it waits.

use serde_json::Value;

use crate::origin::Origin;
use crate::support::{Server, http, in_time, pattern};

const NAME: &str = "bytes.bin";

/// Whether at least two attempts to reach a stopped origin have been announced.
fn retries(now: &Value) -> bool {
    now["state"] == "retrying" && now["retry"]["attempt"].as_u64() >= Some(2)
}

#[tokio::test]
async fn a_client_gets_every_byte_although_the_origin_stops_twice() {
    let bytes = pattern(3_000_000);
    for args in [&[][..], &["--rate", "4000"]] {
        let mut origin = Origin::start(NAME, bytes.clone()).await;
        let mut all = vec![&*origin.url, "--memory", "256"];
        all.extend(args);
        let server = Server::start(&all).await;
        origin.send_to(1000);
        let whole = server.get(NAME, &[]).await;
        assert_eq!((whole.status(), whole.content_length()), (reqwest::StatusCode::OK, Some(3_000_000)));
        let whole = tokio::spawn(whole.bytes());

        for offset in [1_000_000, 2_200_000] {
            origin.send_to(offset);
            server.wait_for(NAME, "the bytes before the stop", |now| now["loaded"] == offset).await;
            origin.stop().await;
            let now = server.wait_for(NAME, "a retry", retries).await;
            assert!(now["retry"]["delay_ms"].as_u64() > Some(0), "{now}");
            let cause = now["retry"]["cause"].as_str().unwrap();
            assert!(cause.contains("onnection refused"), "the whole chain of causes: {now}");
            assert_eq!((&now["loaded"], &now["store_failing"]), (&offset.into(), &false.into()), "{now}");

            // Loaded bytes are served meanwhile. A range that has not arrived waits and is not refused.
            let here = server.get(NAME, &[("range", "bytes=1000-1999")]).await;
            assert!(in_time("a body", here.bytes()).await.unwrap() == bytes[1000..2000]);
            let range = format!("bytes={offset}-{}", offset + 99);
            let next = server.get(NAME, &[("range", &range)]).await;
            assert_eq!(next.status(), 206);

            origin.restart().await;
            origin.send_to(offset + 100);
            assert!(in_time("a body", next.bytes()).await.unwrap() == bytes[offset..offset + 100]);
            let now = server.wait_for(NAME, "the end of the retry", |now| now["retry"].is_null()).await;
            assert_eq!((&now["state"], &now["error"]), (&"pulling".into(), &Value::Null), "{now}");
        }
        origin.send_to(bytes.len());
        assert!(in_time("the whole", whole).await.unwrap().unwrap() == bytes);
        server.wait_for(NAME, "the end", |now| now["state"] == "complete").await;

        // No byte was requested twice.
        let expected = [("bytes=0-", ""), ("bytes=1000000-", "\"one\""), ("bytes=2200000-", "\"one\"")];
        assert_eq!(origin.requests(), expected.map(|(range, tag)| (range.to_owned(), tag.to_owned())));
    }
}

#[tokio::test]
async fn a_one_way_source_is_requested_once() {
    let bytes = pattern(300_000);
    let mut origin = Origin::start(NAME, bytes.clone()).await;
    let server = Server::start(&[&origin.url, "--one-way"]).await;
    origin.send_to(100_000);
    let mut whole = server.get(NAME, &[]).await;
    server.wait_for(NAME, "the bytes before the stop", |now| now["loaded"] == 100_000).await;
    origin.stop().await;
    origin.restart().await;
    origin.send_to(bytes.len());
    let failed = server.wait_for(NAME, "the failure", |now| now["state"] == "failed").await;
    assert!(failed["retry"].is_null() && failed["loaded"] == 100_000, "{failed}");
    let mut got = Vec::new();
    while let Ok(piece) = in_time("a piece or the break", whole.chunk()).await {
        got.extend_from_slice(&piece.expect("a broken transfer looks complete"));
    }
    assert!(got == bytes[..100_000]);
    assert_eq!(origin.requests(), [(String::new(), String::new())]);
}

#[tokio::test]
async fn a_read_far_ahead_gets_its_own_stream_and_the_state_shows_both_ranges() {
    let bytes = pattern(3_000_000);
    let origin = Origin::start(NAME, bytes.clone()).await;
    let server = Server::start(&[&origin.url, "--read-ahead", "0"]).await;
    origin.send_to(1000);
    let near = server.get(NAME, &[("range", "bytes=0-999")]).await;
    assert!(in_time("a body", near.bytes()).await.unwrap() == bytes[..1000]);
    // For now, the origin sends no byte after offset 1000 on any connection, so both streams stay open.
    let far = tokio::spawn(server.get(NAME, &[("range", "bytes=2000000-2000999")]).await.bytes());
    let two = server.wait_for(NAME, "two streams", |now| now["streams"] == 2).await;
    assert_eq!(two["frontier"], 1000, "{two}");
    origin.send_to(bytes.len());
    assert!(in_time("the far range", far).await.unwrap().unwrap() == bytes[2_000_000..2_001_000]);
    let ranges = |now: &Value| now["ranges"]["resident"].as_array().map(Vec::len) == Some(2);
    let now = server.wait_for(NAME, "two ranges", ranges).await;
    assert_eq!(now["ranges"]["resident"][1][0], 2_000_000, "{now}");
    assert_eq!(
        (&now["ranges"]["spilled"], &now["ranges"]["discarded"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
}

#[tokio::test]
async fn as_many_streams_are_open_as_the_option_says() {
    let bytes = pattern(3_000_000);
    for (most, expected) in [("1", 1), ("3", 3)] {
        let origin = Origin::start("bytes.bin", bytes.clone()).await;
        let server = Server::start(&[&origin.url, "--streams", most, "--read-ahead", "0"]).await;
        origin.send_to(1000);
        server.get("bytes.bin", &[("range", "bytes=0-999")]).await.bytes().await.unwrap();
        let far = [0, 1_000_000, 2_000_000].map(|first| {
            let range = format!("bytes={}-{}", first + 1000, first + 1999);
            let (url, range) = (server.media("bytes.bin"), range);
            tokio::spawn(
                async move { http().get(url).header("range", range).send().await.unwrap().bytes().await },
            )
        });
        let all = |now: &Value| now["streams"] == expected && now["readers"].as_array().unwrap().len() == 4;
        server.wait_for("bytes.bin", "the streams", all).await;
        origin.send_to(bytes.len());
        for (task, first) in far.into_iter().zip([0, 1_000_000, 2_000_000]) {
            let found = in_time("a range", task).await.unwrap().unwrap();
            assert!(found == bytes[first + 1000..first + 2000], "{most} streams, {first}");
        }
    }
}
