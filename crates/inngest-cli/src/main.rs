//! The `inngest` binary: commands, flags, output, exit codes.

mod args;
mod client;
mod dev;
mod explain;
mod functions;
mod log;

use std::process::ExitCode;

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
    match matches.subcommand() {
        Some(("dev", matches)) => dev::run(matches),
        Some(("explain", matches)) => client::answer(matches, explain::run),
        Some(("functions", matches)) => client::answer(matches, functions::run),
        Some(("version", _)) => {
            args::out(&format!("{VERSION}\n"));
            ExitCode::SUCCESS
        }
        _ => {
            args::out(&format!("{}\n", args::command().render_help()));
            ExitCode::SUCCESS
        }
    }
}
