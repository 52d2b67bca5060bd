//! `cargo xtask coverage`: which lines of the product the tests run, measured by the compiler's own counters.
//!
//! It needs `llvm-profdata` and `llvm-cov` of the LLVM that rustc was built with, because the format of the counters
//! changes from one LLVM to the next; Debian has them in the package `llvm-<major>`. What a server did that a test
//! killed with SIGKILL is not counted: the counters are written when a process ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use crate::process::{self, command, output};

const TARGET: &str = "target/coverage";

/// Returns whether the tests passed; what they covered is shown in either case.
pub(crate) fn run() -> anyhow::Result<bool> {
    let (profdata, cov) = (tool("llvm-profdata")?, tool("llvm-cov")?);
    let root = std::env::current_dir()?;
    let profiles = root.join(TARGET).join("profiles");
    if profiles.exists() {
        fs::remove_dir_all(&profiles)?;
    }
    let binaries = binaries(&root)?;
    let mut tests = instrumented(&root, &["--no-fail-fast"]);
    // One file for each binary and four at a time: the servers that tests start merge their counters into them.
    tests.env("LLVM_PROFILE_FILE", profiles.join("%4m.profraw")).env("INNGEST_CRASH_KILLS", "2");
    let passed = process::succeeds(&mut tests)?;
    let merged = profiles.join("all.profdata");
    let mut merge = Command::new(profdata);
    // A file that a killed process left half written is left out; all of them being broken is an error.
    merge.args(["merge", "-sparse", "--failure-mode=all", "-o"]).arg(&merged).args(files(&profiles, "profraw")?);
    anyhow::ensure!(process::succeeds(&mut merge)?, "llvm-profdata failed");
    let mut export = Command::new(cov);
    export.args(["export", "-format=lcov", "-instr-profile"]).arg(&merged);
    for binary in binaries {
        export.arg("-object").arg(binary);
    }
    let report = output(&mut export)?;
    print!("{}", table(&lines_by_crate(&report, &root, |path| fs::read_to_string(path).ok())));
    if !passed {
        println!("some tests failed");
    }
    Ok(passed)
}

/// The tool in the version that fits the compiler, from Debian if need be.
fn tool(name: &str) -> anyhow::Result<PathBuf> {
    let version = output(&mut command("rustc", ["-vV"]))?;
    let major = version.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next());
    let package = format!("llvm-{}", major.context("rustc names its LLVM")?);
    let path = PathBuf::from(format!("/usr/lib/{package}/bin/{name}"));
    if !path.exists() {
        println!("installing {package}");
        for arguments in [&["update"][..], &["install", "-y", "--no-install-recommends", &package]] {
            let mut apt = command("apt-get", arguments);
            anyhow::ensure!(
                process::succeeds(apt.env("DEBIAN_FRONTEND", "noninteractive"))?,
                "Debian's {package} cannot be installed"
            );
        }
    }
    anyhow::ensure!(path.exists(), "{name} is missing: install Debian's {package}");
    Ok(path)
}

/// `cargo test` with counters, in a target directory of its own so that ordinary builds stay as they are.
fn instrumented(root: &Path, arguments: &[&str]) -> Command {
    let mut command = command("cargo", ["test", "--workspace", "--all-targets", "--target-dir", TARGET]);
    command.args(arguments).env("RUSTFLAGS", "-C instrument-coverage");
    // Build scripts have counters too and would leave their files in the sources.
    command.env("LLVM_PROFILE_FILE", root.join(TARGET).join("building/%4m.profraw"));
    command
}

/// The test binaries and the product's own.
fn binaries(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let built = output(&mut instrumented(root, &["--no-run", "--message-format=json-render-diagnostics"]))?;
    let artifacts = built.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(artifacts.filter_map(|artifact| artifact["executable"].as_str().map(PathBuf::from)).collect())
}

fn files(dir: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().filter(|path| path.extension().is_some_and(|found| found == extension)).collect())
}

