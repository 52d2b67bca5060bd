//! The command line: what the binary prints, where options come from, how it exits.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which lints do not know as such")]

#[path = "cli/api.rs"]
mod api;
#[path = "cli/conformance.rs"]
mod conformance;
#[path = "cli/dev.rs"]
mod dev;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/documented.rs"]
mod documented;
#[path = "cli/lines.rs"]
mod lines;
#[path = "cli/offline.rs"]
mod offline;
#[path = "cli/options.rs"]
mod options;
#[path = "cli/place.rs"]
mod place;
#[path = "cli/server.rs"]
mod server;
