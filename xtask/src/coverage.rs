//! `cargo xtask coverage`: which lines the tests run, measured by the compiler's own counters.
//!
//! It needs `llvm-profdata` and `llvm-cov` of the LLVM that rustc was built with; Debian has them as `llvm-22`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use crate::process::{self, command, output};

const TARGET: &str = "target/coverage";

pub(crate) fn run() -> anyhow::Result<bool> {
    let (profdata, cov) = (tool("llvm-profdata")?, tool("llvm-cov")?);
    let profiles = std::env::current_dir()?.join(TARGET).join("profiles");
    if profiles.exists() {
        std::fs::remove_dir_all(&profiles)?;
    }
    let mut tests = command("cargo", ["test", "--workspace", "--target-dir", TARGET]);
    tests
        .env("RUSTFLAGS", "-C instrument-coverage")
        .env("LLVM_PROFILE_FILE", profiles.join("%p-%m.profraw"))
        .env("INNGEST_CRASH_KILLS", "2");
    anyhow::ensure!(process::succeeds(&mut tests)?, "the tests failed");
    let merged = profiles.join("all.profdata");
    let mut merge = Command::new(profdata);
    merge.args(["merge", "-sparse", "--failure-mode=all", "-o"]).arg(&merged);
    merge.args(files(&profiles, "profraw")?);
    anyhow::ensure!(process::succeeds(&mut merge)?, "llvm-profdata failed");
    let mut export = Command::new(cov);
    export.args(["export", "-summary-only", "-ignore-filename-regex=registry|rustc|/tests/|/target/"]);
    export.arg("-instr-profile").arg(&merged);
    for binary in binaries()? {
        export.arg("-object").arg(binary);
    }
    print(&serde_json::from_str(&output(&mut export)?)?)?;
    Ok(true)
}

/// The tool in the version that fits the compiler, from Debian if need be.
fn tool(name: &str) -> anyhow::Result<PathBuf> {
    let version = output(&mut command("rustc", ["-vV"]))?;
    let major = version.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next());
    let package = format!("llvm-{}", major.context("rustc names its LLVM")?);
    let path = PathBuf::from(format!("/usr/lib/{package}/bin/{name}"));
    if !path.exists() {
        process::succeeds(&mut command("apt-get", ["install", "-y", "--no-install-recommends", &package]))?;
    }
    anyhow::ensure!(path.exists(), "{name} is missing: install Debian's {package}");
    Ok(path)
}

fn files(dir: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().filter(|path| path.extension().is_some_and(|found| found == extension)).collect())
}

/// The test binaries and the product's own.
fn binaries() -> anyhow::Result<Vec<PathBuf>> {
    let built = output(
        command("cargo", ["test", "--workspace", "--no-run", "--message-format=json", "--target-dir", TARGET])
            .env("RUSTFLAGS", "-C instrument-coverage"),
    )?;
    let artifacts = built.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(artifacts.filter_map(|artifact| artifact["executable"].as_str().map(PathBuf::from)).collect())
}

fn print(export: &Value) -> anyhow::Result<()> {
    let mut crates: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for file in export["data"][0]["files"].as_array().context("files")? {
        let path = file["filename"].as_str().unwrap_or_default();
        let Some((_, inside)) = path.split_once("/crates/") else { continue };
        let name = inside.split('/').next().unwrap_or_default().to_owned();
        let lines = &file["summary"]["lines"];
        let entry = crates.entry(name).or_default();
        entry.0 += lines["covered"].as_u64().unwrap_or(0);
        entry.1 += lines["count"].as_u64().unwrap_or(0);
    }
    let percent = |(covered, count): (u64, u64)| 100.0 * covered as f64 / count.max(1) as f64;
    let mut all = (0, 0);
    for (name, lines) in crates {
        println!("{name:<20} {:>6} of {:>6} lines {:>6.1} %", lines.0, lines.1, percent(lines));
        all = (all.0 + lines.0, all.1 + lines.1);
    }
    println!("{:<20} {:>6} of {:>6} lines {:>6.1} %", "all", all.0, all.1, percent(all));
    Ok(())
}
