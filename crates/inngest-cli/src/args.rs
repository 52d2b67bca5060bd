//! The command line: flags come from the table of options, and mistakes are explained as the Go CLI does.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use inngest_config::spec::{DEV, Kind, NOT_FLAGS_OF_DEV, Spec, variable};

use crate::flags;

/// An unknown command.
const EXIT_UNKNOWN_COMMAND: u8 = 3;
/// Flags of all commands come after their own ones in the help.
const LAST: usize = 1_000;

pub(crate) fn command() -> Command {
    Command::new("inngest")
        .about("Durable functions: events in, steps that are never forgotten.")
        .version(crate::VERSION)
        .disable_version_flag(true)
        .arg(Arg::new("version").short('v').long("version").action(ArgAction::Version).help("Print the version."))
        .arg(
            switch("json", "Write logs as JSON, also on a terminal; and what commands tell.")
                .global(true)
                .display_order(LAST),
        )
        .arg(switch("verbose", "Log at level debug.").global(true).display_order(LAST))
        .arg(
            Arg::new("log-level")
                .short('l')
                .long("log-level")
                .value_name("LEVEL")
                .global(true)
                .display_order(LAST)
                .help("trace, debug, info, warn or error. LOG_LEVEL in the environment counts more. [default: info]"),
        )
        .subcommand(dev())
        .subcommand(crate::runs::command())
        .subcommand(crate::events::command())
        .subcommand(crate::functions::command())
        .subcommand(crate::apps::command())
        .subcommand(crate::explain::command())
        .subcommand(crate::api::command())
        .subcommand(crate::expr::command())
        .subcommand(crate::cron::command())
        .subcommand(crate::ping::command())
        .subcommand(crate::doctor::command())
        .subcommand(crate::conformance::command())
        .subcommand(crate::completion::command())
        .subcommand(crate::completion::man_command())
        .subcommand(alpha())
        .subcommand(
            Command::new("version").about("Print the version.").after_help(flags::examples(&["inngest version"])),
        )
}

/// What `inngest alpha api` prints.
pub(crate) const MOVED: &str = "This command has moved to `inngest api`.";

/// Where the Go CLI has some of the commands.
fn alpha() -> Command {
    Command::new("alpha")
        .hide(true)
        .subcommand_required(true)
        .subcommand(crate::doctor::command())
        .subcommand(crate::conformance::command())
        .subcommand(Command::new("api").hide(true).about(MOVED))
}

fn dev() -> Command {
    let mut command = Command::new("dev")
        .about("Run the development server.")
        .after_help(
            "Every option is also a key of inngest.json, .yaml or .toml, and a variable INNGEST_<NAME>.\n\
             Flags count more than variables, and those more than files.\n\n"
                .to_owned()
                + &flags::examples(&[
                    "inngest dev",
                    "inngest dev --demo",
                    "inngest dev -u http://localhost:3000/api/inngest --no-discovery --persist",
                ]),
        )
        .arg(Arg::new("config").long("config").value_name("FILE").help("Read options from this file."));
    for spec in DEV.iter().filter(|spec| !NOT_FLAGS_OF_DEV.contains(&spec.name)) {
        command = command.arg(flag(spec));
    }
    command
}

pub(crate) fn switch(name: &'static str, help: &'static str) -> Arg {
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

/// Long flags may be written with one dash, as Go programs allow: `-port 8288`. Text that is no UTF-8 is left
/// to the parser, which refuses it.
pub(crate) fn normalise(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let last = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    if arguments[..last].iter().any(|argument| flag_of_one_dash(argument).is_some()) {
        let known = Flags::of(&command());
        for argument in &mut arguments[..last] {
            if let Some(flag) = flag_of_one_dash(argument).filter(|flag| known.is_long(flag)) {
                *argument = format!("--{flag}").into();
            }
        }
    }
    // The Go CLI's short form of `help`.
    if let Some(command) = arguments.get_mut(1).filter(|command| *command == "h") {
        *command = "help".into();
    }
    arguments
}

/// What may be a long flag that is written with one dash, and its value: `port=1` of `-port=1`.
fn flag_of_one_dash(argument: &OsStr) -> Option<&str> {
    let rest = argument.to_str()?.strip_prefix('-').filter(|rest| rest.len() > 1)?;
    let name = rest.split('=').next().unwrap_or(rest);
    // Texts that begin with a dash may be values: numbers, expressions.
    let is_flag = name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_flag.then_some(rest)
}

/// The flags of all commands.
#[derive(Default)]
struct Flags {
    long: BTreeSet<String>,
    short: BTreeSet<char>,
}

impl Flags {
    fn of(command: &Command) -> Self {
        let mut flags = Self::default();
        flags.long.extend(["help".to_owned()]);
        flags.short.extend(['h']);
        flags.add(command);
        flags
    }

    fn add(&mut self, command: &Command) {
        for arg in command.get_arguments() {
            self.long.extend(arg.get_long().map(str::to_owned));
            self.long.extend(arg.get_all_aliases().into_iter().flatten().map(str::to_owned));
            self.short.extend(arg.get_short());
        }
        command.get_subcommands().for_each(|command| self.add(command));
    }

    /// `-p8288` is a short flag with its value. What begins like no short flag is a long one that nobody knows.
    fn is_long(&self, flag: &str) -> bool {
        let name = flag.split('=').next().unwrap_or(flag);
        self.long.contains(name) || flag.chars().next().is_none_or(|first| !self.short.contains(&first))
    }
}

/// Says what is wrong with a command line, and returns the exit code for it.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => out(&error.to_string()),
        ErrorKind::InvalidSubcommand => {
            // The most similar one is the last.
            let close = context(ContextKind::SuggestedSubcommand);
            let close = close.rsplit(", ").next().filter(|close| !close.is_empty());
            let hint = close.map_or_else(String::new, |close| format!("Did you mean '{close}'?\n"));
            err(&format!("No help topic for '{}'\n{hint}", context(ContextKind::InvalidSubcommand)));
            ExitCode::from(EXIT_UNKNOWN_COMMAND)
        }
        ErrorKind::UnknownArgument => {
            let argument = context(ContextKind::InvalidArg);
            let text = match argument.strip_prefix('-') {
                Some(flag) => format!("flag provided but not defined: -{}", flag.trim_start_matches('-')),
                None => format!("unexpected argument {argument:?}"),
            };
            err(&format!("Incorrect Usage: {text}\n\n{error}"));
            out(&format!("{text}\n"));
            ExitCode::FAILURE
        }
        _ => {
            err(&format!("Incorrect Usage: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to stdout. A reader that has gone away (`inngest --help | head -1`) is no failure; a full disk is.
pub(crate) fn out(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            err(&format!("Error: stdout cannot be written: {error}\n"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Writes to stderr, which may be closed as well.
pub(crate) fn err(text: &str) {
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Vec<(&'static str, Vec<String>)> {
        let arguments = normalise(line.split(' ').map(OsString::from));
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
            "inngest dev -p9",
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
    fn one_dash_is_enough_for_long_flags() {
        let table = [
            ("-port", "--port"),
            ("-sdk-url=a", "--sdk-url=a"),
            ("-json", "--json"),
            ("-bogus", "--bogus"),
            ("-p8288", "-p8288"),
            ("-ldebug", "-ldebug"),
            ("-v", "-v"),
            ("--port", "--port"),
            ("-", "-"),
            ("--", "--"),
            ("dev", "dev"),
        ];
        for (given, expected) in table {
            assert_eq!(normalise(["inngest".into(), given.into()].into_iter())[1], expected, "{given}");
        }
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
