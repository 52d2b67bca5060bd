//! `inngest api`: one command for each operation of REST v2, as the table of operations has them.

mod command;
mod request;
mod target;

use std::process::ExitCode;
use std::sync::LazyLock;

use clap::ArgMatches;
use inngest_api::operation::{Availability, Operation, Parameter, Place};
use inngest_api::v2::operations;

pub(crate) use command::command;

use crate::args;
use crate::output::plain_lines;

/// An operation as a command.
struct Endpoint {
    name: &'static str,
    operation: &'static Operation,
    fields: Vec<Field>,
}

/// A parameter, or a member of the body, as a flag.
struct Field {
    parameter: &'static Parameter,
    /// `run-id` for `runId`.
    flag: String,
}

static ENDPOINTS: LazyLock<Vec<Endpoint>> = LazyLock::new(|| operations().filter_map(Endpoint::of).collect());

impl Endpoint {
    fn of(operation: &'static Operation) -> Option<Self> {
        let field = |parameter: &'static Parameter| Field { parameter, flag: command::flag(&parameter.name) };
        let fields = operation.arguments().map(field).collect();
        Some(Self { name: operation.cli?.command, operation, fields })
    }

    /// What the path names, in its order.
    fn positional(&self) -> impl Iterator<Item = &Field> {
        let of = |parameter: &Parameter| {
            self.fields
                .iter()
                .find(|field| field.parameter.place == Place::Path && field.parameter.name == parameter.name)
        };
        self.operation.positional().filter_map(of)
    }
}

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    match ask(matches) {
        Ok(answer) => args::out(&answer),
        Err(problem) => {
            args::err(&format!("Error: {}\n", plain_lines(&problem)));
            ExitCode::FAILURE
        }
    }
}

/// The answer, as it is printed.
fn ask(matches: &ArgMatches) -> Result<String, String> {
    let (name, matches) = matches.subcommand().ok_or_else(|| "which endpoint?".to_owned())?;
    let endpoint = ENDPOINTS.iter().find(|endpoint| endpoint.name == name);
    let endpoint = endpoint.ok_or_else(|| format!("{name}: unknown endpoint"))?;
    let target = target::Target::of(matches)?;
    if endpoint.operation.availability == Availability::CloudOnly && !target.is_cloud {
        return Err(format!("{name}: not supported by this server"));
    }
    let answer = target.send(request::of(endpoint, matches)?)?;
    Ok(if matches.get_flag("raw") { answer } else { format!("{}\n", pretty(&answer)) })
}

/// JSON with line breaks and an indent of two. Nothing else of it is touched: neither numbers nor the order of members.
fn pretty(json: &str) -> String {
    let (mut out, mut depth, mut is_text, mut is_escaped) =
        (String::with_capacity(json.len() * 2), 0_usize, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    let mut letters = json.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        if is_text {
            out.push(letter);
            is_text = is_escaped || letter != '"';
            is_escaped = letter == '\\' && !is_escaped;
            continue;
        }
        match letter {
            ' ' | '\n' | '\r' | '\t' => {}
            '{' | '[' => {
                out.push(letter);
                while letters.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                match letters.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                is_text = letter == '"';
                out.push(letter);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_json_is_the_same_json() {
        let json = r#"{"b":{"a":[1,12345678901234567890.10,"x,{\"}\\"],"none":[ ],"n":{}},"a":null}"#;
        let expected = r#"{
  "b": {
    "a": [
      1,
      12345678901234567890.10,
      "x,{\"}\\"
    ],
    "none": [],
    "n": {}
  },
  "a": null
}"#;
        assert_eq!(pretty(json), expected);
        assert_eq!(pretty(expected), expected);
        assert_eq!(pretty("7\n"), "7");
    }

    #[test]
    fn every_operation_with_a_command_is_one() {
        let names: Vec<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.name).collect();
        assert!(names.contains(&"get-function-run"), "{names:?}");
        command().debug_assert();
    }
}
