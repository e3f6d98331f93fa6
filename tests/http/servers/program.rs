//! Servers from Debian's packages, each in a directory of its own.

use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

/// How long a server may take to start, and how long a test may wait for an event.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nginx,
    Apache,
    Lighttpd,
    /// The `http.server` of Python: it ignores ranges.
    Python,
}

/// The configuration of a server.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of the server")]
pub(super) struct Setup {
    pub(super) kind: Kind,
    pub(super) etag: bool,
    /// Compress for clients that accept it.
    pub(super) gzip: bool,
    /// The most KiB that it sends in a second; 0 for no limit.
    pub(super) rate: u32,
    /// Give up a connection that takes no byte for 1 s.
    pub(super) impatient: bool,
    /// nginx speaks TLS, with the certificate that [`certificate`] makes.
    pub(super) tls: bool,
    /// The media type of the film is known. lighttpd sends no validator otherwise.
    pub(super) knows_type: bool,
}

impl Setup {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, etag: true, gzip: true, rate: 0, impatient: false, tls: false, knows_type: true }
    }
}

impl Kind {
    /// The program and the Debian packages that it needs.
    fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Nginx => ("nginx", "nginx"),
            Self::Apache => ("apache2", "apache2-bin"),
            Self::Lighttpd => ("lighttpd", "lighttpd lighttpd-mod-deflate"),
            Self::Python => ("python3", "python3"),
        }
    }

    /// The program, if it is installed.
    fn find(self) -> Option<PathBuf> {
        if self == Self::Lighttpd && !Path::new("/usr/lib/lighttpd/mod_deflate.so").is_file() {
            return None;
        }
        find(self.program().0)
    }

    pub(super) fn is_installed(self) -> bool {
        let (program, packages) = self.program();
        is_installed(program, packages, self.find().is_some())
    }
}

/// A program by its name. A user's PATH need not have the programs of the system.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut dirs = std::env::split_paths(&path).chain(system);
    dirs.find_map(|dir| Some(dir.join(program)).filter(|file| file.is_file()))
}

