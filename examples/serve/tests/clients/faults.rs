//! Contract rules 7, 14 and 15 for clients of the server: a failure of the source never looks like the end,
//! the bytes before it stay readable, and a client that disconnects withdraws its demand.

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use crate::support::{CLIP, PROGRAM, Server, Upstream, clip_path, http, in_time, pattern};

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
async fn a_fault_of_the_source_breaks_the_transfer_and_loses_no_byte_before_it() {
    let bytes = pattern(150_000);
    for size in [None, Some(400_000)] {
        let upstream = Upstream::start(NAME, size).await;
        upstream.send(&bytes);
        let server = Server::start(&[&upstream.url]).await;
        let whole = server.get(NAME, &[]).await;
        assert_eq!(whole.status(), 200);
        server.wait_for(NAME, "the bytes before the fault", |now| now["loaded"] == 150_000).await;
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
    let server = Server::start(&["exec:printf 0123456789; echo no space left >&2; exit 3"]).await;
    let whole = server.get("output", &[]).await;
    assert_eq!(until_it_breaks(whole).await, b"0123456789");
    let failed = server.wait_for("output", "the fault", |now| now["state"] == "failed").await;
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("exit status: 3") && error.contains("no space left"), "{failed}");
    server.reports("no space left").await;
    let past = server.get("output", &[("range", "bytes=10-19")]).await;
    assert_eq!(past.status(), 502);
    let text = in_time("a body", past.text()).await.unwrap();
    assert!(text.contains("offset 10") && text.contains("exit status: 3"), "{text}");
    assert_eq!(failed["size"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_command_that_writes_many_errors_goes_on() {
    let server = Server::start(&["exec:head -c 300000 /dev/zero >&2; printf done"]).await;
    assert_eq!(in_time("the output", server.get("output", &[]).await.bytes()).await.unwrap(), "done");
}

#[tokio::test]
async fn the_head_of_a_source_that_has_failed_has_the_status_of_a_get() {
    // A 404 before the first byte, and a failure after some of them.
    let upstream = Upstream::start("film.mp4", Some(CLIP.len())).await;
    let missing = upstream.url.replace("film", "missing");
    let server = Server::start(&[&missing]).await;
    for method in [reqwest::Method::GET, reqwest::Method::HEAD, reqwest::Method::HEAD] {
        let request = http().request(method.clone(), server.media("missing.mp4")).send();
        let response = in_time("an answer", request).await.unwrap();
        assert_eq!(response.status(), 502, "{method}");
    }
    let failed = server.wait_for("missing.mp4", "the failure", |now| now["state"] == "failed").await;
    assert_eq!(failed["trouble"]["what"], "The server does not have this file.");
}

#[tokio::test]
async fn a_file_that_has_changed_is_read_anew_once_no_reader_needs_the_old_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NAME);
    let bytes = pattern(3_000_000);
    std::fs::write(&path, &bytes[..1_000_000]).unwrap();
    let server = Server::start(&[path.to_str().unwrap(), "--rate", "500"]).await;
    // The first byte is read, and then the file grows.
    let mut reading = server.get(NAME, &[]).await;
    let start = in_time("a chunk", reading.chunk()).await.unwrap().unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, &bytes[1_000_000..]).unwrap();
    let tag = reading.headers()["etag"].clone();
    let mut old = start.to_vec();
    let other = server.get(NAME, &[("range", "bytes=0-9")]).await;
    assert_eq!(other.headers()["etag"], tag, "the old version has a reader");
    while let Some(chunk) = in_time("a chunk", reading.chunk()).await.unwrap() {
        old.extend_from_slice(&chunk);
    }
    assert!(old == bytes[..1_000_000], "the old version ends at its size");
    drop((reading, other));
    let gone = |now: &serde_json::Value| {
        now["readers"].as_array().unwrap().iter().all(|reader| reader["gone"] == true)
    };
    server.wait_for(NAME, "no reader", gone).await;
    let new = server.get(NAME, &[]).await;
    assert_ne!(new.headers()["etag"], tag);
    assert!(in_time("the new version", new.bytes()).await.unwrap() == bytes);
}

#[tokio::test]
async fn a_file_that_was_cut_while_it_was_read_is_readable_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NAME);
    std::fs::write(&path, pattern(3_000_000)).unwrap();
    let server = Server::start(&[path.to_str().unwrap(), "--read-ahead", "0"]).await;
    let first = server.get(NAME, &[("range", "bytes=0-9")]).await;
    assert!(in_time("ten bytes", first.bytes()).await.unwrap() == pattern(10));
    std::fs::write(&path, b"a short text").unwrap();
    // The old version is asked for before anyone notices, or the new one is already read: both are right.
    let _ = server.get(NAME, &[("range", "bytes=2000000-")]).await.bytes().await;
    let whole = server.get(NAME, &[]).await;
    assert_eq!(in_time("the new version", whole.bytes()).await.unwrap(), "a short text");
}

