//! Range requests (RFC 9110, section 14), and contract rule 1: a response has exactly the requested bytes,
//! and fewer only at the end.

use std::time::{Duration, Instant};

use streamspool::Bytes;

use crate::support::{Server, Upstream, clip_path, http, in_time, pattern};

const NAME: &str = "bytes.bin";

/// How long the server waits for the end of a source of unknown size.
const SOON: Duration = Duration::from_secs(2);

/// A server whose source has a known size and has sent all its bytes.
async fn serving(bytes: &[u8]) -> Server {
    let upstream = Upstream::start(NAME, Some(bytes.len())).await;
    upstream.send(bytes);
    Server::start(&[&upstream.url]).await
}

async fn body(response: reqwest::Response) -> Bytes {
    in_time("a body", response.bytes()).await.unwrap()
}

fn header<'a>(response: &'a reqwest::Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_range_of_a_known_size_is_answered_byte_for_byte() {
    let bytes = pattern(700_000);
    let server = serving(&bytes).await;
    let cases = [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=262000-262300", 262_000, 262_300),
        ("bytes=123456-", 123_456, 699_999),
        ("bytes=-1", 699_999, 699_999),
        ("bytes=-500", 699_500, 699_999),
        ("bytes=-9999999", 0, 699_999),
        ("bytes=699990-18446744073709551615", 699_990, 699_999),
    ];
    for (range, first, last) in cases {
        let response = server.get(NAME, &[("range", range)]).await;
        assert_eq!(response.status(), 206, "{range}");
        let content_range = format!("bytes {first}-{last}/700000");
        assert_eq!(header(&response, "content-range"), Some(&*content_range), "{range}");
        assert_eq!(header(&response, "content-length"), Some(&*(last - first + 1).to_string()), "{range}");
        assert_eq!(header(&response, "accept-ranges"), Some("bytes"), "{range}");
        assert!(body(response).await == bytes[first..=last], "{range}");
    }
}

#[tokio::test]
async fn a_range_that_was_discarded_is_gone_and_the_answer_names_the_first_byte_that_is_kept() {
    // Rule 27.
    let bytes = pattern(4_000_000);
    let upstream = Upstream::start(NAME, None).await;
    upstream.send(&bytes);
    let server = Server::start(&[&upstream.url, "--one-way", "--memory", "0", "--disk", "512"]).await;
    let last = server.get(NAME, &[("range", "bytes=3999990-3999999")]).await;
    assert!(body(last).await == bytes[3_999_990..]);
    let state = server.wait_for(NAME, "bytes are discarded", |now| {
        now["ranges"]["discarded"][0][1].as_u64().is_some_and(|kept| kept > 3_000_000)
    });
    let kept = state.await["ranges"]["discarded"][0][1].as_u64().unwrap();
    for range in ["bytes=0-99", "bytes=0-"] {
        let gone = server.get(NAME, &[("range", range)]).await;
        assert_eq!(gone.status(), 410, "{range}");
        let text = String::from_utf8(body(gone).await.to_vec()).unwrap();
        assert!(text.contains("first byte that is kept is at"), "{text}");
    }
    let head = in_time("a HEAD", http().head(server.media(NAME)).send()).await.unwrap();
    assert_eq!(head.status(), 410, "a HEAD has the status of a GET");
    let first = usize::try_from(kept).unwrap();
    let range = format!("bytes={}-3999999", first + 1000);
    let rest = server.get(NAME, &[("range", &range)]).await;
    assert_eq!(rest.status(), 206);
    assert!(body(rest).await == bytes[first + 1000..]);
}

