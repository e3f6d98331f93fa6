//! A server of S3: moto, which is maintained for tests. It keeps its objects in memory.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStore, RetryConfig};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A server with an empty bucket. It ends when this is dropped.
pub(crate) struct Server {
    _process: Child,
    address: String,
    client: reqwest::Client,
}

impl Server {
    /// `None` if `moto_server` is not installed and is not required.
    pub(crate) async fn start() -> Option<Self> {
        let mut command = Command::new("moto_server");
        // Port 0: the system chooses a free port, and moto prints it once it listens.
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = match command.stderr(Stdio::piped()).kill_on_drop(true).spawn() {
            Ok(process) => process,
            Err(_) if std::env::var_os("STREAMSPOOL_REQUIRE_CLIENTS").is_none() => return None,
            Err(error) => panic!("moto_server (pip install 'moto[server]'): {error}"),
        };
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("moto ended");
                if let Some((_, address)) = line.split_once("Running on ") {
                    return address.trim().to_owned();
                }
            }
        };
        let address = tokio::time::timeout(Duration::from_secs(60), address).await.expect("moto starts");
        // moto prints each request. Without a reader it would wait.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        // reqwest takes the crypto provider of the process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Self { _process: process, address, client: reqwest::Client::new() };
        assert!(server.put("bucket", "").await, "the bucket is made");
        Some(server)
    }

    /// From now on the bucket keeps each version of an object.
    pub(crate) async fn keep_versions(&self) {
        let xml = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                   <Status>Enabled</Status></VersioningConfiguration>";
        assert!(self.put("bucket?versioning", xml).await);
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let store = AmazonS3Builder::new()
            .with_endpoint(&self.address)
            .with_allow_http(true)
            .with_bucket_name("bucket")
            .with_region("us-east-1")
            .with_access_key_id("key")
            .with_secret_access_key("secret")
            .with_retry(retry);
        Arc::new(store.build().unwrap())
    }

    /// A request that the client of `object_store` cannot make. moto does not check signatures.
    async fn put(&self, path: &str, body: &'static str) -> bool {
        let signature = "AWS4-HMAC-SHA256 Credential=key/20200101/us-east-1/s3/aws4_request, \
                         SignedHeaders=host, Signature=0";
        let url = format!("{}/{path}", self.address);
        let answer = self.client.put(url).header("authorization", signature).body(body).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}
