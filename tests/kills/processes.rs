//! The processes of the binary under test.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// How long a process may take to be ready, and a command to end. Never reached when
/// all is well.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.out.trim())
            .unwrap_or_else(|error| panic!("{error}: {} {} {:?}", self.out, self.err, self.code))
    }
}

/// The binary under test, with the secret that the configuration asks for.
pub fn program(folder: &Path) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(folder).env("CRM_TOKEN", "sandbox-token-acme");
    command.env("RUST_LOG", "syncline=debug").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn binary() -> PathBuf {
    let given = std::env::var_os("SYNCLINE_BIN").map(PathBuf::from);
    let binary = given.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_syncline")));
    std::path::absolute(&binary).expect("there is a working folder")
}

/// Runs a command to its end.
pub async fn said(mut command: Command) -> Said {
    let named = format!("{command:?}");
    let ended = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(PATIENCE, ended).await.unwrap_or_else(|_| panic!("{named} does not end"));
    let output = output.expect("it does not panic").expect("it can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// A process that is killed at the latest when this is dropped.
pub struct Running(Child);

impl Running {
    /// Starts one whose log goes on in this file.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let log: File = OpenOptions::new().create(true).append(true).open(log).expect("the log can be written");
        Self(command.stdout(Stdio::piped()).stderr(log).spawn().expect("it can be started"))
    }

    /// The first line it prints, once it is ready; `None` when it ended before.
    pub async fn ready(&mut self) -> Option<Value> {
        let out = self.0.stdout.take().expect("it is asked once");
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(PATIENCE, line).await.expect("it is ready in time");
        serde_json::from_str(&line.expect("reading does not panic").expect("it prints text")).ok()
    }

    /// The number of the process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it did so by itself.
    pub fn ended(&mut self) -> Option<String> {
        self.0.try_wait().expect("it can be asked").map(|status| status.to_string())
    }

    /// SIGKILL, and nothing of it runs any more.
    pub fn kill(mut self) {
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it can be waited for");
    }

    /// SIGTERM; how it ends.
    pub async fn terminate(mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        let ends = async {
            loop {
                if let Some(status) = self.0.try_wait().expect("it can be asked") {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ends).await.expect("it ends in time")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