#[tokio::test]
async fn an_invalid_range_is_ignored_and_a_range_past_the_end_is_refused() {
    let bytes = pattern(70_000);
    let server = serving(&bytes).await;
    for range in ["", "bytes=", "bytes=x-y", "bytes=9-3", "lines=0-9", "bytes=1-2-3"] {
        let response = server.get(NAME, &[("range", range)]).await;
        assert_eq!(response.status(), 200, "{range:?}");
        assert_eq!(header(&response, "content-length"), Some("70000"), "{range:?}");
        assert_eq!(header(&response, "content-range"), None, "{range:?}");
        assert!(body(response).await == bytes, "{range:?}");
    }
    for range in ["bytes=70000-", "bytes=70000-70001", "bytes=-0", "bytes=99999999999-, 70001-70002"] {
        let response = server.get(NAME, &[("range", range)]).await;
        assert_eq!(response.status(), 416, "{range}");
        assert_eq!(header(&response, "content-range"), Some("bytes */70000"), "{range}");
        assert!(body(response).await.is_empty(), "{range}");
    }
    let missing = in_time("a 404", http().get(server.media("other")).send()).await.unwrap();
    assert_eq!(missing.status(), 404);
}

#[tokio::test]
async fn a_head_has_the_headers_of_a_get_and_no_body() {
    let bytes = pattern(70_000);
    let server = serving(&bytes).await;
    let get = server.get(NAME, &[]).await;
    let head = http().head(server.media(NAME)).header("range", "bytes=0-9").send();
    let head = in_time("a HEAD", head).await.unwrap();
    assert_eq!(head.status(), 200, "a HEAD ignores ranges");
    for name in ["content-length", "content-type", "accept-ranges", "etag", "cache-control"] {
        assert_eq!(header(&head, name), header(&get, name), "{name}");
        assert!(header(&head, name).is_some(), "{name}");
    }
    assert!(body(head).await.is_empty());
    assert!(body(get).await == bytes);
}

#[tokio::test]
async fn a_conditional_request_is_answered_without_the_bytes() {
    let bytes = pattern(70_000);
    let server = serving(&bytes).await;
    let whole = server.get(NAME, &[]).await;
    let etag = header(&whole, "etag").unwrap().to_owned();
    let date = header(&whole, "last-modified").unwrap().to_owned();
    for (name, value, status) in [
        ("if-none-match", &*etag, 304),
        ("if-none-match", "\"other\"", 200),
        ("if-modified-since", &date, 304),
        ("if-match", &etag, 200),
        ("if-match", "\"other\"", 412),
    ] {
        for method in [reqwest::Method::GET, reqwest::Method::HEAD] {
            let request = http().request(method.clone(), server.media(NAME)).header(name, value).send();
            let response = in_time("an answer", request).await.unwrap();
            assert_eq!(response.status(), status, "{method} {name}: {value}");
            assert_eq!(header(&response, "etag"), Some(&*etag));
            assert_eq!(header(&response, "cache-control"), Some("no-store"));
            let is_whole = status == 200 && method == reqwest::Method::GET;
            assert_eq!(body(response).await.len(), if is_whole { 70_000 } else { 0 }, "{method} {name}");
        }
    }
    // A copy of an earlier run is never valid.
    let server = Server::start(&[&clip_path()]).await;
    let old = server.get("clip.mp4", &[]).await.headers()["etag"].clone();
    assert_eq!(server.ask(reqwest::Method::POST, "clip.mp4", "start-over").await, 204);
    let new = server.get("clip.mp4", &[("if-none-match", old.to_str().unwrap())]).await;
    assert_eq!(new.status(), 200);
}

#[tokio::test]
async fn the_page_is_asked_for_again_after_an_update_of_the_server() {
    let server = serving(b"bytes").await;
    for path in ["", "page.js", "bar.js", "player.js", "text.js", "style.css"] {
        let page = in_time("the page", http().get(format!("{}/{path}", server.url)).send()).await.unwrap();
        assert_eq!(header(&page, "cache-control"), Some("no-cache"), "{path}");
    }
}

