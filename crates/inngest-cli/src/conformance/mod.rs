//! `inngest conformance`: does an SDK understand a server, and the server the SDK? An app with the functions that the
//! suites know is called through a recorder, and what was said is compared with what must be.

mod cases;
mod catalogue;
mod recorder;
mod report;
mod runner;
mod settings;

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use crate::client;
use crate::output::Table;
use crate::{args, flags, input};
use catalogue::CASES;
use settings::Settings;

/// A transport that there is no runner for.
const EXIT_NO_TRANSPORT: u8 = 2;

pub(crate) fn command() -> Command {
    let run = Command::new("run")
        .about("Run cases, and report which passed. The exit code is 1 if one did not.")
        .args(settings::args())
        .after_help(flags::examples(&[
            "inngest conformance run --sdk-url http://localhost:3000/api/inngest --case basic-invoke",
            "inngest conformance run --sdk-url http://localhost:3000/api/inngest --case steps-serial --json",
        ]));
    let doctor = Command::new("doctor")
        .about("Tell whether app and server are there.")
        .args(settings::args())
        .after_help(flags::examples(&["inngest conformance doctor --sdk-url http://localhost:3000/api/inngest"]));
    let list = Command::new("list")
        .about("List suites, cases and features.")
        .after_help(flags::examples(&["inngest conformance list"]));
    let report = Command::new("report")
        .about("Show a report that was written as JSON, in another form.")
        .arg(Arg::new("path").long("path").value_name("FILE").required(true).help("The report; - reads stdin."))
        .arg(settings::format())
        .after_help(flags::examples(&["inngest conformance report --path report.json --report-format markdown"]));
    Command::new("conformance")
        .visible_alias("cft")
        .about("Try an SDK and a server against each other.")
        .subcommand_required(true)
        .subcommands([run, list, doctor, report])
}

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    match matches.subcommand() {
        Some(("run", matches)) => suites(matches),
        Some(("doctor", matches)) => {
            client::tell(matches, Settings::of(matches).and_then(|settings| doctor(&settings)))
        }
        Some(("report", matches)) => client::tell(matches, show(matches)),
        _ => client::tell(matches, Ok(list())),
    }
}

fn suites(matches: &ArgMatches) -> ExitCode {
    let settings = match Settings::of(matches) {
        Ok(settings) if settings.transport == "connect" => {
            args::err("connect conformance is not implemented yet\n");
            return ExitCode::from(EXIT_NO_TRANSPORT);
        }
        Ok(settings) if settings.transport != "serve" => {
            args::err(&format!("Error: there is no transport {:?}; serve is one\n", settings.transport));
            return ExitCode::FAILURE;
        }
        Ok(settings) => settings,
        Err(problem) => {
            args::err(&format!("Error: {problem}\n"));
            return ExitCode::FAILURE;
        }
    };
    let (cases, format, output) = (settings.cases.clone(), settings.format.clone(), settings.output.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a machine that runs processes can run threads");
    let report = report::json(&runtime.block_on(Box::pin(runner::run(settings, &cases))));
    let text = report::render(&report, &format);
    let is_written = match output {
        None => args::out(&text) == ExitCode::SUCCESS,
        Some(path) => {
            let written = std::fs::write(&path, text);
            written.map_err(|error| args::err(&format!("Error: {path} cannot be written: {error}\n"))).is_ok()
        }
    };
    if is_written && !report::has_failed(&report) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn list() -> client::Told {
    let mut table = Table::new(["CASE", "SUITE", "IMPLEMENTED", "FEATURES"]);
    for case in CASES {
        let is_implemented = if case.is_implemented { "yes" } else { "no" };
        table.push([case.id.to_owned(), case.suite.to_owned(), is_implemented.to_owned(), case.features.join(", ")]);
    }
    let cases = CASES.map(|case| {
        json!({ "case_id": case.id, "suite_id": case.suite, "features": case.features, "implemented": case.is_implemented })
    });
    (json!({ "cases": cases }), table.print())
}

fn doctor(settings: &Settings) -> Result<client::Told, String> {
    let agent = settings.agent();
    let there = |what: &str, url: String| match agent.get(&url).call() {
        Ok(reply) if reply.status().is_success() => Ok(format!("• {what} ... OK\n")),
        Ok(reply) => Err(format!("the {what} at {url} answered {}", reply.status())),
        Err(error) => Err(format!("the {what} at {url} cannot be reached: {error}")),
    };
    let app = there("app", settings.introspection())?;
    let server = there("server", format!("{}/health", settings.dev_url))?;
    Ok((json!({ "app": "ok", "server": "ok" }), format!("{app}{server}")))
}

fn show(matches: &ArgMatches) -> Result<client::Told, String> {
    let path = flags::text(matches, "path").unwrap_or_default();
    let report: Value =
        serde_json::from_str(&input::file(path)?).map_err(|error| format!("{path} is no report in JSON: {error}"))?;
    if !report["cases"].is_array() {
        return Err(format!("{path} is no report: it has no cases"));
    }
    let text = report::render(&report, flags::text(matches, "report-format").unwrap_or("pretty"));
    Ok((report, text))
}
