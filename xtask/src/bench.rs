//! `cargo xtask bench`: the release server under the load generator, alone or in turns with another server.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use crate::process::{self, Running, command, free_port, get, wait_for};

#[derive(Args)]
pub(crate) struct Options {
    /// Another wire-compatible server to measure in turns with ours.
    #[arg(long, value_name = "URL", requires = "against_pid")]
    against: Option<String>,
    /// Its process id, for CPU and memory.
    #[arg(long, value_name = "PID")]
    against_pid: Option<u32>,
    /// Workloads, separated by commas.
    #[arg(long, default_value = "hello,steps3,steps10,parallel,fanout,sleep,ingest")]
    workload: String,
    /// Seconds for each workload.
    #[arg(long, default_value_t = 8)]
    seconds: u32,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let build = ["build", "--release", "-p", "inngest-cli", "-p", "bench"];
    anyhow::ensure!(process::succeeds(&mut command("cargo", build))?, "the build failed");
    let dir = tempfile::tempdir()?;
    let port = free_port()?.to_string();
    let data = dir.path().join("data").display().to_string();
    let arguments = [
        "dev",
        "--no-discovery",
        "--no-poll",
        "--host",
        "127.0.0.1",
        "--port",
        &port,
        "--persist",
        "--sqlite-dir",
        &data,
    ];
    let log = std::fs::File::create(dir.path().join("log"))?;
    let server = Running::start(command("target/release/inngest", arguments).stderr(log).current_dir("."))?;
    let url = format!("http://127.0.0.1:{port}");
    wait_for("healthy", Duration::from_secs(10), || get(&format!("{url}/health")))?;
    let ours = dir.path().join("ours.json");
    measure("idle", &url, server.0.id(), options, &[], &dir.path().join("idle.json"))?;
    for workload in options.workload.split(',') {
        let json = dir.path().join(format!("ours-{workload}.json"));
        measure(workload, &url, server.0.id(), options, &[], &json)?;
        if let (Some(other), Some(pid)) = (&options.against, options.against_pid) {
            let theirs = dir.path().join(format!("theirs-{workload}.json"));
            measure(workload, other, pid, options, &[], &theirs)?;
            process::succeeds(&mut command(
                "target/release/bench",
                ["compare".as_ref(), json.as_os_str(), theirs.as_os_str()],
            ))?;
        }
    }
    measure("steps3", &url, server.0.id(), options, &["--rate", "20"], &ours)
}

fn measure(workload: &str, url: &str, pid: u32, options: &Options, more: &[&str], json: &Path) -> anyhow::Result<()> {
    let (pid, seconds, json) = (pid.to_string(), options.seconds.to_string(), json.display().to_string());
    let fixed = ["--url", url, "--pid", &pid, "--workload", workload, "--duration", &seconds, "--json", &json];
    let succeeded = process::succeeds(&mut command("target/release/bench", fixed.iter().chain(more)))?;
    anyhow::ensure!(succeeded, "{workload} failed on {url}");
    Ok(())
}
