//! `inngest doctor`: is the server well, and what stands in the way.

mod checks;
mod healthcheck;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};

use crate::{args, flags, input};

/// A check: its name, and what it finds wrong.
type Check = (&'static str, fn(&Target) -> Vec<String>);

/// In the order in which causes come before their consequences.
const CHECKS: [Check; 5] = [
    ("healthcheck", healthcheck::run),
    ("config", checks::config),
    ("store", checks::store),
    ("clock", checks::clock),
    ("apps", checks::apps),
];

/// The server that is looked at.
struct Target {
    scheme: String,
    host: String,
    port: u16,
    gateway_port: u16,
    skips_gateway: bool,
    is_verbose: bool,
    timeout: Duration,
}

pub(crate) fn command() -> Command {
    let healthcheck = Command::new("healthcheck")
        .about("Tell with the exit code alone whether the server is up: for health checks of containers.")
        .args(target())
        .after_help(flags::examples(&["inngest doctor healthcheck", "inngest doctor healthcheck --timeout 1s"]));
    Command::new("doctor")
        .visible_alias("dr")
        .about("Check a server and this machine's configuration of it.")
        .args(target())
        .subcommand(healthcheck)
        .after_help(flags::examples(&["inngest doctor", "inngest doctor --host 127.0.0.1 --verbose"]))
}

fn target() -> [Arg; 6] {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let from = |arg: Arg, variable: &'static str| arg.env(variable).hide_env_values(true);
    let port = |arg: Arg| arg.value_parser(clap::value_parser!(u16).range(1..));
    [
        from(option("host", "HOST", "Where the server is.").default_value("127.0.0.1"), "INNGEST_HOST"),
        port(from(option("port", "N", "Port of its API.").default_value("8288"), "INNGEST_PORT")),
        port(from(
            option("connect-gateway-port", "N", "Port of its Connect gateway.").default_value("8289"),
            "INNGEST_CONNECT_GATEWAY_PORT",
        )),
        option("scheme", "SCHEME", "How it is spoken to.").default_value("http").value_parser(["http", "https"]),
        option("timeout", "TIME", "A probe that takes longer has failed.")
            .default_value("5s")
            .value_parser(input::span),
        args::switch("skip-connect-gateway", "Do not look at the Connect gateway."),
    ]
}

impl Target {
    fn of(matches: &ArgMatches) -> Self {
        let on = |name| matches.get_one(name).copied().unwrap_or(false);
        Self {
            scheme: flags::text(matches, "scheme").unwrap_or("http").to_owned(),
            host: dialled(flags::text(matches, "host").unwrap_or_default()),
            port: matches.get_one("port").copied().unwrap_or_default(),
            gateway_port: matches.get_one("connect-gateway-port").copied().unwrap_or_default(),
            skips_gateway: on("skip-connect-gateway"),
            is_verbose: on("verbose"),
            timeout: matches.get_one("timeout").copied().unwrap_or_default(),
        }
    }

    fn api(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host, self.port)
    }

    fn gateway(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host, self.gateway_port)
    }
}

/// A host to connect to: one that means all interfaces is this machine, and addresses of IPv6 are in brackets.
fn dialled(host: &str) -> String {
    match host.trim_matches(['[', ']']) {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    }
}

pub(crate) fn run(matches: &ArgMatches) -> ExitCode {
    if let Some((_, matches)) = matches.subcommand() {
        let problems = healthcheck::run(&Target::of(matches));
        problems.iter().for_each(|problem| args::err(&format!("{problem}\n")));
        return if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let target = Target::of(matches);
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        let problems = check(&target);
        args::out(&format!("• {name} ... {}\n", if problems.is_empty() { "OK" } else { "FAIL" }));
        problems.iter().for_each(|problem| args::err(&format!("{problem}\n")));
        if !problems.is_empty() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    args::err(&format!("{} check(s) failed: {}\n", failed.len(), failed.join(", ")));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_interfaces_are_dialled_as_this_machine() {
        let table = [
            ("0.0.0.0", "127.0.0.1"),
            ("", "127.0.0.1"),
            ("::", "[::1]"),
            ("[::]", "[::1]"),
            ("fd00::1", "[fd00::1]"),
            ("db.internal", "db.internal"),
        ];
        for (host, expected) in table {
            assert_eq!(dialled(host), expected);
        }
    }
}
