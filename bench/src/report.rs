//! What is printed: one JSON document with raw figures, one table for people, and the comparison of two documents.

use crate::process::{Host, Memory};
use crate::session::{Job, Outcome};
use crate::stats::Percentiles;
use crate::workload::THROTTLE;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Everything one invocation measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) bench_version: String,
    pub(crate) command: Vec<String>,
    pub(crate) url: String,
    pub(crate) host: Host,
    pub(crate) workloads: Vec<Row>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) idle: Option<Idle>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) startup: Option<Startup>,
}

/// Figures of one workload. Those named `server_…` are missing when no process was observed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) workload: String,
    /// Events in flight (closed loop) or connections (fixed rate).
    pub(crate) concurrency: u32,
    /// Events per second on a fixed schedule; missing in the closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) seconds: f64,
    /// Events of the measured window.
    pub(crate) events: u64,
    /// Runs that ended within the window; for `ingest` the events accepted in it.
    pub(crate) runs: u64,
    pub(crate) runs_per_second: f64,
    pub(crate) calls_per_run: f64,
    pub(crate) accept_ms: Option<Percentiles>,
    pub(crate) first_call_ms: Option<Percentiles>,
    pub(crate) end_ms: Option<Percentiles>,
    /// How late starts came that are due at even distances.
    #[serde(default)]
    pub(crate) late_ms: Option<Percentiles>,
    pub(crate) server_cpu_ms_per_run: Option<f64>,
    /// Cores in use: CPU seconds for each second of the window.
    pub(crate) server_cores: Option<f64>,
    pub(crate) server_memory_before: Option<Memory>,
    pub(crate) server_memory_after: Option<Memory>,
    pub(crate) generator_cpu_us_per_run: f64,
    pub(crate) errors: u64,
    pub(crate) error_samples: Vec<String>,
    /// Runs of acknowledged events that had not ended at the deadline.
    pub(crate) lost_runs: u64,
    /// Events that were due and could not be sent before the deadline.
    pub(crate) unsent_events: u64,
    pub(crate) duplicate_steps: u64,
    pub(crate) duplicate_runs: u64,
    /// Runs beyond what the limit of starts allows in the window, counted with all that may come at once.
    #[serde(default)]
    pub(crate) runs_beyond_limit: u64,
    /// Calls for events of an earlier workload or an earlier benchmark.
    pub(crate) stranger_calls: u64,
    pub(crate) memory_samples: Vec<MemorySample>,
}

/// The server's resident memory after so many runs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct MemorySample {
    pub(crate) runs: u64,
    pub(crate) rss_kib: u64,
}

/// What a server costs that has nothing to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) seconds: f64,
    pub(crate) cpu_ms_per_second: f64,
    pub(crate) wakeups_per_second: f64,
    pub(crate) memory: Memory,
}

/// Times from starting the process to the first 200 of `GET /health`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Startup {
    pub(crate) command: String,
    pub(crate) healthy_ms: Vec<f64>,
    pub(crate) median_ms: f64,
    pub(crate) memory: Memory,
}

