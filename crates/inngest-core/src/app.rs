//! An app: one serve URL of one user's code, with the functions behind it.

use std::sync::Arc;

use crate::{AppId, Millis};

/// An app as registered. An app with an empty name is a placeholder for a URL that has not answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// UUIDv5 of the name, or of the URL for a placeholder.
    pub id: AppId,
    /// The SDK's app id (`appName`).
    pub name: Arc<str>,
    /// Normalised serve URL.
    pub url: Arc<str>,
    /// `js`, `py`, `go`, `inngest-kt`, or empty.
    pub sdk_language: String,
    /// Version text as sent, for example `v4.24.0`.
    pub sdk_version: String,
    /// `express`, `flask`, .. or empty.
    pub framework: String,
    /// The app's own version, when it sent one.
    pub app_version: Option<String>,
    /// What its SDK told of its features at the last sync: a JSON object as it came.
    pub feature_observations: Option<String>,
    /// Why the app cannot be used now, as code or text; `None` when all is well.
    pub error: Option<String>,
    /// Hash of the registered content; equal hash, nothing to do.
    pub checksum: String,
    /// First registration.
    pub created_at: Millis,
    /// Set when the app was removed.
    pub archived_at: Option<Millis>,
}
