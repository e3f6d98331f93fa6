//! A server of S3: moto, which is maintained for tests. It keeps its objects in memory.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::{ObjectStore, RetryConfig};

/// A server with an empty bucket.
pub(crate) struct Server {
    process: Child,
    address: String,
    client: reqwest::Client,
}

impl Server {
    /// `None` if `moto_server` is not installed and is not required.
    pub(crate) async fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(process) => process,
            Err(_) if std::env::var_os("STREAMSPOOL_REQUIRE_CLIENTS").is_none() => return None,
            Err(error) => panic!("moto_server (pip install 'moto[server]'): {error}"),
        };
        // reqwest takes the crypto provider of the process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let address = format!("http://127.0.0.1:{port}");
        let server = Self { process, address, client: reqwest::Client::new() };
        // moto sends no notification when it is ready, so this asks again and again.
        let started = async {
            while !server.put("bucket", "").await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), started).await.expect("moto starts");
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

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
