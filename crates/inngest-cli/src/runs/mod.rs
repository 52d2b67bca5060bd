//! `inngest runs`: they are listed, shown, cancelled and run again.

mod again;
mod cancel;
mod get;
mod list;

use clap::{Arg, ArgMatches, Command};

use crate::client::{Query, Server, Told};
use crate::flags;

pub(crate) fn command() -> Command {
    Command::new("runs")
        .about("List, show, cancel or repeat runs.")
        .subcommand_required(true)
        .subcommand(list::command())
        .subcommand(get::command())
        .subcommand(cancel::command())
        .subcommand(again::rerun_command())
        .subcommand(again::replay_command())
}

pub(crate) fn run(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    match matches.subcommand() {
        Some(("list", matches)) => list::run(matches, server),
        Some(("get", matches)) => get::run(matches, server),
        Some(("cancel", matches)) => cancel::run(matches, server),
        Some(("rerun", matches)) => again::rerun(matches, server),
        Some(("replay", matches)) => again::replay(matches, server),
        _ => Err("list, get, cancel, rerun or replay?".to_owned()),
    }
}

fn id() -> Arg {
    Arg::new("id").value_name("ID").help("Id of the run.")
}

fn function() -> Arg {
    Arg::new("function").long("function").alias("fn").value_name("FUNCTION").help("Only runs of this function.")
}

fn status<const N: usize>(possible: [&'static str; N]) -> Arg {
    Arg::new("status")
        .long("status")
        .value_name("STATUS")
        .action(clap::ArgAction::Append)
        .value_delimiter(',')
        .ignore_case(true)
        .value_parser(possible)
        .help("Only runs of this status. May be repeated.")
}

/// The runs of these statuses, of the function that is named.
fn of_function(matches: &ArgMatches, statuses: &[&str]) -> Query {
    Query::default()
        .with_all("status", statuses.iter().copied())
        .with_some("function", flags::text(matches, "function"))
}

/// The runs that the flags of a command mean.
fn query(matches: &ArgMatches, statuses: &[&str]) -> Result<Query, String> {
    let (since, until) = flags::bounds(matches)?;
    Ok(of_function(matches, statuses)
        .with_some("started_after", since.as_deref())
        .with_some("started_before", until.as_deref()))
}

/// The values of `--status`.
fn statuses(matches: &ArgMatches) -> Vec<&str> {
    matches.get_many::<String>("status").into_iter().flatten().map(String::as_str).collect()
}

/// Runs that a dry run counts at most.
const COUNT_MAX: usize = 10_000;

/// How many runs there are, of which `limit` are meant: `12 runs`, or `more than 10000 runs`.
fn count(server: &Server, query: &Query, limit: Option<u64>) -> Result<(usize, String), String> {
    let max = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(COUNT_MAX);
    let (runs, more) = server.list("/v1/runs", query, max, None)?;
    let number = runs.len();
    let more = if more.is_some() && limit.is_none() { "more than " } else { "" };
    Ok((number, format!("{more}{number} run{}", if number == 1 { "" } else { "s" })))
}

/// The app that a function belongs to, which the API wants to know.
fn app_of(server: &Server, function: &str) -> Result<String, String> {
    let (functions, _) = server.list("/v1/functions", &Query::default(), usize::MAX, None)?;
    let found = functions.iter().find(|one| one["id"] == function || one["internal_id"] == function);
    let app = found.and_then(|found| found["app_name"].as_str());
    app.map(str::to_owned)
        .ok_or_else(|| format!("Function not found: {function}. inngest functions list tells which there are"))
}