/// Lines that ran and lines that could.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    ran: u64,
    all: u64,
}

/// Counts the lines of an lcov report for each crate below `root`. Tests do not count: they run themselves.
fn lines_by_crate(report: &str, root: &Path, read: impl Fn(&Path) -> Option<String>) -> BTreeMap<String, Lines> {
    let mut crates: BTreeMap<String, Lines> = BTreeMap::new();
    let mut current = None;
    for line in report.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            let path = Path::new(path);
            let name = path.strip_prefix(root).ok().and_then(crate_name);
            current = name.map(|name| (name, read(path).map_or(u64::MAX, |text| product_lines(&text))));
        } else if let (Some((name, end)), Some(data)) = (&current, line.strip_prefix("DA:")) {
            let mut numbers = data.split(',').map_while(|number| number.parse::<u64>().ok());
            if let (Some(number), Some(count)) = (numbers.next(), numbers.next())
                && number <= *end
            {
                let lines = crates.entry(name.clone()).or_default();
                lines.all += 1;
                lines.ran += u64::from(count > 0);
            }
        }
    }
    crates
}

/// The crate of a source file of the repository; `None` for tests and for what is built.
fn crate_name(path: &Path) -> Option<String> {
    let path = path.to_str()?;
    let inside = path.strip_prefix("crates/").unwrap_or(path);
    let (name, file) = inside.split_once("/src/")?;
    (!name.contains('/') && !file.ends_with("tests.rs") && !file.contains("tests/")).then(|| name.to_owned())
}

/// How many lines stand before the tests.
fn product_lines(text: &str) -> u64 {
    let before = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    // `#[cfg(test)] mod tests;` at the top of a file leaves the rest to the product.
    let opens_here = text.lines().nth(before + 1).is_some_and(|line| line.ends_with('{'));
    if opens_here { before as u64 } else { u64::MAX }
}

fn table(crates: &BTreeMap<String, Lines>) -> String {
    let row = |name: &str, lines: Lines| {
        let percent = 100.0 * lines.ran as f64 / lines.all.max(1) as f64;
        format!("{name:<20} {:>6} of {:>6} lines {percent:>6.1} %\n", lines.ran, lines.all)
    };
    let all = crates
        .values()
        .fold(Lines::default(), |sum, lines| Lines { ran: sum.ran + lines.ran, all: sum.all + lines.all });
    crates.iter().map(|(name, lines)| row(name, *lines)).chain([row("all", all)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_without_tests() {
        let report = "SF:/r/crates/a/src/lib.rs\nDA:1,5\nDA:2,0\nDA:9,1\nend_of_record\n\
                      SF:/r/crates/a/src/x/tests.rs\nDA:1,1\nend_of_record\n\
                      SF:/r/bench/src/main.rs\nDA:3,1\nend_of_record\n\
                      SF:/elsewhere/crates/b/src/lib.rs\nDA:1,1\nend_of_record\n";
        let text = |path: &Path| {
            Some(if path.ends_with("lib.rs") { "fn a() {}\n\n#[cfg(test)]\nmod tests {" } else { "a" }.to_owned())
        };
        let counted = lines_by_crate(report, Path::new("/r"), text);
        let expected = [("a", Lines { ran: 1, all: 2 }), ("bench", Lines { ran: 1, all: 1 })];
        assert_eq!(counted, expected.map(|(name, lines)| (name.to_owned(), lines)).into());
        assert!(
            table(&counted).ends_with("all                       2 of      3 lines   66.7 %\n"),
            "{}",
            table(&counted)
        );
    }

    #[test]
    fn the_product_ends_where_the_tests_begin() {
        assert_eq!(product_lines("a\nb\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(product_lines("a\n#[cfg(test)]\nmod tests;\nb\n"), u64::MAX);
        assert_eq!(product_lines("a\nb\n"), u64::MAX);
    }
}
