//! The scheduler in virtual time.

mod check;
mod model;
