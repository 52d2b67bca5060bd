//! `cargo xtask test`: every check, in the order in which a failure is cheapest to find.

use std::time::{Duration, Instant};

use clap::Args;

use crate::{checks, openapi, process, sdk};

#[derive(Args)]
pub(crate) struct Options {
    /// Run only this step.
    #[arg(long, value_name = "STEP")]
    only: Option<String>,
}

/// Tests that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Totals {
    pub(crate) fn of(passed: bool) -> Self {
        Self { passed: u32::from(passed), failed: u32::from(!passed) }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

type Step = (&'static str, fn() -> anyhow::Result<Totals>);

const STEPS: [Step; 8] = [
    ("format", || command(&["fmt", "--all", "--check"])),
    ("clippy", || command(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
    ("crates", checks::crates),
    ("tidy", checks::tidy),
    ("unit", unit),
    ("crash", crash),
    ("openapi", openapi::run),
    ("sdk", sdk::run),
];

/// Runs the steps, all of them even when one fails, and returns whether everything passed.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let chosen: Vec<&Step> =
        STEPS.iter().filter(|(name, _)| options.only.as_deref().is_none_or(|only| only == *name)).collect();
    let names = STEPS.map(|(name, _)| name).join(", ");
    anyhow::ensure!(!chosen.is_empty(), "no such step; there are: {names}");
    let mut table: Vec<(&str, Totals, Duration)> = Vec::new();
    for (name, step) in chosen {
        println!("\n=== {name}");
        let began = Instant::now();
        let totals = step().unwrap_or_else(|error| {
            println!("{name}: {error:#}");
            Totals::of(false)
        });
        table.push((name, totals, began.elapsed()));
    }
    println!("\n{:<8} {:>7} {:>7} {:>8}", "step", "passed", "failed", "seconds");
    let mut all = Totals::default();
    for (name, totals, took) in table {
        println!("{name:<8} {:>7} {:>7} {:>8.1}", totals.passed, totals.failed, took.as_secs_f64());
        all.add(totals);
    }
    println!("{} passed, {} failed", all.passed, all.failed);
    Ok(all.failed == 0)
}

fn command(arguments: &[&str]) -> anyhow::Result<Totals> {
    Ok(Totals::of(process::succeeds(&mut process::command("cargo", arguments))?))
}

/// Every test there is; the crash runner only for a few kills, because it has a step of its own.
fn unit() -> anyhow::Result<Totals> {
    cargo_test(&["test", "--workspace", "--no-fail-fast"], &[("INNGEST_CRASH_KILLS", "4")])
}

/// The crash runner at full length, on the binary that is shipped.
fn crash() -> anyhow::Result<Totals> {
    let kills = std::env::var("INNGEST_CRASH_KILLS").unwrap_or_else(|_| "100".to_owned());
    let arguments = ["test", "--release", "-p", "inngest-cli", "--test", "crash_test", "--", "--nocapture"];
    cargo_test(&arguments, &[("INNGEST_CRASH_KILLS", &kills)])
}

fn cargo_test(arguments: &[&str], variables: &[(&str, &str)]) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    let mut command = process::command("cargo", arguments);
    command.envs(variables.iter().copied());
    let succeeded = process::each_line(&mut command, |line| {
        if let Some(result) = test_result(line) {
            totals.add(result);
        }
    })?;
    Ok(settled(totals, succeeded))
}

/// What counts at the end: a run that broke off before its closing line (it did not build, a test aborted) has failed,
/// and so has one that ran nothing.
fn settled(totals: Totals, succeeded: bool) -> Totals {
    let unexplained = totals.failed == 0 && (!succeeded || totals.passed == 0);
    Totals { failed: totals.failed + u32::from(unexplained), ..totals }
}

/// The counts of a line that closes a test binary.
fn test_result(line: &str) -> Option<Totals> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| {
        let part = counts.split("; ").find(|part| part.ends_with(word))?;
        part.split(' ').next()?.parse().ok()
    };
    Some(Totals { passed: count(" passed")?, failed: count(" failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted() {
        let line = "test result: FAILED. 31 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.10s";
        assert_eq!(test_result(line), Some(Totals { passed: 31, failed: 2 }));
        assert_eq!(test_result("test result: what"), None);
        assert_eq!(test_result("running 3 tests"), None);
    }

    #[test]
    fn a_run_that_says_nothing_has_failed() {
        let totals = |passed, failed| Totals { passed, failed };
        for (counted, succeeded, expected) in [
            (totals(3, 0), true, totals(3, 0)),
            (totals(3, 1), false, totals(3, 1)),
            (totals(3, 0), false, totals(3, 1)),
            (totals(0, 0), false, totals(0, 1)),
            (totals(0, 0), true, totals(0, 1)),
        ] {
            assert_eq!(settled(counted, succeeded), expected, "{counted:?} {succeeded}");
        }
    }
}
