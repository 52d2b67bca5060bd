//! The `inngest` binary: commands, flags, output, exit codes.

mod api;
mod apps;
mod args;
mod client;
mod completion;
mod conformance;
mod cron;
mod dev;
mod doctor;
mod events;
mod explain;
mod expr;
mod flags;
mod functions;
mod input;
mod log;
mod output;
mod ping;
mod runs;

use std::process::ExitCode;

use clap::ArgMatches;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `<version>-<short hash>`; a build without a hash ends with the dash.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-");

fn main() -> ExitCode {
    let arguments = args::normalise(std::env::args_os());
    let matches = match args::command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return args::explain(&error),
    };
    run(&matches)
}

fn run(matches: &ArgMatches) -> ExitCode {
    match matches.subcommand() {
        Some(("alpha", matches)) if matches.subcommand_name() == Some("api") => {
            args::out(&format!("{}\n", args::MOVED))
        }
        Some(("alpha", matches)) => run(matches),
        Some(("dev", matches)) => dev::run(matches),
        Some(("api", matches)) => api::run(matches),
        Some(("runs", matches)) => client::answer(matches, runs::run),
        Some(("apps", matches)) => client::answer(matches, apps::run),
        Some(("events", matches)) => client::answer(matches, events::run),
        Some(("functions", matches)) => client::answer(matches, functions::run),
        Some(("explain", matches)) => client::answer(matches, explain::run),
        Some(("ping", matches)) => client::answer(matches, ping::run),
        Some(("conformance", matches)) => conformance::run(matches),
        Some(("doctor", matches)) => doctor::run(matches),
        Some(("expr", matches)) => client::tell(matches, expr::run(matches)),
        Some(("cron", matches)) => client::tell(matches, cron::run(matches)),
        Some(("completion", matches)) => client::tell(matches, completion::run(matches)),
        Some(("man", matches)) => client::tell(matches, completion::man(matches)),
        Some(("version", _)) => args::out(&format!("{VERSION}\n")),
        _ => args::out(&format!("{}\n", args::command().render_help())),
    }
}
