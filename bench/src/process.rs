//! What Linux tells about a process: CPU time, memory, wake-ups; and about this machine.
//!
//! CPU time of another process comes from `/proc/PID/stat` in ticks of usually 10 ms, which is exact enough over a
//! window of seconds. Our own comes from the process CPU clock in nanoseconds.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A process under observation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    pid: u32,
}

/// Resident memory, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Now (`VmRSS`).
    pub(crate) rss_kib: u64,
    /// At its highest since the process started (`VmHWM`).
    pub(crate) peak_kib: u64,
}

/// Facts about the machine, kept beside the figures they explain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) memory_kib: u64,
    pub(crate) kernel: String,
}

impl Observed {
    /// Refuses a process that cannot be read, so that a wrong `--pid` fails before any load is sent.
    pub(crate) fn new(pid: u32) -> Result<Self> {
        let observed = Observed { pid };
        observed.cpu()?;
        Ok(observed)
    }

    /// User and system time since the process started, of all its threads.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let ticks = parse_stat(&self.read("stat")?).context("unexpected form of /proc/PID/stat")?;
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    pub(crate) fn memory(self) -> Result<Memory> {
        let status = self.read("status")?;
        let rss_kib = number_after(&status, "VmRSS:").context("no VmRSS: has the process ended?")?;
        Ok(Memory { rss_kib, peak_kib: number_after(&status, "VmHWM:").unwrap_or(rss_kib) })
    }

    /// Number of times any of its present threads went to sleep: each is a wake-up that an idle server should not have.
    pub(crate) fn wakeups(self) -> Result<u64> {
        let mut total = 0;
        let directory = format!("/proc/{}/task", self.pid);
        for thread in std::fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))? {
            // A thread may end between the listing and the read; its wake-ups then no longer matter.
            if let Ok(status) = std::fs::read_to_string(thread?.path().join("status")) {
                total += number_after(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            }
        }
        Ok(total)
    }

    fn read(self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}: is --pid a running process?"))
    }
}

/// CPU time this process has used, all threads.
pub(crate) fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl Host {
    pub(crate) fn read() -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = file("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Host {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: model.map_or_else(String::new, |(_, name)| name.trim().to_owned()),
            memory_kib: number_after(&file("/proc/meminfo"), "MemTotal:").unwrap_or(0),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// Ticks of user plus system time; the command name may itself contain spaces and parentheses.
fn parse_stat(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

/// The number that follows `key` at the start of a line, as in `VmRSS:     1234 kB`.
fn number_after(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_ascii_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_and_status_lines() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 7 8 20 0 1 0 12345 1000 200";
        assert_eq!(parse_stat(stat), Some(300));
        assert_eq!(parse_stat("42 (x) S 1"), None);
        let status = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t    1024 kB\nnonvoluntary_ctxt_switches:\t9\n";
        assert_eq!(number_after(status, "VmRSS:"), Some(1024));
        assert_eq!(number_after(status, "voluntary_ctxt_switches:"), None);
    }

    #[test]
    fn this_process_is_readable_and_a_missing_one_is_not() {
        let own = Observed::new(std::process::id()).expect("own process");
        let memory = own.memory().expect("memory");
        assert!(memory.rss_kib > 0 && memory.peak_kib >= memory.rss_kib);
        own.wakeups().expect("wake-ups");
        assert!(own_cpu() > Duration::ZERO);
        assert!(Observed::new(u32::MAX).is_err());
        assert!(Host::read().cores > 0);
    }
}
