//! `inngest completion` and `inngest man`: what shells and manuals know of the commands.

use std::path::Path;

use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;
use serde_json::json;

use crate::client::Told;
use crate::{args, flags};

pub(crate) fn command() -> Command {
    Command::new("completion")
        .about("Print a script that completes commands in your shell.")
        .arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(["bash", "zsh", "fish", "powershell"]))
        .after_help(flags::examples(&[
            "inngest completion bash > inngest.bash",
            "inngest completion zsh > _inngest",
            "inngest completion fish > inngest.fish",
            "inngest completion powershell > inngest.ps1",
        ]))
}

pub(crate) fn man_command() -> Command {
    Command::new("man")
        .about("Print the manual page, or write those of all commands.")
        .arg(Arg::new("dir").long("dir").value_name("DIR").help("Write the pages of all commands here."))
        .after_help(flags::examples(&["inngest man > inngest.1", "inngest man --dir man1"]))
}

pub(crate) fn run(matches: &ArgMatches) -> Result<Told, String> {
    let shell: Shell = flags::text(matches, "shell").unwrap_or_default().parse()?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "inngest", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    Ok((json!({ "script": script }), script))
}

pub(crate) fn man(matches: &ArgMatches) -> Result<Told, String> {
    match flags::text(matches, "dir") {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(args::command()).render(&mut page).map_err(|error| error.to_string())?;
            let page = String::from_utf8_lossy(&page).into_owned();
            Ok((json!({ "page": page }), page))
        }
        Some(dir) => {
            let write =
                std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(args::command(), Path::new(dir)));
            write.map_err(|error| format!("{dir} cannot be written: {error}"))?;
            Ok((json!({ "dir": dir }), String::new()))
        }
    }
}
