//! The command line: flags come from the table of options, and mistakes are explained as the Go CLI does.

use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use inngest_config::spec::{DEV, Kind, NOT_FLAGS_OF_DEV, Spec, variable};

/// An unknown command.
const EXIT_UNKNOWN_COMMAND: u8 = 3;

pub(crate) fn command() -> Command {
    Command::new("inngest")
        .about("Durable functions: events in, steps that are never forgotten.")
        .version(crate::VERSION)
        .disable_version_flag(true)
        .arg(Arg::new("version").short('v').long("version").action(ArgAction::Version).help("Print the version."))
        .arg(switch("json", "Write logs as JSON, also on a terminal.").global(true))
        .arg(switch("verbose", "Log at level debug.").global(true))
        .arg(
            Arg::new("log-level")
                .short('l')
                .long("log-level")
                .value_name("LEVEL")
                .global(true)
                .help("trace, debug, info, warn or error. LOG_LEVEL in the environment counts more. [default: info]"),
        )
        .subcommand(dev())
        .subcommand(Command::new("version").about("Print the version."))
}

fn dev() -> Command {
    let mut command = Command::new("dev")
        .about("Run the development server.")
        .after_help(
            "Every option is also a key of inngest.json, .yaml or .toml, and a variable INNGEST_<NAME>.\n\
             Flags count more than variables, and those more than files.",
        )
        .arg(Arg::new("config").long("config").value_name("FILE").help("Read options from this file."));
    for spec in DEV.iter().filter(|spec| !NOT_FLAGS_OF_DEV.contains(&spec.name)) {
        command = command.arg(flag(spec));
    }
    command
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(BoolishValueParser::new())
        .hide_possible_values(true)
        .help(help)
}

fn flag(spec: &'static Spec) -> Arg {
    let shown = match (spec.default, spec.kind) {
        ("", _) | (_, Kind::Bool) => spec.help.to_owned(),
        (default, _) => format!("{} [default: {default}]", spec.help),
    };
    let help = format!("{shown} [env: {}]", variable(spec.name));
    let mut arg = match spec.kind {
        Kind::Bool => switch(spec.name, "").value_parser(clap::value_parser!(String)),
        Kind::Number => Arg::new(spec.name).long(spec.name).value_name("N").allow_negative_numbers(true),
        Kind::Text => Arg::new(spec.name).long(spec.name).value_name("TEXT"),
        Kind::List => Arg::new(spec.name).long(spec.name).value_name("LIST").action(ArgAction::Append),
    };
    if let Some(short) = spec.short {
        arg = arg.short(short);
    }
    arg.help(help).hide(spec.hidden).visible_aliases(spec.aliases.iter().copied().filter(|alias| *alias != "urls"))
}

/// The flags that were given, as the table names them.
pub(crate) fn given(matches: &ArgMatches) -> Vec<(&'static str, Vec<String>)> {
    let flags = DEV.iter().filter(|spec| !NOT_FLAGS_OF_DEV.contains(&spec.name));
    flags
        .filter_map(|spec| {
            let values = matches.get_many::<String>(spec.name)?;
            Some((spec.name, values.cloned().collect()))
        })
        .collect()
}

/// Long flags may be written with one dash, as Go programs allow: `-port 8288`.
pub(crate) fn normalise(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let globals = ["json", "verbose", "log-level", "version", "help", "config"];
    let known = |name: &str| {
        globals.contains(&name) || DEV.iter().any(|spec| spec.name == name || spec.aliases.contains(&name))
    };
    arguments
        .map(|argument| {
            let long = argument.strip_prefix('-').filter(|rest| rest.len() > 1 && !rest.starts_with('-'));
            match long {
                Some(rest) if known(rest.split('=').next().unwrap_or(rest)) => format!("-{argument}"),
                _ => argument,
            }
        })
        .collect()
}

/// Says what is wrong with a command line, and returns the exit code for it.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print!("{error}");
            ExitCode::SUCCESS
        }
        ErrorKind::InvalidSubcommand => {
            eprintln!("No help topic for '{}'", context(ContextKind::InvalidSubcommand));
            ExitCode::from(EXIT_UNKNOWN_COMMAND)
        }
        ErrorKind::UnknownArgument => {
            let flag = context(ContextKind::InvalidArg);
            let text = format!("flag provided but not defined: -{}", flag.trim_start_matches('-'));
            eprintln!("Incorrect Usage: {text}\n\n{error}");
            println!("{text}");
            ExitCode::FAILURE
        }
        _ => {
            eprintln!("Incorrect Usage: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Vec<(&'static str, Vec<String>)> {
        let arguments = normalise(line.split(' ').map(str::to_owned));
        let matches = command().try_get_matches_from(arguments).unwrap();
        given(matches.subcommand_matches("dev").unwrap())
    }

    #[test]
    fn flags_are_read_in_every_form() {
        let port = vec![("port", vec!["9".to_owned()])];
        for line in [
            "inngest dev --port 9",
            "inngest dev --port=9",
            "inngest dev -port 9",
            "inngest dev -p 9",
            "inngest dev -port=9",
        ] {
            assert_eq!(flags(line), port, "{line}");
        }
        let urls = vec![("sdk-url", vec!["a".to_owned(), "b,c".to_owned()])];
        assert_eq!(flags("inngest dev -u a -sdk-url b,c"), urls);
        assert_eq!(flags("inngest dev --no-poll"), vec![("no-poll", vec!["true".to_owned()])]);
        assert_eq!(flags("inngest dev --no-poll=false"), vec![("no-poll", vec!["false".to_owned()])]);
        assert_eq!(flags("inngest --verbose dev --data-dir x -l debug"), vec![("sqlite-dir", vec!["x".to_owned()])]);
    }

    #[test]
    fn the_help_lists_every_visible_option() {
        let help = command().find_subcommand_mut("dev").unwrap().render_long_help().to_string();
        for spec in DEV.iter().filter(|spec| !spec.hidden) {
            assert!(help.contains(&format!("--{}", spec.name)), "{}", spec.name);
        }
        command().debug_assert();
    }
}
