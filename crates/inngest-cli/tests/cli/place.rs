//! A place for the binary to run in, and what it does there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use inngest_testkit::server::free_port;
use inngest_testkit::{Client, wait_until};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Generous for a loaded CI machine; every wait ends as soon as its condition holds.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A home, a working directory and a place for temporary files, all of this test alone.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["home", "tmp", "a/b/c"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).canonicalize().unwrap().display().to_string()
    }

    /// The binary, with nothing of this machine's environment but the place of its programs.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inngest"));
        command.env_clear().env("HOME", self.path("home")).env("TMPDIR", self.path("tmp"));
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
        command.current_dir(self.path("a/b/c")).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command that ends by itself.
    pub(crate) async fn run<A: Into<OsString>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        env: &[(&str, &str)],
    ) -> Ended {
        let arguments = arguments.into_iter().map(Into::into);
        let output = self.command().args(arguments).envs(env.iter().copied()).output();
        let output = tokio::time::timeout(SOON, output).await.expect("ends by itself").unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The same, from one text.
    pub(crate) async fn line(&self, line: &str) -> Ended {
        self.run(line.split_whitespace(), &[]).await
    }

    /// Starts `inngest dev` and waits until it is healthy on the port that its log names.
    pub(crate) async fn dev(&self, line: &str, env: &[(&str, &str)]) -> Dev {
        let mut dev = self.spawn(line, env);
        let address = wait_until("listening", SOON, async || {
            assert!(dev.child.try_wait().unwrap().is_none(), "it ended: {:?}", dev.records());
            dev.records().into_iter().find_map(|record| Some(record["addr"].as_str()?.to_owned()))
        });
        dev.port = address.await.unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
        dev.until_healthy().await
    }

    /// The same for one whose log may be silent, or is no JSON.
    pub(crate) async fn quiet_dev(&self, line: &str, env: &[(&str, &str)]) -> Dev {
        let port = free_port().unwrap();
        let dev = self.spawn(&format!("{line} --strict-port --port {port}"), env);
        Dev { port, ..dev }.until_healthy().await
    }

    pub(crate) fn spawn(&self, line: &str, env: &[(&str, &str)]) -> Dev {
        let log = self.path("stderr");
        let mut command = self.command();
        command.arg("dev").args(["--host", "127.0.0.1"]).args(line.split_whitespace()).envs(env.iter().copied());
        command.stdout(std::fs::File::create(self.path("stdout")).unwrap());
        command.stderr(std::fs::File::create(&log).unwrap());
        Dev { child: command.spawn().unwrap(), port: 0, log }
    }
}

pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A running server.
pub(crate) struct Dev {
    pub(crate) child: Child,
    pub(crate) port: u16,
    pub(crate) log: PathBuf,
}

impl Dev {
    pub(crate) async fn until_healthy(self) -> Self {
        wait_until("healthy", SOON, async || self.client().get("/health").await.ok()).await.unwrap();
        self
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.port))
    }

    /// All records so far; each line must be one. The last line may be on its way.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no record: {line}"))).collect()
    }

    pub(crate) async fn record(&self, message: &str) -> Value {
        let found = wait_until(message, SOON, async || self.records().into_iter().find(|one| one["msg"] == message));
        found.await.unwrap()
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap().success());
    }

    pub(crate) async fn exited(&mut self) -> Option<i32> {
        tokio::time::timeout(SOON, self.child.wait()).await.expect("ends").unwrap().code()
    }

    pub(crate) async fn stop(mut self) {
        self.signal("TERM").await;
        assert_eq!(self.exited().await, Some(0));
    }
}

pub(crate) fn entries(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
