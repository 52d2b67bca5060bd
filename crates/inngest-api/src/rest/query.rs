//! Query parameters: repeatable, and with errors that name them.

use inngest_core::Millis;
use inngest_expr::date;

use crate::error::ApiError;

/// The parameters of a request, in order.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(text: Option<&str>) -> Self {
        Self(form_urlencoded::parse(text.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Yes or no, in any letter case; no when absent.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.first(name).map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "t" | "1") => Ok(true),
            None | Some("false" | "f" | "0") => Ok(false),
            Some(_) => Err(ApiError::bad_request(format!("Invalid {name} query parameter: true or false is expected"))),
        }
    }

    /// A number of rows: the default when absent, zero or no number, at most `max`.
    pub(super) fn limit(&self, default: usize, max: usize) -> usize {
        let asked = self.first("limit").and_then(|text| text.parse().ok()).filter(|limit| *limit > 0);
        asked.unwrap_or(default).min(max)
    }

    /// A time, as date or as milliseconds; `error` is the whole text when it is neither.
    pub(super) fn time(&self, name: &str, error: &str) -> Result<Option<Millis>, ApiError> {
        let Some(text) = self.first(name) else { return Ok(None) };
        let millis = text.parse().ok().filter(|millis: &i64| *millis > 100_000_000_000).map(Millis);
        millis.or_else(|| date::parse(text)).map(Some).ok_or_else(|| ApiError::bad_request(error))
    }
}
