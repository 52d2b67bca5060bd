//! `cargo xtask ..`: everything that is not the product: the checks of a change, benchmarks, coverage.

mod bench;
mod checks;
mod coverage;
mod openapi;
mod process;
mod sdk;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks around the product.")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run everything a change must pass.
    Test(test::Options),
    /// Measure the server, alone or in turns with another one.
    Bench(bench::Options),
    /// Measure which lines the tests run.
    Coverage,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match process::root().and_then(|root| Ok(std::env::set_current_dir(root)?)).and_then(|()| run(&arguments.command)) {
        Ok(true) => ExitCode::SUCCESS,
        // The command has said what is wrong; its last line stays the last one.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the command found everything in order.
fn run(task: &Task) -> anyhow::Result<bool> {
    match task {
        Task::Test(options) => test::run(options),
        Task::Bench(options) => bench::run(options),
        Task::Coverage => coverage::run(),
    }
}
