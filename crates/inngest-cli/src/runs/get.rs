//! `inngest runs get`: a run with its steps and their attempts, as a tree.

use std::fmt::Write as _;

use clap::{ArgMatches, Command};
use serde_json::Value;
use ureq::http::Method;

use crate::client::{self, Server, Told, ulid};
use crate::flags;
use crate::output::{NAME_WIDTH_MAX, clock, fact, list, plain, shortened, text, took};

/// Longest text of an output or error that people are shown; `--json` has all of it.
const SHOWN: usize = 200;

pub(super) fn command() -> Command {
    Command::new("get")
        .about("Show a run, its steps and their attempts.")
        .arg(super::id().required(true))
        .arg(client::url())
        .after_help(flags::examples(&["inngest runs get 01KB1Q2M7V4T0R4Y7Z0QJ5X3CD"]))
}

pub(super) fn run(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let id = ulid("a run", flags::text(matches, "id").unwrap_or_default())?;
    let mut run = server.ask(Method::GET, &format!("/v1/runs/{id}"), None)?;
    run["actions"] = server.ask(Method::GET, &format!("/v1/runs/{id}/actions"), None)?;
    let mut out = String::new();
    fact(&mut out, "Run", &text(&run["run_id"]));
    fact(&mut out, "Function", &text(&run["function_slug"]));
    fact(&mut out, "Event", &format!("{} {}", text(&run["event_name"]), text(&run["event_id"])));
    fact(&mut out, "Status", &text(&run["status"]));
    fact(&mut out, "Queued", &clock(&run["queued_at"]));
    fact(&mut out, "Ended", &clock(&run["ended_at"]));
    fact(&mut out, "Took", &took(&run["queued_at"], &run["ended_at"]));
    for (name, member) in [("Original", "original_run_id"), ("Schedule", "cron"), ("Skipped", "skip_reason")] {
        if let Some(value) = run[member].as_str() {
            fact(&mut out, name, &plain(value));
        }
    }
    match (&run["error"], run.get("output")) {
        (error @ Value::Object(_), _) => fact(&mut out, "Error", &message(error)),
        (_, Some(output)) => fact(&mut out, "Output", &shortened(&plain(&output.to_string()), SHOWN)),
        _ => {}
    }
    out.push_str(&tree(list(&run["actions"])));
    Ok((run, out))
}

/// A step with all that was done for it; or the function itself.
struct Node<'a> {
    id: Option<&'a str>,
    name: String,
    actions: Vec<&'a Value>,
}

/// Steps in the order of their first action; below each, its attempts that failed.
fn tree(actions: &[Value]) -> String {
    let mut nodes: Vec<Node<'_>> = Vec::new();
    for action in actions {
        let id = action["id"].as_str();
        match nodes.iter_mut().find(|node| node.id == id) {
            Some(node) => node.actions.push(action),
            None => {
                let name = action["name"].as_str().map_or_else(|| "(function)".to_owned(), plain);
                nodes.push(Node { id, name, actions: vec![action] });
            }
        }
    }
    if nodes.is_empty() {
        return String::new();
    }
    let width = nodes.iter().map(|node| node.name.chars().count()).max().unwrap_or(0).min(NAME_WIDTH_MAX);
    let mut out = "\nSteps\n".to_owned();
    let last = nodes.len() - 1;
    for (index, Node { name, actions, .. }) in nodes.into_iter().enumerate() {
        let (branch, trunk) = if index == last { ("└─", "  ") } else { ("├─", "│ ") };
        let (attempts, others): (Vec<&Value>, Vec<&Value>) =
            actions.into_iter().partition(|action| action["op"] == "Attempt");
        let state = others.last().map_or_else(|| "Errored".to_owned(), |action| state(action));
        // Writing to a string does not fail.
        let _written = writeln!(out, "{branch} {name:<width$}  {state}");
        let last = attempts.len().saturating_sub(1);
        for (index, attempt) in attempts.into_iter().enumerate() {
            let branch = if index == last { "└─" } else { "├─" };
            let number = attempt["attempt"].as_u64().unwrap_or(0);
            let error = message(&attempt["error"]);
            let _written = writeln!(out, "{trunk} {branch} attempt {number}  {error}");
        }
    }
    out
}

/// How far a step is, and what it took or waits for.
fn state(action: &Value) -> String {
    let status = text(&action["status"]);
    match action["due_at"].as_str() {
        Some(_) => format!("{status:<9}  until {}", clock(&action["due_at"])),
        None if action["ended_at"].is_string() => {
            format!("{status:<9}  {}", took(&action["started_at"], &action["ended_at"]))
        }
        None => status,
    }
}

/// The message of an error, whatever its form.
fn message(error: &Value) -> String {
    let message = error["message"].as_str().or_else(|| error.as_str());
    shortened(&message.map_or_else(|| plain(&error.to_string()), plain), SHOWN)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_have_their_attempts_below_them() {
        let at = |second: u8| format!("2026-11-27T12:00:{second:02}Z");
        let actions = [
            json!({ "id": "1", "name": "validate", "op": "StepRun", "status": "Completed", "attempt": 0,
                "started_at": at(1), "ended_at": at(2) }),
            json!({ "id": "2", "name": "charge", "op": "Attempt", "status": "Errored", "attempt": 0,
                "error": { "message": "the bank\n is closed" } }),
            json!({ "id": "2", "name": "charge", "op": "Attempt", "status": "Errored", "attempt": 1, "error": "no" }),
            json!({ "id": null, "name": null, "op": "Attempt", "status": "Errored", "attempt": 0, "error": { "x": 1 } }),
            json!({ "id": "2", "name": "charge", "op": "StepRun", "status": "Completed", "attempt": 2,
                "started_at": at(3), "ended_at": at(3) }),
            json!({ "id": "3", "name": "rest", "op": "sleep", "status": "Sleeping", "attempt": 0, "due_at": at(9) }),
        ];
        let expected = "
Steps
├─ validate    Completed  1.0s
├─ charge      Completed  0ms
│  ├─ attempt 0  the bank\\n is closed
│  └─ attempt 1  no
├─ (function)  Errored
│  └─ attempt 0  {\"x\":1}
└─ rest        Sleeping   until 2026-11-27 12:00:09
";
        assert_eq!(tree(&actions), expected);
        let long = json!({ "id": "1", "name": "n".repeat(100_000), "op": "StepRun", "status": "Completed" });
        assert!(tree(&[long]).contains("nnn  Completed"));
        assert_eq!(tree(&[]), "");
    }
}
