//! `inngest functions`: functions are paused, resumed and drained.

use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};
use ureq::http::Method;

use crate::client::{self, Server, plain};

pub(crate) fn command() -> Command {
    let function =
        || Arg::new("function").value_name("FUNCTION").required(true).help("Id of the function: <app>-<function>.");
    let held =
        |name: &'static str, about: &'static str| Command::new(name).about(about).arg(function()).arg(client::url());
    let new_runs = Arg::new("new-runs")
        .long("new-runs")
        .value_name("CHOICE")
        .value_parser(["queue", "skip"])
        .default_value("queue")
        .help("What becomes of new runs meanwhile: they wait, or are skipped.");
    Command::new("functions")
        .about("Pause, resume or drain a function.")
        .subcommand_required(true)
        .subcommand(held("pause", "Make no calls for a function until it is resumed.").arg(new_runs))
        .subcommand(held("resume", "Let a paused or draining function go on."))
        .subcommand(held("drain", "Start no new runs of a function; those that exist go on."))
}

pub(crate) fn run(matches: &ArgMatches, server: &Server) -> Result<(Value, String), String> {
    let Some((verb, matches)) = matches.subcommand() else { return Err("pause, resume or drain?".to_owned()) };
    let function = matches.get_one::<String>("function").map(String::as_str).unwrap_or_default();
    // What is no id must not become another path.
    if !is_id(function) {
        return Err(format!("{function:?} is no id of a function; one is such as shop-order"));
    }
    let body = match verb {
        "pause" => json!({ "new_runs": matches.get_one::<String>("new-runs") }),
        _ => json!({}),
    };
    let done = server.ask(Method::POST, &format!("/v1/functions/{}/{verb}", encoded(function)), Some(&body))?;
    let name = plain(done["id"].as_str().unwrap_or(function));
    let text = match (done["hold"]["kind"].as_str(), done["hold"]["new_runs"].as_str()) {
        (Some("paused"), Some("skip")) => format!("{name} is paused; new runs are skipped.\n"),
        (Some("paused"), _) => format!("{name} is paused; new runs wait.\n"),
        (Some("draining"), _) => format!("{name} is draining: new runs are skipped, those that exist go on.\n"),
        _ => format!("{name} goes on.\n"),
    };
    Ok((done, text))
}

/// An id may have any letters; but clients take parts of a path that are only dots for another one.
fn is_id(text: &str) -> bool {
    text.chars().any(|letter| letter != '.')
}

/// An id as one part of a path.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_one_part_of_a_path() {
        for (id, expected) in
            [("shop-order", "shop-order"), ("a_b.c", "a_b.c"), ("größe", "gr%C3%B6%C3%9Fe"), ("a b/c?", "a%20b%2Fc%3F")]
        {
            assert_eq!((is_id(id), encoded(id).as_str()), (true, expected));
        }
        for text in ["", ".", ".."] {
            assert!(!is_id(text), "{text}");
        }
    }
}
