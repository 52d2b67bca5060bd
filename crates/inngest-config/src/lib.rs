//! Options of the commands.
//!
//! One table ([`spec`]) says which options there are; flags, environment variables, configuration files and
//! the help text all come from it. A value is text with a [`Source`] until [`Layers`] has found the one that
//! counts: flag before environment before file before default.

pub mod dev;
pub mod file;
pub mod layers;
pub mod spec;

pub use dev::{CronCatchup, DevOptions};
pub use layers::{Layers, Source};

/// Why options cannot be used. Each names the option, where its value came from, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value of the wrong kind.
    #[error("invalid value {value:?} for {option} ({origin}): must be {expected}")]
    Value {
        /// The text given.
        value: String,
        /// The option's name.
        option: &'static str,
        /// Flag, variable or file.
        origin: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A file that was named cannot be read or parsed.
    #[error("error reading config file {path}: {cause}")]
    File {
        /// As named.
        path: String,
        /// Why.
        cause: String,
    },
}
