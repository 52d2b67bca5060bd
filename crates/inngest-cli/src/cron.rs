//! `inngest cron`: the times of a schedule, or schedules held against a file of cases.

use clap::{Arg, ArgMatches, Command};
use inngest_expr::cases;
use inngest_expr::cron::{Schedule, Zone};
use serde_json::json;

use crate::client::Told;
use crate::output::rfc3339;
use crate::{expr, flags, input};

pub(crate) fn command() -> Command {
    let next = Command::new("next")
        .about("Tell the next times of a schedule, in UTC.")
        .arg(
            Arg::new("schedule")
                .value_name("SCHEDULE")
                .required(true)
                .help("Such as \"0 9 * * 1-5\", \"@daily\" or \"TZ=Europe/Paris 0 9 * * *\"."),
        )
        .arg(Arg::new("from").long("from").value_name("TIME").help("Times after this one. [default: now]"))
        .arg(
            Arg::new("count")
                .long("count")
                .value_name("N")
                .value_parser(clap::value_parser!(u16).range(1..=1_000))
                .default_value("5")
                .help("So many times."),
        )
        .arg(
            Arg::new("tz")
                .long("tz")
                .value_name("ZONE")
                .help("Time zone of a schedule that names none. [default: UTC]"),
        )
        .after_help(flags::examples(&[
            "inngest cron next '0 9 * * 1-5'",
            "inngest cron next '30 2 * * *' --tz Europe/Berlin --from 2026-03-28T00:00:00Z --count 3",
        ]));
    let check = expr::check_command("schedules", "`spec`, `from`, `next` and `registrable`")
        .after_help(flags::examples(&["inngest cron check schedules.json"]));
    Command::new("cron").about("Try schedules.").subcommand_required(true).subcommand(next).subcommand(check)
}

pub(crate) fn run(matches: &ArgMatches) -> Result<Told, String> {
    match matches.subcommand() {
        Some(("next", matches)) => next(matches),
        Some(("check", matches)) => expr::check(matches, "spec", cases::check_schedule),
        _ => Err("next or check?".to_owned()),
    }
}

fn next(matches: &ArgMatches) -> Result<Told, String> {
    let text = flags::text(matches, "schedule").unwrap_or_default();
    let zone = flags::text(matches, "tz").map_or_else(|| Ok(Zone::utc()), Zone::named);
    let zone = zone.map_err(|error| format!("--tz: {error}; one is such as Europe/Berlin"))?;
    let schedule = Schedule::parse_in(text, &zone).map_err(|error| error.to_string())?;
    let from = flags::text(matches, "from").map(input::moment).transpose();
    let from = from.map_err(|problem| format!("--from: {problem}"))?.unwrap_or_else(input::now);
    let count = matches.get_one::<u16>("count").copied().map_or(0, usize::from);
    let times = std::iter::successors(schedule.next(from), |after| schedule.next(*after));
    let times: Vec<String> = times.take(count).map(rfc3339).collect();
    let told = match times.as_slice() {
        [] => "It has no time within five years.\n".to_owned(),
        times => format!("{}\n", times.join("\n")),
    };
    Ok((json!({ "schedule": text, "times": times }), told))
}
