//! The server protects itself against pages of other sites, scripts in resources, and clients that only hold
//! connections.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Server, Upstream, http, in_time};

const NAME: &str = "page.html";
const HTML: &[u8] = b"<!doctype html><script>document.title = 'ran'</script>";

async fn serving(args: &[&str]) -> (Server, Upstream) {
    let upstream = Upstream::start(NAME, Some(HTML.len())).await;
    upstream.send(HTML);
    let server = Server::start(&[&[&*upstream.url], args].concat()).await;
    (server, upstream)
}

fn address(server: &Server) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

/// The first line of the response to a raw request.
async fn raw(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(address(server)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(in_time("an answer", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn only_requests_for_a_loopback_host_are_answered() {
    let (server, _upstream) = serving(&[]).await;
    let port = address(&server).split_once(':').unwrap().1;
    let events = format!("/media/{NAME}/events");
    let media = format!("/media/{NAME}");
    let status = async |host: &str, path: &str| {
        let request = http().get(format!("{}{path}", server.url)).header("host", host).send();
        in_time("an answer", request).await.unwrap().status().as_u16()
    };
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "[::1]"] {
        for host in [host.to_owned(), format!("{host}:{port}")] {
            assert_eq!(status(&host, &media).await, 200, "{host}");
        }
    }
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "10.0.0.1", "x@y"]
    {
        for path in ["/", "/page.js", "/resources", &events, &media] {
            assert_eq!(status(host, path).await, 421, "{host} {path}");
        }
        let save = http().post(format!("{}{media}/save", server.url)).header("host", host);
        let save = in_time("an answer", save.header("x-streamspool", "page").send()).await.unwrap();
        assert_eq!(save.status(), 421, "{host}");
    }
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \r\n\r\n",
    ] {
        assert!(raw(&server, request).await.contains(" 421 "), "{request}");
    }
}

#[tokio::test]
async fn a_browser_neither_guesses_types_nor_runs_scripts_of_resources() {
    let (server, _upstream) = serving(&[]).await;
    let header = |response: &reqwest::Response, name: &str| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let media = server.get(NAME, &[]).await;
    assert_eq!(header(&media, "content-security-policy"), "sandbox");
    let part = server.get(NAME, &[("range", "bytes=1-2")]).await;
    assert_eq!(header(&part, "content-security-policy"), "sandbox");
    let page = in_time("the page", http().get(&server.url).send()).await.unwrap();
    let policy = header(&page, "content-security-policy");
    for needed in ["default-src 'none'", "script-src 'self';", "frame-ancestors 'none'"] {
        assert!(policy.contains(needed), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for response in [&media, &part, &page] {
        assert_eq!(header(response, "x-content-type-options"), "nosniff");
        assert_eq!(header(response, "cross-origin-resource-policy"), "same-origin");
        assert_eq!(header(response, "access-control-allow-origin"), "");
    }
}

#[tokio::test]
async fn connections_without_a_request_are_closed_and_others_take_their_place() {
    let (server, _upstream) = serving(&["--connections", "8"]).await;
    let mut slow = Vec::new();
    for number in 0..8 {
        let mut stream = TcpStream::connect(address(&server)).await.unwrap();
        // Some send nothing, some half of a request, and some one request and then nothing.
        let sent = ["", "GET / HTTP/1.1\r\nHo", "GET /resources HTTP/1.1\r\nHost: localhost\r\n\r\n"];
        stream.write_all(sent[number % 3].as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // All connections are in use: this one waits until slow ones are closed.
    assert_eq!(server.get(NAME, &[]).await.status(), 200);
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = in_time("the end of a slow connection", stream.read_to_end(&mut rest)).await;
    }
}
