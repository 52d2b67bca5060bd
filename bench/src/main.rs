//! `bench`: load generator and stub app in one process, for any server that speaks the Inngest wire protocol.
//!
//! It registers an app with the server, sends events to it, answers the calls that follow, and reports throughput,
//! latencies, and the server's CPU and memory. What each workload measures is told in `workload.rs`; how the figures
//! are kept honest in `pace.rs` (schedule) and `ledger.rs` (losses and duplicates).
//!
//! ```text
//! bench --url http://127.0.0.1:8288 --pid PID --workload all
//! bench --url http://127.0.0.1:8288 --pid PID --workload steps3 --rate 20 --json steps3.json
//! bench --pid PID --workload soak --count 100000
//! bench --pid PID --workload idle
//! bench --workload startup --exec "target/release/inngest dev --no-discovery"
//! bench readers --url http://127.0.0.1:8288 --count 100 --duration 30
//! bench compare ours.json theirs.json
//! bench history --dir DIR --runs 10000000
//! ```

mod driver;
#[cfg(test)]
mod fake_server;
mod history;
mod http;
mod ledger;
mod net;
mod pace;
mod process;
mod readers;
mod report;
mod session;
mod standing;
mod stats;
mod stub;
mod workload;

use crate::driver::{Generator, Keys};
use crate::net::Target;
use crate::pace::{Limit, Plan};
use crate::process::{Host, Observed};
use crate::report::{Report, Row};
use crate::session::Job;
use crate::workload::Workload;
use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Load generator and stub app for servers that speak the Inngest wire protocol.
///
/// Exit code: 0 when nothing was lost, doubled or refused, 1 otherwise.
#[derive(Debug, Parser)]
#[command(name = "bench", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Look at a server as dashboards do, through its GraphQL API.
    Readers {
        /// Base URL of the server.
        #[arg(long, default_value = "http://127.0.0.1:8288")]
        url: String,
        /// Readers at a time.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        count: u32,
        /// Seconds between two looks of one reader.
        #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = positive)]
        every: f64,
        /// Look for this many seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = positive)]
        duration: f64,
    },
    /// Compare two JSON reports: how many times better is the first?
    Compare {
        /// Report of the server in question.
        first: PathBuf,
        /// Report of the server to compare with.
        second: PathBuf,
        /// Write the comparison as JSON to this file; `-` is standard output.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Fill a store with a long history, and measure the reads of the APIs on it.
    History(history::Options),
}

#[derive(Debug, Args)]
struct Options {
    /// Base URL of the server.
    #[arg(long, default_value = "http://127.0.0.1:8288")]
    url: String,
    /// Process id of the server, to read its CPU time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// What to measure; several are run one after the other.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    workload: Vec<Selection>,
    /// Events in flight (closed loop), or connections that send events (with --rate).
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    concurrency: u32,
    /// Send this many events per second on a fixed schedule instead of the closed loop.
    #[arg(long, value_parser = positive)]
    rate: Option<f64>,
    /// Measure this many events (waiting, asleep, soak: 100000 unless given; startup: starts, 5 unless given).
    #[arg(long, conflicts_with = "duration")]
    count: Option<u64>,
    /// Measure for this many seconds [default: 10].
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    duration: Option<f64>,
    /// Seconds of load before measuring starts.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = not_negative)]
    warmup: f64,
    /// Seconds without any progress, or after the last event, until what has not ended counts as lost.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = positive)]
    deadline: f64,
    /// Extra bytes in the data of each event.
    #[arg(long, value_name = "BYTES", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    padding: u32,
    /// Event key.
    #[arg(long, default_value = "bench")]
    event_key: String,
    /// Signing key, if the server asks for one at registration.
    #[arg(long)]
    signing_key: Option<String>,
    /// Runs between two memory readings of the soak.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    sample_every: u64,
    /// Command that starts the server in the foreground, for `--workload startup`.
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Write the report as JSON to this file; `-` is standard output, and the table then goes to standard error.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs that wait or sleep, unless `--count` says otherwise.
const WAITING_COUNT: u64 = 100_000;

/// What `--workload` may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Selection {
    Hello,
    Steps3,
    Steps10,
    Parallel,
    Fanout,
    Sleep,
    Tenants,
    Throttled,
    Ingest,
    /// All of the above.
    All,
    /// Many runs that wait, events that pass them by, and their release (`park`, `miss`, `release`).
    Waiting,
    /// Many runs that sleep an hour.
    Asleep,
    /// `hello` for many runs, with memory readings on the way.
    Soak,
    /// CPU and wake-ups of a server that is left alone.
    Idle,
    /// Time from starting a server to its first healthy answer.
    Startup,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Subcommands::Compare { first, second, json }) => compare(&first, &second, json.as_deref()),
        Some(Subcommands::Readers { url, count, every, duration }) => {
            let [every, length] = [every, duration].map(Duration::from_secs_f64);
            look(&url, readers::Plan { count, every, length })
        }
        Some(Subcommands::History(options)) => history::run(&options).map(|()| ExitCode::SUCCESS),
        None => measure(&cli.options),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn look(url: &str, plan: readers::Plan) -> Result<ExitCode> {
    println!("{}", readers::look(&Target::parse(url)?, plan)?);
    Ok(ExitCode::SUCCESS)
}

