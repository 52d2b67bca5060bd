//! `inngest events`: they are sent, listed and shown.

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::client::{self, Query, Server, Told, encoded, ulid};
use crate::output::{Table, clock, fact, list, plain, text, took};
use crate::{flags, input};

/// A dev server takes any key.
const DEV_KEY: &str = "dev";

pub(crate) fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let send = Command::new("send")
        .about("Send an event, or all those of a file.")
        .arg(Arg::new("name").value_name("NAME").help("Name of the event.").required_unless_present("file"))
        .arg(option("data", "JSON|FILE", "Data of the event; - reads stdin.").default_value("{}"))
        .arg(option("user", "JSON|FILE", "User of the event."))
        .arg(option("id", "ID", "Id of the event: a second one of the same id starts nothing for 24 hours."))
        .arg(option("ts", "TIME", "Time of the event; one in the future starts its runs then."))
        .arg(
            option("file", "FILE", "An event or an array of events, as JSON; - reads stdin.")
                .conflicts_with_all(["name", "user", "id", "ts"]),
        )
        .arg(
            option("event-key", "KEY", "Key of the server. [env: INNGEST_EVENT_KEY]")
                .env("INNGEST_EVENT_KEY")
                .hide_env(true)
                .hide_env_values(true),
        )
        .arg(client::url())
        .after_help(flags::examples(&[
            "inngest events send shop/order.seen",
            "inngest events send shop/order.placed --data '{\"item\":\"tea\",\"amount\":2}' --id order-7",
        ]));
    let listing = Command::new("list")
        .visible_alias("ls")
        .about("List events, the newest first.")
        .arg(option("name", "NAME", "Only those of this name."))
        .args(flags::period("Only those received", "1h"))
        .arg(
            Arg::new("internal")
                .long("internal")
                .action(ArgAction::SetTrue)
                .help("Those of the server (inngest/..) too."),
        )
        .args(flags::page())
        .arg(client::url())
        .after_help(flags::examples(&[
            "inngest events list",
            "inngest events list --name shop/order.placed --since 2h --limit 5",
        ]));
    let get = Command::new("get")
        .about("Show an event and the runs that it started.")
        .arg(Arg::new("id").value_name("ID").required(true).help("Id of the event, as the server gave it."))
        .arg(client::url())
        .after_help(flags::examples(&["inngest events get 01KB1Q2M7V4T0R4Y7Z0QJ5X3CD"]));
    Command::new("events")
        .about("Send, list or show events.")
        .subcommand_required(true)
        .subcommand(send)
        .subcommand(listing)
        .subcommand(get)
}

pub(crate) fn run(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    match matches.subcommand() {
        Some(("send", matches)) => send(matches, server),
        Some(("list", matches)) => list_all(matches, server),
        Some(("get", matches)) => get(matches, server),
        _ => Err("send, list or get?".to_owned()),
    }
}

fn send(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let body = match flags::text(matches, "file") {
        Some(file) => input::file(file)?,
        None => event(matches)?,
    };
    let key = flags::text(matches, "event-key").filter(|key| !key.is_empty()).unwrap_or(DEV_KEY);
    let done = server.send(Method::POST, &format!("/e/{}", encoded(key)), Some(&body))?;
    let ids: Vec<String> = list(&done["ids"]).iter().map(text).collect();
    let told = ids.iter().map(|id| format!("{id}\n")).collect();
    Ok((json!({ "ids": ids }), told))
}

/// The event that the flags describe. Numbers go as they were written.
fn event(matches: &ArgMatches) -> Result<String, String> {
    let mut members = Vec::new();
    for (name, is_json) in [("name", false), ("data", true), ("user", true), ("id", false)] {
        if let Some(given) = flags::text(matches, name) {
            let value = if is_json {
                input::json(&format!("--{name}"), given)?.get().to_owned()
            } else {
                Value::from(given).to_string()
            };
            members.push(format!("\"{name}\":{value}"));
        }
    }
    if let Some(ts) = flags::text(matches, "ts") {
        members.push(format!("\"ts\":{}", input::moment(ts).map_err(|problem| format!("--ts: {problem}"))?));
    }
    Ok(format!("{{{}}}", members.join(",")))
}

fn list_all(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let (since, until) = flags::bounds(matches)?;
    let internal = matches.get_flag("internal").then_some("true");
    let query = Query::default()
        .with_some("name", flags::text(matches, "name"))
        .with_some("received_after", since.as_deref())
        .with_some("received_before", until.as_deref())
        .with_some("include_internal", internal);
    let (limit, cursor) = flags::limits(matches);
    let (events, cursor) = server.list("/v1/events", &query, limit, cursor)?;
    let mut table = Table::new(["EVENT", "RECEIVED (UTC)", "NAME", "DATA"]);
    for event in &events {
        let data = plain(&event["data"].to_string());
        table.push([text(&event["internal_id"]), clock(&event["received_at"]), text(&event["name"]), data]);
    }
    Ok(flags::listed(&table, &events, cursor.as_deref()))
}

fn get(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let id = ulid("an event", flags::text(matches, "id").unwrap_or_default())?;
    let mut event = server.ask(Method::GET, &format!("/v1/events/{id}"), None)?;
    let runs = server.ask(Method::GET, &format!("/v1/events/{id}/runs"), None)?;
    let mut out = String::new();
    fact(&mut out, "Event", &text(&event["internal_id"]));
    fact(&mut out, "Name", &text(&event["name"]));
    fact(&mut out, "Id", &text(&event["id"]));
    fact(&mut out, "Received", &clock(&event["received_at"]));
    fact(&mut out, "Data", &plain(&event["data"].to_string()));
    if list(&runs).is_empty() {
        out.push_str("\nIt has started no run. inngest explain tells why.\n");
    } else {
        let mut table = Table::new(["RUN", "STATUS", "FUNCTION", "TOOK"]);
        for run in list(&runs) {
            let took = took(&run["queued_at"], &run["ended_at"]);
            table.push([text(&run["run_id"]), text(&run["status"]), text(&run["function_slug"]), took]);
        }
        out.push('\n');
        out.push_str(&table.print());
    }
    event["runs"] = runs;
    Ok((event, out))
}
