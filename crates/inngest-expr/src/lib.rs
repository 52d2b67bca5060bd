//! The texts users write into their functions: trigger patterns, expressions, durations and dates.
//! And events, as expressions see them.
//!
//! Pure: no clock, no IO. The current time, where it matters, is a parameter.

pub mod cases;
pub mod cron;
pub mod date;
pub mod duration;
pub mod event;
pub mod expression;
pub mod time_spec;
pub mod trigger;