fn measure(options: &Options) -> Result<ExitCode> {
    let target = Target::parse(&options.url)?;
    let observed = options.pid.map(Observed::new).transpose()?;
    let mut report = Report {
        bench_version: env!("CARGO_PKG_VERSION").to_owned(),
        command: std::env::args().collect(),
        url: target.url.clone(),
        host: Host::read(),
        ..Report::default()
    };
    let show = |line: &str| if is_stdout(options.json.as_deref()) { eprintln!("{line}") } else { println!("{line}") };
    let Host { cores, cpu, kernel, .. } = &report.host;
    show(&format!("{} on {cores} cores ({cpu}), Linux {kernel}", target.url));

    for selection in &options.workload {
        match selection {
            Selection::Idle => {
                let observed = observed.context("--workload idle needs --pid")?;
                let idle = standing::idle(observed, options.length())?;
                show(&format!(
                    "idle: {:.3} ms CPU per second, {:.1} wake-ups per second, {:.1} MiB",
                    idle.cpu_ms_per_second,
                    idle.wakeups_per_second,
                    idle.memory.rss_kib as f64 / 1024.0
                ));
                report.idle = Some(idle);
            }
            Selection::Startup => {
                let command = options.exec.as_deref().context("--workload startup needs --exec COMMAND")?;
                let deadline = Duration::from_secs_f64(options.deadline);
                let startup = standing::startup(&target, command, options.count.unwrap_or(5), deadline)?;
                show(&format!(
                    "start to healthy: median {:.1} ms of {:.1?}, {:.1} MiB",
                    startup.median_ms,
                    startup.healthy_ms,
                    startup.memory.rss_kib as f64 / 1024.0
                ));
                report.startup = Some(startup);
            }
            _ => {}
        }
    }
    let jobs = options.jobs(observed)?;
    if !jobs.is_empty() {
        report.workloads = run(&jobs, target, options, show)?;
    }
    if let Some(path) = &options.json {
        write_json(path, &report)?;
    }
    let clean = report.workloads.iter().all(Row::is_clean);
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(jobs: &[Job], target: Target, options: &Options, show: impl Fn(&str)) -> Result<Vec<Row>> {
    let keys = Keys { event: options.event_key.clone(), signing: options.signing_key.clone() };
    let mut generator = Generator::start(target, keys)?;
    show(&report::heading());
    let mut rows = Vec::new();
    for job in jobs {
        let before = job.observed.map(Observed::memory).transpose()?;
        let outcome = generator.run(job)?;
        let after = job.observed.map(Observed::memory).transpose()?;
        let row = Row::new(job, outcome, before, after);
        show(&report::row(&row));
        rows.push(row);
    }
    Ok(rows)
}

impl Options {
    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.duration.unwrap_or(10.0))
    }

    /// The workloads that put load on the server, in the order asked for.
    fn jobs(&self, observed: Option<Observed>) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for selection in &self.workload {
            match selection {
                Selection::All => jobs.extend(Workload::ALL.map(|workload| self.job(workload, observed))),
                Selection::Soak => {
                    ensure!(observed.is_some(), "--workload soak needs --pid");
                    let mut job = self.job(Workload::Hello, observed);
                    job.sample_every = Some(self.sample_every);
                    if self.duration.is_none() {
                        job.plan.limit = Limit::Count(self.count.unwrap_or(100_000));
                    }
                    jobs.push(job);
                }
                Selection::Waiting => {
                    let [park, release] = [Workload::Park, Workload::Release].map(|each| self.counted(each, observed));
                    jobs.extend([park, self.job(Workload::Miss, observed), release]);
                }
                Selection::Asleep => jobs.push(self.counted(Workload::Asleep, observed)),
                other => jobs.extend(other.workload().map(|workload| self.job(workload, observed))),
            }
        }
        Ok(jobs)
    }

    /// A job of as many runs as are to wait.
    fn counted(&self, workload: Workload, observed: Option<Observed>) -> Job {
        let mut job = self.job(workload, observed);
        job.plan.rate = None;
        job.plan.warm_up = Duration::ZERO;
        job.plan.limit = Limit::Count(self.count.unwrap_or(WAITING_COUNT));
        job
    }

    fn job(&self, workload: Workload, observed: Option<Observed>) -> Job {
        let plan = Plan {
            rate: self.rate,
            limit: self.count.map_or_else(|| Limit::Duration(self.length()), Limit::Count),
            warm_up: Duration::from_secs_f64(self.warmup),
            deadline: Duration::from_secs_f64(self.deadline),
        };
        let padding = self.padding as usize;
        Job { workload, concurrency: self.concurrency, plan, padding, observed, sample_every: None }
    }
}

