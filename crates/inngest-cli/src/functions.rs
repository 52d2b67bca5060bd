//! `inngest functions`: they are listed, invoked, paused, resumed and drained.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::client::{self, Query, Server, Told, slug};
use crate::output::{Table, list, plain, text};
use crate::{flags, input};

pub(crate) fn command() -> Command {
    let function =
        || Arg::new("function").value_name("FUNCTION").required(true).help("Id of the function: <app>-<function>.");
    let of_one = |name: &'static str, about: &'static str, example: &str| {
        let example = flags::examples(&[example]);
        Command::new(name).about(about).arg(function()).arg(client::url()).after_help(example)
    };
    let new_runs = Arg::new("new-runs")
        .long("new-runs")
        .value_name("CHOICE")
        .value_parser(["queue", "skip"])
        .default_value("queue")
        .help("What becomes of new runs meanwhile: they wait, or are skipped.");
    let json = |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("JSON|FILE").help(help);
    let listing = Command::new("list")
        .visible_alias("ls")
        .about("List functions.")
        .arg(Arg::new("app").long("app").value_name("APP").help("Only those of this app."))
        .arg(
            Arg::new("archived").long("archived").action(ArgAction::SetTrue).help("Those that no app serves any more."),
        )
        .args(flags::page())
        .arg(client::url())
        .after_help(flags::examples(&["inngest functions list", "inngest functions list --app demo-store --json"]));
    let invoke = of_one(
        "invoke",
        "Run a function, whatever its triggers.",
        "inngest functions invoke demo-store-send-receipt --data '{\"item\":\"tea\"}'",
    );
    Command::new("functions")
        .about("List, invoke, pause, resume or drain functions.")
        .subcommand_required(true)
        .subcommand(listing)
        .subcommand(
            invoke
                .arg(json("data", "Data of the event that the function gets; - reads stdin.").default_value("{}"))
                .arg(json("user", "User of that event.")),
        )
        .subcommand(
            of_one(
                "pause",
                "Make no calls for a function until it is resumed.",
                "inngest functions pause demo-store-send-receipt --new-runs skip",
            )
            .arg(new_runs),
        )
        .subcommand(of_one(
            "resume",
            "Let a paused or draining function go on.",
            "inngest functions resume demo-store-send-receipt",
        ))
        .subcommand(of_one(
            "drain",
            "Start no new runs of a function; those that exist go on.",
            "inngest functions drain demo-store-send-receipt",
        ))
}

pub(crate) fn run(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    match matches.subcommand() {
        Some(("list", matches)) => list_all(matches, server),
        Some(("invoke", matches)) => invoke(matches, server),
        Some((verb, matches)) => hold(verb, matches, server),
        None => Err("list, invoke, pause, resume or drain?".to_owned()),
    }
}

fn list_all(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let archived = matches.get_flag("archived").then_some("true");
    let query = Query::default().with_some("app", flags::text(matches, "app")).with_some("archived", archived);
    let (limit, cursor) = flags::limits(matches);
    let (functions, cursor) = server.list("/v1/functions", &query, limit, cursor)?;
    let mut table = Table::new(["FUNCTION", "NAME", "APP", "TRIGGERS", "HOLD"]);
    for function in &functions {
        let triggers: Vec<String> = list(&function["triggers"]).iter().map(trigger).collect();
        let hold = function["hold"]["kind"].as_str().unwrap_or("-").to_owned();
        table.push([
            text(&function["id"]),
            text(&function["name"]),
            text(&function["app_name"]),
            triggers.join(", "),
            hold,
        ]);
    }
    Ok(flags::listed(&table, &functions, cursor.as_deref()))
}

fn trigger(trigger: &Value) -> String {
    trigger["event"].as_str().or_else(|| trigger["cron"].as_str()).map_or_else(|| trigger.to_string(), plain)
}

fn invoke(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let function = flags::text(matches, "function").unwrap_or_default();
    let mut members = Vec::new();
    for name in ["data", "user"] {
        if let Some(given) = flags::text(matches, name) {
            members.push(format!("\"{name}\":{}", input::json(&format!("--{name}"), given)?));
        }
    }
    let body = format!("{{{}}}", members.join(","));
    let done = server.send(Method::POST, &format!("/invoke/{}", slug(function)?), Some(&body))?;
    let runs: Vec<String> = list(&done["run_ids"]).iter().map(text).collect();
    let text = match runs.as_slice() {
        [] => format!("Event {} is stored; it has started no run. inngest explain tells why.\n", text(&done["id"])),
        runs => format!("{}\n", runs.join("\n")),
    };
    Ok((done, text))
}

fn hold(verb: &str, matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let function = flags::text(matches, "function").unwrap_or_default();
    let body = match verb {
        "pause" => json!({ "new_runs": flags::text(matches, "new-runs") }),
        _ => json!({}),
    };
    let done = server.ask(Method::POST, &format!("/v1/functions/{}/{verb}", slug(function)?), Some(&body))?;
    let name = plain(done["id"].as_str().unwrap_or(function));
    let text = match (done["hold"]["kind"].as_str(), done["hold"]["new_runs"].as_str()) {
        (Some("paused"), Some("skip")) => format!("{name} is paused; new runs are skipped.\n"),
        (Some("paused"), _) => format!("{name} is paused; new runs wait.\n"),
        (Some("draining"), _) => format!("{name} is draining: new runs are skipped, those that exist go on.\n"),
        _ => format!("{name} goes on.\n"),
    };
    Ok((done, text))
}
