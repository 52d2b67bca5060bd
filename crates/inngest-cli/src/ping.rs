//! `inngest ping`: is a server there, which one, how quick is it.

use std::time::Instant;

use clap::{ArgMatches, Command};
use serde_json::json;
use ureq::http::Method;

use crate::client::{self, Server, Told};
use crate::flags;

pub(crate) fn command() -> Command {
    Command::new("ping")
        .about("Tell whether a server answers, and how quickly.")
        .arg(client::url())
        .after_help(flags::examples(&["inngest ping", "inngest ping --url http://127.0.0.1:8288"]))
}

pub(crate) fn run(_: &ArgMatches, server: &Server) -> Result<Told, String> {
    let began = Instant::now();
    let reply = server.request(Method::GET, "/health", None)?;
    let ms = began.elapsed().as_secs_f64() * 1_000.0;
    let kind = reply.headers.get(client::KIND).and_then(|kind| kind.to_str().ok());
    match (reply.status, kind) {
        (200, Some(kind)) => Ok((
            json!({ "url": server.url, "kind": kind, "ms": ms }),
            format!("{} is an Inngest server ({kind}); it answered in {ms:.1} ms.\n", server.url),
        )),
        (200, None) => Err(format!("{} answers, but not as an Inngest server", server.url)),
        (status, _) => Err(format!("{} answered with status {status}", server.url)),
    }
}