#[tokio::test]
async fn a_client_that_disconnects_withdraws_its_demand() {
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
    let gone =
        |now: &serde_json::Value| now["readers"].as_array().unwrap().iter().all(|it| it["gone"] == true);
    let left = |now: &serde_json::Value| gone(now) && now["state"] == "waiting";
    let left = server.wait_for(NAME, "no reader is left, and the source is not pulled", left).await;
    assert_eq!(left["loaded"], 1000);

    // Other clients are not affected.
    upstream.send(&bytes[1000..]);
    let again = server.get(NAME, &[("range", "bytes=400000-")]).await;
    assert!(in_time("a body", again.bytes()).await.unwrap() == bytes[400_000..]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_full_disk_is_reported_in_the_state_and_on_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = pattern(3_000_000);
    let upstream = Upstream::start(NAME, Some(bytes.len())).await;
    upstream.send(&bytes);
    // No file may be larger than 200 KiB. A write past that fails like a write to a full disk.
    let limited = "trap '' XFSZ; ulimit -f 400; exec \"$@\"";
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", limited, "sh", PROGRAM, &upstream.url, "--memory", "256"]).env("TMPDIR", dir.path());
    let server = Server::launch(command).await;
    let tail = tokio::spawn(server.get(NAME, &[("range", "bytes=2900000-")]).await.bytes());
    let failing = server.wait_for(NAME, "the fault", |now| now["store_failing"] == true).await;
    assert!(failing["store_error"].as_str().unwrap().contains("File too large"), "{failing}");
    let url = format!("{}/state", server.media(NAME));
    let state = in_time("the state", crate::support::http().get(url).send()).await.unwrap();
    let state: serde_json::Value = serde_json::from_str(&state.text().await.unwrap()).unwrap();
    assert_eq!(state["store_failing"], true, "{state}");
    server.reports("bytes.bin: the disk can't be written").await;
    server.reports("File too large").await;
    // Memory has no room for the bytes before the tail, so the tail is not served. No loaded byte is lost.
    in_time("the tail", tail).await.unwrap().unwrap_err();
    let loaded = usize::try_from(state["loaded"].as_u64().unwrap()).unwrap();
    let range = format!("bytes=0-{}", loaded - 1);
    let here = server.get(NAME, &[("range", &range)]).await;
    assert!(loaded > 300_000 && in_time("the loaded bytes", here.bytes()).await.unwrap() == bytes[..loaded]);
}

#[tokio::test]
async fn a_failure_is_reported_with_all_of_its_causes() {
    for one_way in [false, true] {
        let upstream = Upstream::start(NAME, Some(400_000)).await;
        upstream.send(&pattern(1000));
        let args = [&*upstream.url, "--one-way"];
        let server = Server::start(&args[..=usize::from(one_way)]).await;
        let near = server.get(NAME, &[("range", "bytes=0-999")]).await;
        assert_eq!(in_time("a body", near.bytes()).await.unwrap().len(), 1000);
        let far = server.get(NAME, &[("range", "bytes=1000-")]).await;
        upstream.fail();
        assert!(until_it_breaks(far).await.is_empty());
        let failed = server.wait_for(NAME, "the fault", |now| now["state"] == "failed").await;
        let cause = "error reading a body from connection: end of file before message length reached";
        if one_way {
            assert!(failed["error"].as_str().unwrap().contains(cause), "{failed}");
        }
        server.reports(cause).await;
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_holds_up_no_other_source() {
    // The system accepts connections for this listener, and nothing answers them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/{NAME}", silent.local_addr().unwrap());
    for one_way in [false, true] {
        let args = [&*url, &clip_path(), "--silence-timeout", "1", "--one-way"];
        let server = Server::start(&args[..4 + usize::from(one_way)]).await;
        let clip = server.get("clip.mp4", &[]);
        let refused = tokio::spawn(crate::support::http().get(server.media(NAME)).send());
        assert!(in_time("the clip", clip.await.bytes()).await.unwrap() == CLIP);
        if one_way {
            let failed = server.wait_for(NAME, "the failure", |now| now["state"] == "failed").await;
            let error = failed["error"].as_str().unwrap();
            assert!(error.contains("the server did not answer within 1 s"), "{failed}");
            assert_eq!(in_time("an answer", refused).await.unwrap().unwrap().status(), 502);
            server.reports("did not answer within 1 s").await;
        } else {
            let retries = |now: &serde_json::Value| now["state"] == "retrying";
            let now = server.wait_for(NAME, "a retry", retries).await;
            assert!(now["retry"]["cause"].as_str().unwrap().contains("for 1s"), "{now}");
            refused.abort();
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_a_failure() {
    // A listener with a full queue: the system drops further attempts to connect.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Linux queues one connection more than `listen` says. The other attempts wait for a place in the queue.
    let (send, mut queued) = mpsc::unbounded_channel();
    for _ in 0..8 {
        let send = send.clone();
        tokio::spawn(async move { send.send(TcpStream::connect(address).await.unwrap()) });
    }
    let _full = [in_time("a connection", queued.recv()).await, in_time("another one", queued.recv()).await];
    let url = format!("http://{address}/{NAME}");
    let server = Server::start(&[&url, "--one-way", "--connect-timeout", "1"]).await;
    let failed = server.wait_for(NAME, "the failure", |now| now["state"] == "failed").await;
    let error = failed["error"].as_str().unwrap();
    // The library names the step in one of two ways, by the timer that ends first.
    let names_step = error.to_lowercase().contains("connect");
    assert!(names_step && !error.contains("did not answer"), "{failed}");
}
