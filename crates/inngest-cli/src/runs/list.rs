//! `inngest runs list`.

use clap::{Arg, ArgMatches, Command};

use crate::client::{self, Server, Told};
use crate::flags;
use crate::output::{Table, clock, text, took};

pub(super) fn command() -> Command {
    Command::new("list")
        .visible_alias("ls")
        .about("List runs, the newest first.")
        .arg(super::status(["scheduled", "running", "completed", "failed", "cancelled", "skipped"]))
        .arg(super::function())
        .arg(Arg::new("app").long("app").value_name("APP").help("Only runs of this app."))
        .arg(Arg::new("event").long("event").value_name("ID").help("Only runs that this event started."))
        .args(flags::period("Only runs that started", ""))
        .args(flags::page())
        .arg(client::url())
        .after_help(flags::examples(&[
            "inngest runs list",
            "inngest runs list --status failed,cancelled --since 2h",
            "inngest runs list --function demo-store-process-order --limit 5 --json",
        ]))
}

pub(super) fn run(matches: &ArgMatches, server: &Server) -> Result<Told, String> {
    let query = super::query(matches, &super::statuses(matches))?
        .with_some("app", flags::text(matches, "app"))
        .with_some("event_id", flags::text(matches, "event"));
    let (limit, cursor) = flags::limits(matches);
    let (runs, cursor) = server.list("/v1/runs", &query, limit, cursor)?;
    let mut table = Table::new(["RUN", "STATUS", "FUNCTION", "EVENT", "QUEUED (UTC)", "TOOK"]);
    for run in &runs {
        table.push([
            text(&run["run_id"]),
            text(&run["status"]),
            text(&run["function_slug"]),
            text(&run["event_name"]),
            clock(&run["queued_at"]),
            took(&run["queued_at"], &run["ended_at"]),
        ]);
    }
    Ok(flags::listed(&table, &runs, cursor.as_deref()))
}
