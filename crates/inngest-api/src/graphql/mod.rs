//! GraphQL: what dashboards and the SDKs' test suites ask, at `/v0/gql` and `/graphql`.
//!
//! One file for each topic of the schema. What is read for one request is read once ([`session`]); how requests come in
//! and answers go out is in [`transport`], how much may be asked for in [`limits`] and [`schema`], and [`live`] answers
//! again whenever something has changed.

mod apps;
mod configuration;
mod declared;
mod events;
mod functions;
mod history;
mod limits;
mod live;
mod mutation;
mod problem;
mod query;
mod run_list;
mod runs;
mod runs_v1;
mod scalars;
mod schema;
mod search;
mod session;
mod spans;
mod step_info;
mod stream;
#[cfg(test)]
mod tests;
mod transport;
mod triggers;
mod workers;

pub(crate) use live::Streams;
pub(crate) use transport::{get, post};
