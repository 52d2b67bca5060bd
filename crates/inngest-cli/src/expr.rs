//! `inngest expr`: expressions are tried, or held against a file of cases.

use clap::{Arg, ArgMatches, Command};
use inngest_expr::cases::{self, Verdict};
use inngest_expr::event;
use inngest_expr::expression::{Expression, Roots};
use serde_json::{Value, json};

use crate::client::Told;
use crate::output::plain;
use crate::{args, flags, input};

pub(crate) fn command() -> Command {
    let event = |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("JSON|FILE").help(help);
    let eval = Command::new("eval")
        .about("Tell what an expression gives for an event.")
        .arg(Arg::new("expression").value_name("EXPRESSION").required(true).allow_hyphen_values(true))
        .arg(event("event", "The event, as `event`; - reads stdin.").default_value("{}"))
        .arg(event("async", "A later event, as `async`: what waits and cancellations compare with."))
        .after_help(flags::examples(&[
            "inngest expr eval 'event.data.amount > 100' --event '{\"data\":{\"amount\":250}}'",
            "inngest expr eval 'async.data == event.data' --event '{\"data\":1}' --async '{\"data\":1}'",
        ]));
    let check = check_command("expressions", "`expr`, `event`, `async` and `result` or `error`")
        .after_help(flags::examples(&["inngest expr check cases.json"]));
    Command::new("expr").about("Try expressions.").subcommand_required(true).subcommand(eval).subcommand(check)
}

pub(crate) fn run(matches: &ArgMatches) -> Result<Told, String> {
    match matches.subcommand() {
        Some(("eval", matches)) => eval(matches),
        Some(("check", matches)) => check(matches, "expr", cases::check_expression),
        _ => Err("eval or check?".to_owned()),
    }
}

fn eval(matches: &ArgMatches) -> Result<Told, String> {
    let text = flags::text(matches, "expression").unwrap_or_default();
    let read = |name: &'static str| {
        let given = flags::text(matches, name).map(|given| input::json(&format!("--{name}"), given)).transpose()?;
        if given.as_ref().is_some_and(|given| !given.get().starts_with('{')) {
            return Err(format!("--{name} must be a JSON object"));
        }
        let parsed = given.map(|given| event::parse(given.get().as_bytes())).transpose();
        parsed.map_err(|error| format!("--{name} is no JSON: {error}"))
    };
    let (event, other) = (read("event")?.unwrap_or_default(), read("async")?);
    let roots = if other.is_some() { Roots::EventAndAsync } else { Roots::Event };
    let expression = Expression::compile(text, roots).map_err(|error| error.to_string())?;
    let value = expression.evaluate(&event, other.as_ref(), input::now()).map_err(|error| error.to_string())?;
    let result = cases::to_json(&value);
    let text = format!("{result}\n");
    Ok((json!({ "result": result, "type": value.type_name() }), text))
}

/// `check FILE`, which expressions and schedules have.
pub(crate) fn check_command(what: &str, members: &str) -> Command {
    Command::new("check")
        .about(format!("Compare {what} with the cases of a file: a JSON array of objects with {members}."))
        .arg(Arg::new("file").value_name("FILE").required(true).help("The file; - reads stdin."))
}

/// Compares each case of a file with what we make of it; a case is named by its member `name`.
pub(crate) fn check(matches: &ArgMatches, name: &str, verdict: fn(&Value) -> Verdict) -> Result<Told, String> {
    let path = flags::text(matches, "file").unwrap_or_default();
    let text = input::file(path)?;
    let cases: Vec<Value> = serde_json::from_str(&text)
        .map_err(|error| format!("{} is no JSON array of cases: {error}", input::named(path)))?;
    let (mut deviations, mut lines) = (0, Vec::new());
    for (index, case) in cases.iter().enumerate() {
        match verdict(case) {
            Verdict::Same => {}
            Verdict::Deviates(_) => deviations += 1,
            Verdict::Differs(problem) => lines.push(plain(&format!("{index}: {}: {problem}", case[name]))),
        }
    }
    let total = format!("{} cases, {} differ, {deviations} deviate on purpose", cases.len(), lines.len());
    if lines.is_empty() {
        let counts = json!({ "cases": cases.len(), "differ": 0, "deviate": deviations });
        return Ok((counts, format!("{total}\n")));
    }
    args::out(&lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    Err(total)
}
