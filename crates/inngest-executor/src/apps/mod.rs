//! App registration: what an SDK says it serves becomes an app and its functions.
//!
//! [`Registration::parse`] reads and checks what was sent, without looking at anything else;
//! [`plan_registration`] compares it with what is known and makes the changes. Both are pure.

mod apply;
mod config;
mod error;
#[cfg(test)]
mod tests;
mod url;
mod wire;

pub use apply::{Registered, plan_registration};
pub use error::RegisterError;
pub use url::normalise as normalise_url;

use std::sync::Arc;

use inngest_core::Payload;
use inngest_core::function::Trigger;

/// A sync as read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// The SDK's app id.
    pub app_name: Arc<str>,
    /// Normalised serve URL.
    pub url: Arc<str>,
    /// `js`, `py`, `go`, `inngest-kt`, or empty.
    pub sdk_language: String,
    /// Version as sent.
    pub sdk_version: String,
    /// Framework as sent, or empty.
    pub framework: String,
    /// The app's own version.
    pub app_version: Option<String>,
    /// What the SDK told of its features: a JSON object.
    pub feature_observations: Option<String>,
    /// Sorted by slug.
    pub functions: Vec<FunctionDefinition>,
    /// Hash of all of it; the order of functions does not matter.
    pub checksum: String,
}

/// One function of a sync.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionDefinition {
    /// `<app>-<fn>`.
    pub slug: Arc<str>,
    /// Display name.
    pub name: Arc<str>,
    /// In declared order.
    pub triggers: Vec<Trigger>,
    /// Normalised step URL.
    pub url: Arc<str>,
    /// Id of the one step.
    pub step_id: Arc<str>,
    /// Retries after the first attempt.
    pub retries: u32,
    /// The whole definition, canonical, with normalised URLs.
    pub config: Payload,
}

impl Registration {
    /// Reads the body of `POST /fn/register`.
    pub fn parse(body: &[u8]) -> Result<Self, RegisterError> {
        wire::registration(&wire::object(body)?)
    }

    /// Reads the reply of an app to an in-band sync request.
    pub fn parse_in_band(body: &[u8]) -> Result<Self, RegisterError> {
        wire::registration(&wire::from_in_band(wire::object(body)?))
    }
}