#[tokio::test]
async fn if_range_gets_a_part_only_of_the_same_version() {
    let bytes = pattern(70_000);
    let server = serving(&bytes).await;
    let etag = header(&server.get(NAME, &[("range", "bytes=0-0")]).await, "etag").unwrap().to_owned();
    let same = server.get(NAME, &[("range", "bytes=5-9"), ("if-range", &etag)]).await;
    assert_eq!(same.status(), 206);
    assert!(body(same).await == bytes[5..=9]);
    for other in ["\"other\"", &format!("W/{etag}"), "Sun, 22 Nov 2026 18:08:23 GMT"] {
        let response = server.get(NAME, &[("range", "bytes=5-9"), ("if-range", other)]).await;
        assert_eq!(response.status(), 200, "{other}");
        assert!(body(response).await == bytes, "{other}");
    }
}

#[tokio::test]
async fn several_ranges_are_answered_in_parts_in_the_order_asked_for() {
    let bytes = pattern(700_000);
    let server = serving(&bytes).await;
    let response = server.get(NAME, &[("range", "bytes=600000-600099, 0-9, 800000-, -3")]).await;
    assert_eq!(response.status(), 206);
    assert_eq!(header(&response, "content-range"), None);
    let kind = header(&response, "content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=\"").unwrap().trim_end_matches('"');
    let boundary = boundary.to_owned();
    let length: usize = header(&response, "content-length").unwrap().parse().unwrap();

    let mut expected = Vec::new();
    for (first, last) in [(600_000, 600_099), (0, 9), (699_997, 699_999)] {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {first}-{last}/700000\r\n\r\n"
        );
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&bytes[first..=last]);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let got = body(response).await;
    assert_eq!(got.len(), length);
    assert!(got == expected);

    // Only one of these ranges exists. A single range must not be sent as multipart.
    let response = server.get(NAME, &[("range", "bytes=800000-, 7-8")]).await;
    assert_eq!(header(&response, "content-range"), Some("bytes 7-8/700000"));
    assert!(body(response).await == bytes[7..=8]);

    // Many overlapping ranges are an attack and are ignored.
    let response = server.get(NAME, &[("range", "bytes=0-, 1-, 2-, 3-")]).await;
    assert_eq!(response.status(), 200);
    assert!(body(response).await == bytes);
}

#[tokio::test]
async fn a_range_is_answered_while_the_size_is_unknown() {
    let bytes = pattern(200_000);
    let upstream = Upstream::start(NAME, None).await;
    let server = Server::start(&[&upstream.url]).await;
    upstream.send(&bytes[..100_000]);

    let response = server.get(NAME, &[("range", "bytes=0-99")]).await;
    assert_eq!(response.status(), 206);
    assert_eq!(header(&response, "content-range"), Some("bytes 0-99/*"));
    assert!(body(response).await == bytes[..100]);

    let head = in_time("a HEAD", http().head(server.media(NAME)).send()).await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, None));

    // The whole resource: the loaded bytes at once, the rest when it arrives.
    let mut whole = server.get(NAME, &[("range", "bytes=0-")]).await;
    assert_eq!((whole.status().as_u16(), header(&whole, "content-length")), (200, None));
    let mut got = Vec::new();
    while got.len() < 100_000 {
        got.extend_from_slice(&in_time("a piece", whole.chunk()).await.unwrap().unwrap());
    }

    // A range past the loaded bytes waits for them, and a suffix waits for the end.
    let (far, suffix) =
        (server.get(NAME, &[("range", "bytes=150000-150009")]), server.get(NAME, &[("range", "bytes=-4")]));
    let feed = async {
        let waits = |now: &serde_json::Value| now["state"] == "pulling" && now["loaded"] == 100_000;
        server.wait_for(NAME, "somebody waits", waits).await;
        upstream.send(&bytes[100_000..]);
        drop(upstream);
    };
    let (far, suffix, ()) = tokio::join!(far, suffix, feed);
    assert!(header(&far, "content-range").unwrap().starts_with("bytes 150000-150009/"));
    assert!(body(far).await == bytes[150_000..150_010]);
    assert_eq!(header(&suffix, "content-range"), Some("bytes 199996-199999/200000"));
    assert!(body(suffix).await == bytes[199_996..]);

    while let Some(piece) = in_time("a piece", whole.chunk()).await.unwrap() {
        got.extend_from_slice(&piece);
    }
    assert!(got == bytes);

    // Now the size is known, and responses contain it.
    let response = server.get(NAME, &[("range", "bytes=200000-")]).await;
    assert_eq!(
        (response.status().as_u16(), header(&response, "content-range")),
        (416, Some("bytes */200000"))
    );
    let response = server.get(NAME, &[("range", "bytes=199000-300000")]).await;
    assert_eq!(header(&response, "content-range"), Some("bytes 199000-199999/200000"));
    assert!(body(response).await == bytes[199_000..]);
}

