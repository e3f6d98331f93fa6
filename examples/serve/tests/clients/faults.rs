//! Contract rules 7, 14 and 15 for clients of the server: a failure of the source never looks like the end,
//! the bytes before it stay readable, and a client that disconnects withdraws its demand.

use crate::support::{Server, Upstream, in_time, pattern};

const NAME: &str = "bytes.bin";

/// The bytes before the transfer breaks. Fails if the transfer looks complete.
async fn until_it_breaks(mut response: reqwest::Response) -> Vec<u8> {
    let mut got = Vec::new();
    loop {
        match in_time("a piece or the break", response.chunk()).await {
            Ok(Some(piece)) => got.extend_from_slice(&piece),
            Ok(None) => panic!("a broken transfer looks complete, after {} bytes", got.len()),
            Err(_) => return got,
        }
    }
}

#[tokio::test]
async fn a_fault_of_the_source_breaks_the_transfer_and_spares_what_came_before() {
    let bytes = pattern(150_000);
    for size in [None, Some(400_000)] {
        let upstream = Upstream::start(NAME, size).await;
        upstream.send(&bytes);
        let server = Server::start(&[&upstream.url]).await;
        let whole = server.get(NAME, &[]).await;
        assert_eq!(whole.status(), 200);
        server.wait_for(NAME, "what came", |now| now["loaded"] == 150_000).await;
        upstream.fail();
        assert!(until_it_breaks(whole).await == bytes, "size {size:?}");

        let failed = server.wait_for(NAME, "the fault", |now| now["state"] == "failed").await;
        assert!(failed["error"].as_str().unwrap().contains("offset 150000"), "{failed}");
        let before = server.get(NAME, &[("range", "bytes=149000-149999")]).await;
        assert_eq!(before.status(), 206);
        assert!(in_time("a body", before.bytes()).await.unwrap() == bytes[149_000..]);
        let past = server.get(NAME, &[("range", "bytes=150000-150009")]).await;
        assert_eq!(past.status(), 502);
        if size.is_some() {
            let across = server.get(NAME, &[("range", "bytes=149990-150009")]).await;
            assert_eq!(across.status(), 206);
            assert!(until_it_breaks(across).await == bytes[149_990..]);
        }
    }
}

#[tokio::test]
async fn a_source_that_ends_early_is_a_broken_transfer_too() {
    let bytes = pattern(150_000);
    let upstream = Upstream::start(NAME, Some(400_000)).await;
    upstream.send(&bytes);
    let server = Server::start(&[&upstream.url]).await;
    let whole = server.get(NAME, &[]).await;
    drop(upstream);
    assert!(until_it_breaks(whole).await == bytes);
}

#[tokio::test]
async fn a_command_that_fails_is_not_an_end() {
    let server = Server::start(&["exec:printf 0123456789; exit 3"]).await;
    let whole = server.get("output", &[]).await;
    assert_eq!(until_it_breaks(whole).await, b"0123456789");
    let failed = server.wait_for("output", "the fault", |now| now["state"] == "failed").await;
    assert!(failed["error"].as_str().unwrap().contains("exit status: 3"), "{failed}");
    let past = server.get("output", &[("range", "bytes=10-19")]).await;
    assert_eq!(past.status(), 502);
    let text = in_time("a body", past.text()).await.unwrap();
    assert!(text.contains("offset 10") && text.contains("exit status: 3"), "{text}");
    assert_eq!(failed["size"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_demand_along() {
    let bytes = pattern(500_000);
    let upstream = Upstream::start(NAME, Some(bytes.len())).await;
    let server = Server::start(&[&upstream.url, "--read-ahead", "0"]).await;
    upstream.send(&bytes[..1000]);
    let near = server.get(NAME, &[("range", "bytes=0-999")]).await;
    assert!(in_time("a body", near.bytes()).await.unwrap() == bytes[..1000]);

    let far = server.get(NAME, &[("range", "bytes=400000-")]).await;
    let waits =
        |now: &serde_json::Value| now["state"] == "pulling" && now["readers"][0]["position"] == 400_000;
    server.wait_for(NAME, "a client waits far ahead", waits).await;
    drop(far);
    let left = |now: &serde_json::Value| now["readers"] == serde_json::json!([]) && now["state"] == "waiting";
    let left = server.wait_for(NAME, "nobody reads, and the source is left alone", left).await;
    assert_eq!(left["loaded"], 1000);

    // Other clients are not affected.
    upstream.send(&bytes[1000..]);
    let again = server.get(NAME, &[("range", "bytes=400000-")]).await;
    assert!(in_time("a body", again.bytes()).await.unwrap() == bytes[400_000..]);
}