impl Row {
    pub(crate) fn new(job: &Job, outcome: Outcome, before: Option<Memory>, after: Option<Memory>) -> Self {
        let Outcome { opened, closed, totals, .. } = outcome;
        let seconds = closed.at.duration_since(opened.at).as_secs_f64();
        let units = match job.workload.runs_per_event() {
            0 => closed.totals.events_ended - opened.totals.events_ended,
            _ => closed.totals.runs_ended - opened.totals.runs_ended,
        };
        let per_run = |amount: f64| if units == 0 { 0.0 } else { amount / units as f64 };
        let cpu = closed.server_cpu.zip(opened.server_cpu).map(|(after, before)| after.saturating_sub(before));
        let own_cpu = closed.own_cpu.saturating_sub(opened.own_cpu);
        let samples = outcome.memory_samples.into_iter().map(|(runs, rss_kib)| MemorySample { runs, rss_kib });
        Row {
            workload: job.workload.name().to_owned(),
            concurrency: job.concurrency,
            rate: job.plan.rate,
            seconds,
            events: outcome.sent_measured,
            runs: units,
            runs_per_second: units as f64 / seconds.max(f64::MIN_POSITIVE),
            calls_per_run: per_run((closed.totals.calls - opened.totals.calls) as f64),
            accept_ms: outcome.accept.percentiles(),
            first_call_ms: outcome.first_call.percentiles(),
            end_ms: outcome.end.percentiles(),
            late_ms: outcome.late.percentiles(),
            server_cpu_ms_per_run: cpu.filter(|_| units > 0).map(|cpu| per_run(cpu.as_secs_f64() * 1e3)),
            server_cores: cpu.map(|cpu| cpu.as_secs_f64() / seconds.max(f64::MIN_POSITIVE)),
            server_memory_before: before,
            server_memory_after: after,
            generator_cpu_us_per_run: per_run(own_cpu.as_secs_f64() * 1e6),
            errors: outcome.failures.count,
            error_samples: outcome.failures.samples,
            lost_runs: outcome.lost_runs,
            unsent_events: outcome.unsent,
            duplicate_steps: totals.duplicate_steps,
            duplicate_runs: totals.duplicate_runs,
            runs_beyond_limit: job.workload.spacing().map_or(0, |spacing| {
                let allowed = (seconds / spacing.as_secs_f64()).ceil() as u64 + u64::from(THROTTLE);
                units.saturating_sub(allowed)
            }),
            stranger_calls: totals.strangers,
            memory_samples: samples.collect(),
        }
    }

    /// Nothing was lost, doubled or refused, and no limit exceeded.
    pub(crate) fn is_clean(&self) -> bool {
        let repeated = self.duplicate_steps + self.duplicate_runs;
        self.errors + self.lost_runs + self.unsent_events + repeated + self.runs_beyond_limit == 0
    }

    fn mode(&self) -> String {
        self.rate.map_or_else(|| format!("x{}", self.concurrency), |rate| format!("{rate}/s"))
    }
}

/// Heading of [`row`].
pub(crate) fn heading() -> String {
    format!(
        "{:<9} {:>7} {:>8} {:>9} | {:>22} | {:>22} | {:>31} | {:>9} {:>5} {:>8} | {:>7} | {}",
        "workload",
        "load",
        "runs",
        "runs/s",
        "accept ms p50/p99",
        "first call ms p50/p99",
        "end ms p50/p90/p99/max",
        "cpu ms/run",
        "cores",
        "rss MiB",
        "own us",
        "errors/lost/doubled"
    )
}

/// One line of the table.
pub(crate) fn row(row: &Row) -> String {
    let two = |figures: Option<Percentiles>| {
        figures.map_or_else(|| "-".to_owned(), |figures| format!("{:.2} / {:.2}", figures.p50, figures.p99))
    };
    let end = row.end_ms.map_or_else(
        || "-".to_owned(),
        |end| format!("{:.2} / {:.2} / {:.2} / {:.1}", end.p50, end.p90, end.p99, end.max),
    );
    let optional =
        |value: Option<f64>, digits: usize| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"));
    let mut line = format!(
        "{:<9} {:>7} {:>8} {:>9.0} | {:>22} | {:>22} | {:>31} | {:>10} {:>5} {:>8} | {:>7.1} | {}/{}/{}",
        row.workload,
        row.mode(),
        row.runs,
        row.runs_per_second,
        two(row.accept_ms),
        two(row.first_call_ms),
        end,
        optional(row.server_cpu_ms_per_run, 3),
        optional(row.server_cores, 2),
        optional(row.server_memory_after.map(|memory| mib(memory.rss_kib)), 1),
        row.generator_cpu_us_per_run,
        row.errors,
        row.lost_runs + row.unsent_events,
        row.duplicate_steps + row.duplicate_runs,
    );
    if let Some(late) = row.late_ms {
        let _ = write!(
            line,
            "\n    starts are late by {:.2} / {:.2} / {:.2} / {:.1} ms, {} beyond the limit",
            late.p50, late.p90, late.p99, late.max, row.runs_beyond_limit
        );
    }
    for sample in &row.error_samples {
        let _ = write!(line, "\n    error: {sample}");
    }
    for sample in &row.memory_samples {
        let _ = write!(line, "\n    after {:>9} runs: {:.1} MiB", sample.runs, mib(sample.rss_kib));
    }
    line
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// One compared figure of one workload.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    pub(crate) workload: String,
    pub(crate) figure: &'static str,
    pub(crate) first: f64,
    pub(crate) second: f64,
    /// How many times better the first is; below 1 it is worse.
    pub(crate) times_better: f64,
}

