//! `inngest explain`: what a run waits for.

use std::fmt::Write as _;

use clap::{Arg, ArgMatches, Command};
use serde_json::Value;
use ureq::http::Method;

use crate::client::{self, Server, plain};

pub(crate) fn command() -> Command {
    Command::new("explain")
        .about("Tell what a run waits for: which limit, who holds it, when it goes on.")
        .arg(Arg::new("run").value_name("RUN_ID").required(true).help("Id of the run."))
        .arg(client::url())
}

pub(crate) fn run(matches: &ArgMatches, server: &Server) -> Result<(Value, String), String> {
    let run = matches.get_one::<String>("run").map(String::as_str).unwrap_or_default();
    // What is no id must not become another path.
    if run.is_empty() || !run.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("{run:?} is no id of a run; one has 26 letters and digits"));
    }
    let explained = server.ask(Method::GET, &format!("/v1/runs/{run}/explain"), None)?;
    let text = table(&explained);
    Ok((explained, text))
}

/// A job, as a line of the table.
struct Line {
    name: String,
    status: String,
    attempt: String,
    text: String,
}

fn table(explained: &Value) -> String {
    let text = |value: &Value| plain(value.as_str().unwrap_or("-"));
    let mut out = String::new();
    let head = [("Run", "run_id"), ("Function", "function_slug"), ("Status", "status"), ("Why", "text")];
    for (name, member) in head {
        // Writing to a string does not fail.
        let _written = writeln!(out, "{name:<10}{}", text(&explained[member]));
    }
    let jobs = explained["jobs"].as_array().map_or(&[][..], Vec::as_slice);
    let lines = jobs.iter().map(|job| Line {
        name: job["step"]["name"].as_str().map_or_else(|| text(&job["kind"]), plain),
        status: text(&job["status"]),
        attempt: job["attempt"].to_string(),
        text: text(&job["text"]),
    });
    let title = |text: &str| text.to_owned();
    let titles = Line { name: title("JOB"), status: title("STATUS"), attempt: title("ATTEMPT"), text: title("WHY") };
    let lines: Vec<Line> = std::iter::once(titles).chain(lines).collect();
    if lines.len() > 1 {
        let width = lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
        out.push('\n');
        for Line { name, status, attempt, text } in lines {
            let _written = writeln!(out, "{name:<width$}  {status:<8}  {attempt:<7}  {text}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_get_a_table() {
        let explained = json!({
            "run_id": "01M85QRDBHC70063SSP1V76AAN", "function_slug": "shop-order", "status": "Running",
            "text": "It sleeps.",
            "jobs": [
                { "kind": "sleep", "step": { "id": "1", "name": "a long\u{1b}[2J nap" }, "attempt": 0,
                  "status": "Waiting", "text": "It sleeps." },
                { "kind": "start", "step": null, "attempt": 12, "status": "Queued", "text": "It is next." },
            ],
        });
        let expected = "\
Run       01M85QRDBHC70063SSP1V76AAN
Function  shop-order
Status    Running
Why       It sleeps.

JOB                     STATUS    ATTEMPT  WHY
a long\\u{1b}[2J nap  Waiting   0        It sleeps.
start                   Queued    12       It is next.
";
        let width = "a long\\u{1b}[2J nap".len();
        let expected = expected.replace("JOB                     ", &format!("{:<width$}  ", "JOB"));
        let expected = expected.replace("start                   ", &format!("{:<width$}  ", "start"));
        assert_eq!(table(&explained), expected);
        let ended =
            json!({ "run_id": "x", "function_slug": null, "status": "Completed", "text": "It has ended.", "jobs": [] });
        assert_eq!(table(&ended), "Run       x\nFunction  -\nStatus    Completed\nWhy       It has ended.\n");
    }
}
