//! `inngest apps`: which there are, where they are, and what stands in their way.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::client::{self, Query, Server, Told};
use crate::flags;
use crate::output::{Table, clock, text};

pub(crate) fn command() -> Command {
    let list = Command::new("list")
        .visible_alias("ls")
        .about("List apps.")
        .arg(Arg::new("archived").long("archived").action(ArgAction::SetTrue).help("Those that were removed."))
        .args(flags::page())
        .arg(client::url())
        .after_help(flags::examples(&["inngest apps list", "inngest apps list --json"]));
    Command::new("apps").about("List apps.").subcommand_required(true).subcommand(list)
}

pub(crate) fn run(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let Some((_, matches)) = matches.subcommand() else { return Err("list?".to_owned()) };
    let archived = matches.get_flag("archived").then_some("true");
    let (limit, cursor) = flags::limits(matches);
    let (apps, cursor) = server.list("/v2/apps", &Query::default().with_some("archived", archived), limit, cursor)?;
    let mut table = Table::new(["APP", "FUNCTIONS", "SDK", "SINCE (UTC)", "URL", "ERROR"]);
    for app in &apps {
        let sync = &app["latestSync"];
        table.push([
            text(&app["id"]),
            app["functionCount"].as_u64().unwrap_or(0).to_string(),
            format!("{} {}", text(&sync["sdkLanguage"]), text(&sync["sdkVersion"])),
            clock(&app["createdAt"]),
            text(&sync["url"]),
            text(&sync["error"]),
        ]);
    }
    Ok(flags::listed(&table, &apps, cursor.as_deref()))
}