#[tokio::test]
async fn an_open_range_of_an_unknown_size_is_answered_at_once_and_goes_on_as_bytes_arrive() {
    let bytes = pattern(200_000);
    let upstream = Upstream::start(NAME, None).await;
    let server = Server::start(&[&upstream.url]).await;
    upstream.send(&bytes[..100_000]);
    server.get(NAME, &[("range", "bytes=99999-99999")]).await;

    // RFC 8673: this last position says that the response goes on as long as bytes arrive.
    for range in ["bytes=1000-", "bytes=1000-9007199254740991"] {
        let mut here = server.get(NAME, &[("range", range)]).await;
        let expected = Some("bytes 1000-9007199254740991/*");
        assert_eq!((here.status().as_u16(), header(&here, "content-range")), (206, expected), "{range}");
        assert_eq!(header(&here, "content-length"), None);
        let mut got = Vec::new();
        while got.len() < 99_000 {
            got.extend_from_slice(&in_time("a piece", here.chunk()).await.unwrap().unwrap());
        }
        assert!(got == bytes[1000..100_000], "{range}");
    }

    // A request for loaded bytes is answered at once. A wait for the end of the source would take 2 s each time, so
    // the quickest answer tells the two apart on a slow machine too.
    let mut quickest = SOON;
    for _ in 0..10 {
        let began = Instant::now();
        assert_eq!(server.get(NAME, &[("range", "bytes=1000-")]).await.status(), 206);
        quickest = quickest.min(began.elapsed());
    }
    assert!(quickest < SOON);
}

#[tokio::test]
async fn an_open_range_past_the_loaded_bytes_tells_the_size_of_a_source_that_ends_soon() {
    let bytes = pattern(200_000);
    // On a slow machine the end may come too late. Then the test starts again.
    for _ in 0..30 {
        if tells_the_size(&bytes).await {
            return;
        }
    }
    panic!("the end came too late each time");
}

/// Whether the source ended soon enough after the requests. Then the answers must tell its size.
async fn tells_the_size(bytes: &[u8]) -> bool {
    let upstream = Upstream::start(NAME, None).await;
    let server = Server::start(&[&upstream.url]).await;
    upstream.send(&bytes[..100_000]);
    let last = server.get(NAME, &[("range", "bytes=99999-99999")]).await;
    assert!(body(last).await == bytes[99_999..100_000]);
    let began = Instant::now();

    // A client that continues a broken download asks for the next byte.
    let next = server.get(NAME, &[("range", "bytes=100000-")]);
    // A player that jumps to the index at the end needs the size. The server waits a short time for the end of the
    // source, so that the response can tell the size.
    let index = server.get(NAME, &[("range", "bytes=199000-")]);
    let feed = async {
        let waits = |now: &serde_json::Value| now["state"] == "pulling" && now["loaded"] == 100_000;
        server.wait_for(NAME, "a request waits", waits).await;
        upstream.send(&bytes[100_000..199_500]);
        upstream.send(&bytes[199_500..]);
        drop(upstream);
    };
    let (next, index, ()) = tokio::join!(next, index, feed);
    if began.elapsed() >= SOON {
        return false;
    }
    assert_eq!(header(&next, "content-range"), Some("bytes 100000-199999/200000"));
    assert!(body(next).await == bytes[100_000..]);
    assert_eq!(header(&index, "content-range"), Some("bytes 199000-199999/200000"));
    assert!(body(index).await == bytes[199_000..]);
    true
}

