//! What the benchmarks share: the sandbox CRM in a process of its own, and this process's memory.

// Each benchmark uses a part of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The sandbox CRM in another process, with these accounts, and a client for it.
pub struct SandboxProcess {
    child: Child,
    pub base: String,
    pub http: reqwest::Client,
}

impl SandboxProcess {
    pub fn start(accounts: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("a free port")
            .port();
        let mut child = Command::new(env!("CARGO_BIN_EXE_syncline"))
            .args(["sandbox", "--empty", "--accounts", accounts, "--port", &port.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the sandbox starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped"))
            .read_line(&mut line)
            .expect("the sandbox says where it is");
        let base = format!("http://127.0.0.1:{port}/v1");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client without TLS");
        Self { child, base, http }
    }
}

impl Drop for SandboxProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The most memory this process has held, in MB; 0 where the system does not tell.
pub fn peak_memory_mb() -> u64 {
    status_mb("VmHWM:")
}

/// The memory this process holds, in MB; 0 where the system does not tell.
pub fn memory_mb() -> u64 {
    status_mb("VmRSS:")
}

fn status_mb(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1_024
}
