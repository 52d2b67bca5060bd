//! `inngest runs rerun` and `inngest runs replay`: runs once more, one or many.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::client::{self, Server, Told, ulid};
use crate::output::text;
use crate::{flags, input};

pub(super) fn rerun_command() -> Command {
    Command::new("rerun")
        .about("Run a run again, with its event, from the start or from a step.")
        .arg(super::id().required(true))
        .arg(
            Arg::new("from-step")
                .long("from-step")
                .value_name("STEP")
                .help("Keep what came before this step, and run on from it."),
        )
        .arg(
            Arg::new("input")
                .long("input")
                .value_name("JSON|FILE")
                .requires("from-step")
                .help("Other arguments for that step, as an array."),
        )
        .arg(client::url())
        .after_help(flags::examples(&[
            "inngest runs rerun 01KB1Q2M7V4T0R4Y7Z0QJ5X3CD",
            "inngest runs rerun 01KB1Q2M7V4T0R4Y7Z0QJ5X3CD --from-step charge",
        ]))
}

pub(super) fn replay_command() -> Command {
    Command::new("replay")
        .about("Run all runs of a function again that a filter means.")
        .arg(super::function().help("Run runs of this function again.").required(true))
        .arg(super::status(["completed", "failed", "cancelled", "skipped"]).default_value("failed"))
        .args(flags::period("Only runs that were queued", ""))
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .value_parser(clap::value_parser!(u64).range(1..=10_000))
                .allow_negative_numbers(true)
                .help("At most so many runs. [default: 10000]"),
        )
        .arg(
            Arg::new("dry-run")
                .long("dry-run")
                .action(ArgAction::SetTrue)
                .help("Tell how many runs would run again, and start none."),
        )
        .arg(client::url())
        .after_help(flags::examples(&[
            "inngest runs replay --function demo-store-process-order --since 2h --dry-run",
            "inngest runs replay --function demo-store-process-order --status failed,cancelled --limit 10",
        ]))
}

pub(super) fn rerun(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let id = ulid("a run", flags::text(matches, "id").unwrap_or_default())?;
    let body = match (flags::text(matches, "from-step"), flags::text(matches, "input")) {
        (None, _) => "{}".to_owned(),
        (Some(step), None) => json!({ "fromStep": { "stepId": step } }).to_string(),
        (Some(step), Some(given)) => {
            let given = input::json("--input", given)?;
            format!("{{\"fromStep\":{{\"stepId\":{},\"input\":{given}}}}}", Value::from(step))
        }
    };
    let mut done = server.send(Method::POST, &format!("/v1/runs/{id}/rerun"), Some(&body))?;
    let done = done["data"].take();
    let text = format!("{}\n", text(&done["runId"]));
    Ok((done, text))
}

pub(super) fn replay(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let (since, until) = flags::bounds(matches)?;
    let (function, statuses) = (flags::text(matches, "function").unwrap_or_default(), super::statuses(matches));
    let limit = matches.get_one::<u64>("limit").copied();
    if matches.get_flag("dry-run") {
        super::app_of(server, function)?;
        let query = super::of_function(matches, &statuses)
            .with_some("queued_after", since.as_deref())
            .with_some("queued_before", until.as_deref());
        let (number, runs) = super::count(server, &query, limit)?;
        return Ok((json!({ "count": number }), format!("{runs} of {function} would run again.\n")));
    }
    let body = json!({
        "function_id": function, "status": statuses, "queued_after": since, "queued_before": until, "limit": limit,
    });
    let done = server.ask(Method::POST, "/v1/reruns", Some(&body))?;
    let started = done["count"].as_u64().unwrap_or_default();
    let (runs, run) = if started == 1 { ("run", "runs") } else { ("runs", "run") };
    let mut text = format!("{started} {runs} of {function} {run} again.\n");
    if done["skipped"] != 0 {
        text.push_str(&format!("{} were skipped, since another run of their singleton goes on.\n", done["skipped"]));
    }
    Ok((done, text))
}
