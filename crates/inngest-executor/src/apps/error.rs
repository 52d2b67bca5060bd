//! Why a sync is refused, and the exact reply.

use inngest_state::StoreError;
use serde_json::json;

/// Why a sync was refused; nothing of it was applied.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Not JSON, a field of the wrong type, an unknown word where one of a few is expected, a bad duration.
    #[error("Invalid request: {0}")]
    Malformed(String),
    /// No `appName`.
    #[error("App ID required")]
    AppIdRequired,
    /// Functions break rules.
    #[error("At least one function is invalid: {}", reasons.join("; "))]
    InvalidFunctions {
        /// Serve URL of the app.
        url: String,
        /// Each `<function id>: <what is wrong>`, at least one.
        reasons: Vec<String>,
    },
    /// A JS SDK with a known vulnerability.
    #[error(
        "App sync was blocked because inngest-js {version} has a known vulnerability (CVE-2026-42047); upgrade to v3.54.0 or later"
    )]
    SdkVersionDenied {
        /// Serve URL of the app.
        url: String,
        /// Version as sent.
        version: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RegisterError {
    /// The HTTP status of the reply.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Store(_) => 503,
            _ => 400,
        }
    }

    /// The JSON body of the reply. SDKs read `error` and `status`.
    #[must_use]
    pub fn body(&self) -> String {
        let mut body = json!({ "error": self.to_string(), "data": null, "status": self.status() });
        if let Self::SdkVersionDenied { .. } = self {
            body["code"] = "sdk_version_denied".into();
        }
        body.to_string()
    }

    /// The serve URL of the app whose stored error this is, and the text to store.
    #[must_use]
    pub fn app_problem(&self) -> Option<(&str, String)> {
        match self {
            Self::InvalidFunctions { url, reasons } => {
                Some((url, format!("{} errors occurred: * {}", reasons.len(), reasons.join(" * "))))
            }
            Self::SdkVersionDenied { url, .. } => Some((url, "sdk_version_denied".to_owned())),
            Self::Malformed(_) | Self::AppIdRequired | Self::Store(_) => None,
        }
    }
}
