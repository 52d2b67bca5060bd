//! Other programs: run to the end, or started and surely stopped.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// The root of the repository: the directory above this crate.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").context("run as `cargo xtask`")?);
    Ok(here.parent().context("the crate is in the repository")?.to_owned())
}

/// A command with its arguments.
pub(crate) fn command<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command, shows what it prints, and returns whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> anyhow::Result<bool> {
    Ok(command.status().with_context(|| format!("{command:?} cannot be run"))?.success())
}

/// Runs a command to success and returns what it printed on stdout.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("{command:?} cannot be run"))?;
    anyhow::ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command, shows each line it prints on stdout, and hands it to `line`.
pub(crate) fn each_line(command: &mut Command, mut line: impl FnMut(&str)) -> anyhow::Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("{command:?} cannot be run"))?;
    let mut stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
    let mut bytes = Vec::new();
    // Bytes, because what a test prints need not be UTF-8.
    while stdout.read_until(b'\n', &mut bytes)? > 0 {
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        println!("{text}");
        line(text);
        bytes.clear();
    }
    Ok(child.wait()?.success())
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A process that is killed when this value goes.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(command.spawn().with_context(|| format!("{command:?} cannot be started"))?))
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.kill().is_err() {
            eprintln!("process {} had ended before it was stopped", self.0.id());
        }
    }
}

/// Asks `condition` until it has a value; fails with `what` after `limit`.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        anyhow::ensure!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(30));
    }
}

/// `GET`, as JSON; `None` unless the answer is a success.
pub(crate) fn get(url: &str) -> Option<serde_json::Value> {
    let text = ureq::get(url).call().ok()?.body_mut().read_to_string().ok()?;
    serde_json::from_str(&text).ok()
}

/// `POST` of JSON; the answer as JSON.
pub(crate) fn post(url: &str, body: &serde_json::Value) -> anyhow::Result<serde_json::Value> {
    let request = ureq::post(url).header("content-type", "application/json");
    let text = request.send(body.to_string()).with_context(|| url.to_owned())?.body_mut().read_to_string()?;
    Ok(serde_json::from_str(&text).unwrap_or(serde_json::Value::Null))
}
