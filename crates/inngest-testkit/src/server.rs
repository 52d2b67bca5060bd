//! The real binary as a process: started on a free port in a directory of its own, killed at will.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::process::{Child, Command};

use crate::{Client, wait_until};

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The `inngest` binary.
    pub binary: PathBuf,
    /// Directory of its database, kept over restarts.
    pub dir: PathBuf,
    /// Port of its API.
    pub port: u16,
    /// More arguments of `inngest dev`.
    pub args: Vec<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
}

impl Options {
    /// `inngest dev --persist` on a free port, without discovery and polling, retrying every second.
    pub fn new(binary: impl Into<PathBuf>, dir: &Path) -> anyhow::Result<Self> {
        let args = ["--no-discovery", "--no-poll", "--retry-interval", "1"].map(str::to_owned).to_vec();
        Ok(Self { binary: binary.into(), dir: dir.to_owned(), port: free_port()?, args, env: Vec::new() })
    }
}

/// A port that nobody listens on now. Not one of those that connections get for their own end: such a connection would
/// take it before, or between two lives of a server.
pub fn free_port() -> anyhow::Result<u16> {
    const BELOW_EPHEMERAL: std::ops::Range<u16> = 20_000..32_000;
    const TRIES: usize = 100;
    let mut tries = std::iter::repeat_with(|| rand::random_range(BELOW_EPHEMERAL)).take(TRIES);
    tries.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).context("no port is free")
}

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    options: Options,
    child: Child,
    client: Client,
    /// From start to the first 200 of `GET /health`.
    pub healthy_after: Duration,
}

impl Server {
    /// Starts the server and waits until it is healthy.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let log = options.dir.join("server.log");
        std::fs::create_dir_all(&options.dir)?;
        let log_file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let began = Instant::now();
        let child = Command::new(&options.binary)
            .arg("dev")
            .args(["--host", "127.0.0.1", "--strict-port", "--persist", "--sqlite-dir"])
            .arg(options.dir.join("data"))
            .args(["--port", &options.port.to_string()])
            .args(&options.args)
            .envs(options.env.iter().map(|(key, value)| (key, value)))
            .current_dir(&options.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", options.binary.display()))?;
        let client = Client::new(format!("http://127.0.0.1:{}", options.port));
        let mut server = Self { options, child, client, healthy_after: Duration::ZERO };
        server.until_healthy(began).await.with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        Ok(server)
    }

    async fn until_healthy(&mut self, began: Instant) -> anyhow::Result<()> {
        let client = self.client.clone();
        let child = &mut self.child;
        let outcome = wait_until("healthy", Duration::from_secs(20), async || {
            match child.try_wait() {
                Ok(None) => {}
                other => return Some(Err(anyhow::anyhow!("the server exited: {other:?}"))),
            }
            client.get("/health").await.ok().map(|_| Ok(()))
        })
        .await?;
        self.healthy_after = began.elapsed();
        outcome
    }

    /// Talks to it.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its process id; 0 once it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// How it was started.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What it logged, over all starts in this directory.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.options.dir.join("server.log")).unwrap_or_default()
    }

    /// SIGKILL; how to start it again.
    pub async fn kill(mut self) -> anyhow::Result<Options> {
        // It may have ended by itself, which is as good.
        let _ended = self.child.start_kill();
        self.child.wait().await?;
        Ok(self.options.clone())
    }

    /// Waits until the process ends by itself.
    pub async fn exited(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        Ok(tokio::time::timeout(limit, self.child.wait()).await.context("still running")??)
    }

    /// Sends a signal by name (`TERM`, `INT`, ..).
    pub async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().await?;
        anyhow::ensure!(status.success(), "kill -{name} failed");
        Ok(())
    }
}
