//! The flags and positional arguments of `inngest api`.

use clap::{Arg, ArgAction, Command};
use inngest_api::operation::{Availability, Place};
use ureq::http::Method;

use super::{ENDPOINTS, Endpoint, Field};
use crate::flags;

/// Flags that all endpoints have. A parameter of such a name is prefixed.
const COMMON: [&str; 16] = [
    "api-host",
    "api-port",
    "api-key",
    "body",
    "body-file",
    "config",
    "env",
    "help",
    "input",
    "json",
    "log-level",
    "prod",
    "raw",
    "signing-key",
    "timeout",
    "verbose",
];

/// Flags that all endpoints have come after their own ones in the help.
const AFTER_OWN: usize = 900;

/// The command; what is below it is made when it is asked for.
pub(crate) fn command() -> Command {
    Command::new("api").about("Ask the REST API (v2) of a server, an endpoint a command.").defer(with_endpoints)
}

fn with_endpoints(command: Command) -> Command {
    let common = |name: &'static str| Arg::new(name).long(name).global(true).display_order(AFTER_OWN);
    let option =
        |name: &'static str, value: &'static str, help: &'static str| common(name).value_name(value).help(help);
    let from = |arg: Arg, variable: &'static str| arg.env(variable).hide_env_values(true);
    let command = command
        .subcommand_required(true)
        .arg(common("prod").action(ArgAction::SetTrue).help("Ask Inngest Cloud."))
        .arg(option("config", "FILE", "Read api-host, api-port and prod from this file."))
        .arg(option("api-host", "HOST", "Where the API is: host, host:port or URL."))
        .arg(
            option("api-port", "PORT", "Port of a server on this machine.")
                .value_parser(clap::value_parser!(u16).range(1..)),
        )
        .arg(from(option("api-key", "KEY", "Key that is sent as it is."), "INNGEST_API_KEY"))
        .arg(from(option("signing-key", "KEY", "Key that is sent when there is no API key."), "INNGEST_SIGNING_KEY"))
        .arg(from(option("env", "NAME", "Environment that is meant."), "INNGEST_ENV"))
        .arg(option("timeout", "TIME", "How long the answer may take; 0 for ever. [default: 30s]"))
        .arg(common("raw").action(ArgAction::SetTrue).help("Print the answer as it came."))
        .after_help(flags::examples(&["inngest api get-function-runs --limit 5"]));
    ENDPOINTS.iter().map(endpoint_command).fold(command, Command::subcommand)
}

/// Examples of endpoints that change something; those that only read have one that follows from their paths.
const EXAMPLES: [(&str, &str); 3] = [
    ("invoke-function", "demo-store send-receipt --data '{\"item\":\"tea\"}'"),
    ("rerun", "01KB1Q2M7V4T0R4Y7Z0QJ5X3CD --from-step charge"),
    ("send-event", "--name shop/order.placed --data '{\"item\":\"tea\",\"amount\":2}'"),
];

/// A line that runs, with what the demo app has.
fn example(endpoint: &Endpoint) -> Option<String> {
    if let Some((name, arguments)) = EXAMPLES.iter().find(|(name, _)| *name == endpoint.name) {
        return Some(format!("inngest api {name} {arguments}"));
    }
    let is_read = endpoint.operation.availability == Availability::Served && endpoint.operation.method == Method::GET;
    let value = |field: &Field| match &*field.parameter.name {
        "appId" => Some(" demo-store"),
        "functionId" => Some(" process-order"),
        "runId" | "eventId" => Some(" 01KB1Q2M7V4T0R4Y7Z0QJ5X3CD"),
        _ => None,
    };
    let values: Option<String> = endpoint.positional().map(value).collect();
    values.filter(|_| is_read).map(|values| format!("inngest api {}{values}", endpoint.name))
}

fn endpoint_command(endpoint: &'static Endpoint) -> Command {
    let positional: Vec<String> = endpoint.positional().map(|field| format!(" <{}>", field.flag)).collect();
    let is_elsewhere = endpoint.operation.availability == Availability::CloudOnly;
    let about = format!("{}{}", endpoint.operation.summary, if is_elsewhere { " (Inngest Cloud only)" } else { "" });
    let usage = format!("inngest api {}{} [OPTIONS]", endpoint.name, positional.concat());
    let mut command = Command::new(endpoint.name)
        .about(about)
        .override_usage(usage)
        // What the path names, unless flags do.
        .arg(Arg::new("").num_args(0..).action(ArgAction::Append).hide(true));
    command = endpoint.fields.iter().map(field).fold(command, Command::arg);
    if let Some(example) = example(endpoint) {
        command = command.after_help(flags::examples(&[&example]));
    }
    if let Some(body) = &endpoint.operation.body {
        let whole = |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
        command = command
            .arg(whole("body", "JSON").help("The whole body; flags replace its members.").conflicts_with("body-file"))
            .arg(whole("body-file", "FILE").help("A file with the whole body; - reads stdin."));
        if body.members.iter().any(|member| member.name == FROM_STEP) {
            command = command.arg(whole("input", "JSON").help("Other arguments for that step, as an array."));
        }
    }
    command
}

/// The member of a rerun that is an object, which flags tell by the name of its step.
pub(super) const FROM_STEP: &str = "fromStep";

fn field(field: &'static Field) -> Arg {
    let parameter = field.parameter;
    let value = if parameter.name == FROM_STEP { "NAME" } else { value_name(&parameter.schema) };
    let arg = Arg::new(&*parameter.name).long(&*field.flag).value_name(value).help(&*parameter.description);
    let arg =
        if parameter.is_repeated && parameter.place == Place::Query { arg.action(ArgAction::Append) } else { arg };
    match value {
        "BOOL" => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        _ => arg.allow_hyphen_values(true),
    }
}

fn value_name(schema: &serde_json::Value) -> &'static str {
    match schema["type"].as_str() {
        Some("boolean") => "BOOL",
        Some("integer" | "number") => "N",
        Some("object" | "array") => "JSON",
        _ => "TEXT",
    }
}

/// `runId` as a flag: `run-id`.
pub(super) fn flag(name: &str) -> String {
    let mut flag = String::with_capacity(name.len() + 2);
    for letter in name.chars() {
        match letter {
            '_' => flag.push('-'),
            letter if letter.is_ascii_uppercase() => {
                flag.push('-');
                flag.push(letter.to_ascii_lowercase());
            }
            letter => flag.push(letter),
        }
    }
    if COMMON.contains(&&*flag) { format!("field-{flag}") } else { flag }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_flags_in_kebab_case() {
        let table = [("runId", "run-id"), ("limit", "limit"), ("step_id", "step-id"), ("timeout", "field-timeout")];
        for (name, expected) in table {
            assert_eq!(flag(name), expected);
        }
    }
}
