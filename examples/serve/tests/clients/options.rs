//! Arguments: each source that the help names, and a clear message for each mistake.

use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::http::{Response, header};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::support::{CLIP, Server, TUNE, clip_path, http, in_time, pattern, until_text};

#[tokio::test]
async fn a_mistake_in_the_arguments_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let clip = clip_path();
    let cases: [(&[&str], i32, &str); 12] = [
        (&["--rate", "0"], 2, "0 is not in 1.."),
        (&["--connections", "0"], 2, "0 is not in 1.."),
        (&["--silence-timeout", "0"], 2, "0 is not in 1.."),
        (&["--streams", "0"], 2, "0 is not in 1.."),
        (&["--header", "Authorization Bearer abc"], 2, "there is no colon in it"),
        (&["--header", "a b: c"], 2, "invalid HTTP header name"),
        (&[dir], 1, "it is a directory"),
        (&["/nowhere/film.mp4"], 1, "No such file or directory"),
        (&["ftp://host/film.mp4"], 1, "the scheme ftp is not supported"),
        (&["--save-to", "/nowhere"], 1, "--save-to /nowhere is not a directory"),
        (&["--save-to", &clip], 1, "is not a directory"),
        (&["--port", &port], 1, "Address already in use"),
    ];
    for (args, code, text) in cases {
        let (found, errors) = Server::refuses(args).await;
        assert_eq!(found, Some(code), "{args:?}: {errors}");
        assert!(errors.contains(text), "{args:?}: {errors}");
        assert!(!errors.contains("Os {") && !errors.contains("panicked"), "{args:?}: {errors}");
    }
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn without_tls_an_https_address_is_refused_with_the_command_that_works() {
    let (code, errors) = Server::refuses(&["https://127.0.0.1:1/film.mp4"]).await;
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("cargo run --release -p serve --features tls"), "{errors}");

    // A redirect to such an address is a failure that no other attempt can mend.
    let moved = Response::builder().status(302).header(header::LOCATION, "https://127.0.0.1:1/film.mp4");
    let url = upstream(moved.body(Body::empty()).unwrap()).await;
    let server = Server::start(&[&url]).await;
    assert_eq!(server.get("thing", &[]).await.status(), 502);
    let failed = server.wait_for("thing", "the failure", |now| now["state"] == "failed").await;
    assert!(failed["error"].as_str().unwrap().contains("--features tls"), "{failed}");
}

#[tokio::test]
async fn each_request_to_the_origin_has_the_headers_of_the_command_line() {
    for args in [&[][..], &["--one-way"]] {
        let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
        let kept = std::sync::Arc::clone(&seen);
        let answer = async move |headers: axum::http::HeaderMap| {
            kept.lock().unwrap().push(headers.get_all("x-key").iter().cloned().collect::<Vec<_>>());
            // Neither the bytes nor the name show a type. The answer does, so no other request asks for it.
            "a text"
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/thing", listener.local_addr().unwrap());
        let routes = Router::new().route("/thing", get(answer));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let server =
            Server::start(&[&[&*url, "--header", "X-Key: one", "--header", "x-key:two "], args].concat())
                .await;
        let body = in_time("the text", server.get("thing", &[]).await.bytes()).await.unwrap();
        assert_eq!(body, "a text");
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 1, "one request for the bytes and the type: {args:?}");
        assert!(seen.iter().all(|values| values == &["one", "two"]), "{args:?}: {seen:?}");
    }
}

#[tokio::test]
async fn an_encoded_body_is_passed_on_with_its_encoding_and_its_declared_type() {
    let zipped = Response::builder()
        .header(header::CONTENT_ENCODING, "gzip")
        .header(header::CONTENT_TYPE, "text/calendar");
    let bytes = [b"\x1f\x8b\x08", &pattern(1000)[..]].concat();
    let url = upstream(zipped.body(Body::from(bytes.clone())).unwrap()).await;
    let server = Server::start(&[&url]).await;
    let head = http().head(server.media("thing")).send();
    for response in [server.get("thing", &[]).await, in_time("a HEAD", head).await.unwrap()] {
        assert_eq!(response.headers()["content-encoding"], "gzip");
        assert_eq!(response.headers()["content-type"], "text/calendar");
    }
    let body = in_time("the body", server.get("thing", &[]).await.bytes()).await.unwrap();
    assert!(body == bytes);
}

#[tokio::test]
async fn the_scheme_of_an_address_may_be_in_capitals_and_a_file_may_have_one() {
    let upstream = crate::support::Upstream::start("film.mp4", Some(CLIP.len())).await;
    upstream.send(CLIP);
    let file = format!("FILE://{}", std::fs::canonicalize(clip_path()).unwrap().display());
    let http = upstream.url.replace("http", "HTTP");
    let server = Server::start(&[&file, &http]).await;
    for name in ["clip.mp4", "film.mp4"] {
        assert!(in_time("the film", server.get(name, &[]).await.bytes()).await.unwrap() == CLIP, "{name}");
    }
}