impl Selection {
    fn workload(self) -> Option<Workload> {
        match self {
            Selection::Hello => Some(Workload::Hello),
            Selection::Steps3 => Some(Workload::Steps3),
            Selection::Steps10 => Some(Workload::Steps10),
            Selection::Parallel => Some(Workload::Parallel),
            Selection::Fanout => Some(Workload::Fanout),
            Selection::Sleep => Some(Workload::Sleep),
            Selection::Tenants => Some(Workload::Tenants),
            Selection::Throttled => Some(Workload::Throttled),
            Selection::Ingest => Some(Workload::Ingest),
            Selection::All
            | Selection::Waiting
            | Selection::Asleep
            | Selection::Soak
            | Selection::Idle
            | Selection::Startup => None,
        }
    }
}

fn compare(first: &PathBuf, second: &PathBuf, json: Option<&std::path::Path>) -> Result<ExitCode> {
    let read = |path: &PathBuf| -> Result<Report> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no report of bench", path.display()))
    };
    let comparisons = report::compare(&read(first)?, &read(second)?);
    ensure!(!comparisons.is_empty(), "the two reports have no workload under the same load in common");
    if !is_stdout(json) {
        println!("{}", report::comparison_table(&comparisons));
    }
    if let Some(path) = json {
        write_json(path, &comparisons)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_stdout(path: Option<&std::path::Path>) -> bool {
    path.is_some_and(|path| path.as_os_str() == "-")
}

fn write_json(path: &std::path::Path, value: &(impl serde::Serialize + ?Sized)) -> Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    if is_stdout(Some(path)) {
        println!("{text}");
        return Ok(());
    }
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

fn positive(text: &str) -> Result<f64, String> {
    number(text).filter(|number| *number > 0.0).ok_or_else(|| "expected a number above 0".to_owned())
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text).filter(|number| *number >= 0.0).ok_or_else(|| "expected a number, 0 or more".to_owned())
}

/// Bounded, so that arithmetic on times cannot overflow.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite() && *number <= 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line() {
        Cli::command().debug_assert();
        let options = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.options);
        let all = options("bench").expect("defaults").jobs(None).expect("jobs");
        assert_eq!(all.len(), Workload::ALL.len());
        let some =
            options("bench --workload steps3,hello --rate 20 --count 5").expect("valid").jobs(None).expect("jobs");
        assert_eq!((some[0].workload, some[1].workload), (Workload::Steps3, Workload::Hello));
        assert_eq!((some[0].plan.rate, some[0].plan.limit), (Some(20.0), Limit::Count(5)));
        assert!(options("bench --workload soak").expect("valid").jobs(None).is_err(), "soak needs a process");
        for bad in ["bench --rate 0", "bench --rate inf", "bench --count 1 --duration 1", "bench --concurrency 0"] {
            assert!(options(bad).is_err(), "{bad}");
        }
    }
}
