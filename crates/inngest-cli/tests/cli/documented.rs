//! Every command line that is documented runs: those in blocks of README.md and docs/*.md (`sh`: each line; `console`: what
//! follows `$ `), and the examples at the end of each command's help.
//!
//! They run as they are written, in a shell, against the demo app, and the app of the conformance suites in place of
//! localhost:3000. Only ports and [`ID`] are replaced.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use inngest_testkit::server::free_port;
use inngest_testkit::{StubApp, wait_until};
use tokio::process::Command;

use crate::place::{Dev, Place, SOON};

/// In documentation, the id of any event or run.
const ID: &str = "01KB1Q2M7V4T0R4Y7Z0QJ5X3CD";
/// Lines that begin like this run other programs, which other tests do.
const OTHERS: [&str; 4] =
    ["cargo xtask", "INNGEST_DEV=1 node app.mjs", "INNGEST_DEV=1 uvicorn app:app", "INNGEST_DEV=1 go run"];

#[tokio::test]
async fn every_documented_command_runs() {
    let place = Place::new();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here_to = |name: &str| here.join("../inngest-expr/tests/data").join(name);
    std::fs::copy(here_to("cel_cases.json"), place.path("a/b/c/cases.json")).unwrap();
    std::fs::copy(here_to("cron_cases.json"), place.path("a/b/c/schedules.json")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_inngest"), place.path("home/inngest")).unwrap();
    std::fs::write(place.path("a/b/c/report.json"), r#"{"cases":[]}"#).unwrap();
    let fixture = StubApp::serve("fixture", crate::conformance::fixture()).await.unwrap();
    let app_port = fixture.url.split([':', '/']).nth(4).unwrap().to_owned();
    let dev = place.dev(&format!("--demo --no-discovery --port {}", free_port().unwrap()), &[]).await;
    let run = wait_until("a run", SOON, async || {
        let runs = dev.client().get("/v1/runs?status=Completed&function=process-order").await.ok()?;
        Some(runs["data"].as_array()?.first()?.clone())
    });
    let run = run.await.unwrap();
    let mut lines = documents(&here.join("../.."));
    lines.extend(examples(&place).await);
    assert!(lines.len() > 40, "{lines:?}");
    for line in lines.iter().filter(|line| !OTHERS.iter().any(|other| line.starts_with(other))) {
        let id = if line.contains("event") { &run["event_id"] } else { &run["run_id"] }.as_str().unwrap();
        let text = line.replace("cargo run --release -- ", "inngest ").replace(ID, id);
        if text.starts_with("inngest dev") {
            starts_and_stops(&place, &text).await;
        } else {
            assert!(text.starts_with("inngest ") || text.starts_with("curl "), "what is this? {line}");
            let text = text.replace("curl ", "curl --fail --silent --show-error ");
            let text = text.replace("8288", &dev.port.to_string()).replace("3000", &app_port);
            runs(&place, &dev, &text).await;
        }
    }
    dev.stop().await;
}

/// A shell that finds the binary.
fn shell(place: &Place, line: &str) -> Command {
    let mut command = Command::new("sh");
    let path = std::env::var("PATH").unwrap_or_default();
    command.args(["-c", line]).env_clear().env("PATH", format!("{}:{path}", place.path("home").display()));
    command.env("HOME", place.path("home")).env("TMPDIR", place.path("tmp"));
    command.current_dir(place.path("a/b/c")).stdin(std::process::Stdio::null()).kill_on_drop(true);
    command
}

async fn runs(place: &Place, dev: &Dev, line: &str) {
    let mut command = shell(place, line);
    let port = dev.port.to_string();
    command.env("INNGEST_BASE_URL", dev.client().base()).envs([("INNGEST_PORT", &port), ("INNGEST_API_PORT", &port)]);
    let output = tokio::time::timeout(SOON, command.output()).await.unwrap_or_else(|_| panic!("{line}: too long"));
    let output = output.unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {err}{}", String::from_utf8_lossy(&output.stdout));
}

/// A server runs until it is stopped.
async fn starts_and_stops(place: &Place, line: &str) {
    let line = line.split('#').next().unwrap_or_default();
    if line.contains("--help") {
        assert!(shell(place, line).output().await.unwrap().status.success(), "{line}");
        return;
    }
    let port = free_port().unwrap();
    let mut command = shell(place, &format!("exec {line} --host 127.0.0.1 --port {port}"));
    command.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let dev = Dev { child: command.spawn().unwrap(), port, log: PathBuf::new() };
    dev.until_healthy().await.stop().await;
}

/// The lines of all blocks of the documentation.
fn documents(root: &Path) -> Vec<String> {
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    files.push(root.join("README.md"));
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let mut block = None;
        for line in text.lines() {
            match (line.strip_prefix("```"), block) {
                (Some(_), Some(_)) => block = None,
                (Some(language), None) => block = Some(language),
                (None, Some("sh")) if !line.is_empty() && !line.starts_with('#') => lines.push(line.to_owned()),
                (None, Some("console")) => lines.extend(line.strip_prefix("$ ").map(str::to_owned)),
                _ => {}
            }
        }
    }
    lines
}

/// The examples of all commands, each of which must have some.
async fn examples(place: &Place) -> BTreeSet<String> {
    let (mut commands, mut found) = (vec![String::new()], BTreeSet::new());
    while let Some(command) = commands.pop() {
        let help = place.line(&format!("{command} --help")).await.out;
        let section = |title: &str| {
            let lines = help.lines().skip_while(|line| *line != title).skip(1).take_while(|line| !line.is_empty());
            // What is indented more goes on from the line before.
            let whole = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
            lines.filter(whole).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        let inner = section("Commands:").into_iter().filter_map(|line| Some(line.split(' ').next()?.to_owned()));
        let inner: Vec<String> = inner.filter(|name| name != "help").map(|name| format!("{command} {name}")).collect();
        let examples = section("Examples:");
        // Those of an endpoint follow from its table, where they can.
        let is_endpoint = command.starts_with(" api ");
        assert!(!examples.is_empty() || !inner.is_empty() || is_endpoint, "{command} has no examples");
        found.extend(examples);
        commands.extend(inner);
    }
    found
}