/// An upstream with one response.
async fn upstream(response: Response<Body>) -> String {
    let response = Mutex::new(Some(response));
    let head = response.lock().unwrap().as_ref().map(|response| response.headers().clone()).unwrap();
    let answer = move || {
        let mut answer = response.lock().unwrap().take().unwrap_or_else(|| Response::new(Body::empty()));
        answer.headers_mut().extend(head.clone());
        async { answer }
    };
    let answer = std::sync::Arc::new(answer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/thing", listener.local_addr().unwrap());
    let routes = Router::new().route("/thing", get(move || answer()));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

#[tokio::test]
async fn a_part_or_an_encoded_body_is_never_served_as_the_whole() {
    let part = Response::builder().status(206).header(header::CONTENT_RANGE, "bytes 5-14/100");
    let zipped = Response::builder().header(header::CONTENT_ENCODING, "gzip");
    for (response, text) in [(part, "206 Partial Content"), (zipped, "\"gzip\"")] {
        let url = upstream(response.body(Body::from(pattern(10))).unwrap()).await;
        let server = Server::start(&[&url, "--one-way"]).await;
        let failed = server.wait_for("thing", "the failure", |now| now["state"] == "failed").await;
        assert!(failed["error"].as_str().unwrap().contains(text), "{failed}");
        assert_eq!(server.get("thing", &[]).await.status(), 502);
    }
}

#[tokio::test]
async fn the_type_comes_from_the_bytes_and_the_name_or_else_from_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 7] = [
        ("notes.txt", b"a text", "text/plain; charset=utf-8"),
        ("Page.HTML", b"a text", "text/html; charset=utf-8"),
        ("film.bin", CLIP, "video/mp4"),
        ("sound.m4a", CLIP, "audio/mp4"),
        ("tune.txt", TUNE, "audio/mpeg"),
        ("unknown", b"\x01\x02", "application/octet-stream"),
        ("empty.vtt", b"", "text/vtt; charset=utf-8"),
    ];
    for (name, bytes, kind) in cases {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let server = Server::start(&[path.to_str().unwrap()]).await;
        let response = server.get(name, &[]).await;
        assert_eq!(response.headers()["content-type"], kind, "{name}");
    }
    for args in [&[][..], &["--one-way"]] {
        let typed = Response::builder().header(header::CONTENT_TYPE, "text/calendar");
        let url = upstream(typed.body(Body::from("a text")).unwrap()).await;
        let server = Server::start(&[&[&*url], args].concat()).await;
        assert_eq!(server.get("thing", &[]).await.headers()["content-type"], "text/calendar", "{args:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn names_do_not_control_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a\x1b[31m\u{202e}b.txt");
    std::fs::write(&path, "a text").unwrap();
    let server = Server::start(&[path.to_str().unwrap()]).await;
    let output = until_text(&server.output, ".txt").await;
    assert!(
        output.contains("a\\u{1b}[31m\\u{202e}b.txt") && !output.contains(['\x1b', '\u{202e}']),
        "{output:?}"
    );
    let missing = dir.path().join("\x1b[2Jmissing");
    let (_, errors) = Server::refuses(&[missing.to_str().unwrap()]).await;
    assert!(errors.contains("missing") && !errors.contains('\x1b'), "{errors:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_signal_ends_the_server_and_all_processes_of_its_commands() {
    let kill = async |args: &[&str]| {
        let mut kill = tokio::process::Command::new("kill");
        kill.args(args).stderr(std::process::Stdio::null()).status().await.unwrap().success()
    };
    for (name, code) in [("-TERM", 143), ("-INT", 130), ("-HUP", 129)] {
        let mut server = Server::start(&["exec:printf %0600d. $$; sleep 1000 | sleep 1001"]).await;
        let mut whole = server.get("output", &[]).await;
        let mut text = String::new();
        while !text.contains('.') {
            let piece = in_time("the number of the group", whole.chunk()).await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
        let group = format!("-{}", text.trim_start_matches('0').trim_end_matches('.'));
        assert!(kill(&["-0", "--", &group]).await, "the command runs");
        assert!(kill(&[name, &server.child.id().unwrap().to_string()]).await);
        assert_eq!(in_time("the end", server.child.wait()).await.unwrap().code(), Some(code));
        let ended = async {
            // The command is not a child of the test, so the test has to ask again and again whether it has ended.
            while kill(&["-0", "--", &group]).await {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        in_time("the end of the command", ended).await;
    }
}
