//! Headless Chromium, driven through `chromedriver`.

use std::process::Stdio;
use std::time::Duration;

use axum::http::Method;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{has_client, in_time};

/// A browser. Each test has its own. It ends when this is dropped.
pub(crate) struct Browser {
    pub(crate) client: Client,
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) async fn start(width: u32, height: u32) -> Option<Self> {
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

    pub(crate) async fn open(&self, url: &str) {
        in_time("the page", self.client.goto(url)).await.unwrap();
    }

    /// Sets the size of the window, and the colour scheme that the user prefers.
    pub(crate) async fn view(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        for (command, params) in
            [("Emulation.setDeviceMetricsOverride", size), ("Emulation.setEmulatedMedia", scheme)]
        {
            let command = DevTools(json!({ "cmd": command, "params": params }));
            in_time("the view", self.client.issue_cmd(command)).await.unwrap();
        }
    }

    pub(crate) async fn eval(&self, script: &str) -> Value {
        in_time(script, self.client.execute(script, Vec::new())).await.unwrap()
    }

    /// Runs the script until its result satisfies `fits`. `WebDriver` has no notifications, so this polls.
    pub(crate) async fn until(&self, what: &str, script: &str, fits: impl Fn(&Value) -> bool) -> Value {
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

    pub(crate) async fn close(self) {
        in_time("the end of the browser", self.client.close()).await.unwrap();
    }

    /// Waits for the player, starts it, and waits until it has played this many seconds.
    pub(crate) async fn play(&self, seconds: f64) {
        self.until("the player", HAS_PLAYER, |has| has == true).await;
        self.eval(PLAY).await;
        self.until("it plays", TIME, |time| time.as_f64().unwrap() > seconds).await;
    }

    /// The second that the picture shows and the second that the player reports, after its seek has ended.
    pub(crate) async fn shows(&self) -> (f64, f64) {
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
    pub(crate) async fn seek_and_look(&self, second: f64) {
        self.seek(second).await;
        self.looks_like(second).await;
    }

    pub(crate) async fn seek(&self, second: f64) {
        let script =
            format!("const v = document.querySelector('video'); v.pause(); v.currentTime = {second};");
        self.eval(&script).await;
    }

    pub(crate) async fn looks_like(&self, second: f64) {
        let (picture, claimed) = self.shows().await;
        assert!((claimed - second).abs() < 0.1, "at {claimed} s and not {second} s");
        assert!((picture - second).abs() < 0.3, "the picture is of {picture} s, and not {second} s");
    }
}

/// A command that only Chromium knows.
#[derive(Debug)]
struct DevTools(Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as std::str::FromStr>::Err> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.0.to_string()))
    }
}

pub(crate) const PLAY: &str =
    "const v = document.querySelector('video'); v.muted = true; v.play(); return true;";
pub(crate) const TIME: &str = "return document.querySelector('video')?.currentTime ?? 0;";
pub(crate) const HAS_PLAYER: &str = "return !!document.querySelector('video');";

pub(crate) fn text_of(id: &str) -> String {
    format!("return document.getElementById('{id}').textContent;")
}