/// Compares the workloads that both reports ran under the same load.
pub(crate) fn compare(first: &Report, second: &Report) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for one in &first.workloads {
        let same_load = |other: &&Row| other.workload == one.workload && other.mode() == one.mode();
        let Some(other) = second.workloads.iter().find(same_load) else { continue };
        let workload = format!("{} {}", one.workload, one.mode());
        for ((figure, more_is_better, first), (_, _, second)) in figures(one).into_iter().zip(figures(other)) {
            let Some((first, second)) = first.zip(second).filter(|(first, second)| *first > 0.0 && *second > 0.0)
            else {
                continue;
            };
            let times_better = if more_is_better { first / second } else { second / first };
            comparisons.push(Comparison { workload: workload.clone(), figure, first, second, times_better });
        }
    }
    comparisons
}

fn figures(row: &Row) -> [(&'static str, bool, Option<f64>); 11] {
    // At a fixed rate both keep the rate, or one is overloaded: throughput then says nothing.
    let throughput = row.rate.is_none().then_some(row.runs_per_second);
    [
        ("runs/s", true, throughput),
        ("server cpu ms/run", false, row.server_cpu_ms_per_run),
        ("end p50 ms", false, row.end_ms.map(|end| end.p50)),
        ("end p99 ms", false, row.end_ms.map(|end| end.p99)),
        ("first call p50 ms", false, row.first_call_ms.map(|first| first.p50)),
        ("first call p99 ms", false, row.first_call_ms.map(|first| first.p99)),
        ("accept p50 ms", false, row.accept_ms.map(|accept| accept.p50)),
        ("accept p99 ms", false, row.accept_ms.map(|accept| accept.p99)),
        ("late p50 ms", false, row.late_ms.map(|late| late.p50)),
        ("late p99 ms", false, row.late_ms.map(|late| late.p99)),
        ("rss MiB", false, row.server_memory_after.map(|memory| mib(memory.rss_kib))),
    ]
}

/// The comparison as a table.
pub(crate) fn comparison_table(comparisons: &[Comparison]) -> String {
    let mut table =
        format!("{:<16} {:<18} {:>12} {:>12} {:>14}", "workload", "figure", "first", "second", "first better");
    for line in comparisons {
        let Comparison { workload, figure, first, second, times_better } = line;
        let _ = write!(table, "\n{workload:<16} {figure:<18} {first:>12.3} {second:>12.3} {times_better:>13.2}x");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(rows: Vec<Row>) -> Report {
        Report { workloads: rows, ..Report::default() }
    }

    fn hello(runs_per_second: f64, p50: f64) -> Row {
        let end_ms = Some(Percentiles { p50, ..Percentiles::default() });
        Row { workload: "hello".to_owned(), concurrency: 64, runs_per_second, end_ms, ..Row::default() }
    }

    #[test]
    fn better_is_above_one_for_throughput_and_for_latency() {
        let compared = compare(&report(vec![hello(800.0, 2.0)]), &report(vec![hello(200.0, 8.0)]));
        let times: Vec<_> = compared.iter().map(|line| (line.figure, line.times_better)).collect();
        assert_eq!(times, [("runs/s", 4.0), ("end p50 ms", 4.0)]);
        assert!(comparison_table(&compared).contains("4.00x"));
    }

    #[test]
    fn only_equal_loads_are_compared() {
        let other = Row { concurrency: 8, ..hello(200.0, 8.0) };
        assert_eq!(compare(&report(vec![hello(800.0, 2.0)]), &report(vec![other])), []);
    }

    #[test]
    fn a_report_survives_its_json() {
        let json = serde_json::to_string(&report(vec![hello(1.0, 2.0)])).expect("serialise");
        let read: Report = serde_json::from_str(&json).expect("read back");
        assert_eq!(read.workloads[0].end_ms, hello(1.0, 2.0).end_ms);
        assert!(row(&read.workloads[0]).starts_with("hello"));
    }
}
