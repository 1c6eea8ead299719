//! A server of an app that is installed once and served for one test.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Client;
use tempfile::TempDir;

/// How often another port is tried, should somebody have been quicker to take ours.
const STARTS: usize = 3;

/// A running server; it ends with this value, or with this process however that ends.
pub struct Served {
    script: Child,
    pub port: u16,
    _data: TempDir,
}

impl Served {
    /// Installs an app if it is missing and serves it on a free port, by the scripts in
    /// the folder of its name, which get these environment variables.
    pub fn start(app: &str, settings: &[(&str, String)]) -> Self {
        let prefix = cache_folder().join(app);
        let installed = Command::new(script(app, "install.sh")).arg(&prefix).stdin(Stdio::null()).status();
        assert!(
            installed.expect("install.sh runs").success(),
            "{app} could not be installed below {}",
            prefix.display()
        );
        (0..STARTS).find_map(|_| Self::serve(app, &prefix, settings)).unwrap_or_else(|| panic!("{app} does not start"))
    }

    fn serve(app: &str, prefix: &Path, settings: &[(&str, String)]) -> Option<Self> {
        let data = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let mut script = Command::new(script(app, "serve.sh"))
            .args([prefix, data.path()])
            .arg(port.to_string())
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("serve.sh runs");
        let mut line = String::new();
        let output = script.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("serve.sh prints");
        let served = Self { script, port, _data: data };
        (line == "ready\n").then_some(served)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Its script serves until this ends.
        drop(self.script.stdin.take());
        // A test that fails has said enough.
        drop(self.script.wait());
    }
}

/// Where tools and servers are installed, once for all checkouts.
fn cache_folder() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/syncline"));
    std::env::var_os("SYNCLINE_CACHE").map(PathBuf::from).or_else(home).unwrap_or_else(std::env::temp_dir)
}

fn script(app: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(app).join(name)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A client for a server on loopback.
pub fn client() -> Client {
    // Plain http, but a client is not built without a provider. Another test may have
    // been quicker to install it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(60));
    builder.build().expect("a plain client can be made")
}