#[tokio::test]
async fn an_open_range_past_the_loaded_bytes_of_an_endless_stream_is_answered_when_its_byte_arrives() {
    let bytes = pattern(200_000);
    let upstream = Upstream::start(NAME, None).await;
    let server = Server::start(&[&upstream.url]).await;
    upstream.send(&bytes);
    let mut live = server.get(NAME, &[("range", "bytes=150000-")]).await;
    assert_eq!(header(&live, "content-range"), Some("bytes 150000-9007199254740991/*"));
    let mut got = Vec::new();
    while got.len() < 50_000 {
        got.extend_from_slice(&in_time("a piece", live.chunk()).await.unwrap().unwrap());
    }
    assert!(got == bytes[150_000..]);
}

#[tokio::test]
async fn a_size_of_the_command_line_is_used_like_the_size_of_a_source() {
    let mut server = Server::start_with(&["-", "--size", "200000"], std::process::Stdio::piped()).await;
    let bytes = pattern(200_000);
    let mut stdin = server.stdin();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, &bytes[..60_000]).await.unwrap();
    let here = server.get("stdin", &[("range", "bytes=1000-")]).await;
    assert_eq!(header(&here, "content-range"), Some("bytes 1000-199999/200000"));
    let whole = server.get("stdin", &[]).await;
    assert_eq!(header(&whole, "content-length"), Some("200000"));
    tokio::io::AsyncWriteExt::write_all(&mut stdin, &bytes[60_000..]).await.unwrap();
    drop(stdin);
    assert!(body(here).await == bytes[1000..]);
    assert!(body(whole).await == bytes);

    // A wrong size is an error and never a short file.
    for command in ["exec:printf 012345678", "exec:printf 01234567890"] {
        let server = Server::start(&[command, "--size", "10"]).await;
        let failed = server.wait_for("output", "the end", |now| now["state"] == "failed");
        let (failed, _) = tokio::join!(failed, server.get("output", &[]));
        assert!(failed["error"].is_string(), "{failed}");
    }

    let upstream = Upstream::start(NAME, None).await;
    upstream.send(&bytes[..1000]);
    let server = Server::start(&[&upstream.url, "--size", "200000"]).await;
    assert_eq!(header(&server.get(NAME, &[]).await, "content-length"), Some("200000"));
}

#[tokio::test]
async fn many_clients_seek_at_once_and_each_gets_its_own_bytes() {
    let bytes = pattern(3_000_000);
    let upstream = Upstream::start(NAME, Some(bytes.len())).await;
    let server = Server::start(&[&upstream.url, "--memory", "256", "--read-ahead", "0"]).await;
    let client = http();
    let one = |seed: usize| {
        let (client, url, bytes) = (client.clone(), server.media(NAME), &bytes);
        async move {
            for step in 0..20 {
                let first = (seed * 7919 + step * 1_299_709) % 2_900_000;
                let last = first + (seed * step * 977) % 90_000;
                let request = client.get(&url).header("range", format!("bytes={first}-{last}"));
                let response = in_time("a response", request.send()).await.unwrap();
                assert_eq!(response.status(), 206);
                assert!(body(response).await == bytes[first..=last], "{first}-{last}");
            }
        }
    };
    let feed = async {
        for piece in bytes.chunks(50_000) {
            upstream.send(piece);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(futures::future::join_all((1..=12).map(one)), feed);
}
