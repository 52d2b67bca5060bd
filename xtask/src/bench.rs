//! `cargo xtask bench`: the release server under the load generator, alone or in turns with another server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::process::{self, Running, command, free_port, get, wait_for};

const GENERATOR: &str = "target/release/bench";

#[derive(Args)]
pub(crate) struct Options {
    /// Another wire-compatible server to measure in turns with ours.
    #[arg(long, value_name = "URL", requires = "against_pid")]
    against: Option<String>,
    /// Its process id, for CPU and memory.
    #[arg(long, value_name = "PID", requires = "against")]
    against_pid: Option<u32>,
    /// Workloads, separated by commas.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "idle,hello,steps3,steps10,parallel,fanout,sleep,tenants,throttled,ingest"
    )]
    workload: Vec<String>,
    /// Seconds for each workload; a soak always lasts for its number of runs.
    #[arg(long, default_value_t = 8)]
    seconds: u32,
}

/// A server to measure.
struct Subject<'a> {
    name: &'static str,
    url: &'a str,
    pid: u32,
}

/// Returns whether no workload lost, doubled or refused anything on either server.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let build = ["build", "--release", "-p", "inngest-cli", "-p", "bench"];
    anyhow::ensure!(process::succeeds(&mut command("cargo", build))?, "the build failed");
    let dir = tempfile::tempdir()?;
    let (server, url) = start(dir.path())?;
    let ours = Subject { name: "ours", url: &url, pid: server.0.id() };
    let mut clean = true;
    for (turn, workload) in options.workload.iter().enumerate() {
        let (Some(url), Some(pid)) = (&options.against, options.against_pid) else {
            clean &= measure(&ours, workload, options, dir.path())?.1;
            continue;
        };
        let theirs = Subject { name: "theirs", url, pid };
        // Each goes first every other time, so that a machine that warms up or slows down favours neither.
        let order = if turn % 2 == 0 { [&ours, &theirs] } else { [&theirs, &ours] };
        let mut reports = Vec::new();
        for subject in order {
            let (report, fine) = measure(subject, workload, options, dir.path())?;
            clean &= fine;
            reports.push(report);
        }
        if turn % 2 == 1 {
            reports.reverse();
        }
        // `compare` knows loads only.
        if workload != "idle" && reports.iter().all(|report| report.exists()) {
            clean &= process::succeeds(command(GENERATOR, ["compare"]).args(&reports))?;
        }
    }
    Ok(clean)
}

/// Our server with its data in `dir`, once it is healthy.
fn start(dir: &Path) -> anyhow::Result<(Running, String)> {
    let port = free_port()?.to_string();
    let mut server = command("target/release/inngest", ["dev", "--no-discovery", "--no-poll", "--host", "127.0.0.1"]);
    server.args(["--port", &port, "--persist", "--sqlite-dir"]).arg(dir.join("data"));
    let log = dir.join("log");
    let output = File::create(&log)?;
    server.stdout(output.try_clone()?).stderr(output);
    let server = Running::start(&mut server)?;
    let url = format!("http://127.0.0.1:{port}");
    let healthy = wait_for("healthy", Duration::from_secs(10), || get(&format!("{url}/health")));
    if let Err(error) = healthy {
        anyhow::bail!("{error:#}\n{}", std::fs::read_to_string(&log).unwrap_or_default());
    }
    Ok((server, url))
}

/// Where the report is, and whether the generator was content.
fn measure(subject: &Subject, workload: &str, options: &Options, dir: &Path) -> anyhow::Result<(PathBuf, bool)> {
    let report = dir.join(format!("{}-{workload}.json", subject.name));
    println!("\n--- {workload}, {}", subject.name);
    let mut generator = command(GENERATOR, ["--url", subject.url, "--workload", workload]);
    generator.arg("--pid").arg(subject.pid.to_string()).arg("--json").arg(&report);
    if workload != "soak" {
        generator.arg("--duration").arg(options.seconds.to_string());
    }
    let clean = process::succeeds(&mut generator)?;
    if !clean {
        println!("{workload} was not clean on {}", subject.url);
    }
    Ok((report, clean))
}