/// If a program is missing, prints so directly to standard error, because the test harness hides the output
/// of passing tests.
fn is_installed(program: &str, packages: &str, is_here: bool) -> bool {
    if !is_here {
        let required = std::env::var_os("STREAMSPOOL_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
        let text = format!("`{program}` is missing (on Debian: apt-get install {packages})");
        assert!(!required, "{text}, and STREAMSPOOL_REQUIRE_CLIENTS=1");
        let _ = writeln!(io::stderr(), "SKIPPED: {text}, so its tests did not run");
    }
    is_here
}

/// A running server. It is killed when this is dropped.
pub(super) struct Program {
    setup: Setup,
    dir: tempfile::TempDir,
    child: Child,
    pub(super) port: u16,
}

impl Program {
    /// Starts a server of an empty directory.
    pub(super) async fn start(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        if setup.tls {
            certificate(dir.path());
        }
        let (child, port) = spawn(setup, dir.path()).await;
        Self { setup, dir, child, port }
    }

    /// The certificate of a server that speaks TLS, in PEM.
    pub(super) fn certificate(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("certificate.pem")).unwrap()
    }

    /// The directory that it serves.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Ends the server at once, as a crash does.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Starts the server again, on another port.
    pub(super) async fn restart(&mut self) {
        self.kill();
        (self.child, self.port) = spawn(self.setup, self.dir.path()).await;
    }

    /// Waits until the log of the server has one of these texts. A file sends no notification, so this polls.
    pub(super) async fn logged(&self, texts: &[&str]) {
        let start = Instant::now();
        loop {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            if texts.iter().any(|text| log.contains(text)) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "{texts:?} is not in the log:\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A free port below 32768. The system chooses ports from there on for sockets that name none. If it chose this port
/// for the listener of another test before the program listens, this test would talk to that listener.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() % 200 * 100;
    loop {
        let number = (first + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % 20_000;
        let port = 10_000 + u16::try_from(number).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Starts the program and waits until it listens. Another process may take the port in between: then it
/// is tried with another one.
async fn spawn(setup: Setup, dir: &Path) -> (Child, u16) {
    let program = setup.kind.find().unwrap();
    for _ in 0..5 {
        let port = free_port();
        let mut command = Command::new(&program);
        // Python would import modules of the current directory.
        command.current_dir(dir);
        let config = dir.join("config");
        match setup.kind {
            Kind::Nginx => {
                fs::write(&config, nginx(setup, dir, port)).unwrap();
                command.arg("-p").arg(dir).arg("-e").arg(dir.join("log")).arg("-c").arg(config);
            }
            Kind::Apache => {
                fs::write(&config, apache(setup, dir, port)).unwrap();
                // -X: one process in the foreground, without detaching.
                command.arg("-X").arg("-f").arg(config);
            }
            Kind::Lighttpd => {
                fs::write(&config, lighttpd(setup, dir, port)).unwrap();
                command.arg("-D").arg("-f").arg(config);
            }
            Kind::Python => {
                command.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]);
                command.arg(dir.join("root")).arg(port.to_string());
            }
        }
        let output = fs::File::options().create(true).append(true).open(dir.join("output")).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let mut child = command.spawn().unwrap();
        let start = Instant::now();
        // A server sends no notification when it listens, so this polls.
        while child.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return (child, port);
            }
            assert!(start.elapsed() < DEADLINE, "{} does not listen", program.display());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let read = |name| fs::read_to_string(dir.join(name)).unwrap_or_default();
    panic!("{} does not start:\n{}\n{}", program.display(), read("output"), read("log"));
}

/// Whether the tests can make a certificate.
pub(super) fn has_openssl() -> bool {
    is_installed("openssl", "openssl", find("openssl").is_some())
}

/// Makes a key and a self-signed certificate of 127.0.0.1.
fn certificate(dir: &Path) {
    let mut command = Command::new(find("openssl").unwrap());
    command.current_dir(dir).args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
    command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "key.pem"]);
    command.args(["-out", "certificate.pem", "-addext", "subjectAltName=IP:127.0.0.1"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn nginx(setup: Setup, dir: &Path, port: u16) -> String {
    let dir = dir.display();
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {dir}/{name};\n"))
        .concat();
    let on = |value| if value { "on" } else { "off" };
    let timeout = if setup.impatient { "send_timeout 1s;" } else { "" };
    let (ssl, files) = if setup.tls {
        (" ssl", format!("ssl_certificate {dir}/certificate.pem; ssl_certificate_key {dir}/key.pem;"))
    } else {
        ("", String::new())
    };
    format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/log info; events {{}}
        http {{
            access_log off; {temp} default_type text/plain;
            etag {}; gzip {}; gzip_types *; limit_rate {}k; {timeout}
            server {{
                listen 127.0.0.1:{port}{ssl}; {files} root {dir}/root;
                location /coded/ {{ alias {dir}/root/; gzip_static always; }}
                location /whole/ {{ alias {dir}/root/; max_ranges 0; }}
            }}
        }}",
        on(setup.etag),
        on(setup.gzip),
        setup.rate,
    )
}

fn apache(setup: Setup, dir: &Path, port: u16) -> String {
    let dir = dir.display();
    let modules = ["mpm_event", "authz_core", "filter", "deflate", "ratelimit", "env"]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .concat();
    // A server that root starts needs another user, even as a single process.
    let user = if fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
    {
        "User www-data\nGroup www-data\n"
    } else {
        ""
    };
    let etag = if setup.etag { "" } else { "FileETag None\n" };
    let timeout = if setup.impatient { "Timeout 1\n" } else { "" };
    let mut filters = Vec::new();
    filters.extend(setup.gzip.then_some("DEFLATE"));
    filters.extend((setup.rate > 0).then_some("RATE_LIMIT"));
    let filters =
        if filters.is_empty() { String::new() } else { format!("SetOutputFilter {}\n", filters.join(";")) };
    let rate = if setup.rate > 0 { format!("SetEnv rate-limit {}\n", setup.rate) } else { String::new() };
    format!(
        "ServerName localhost\nServerRoot {dir}\nDefaultRuntimeDir {dir}\nPidFile {dir}/pid\nMutex posixsem\n\
        Listen 127.0.0.1:{port}\nErrorLog {dir}/log\nLogLevel core:trace1\n{modules}{user}DocumentRoot {dir}/root\n\
        EnableMMAP off\n{etag}{timeout}<Directory {dir}/root>\nRequire all granted\nForceType text/plain\n{filters}{rate}</Directory>\n"
    )
}

fn lighttpd(setup: Setup, dir: &Path, port: u16) -> String {
    let dir = dir.display();
    let etag = if setup.etag { "enable" } else { "disable" };
    let gzip = if setup.gzip {
        format!(
            "server.modules += (\"mod_deflate\")\ndeflate.mimetypes = (\"text/\")\ndeflate.allowed-encodings = (\"gzip\")\ndeflate.cache-dir = \"{dir}\"\n"
        )
    } else {
        String::new()
    };
    let timeout = if setup.impatient { "server.max-write-idle = 1\n" } else { "" };
    let types = if setup.knows_type { "\"\" => \"text/plain\"" } else { "" };
    // With its cache of file states, lighttpd would serve the old file for a second after it was replaced.
    format!(
        "server.document-root = \"{dir}/root\"\nserver.bind = \"127.0.0.1\"\nserver.port = {port}\n\
        server.errorlog = \"{dir}/log\"\nserver.stat-cache-engine = \"disable\"\nserver.pid-file = \"{dir}/pid\"\ndebug.log-timeouts = \"enable\"\n\
        mimetype.assign = ({types})\nconnection.kbytes-per-second = {}\n\
        etag.use-inode = \"{etag}\"\netag.use-mtime = \"{etag}\"\netag.use-size = \"{etag}\"\n{gzip}{timeout}",
        setup.rate
    )
}
