//! Headless Firefox, driven by its own protocol: Debian has no geckodriver.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::support::{has_client, in_time};

/// The browser ends when this is dropped.
pub(crate) struct Firefox {
    stream: BufReader<TcpStream>,
    last: u64,
    _child: Child,
    _profile: tempfile::TempDir,
}

impl Firefox {
    pub(crate) async fn start() -> Option<Self> {
        if !has_client("firefox-esr", "--version") {
            return None;
        }
        let profile = tempfile::tempdir().unwrap();
        // A free port, which Firefox writes to a file.
        let prefs = [
            ("marionette.port", "0"),
            ("media.autoplay.default", "0"),
            ("media.autoplay.blocking_policy", "0"),
            ("browser.shell.checkDefaultBrowser", "false"),
            ("datareporting.policy.dataSubmissionEnabled", "false"),
            ("app.update.disabledForTesting", "true"),
        ];
        let prefs = prefs.map(|(name, value)| format!("user_pref(\"{name}\", {value});\n")).concat();
        std::fs::write(profile.path().join("user.js"), prefs).unwrap();
        let mut firefox = Command::new("firefox-esr");
        firefox.args(["--headless", "--marionette", "--no-remote", "--profile"]).arg(profile.path());
        firefox.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = firefox.env("HOME", profile.path()).spawn().unwrap();
        let port = async {
            // Firefox writes the file when it is ready, and sends no notification.
            loop {
                let port = std::fs::read_to_string(profile.path().join("MarionetteActivePort"));
                if let Some(port) = port.ok().and_then(|port| port.trim().parse::<u16>().ok()) {
                    return port;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let port = in_time("Firefox", port).await;
        let stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        let mut this = Self { stream, last: 0, _child: child, _profile: profile };
        in_time("its greeting", this.receive()).await;
        this.ask("WebDriver:NewSession", json!({})).await;
        Some(this)
    }

    pub(crate) async fn open(&mut self, url: &str) {
        self.ask("WebDriver:Navigate", json!({ "url": url })).await;
    }

    pub(crate) async fn eval(&mut self, script: &str) -> Value {
        self.ask("WebDriver:ExecuteScript", json!({ "script": script, "args": [] })).await["value"].clone()
    }

    /// Runs the script until its result satisfies `fits`. Marionette has no notifications, so this polls.
    pub(crate) async fn until(&mut self, script: &str, fits: impl Fn(&Value) -> bool) {
        let asked = async {
            while !fits(&self.eval(script).await) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        in_time(script, asked).await;
    }

    async fn ask(&mut self, command: &str, params: Value) -> Value {
        self.last += 1;
        let message = json!([0, self.last, command, params]).to_string();
        let message = format!("{}:{message}", message.len());
        self.stream.get_mut().write_all(message.as_bytes()).await.unwrap();
        let reply = in_time(command, self.receive()).await;
        assert!(reply[2].is_null(), "{command}: {reply}");
        reply[3].clone()
    }

    /// A message is its length, a colon and JSON.
    async fn receive(&mut self) -> Value {
        let mut length = 0;
        loop {
            let byte = self.stream.read_u8().await.unwrap();
            if byte == b':' {
                break;
            }
            length = length * 10 + usize::from(byte - b'0');
        }
        let mut message = vec![0; length];
        self.stream.read_exact(&mut message).await.unwrap();
        serde_json::from_slice(&message).unwrap()
    }
}
