//! `inngest runs cancel`: runs by their ids, or all those of a function that a filter means.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;
use ureq::http::Method;

use crate::client::{self, Server, Told, ulid};
use crate::output::{plain, rfc3339, text};
use crate::{flags, input};

/// Runs that have not ended.
const OPEN: [&str; 2] = ["Scheduled", "Running"];

pub(super) fn command() -> Command {
    Command::new("cancel")
        .about("Cancel runs: some by their ids, or many of a function.")
        .arg(super::id().num_args(1..).required_unless_present("function"))
        .arg(super::function().help("Cancel runs of this function.").conflicts_with("id"))
        .args(flags::period("Only runs that started", "").map(|arg| arg.conflicts_with("id")))
        .arg(
            Arg::new("if")
                .long("if")
                .value_name("EXPRESSION")
                .conflicts_with("id")
                .help("Only runs whose event satisfies this expression."),
        )
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .conflicts_with("id")
                .help("Tell how many runs would be cancelled, and cancel none."),
        )
        .arg(client::url())
        .after_help(flags::examples(&[
            "inngest runs cancel 01KB1Q2M7V4T0R4Y7Z0QJ5X3CD",
            "inngest runs cancel --function demo-store-process-order --since 2h --dry-run",
            "inngest runs cancel --function demo-store-process-order --if 'event.data.amount > 2'",
        ]))
}

pub(super) fn run(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    match flags::text(matches, "function") {
        Some(function) => many(matches, server, function),
        None => some(matches, server),
    }
}

fn some(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let ids: Vec<&str> =
        matches.get_many::<String>("id").into_iter().flatten().map(|id| ulid("a run", id)).collect::<Result<_, _>>()?;
    for id in &ids {
        server.send(Method::DELETE, &format!("/v1/runs/{id}"), None)?;
    }
    let told = ids.iter().map(|id| format!("{id} does not go on.\n")).collect();
    Ok((json!({ "ids": ids }), told))
}

fn many(matches: &ArgMatches, server: &Server, function: &str) -> Result<Told, String> {
    let (since, until) = flags::bounds(matches)?;
    let condition = flags::text(matches, "if");
    let app = super::app_of(server, function)?;
    if matches.get_flag("dry-run") {
        let (number, runs) = super::count(server, &super::query(matches, &OPEN)?, None)?;
        let hint = condition.map_or("", |_| ", as far as their events satisfy the expression");
        return Ok((json!({ "count": number }), format!("{runs} of {function} would be cancelled{hint}.\n")));
    }
    let body = json!({
        "app_id": app, "function_id": function, "if": condition, "started_after": since,
        "started_before": until.unwrap_or_else(|| rfc3339(input::now())),
    });
    let done = server.ask(Method::POST, "/v1/cancellations", Some(&body))?;
    let (id, before) = (text(&done["id"]), text(&done["started_before"]));
    let text = format!("Runs of {} that started before {before} are cancelled (cancellation {id}).\n", plain(function));
    Ok((done, text))
}
