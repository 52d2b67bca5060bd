//! Cases recorded from the Go server: what it makes of an expression or a schedule, or what it should make of it. Tests
//! and `inngest expr check`, `inngest cron check` hold this crate against them.

mod expressions;
mod schedules;

pub use expressions::{check_expression, to_json};
pub use schedules::check_schedule;

/// How our answer compares with a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the recorded one.
    Same,
    /// It is another one on purpose, for this reason.
    Deviates(&'static str),
    /// It is another one, or the case cannot be read: what we found, and what was expected.
    Differs(String),
}
