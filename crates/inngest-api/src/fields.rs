//! Fields of the query or of a form; the query goes first.

use axum::body::Body;
use http::HeaderMap;

use crate::body;
use crate::error::ApiError;

const BODY_BYTES_MAX: usize = 4 * 1024;

/// The fields of a request, in order.
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(crate) async fn read(query: Option<String>, headers: &HeaderMap, body: Body) -> Result<Self, ApiError> {
        let body = body::read_whole(headers, body, BODY_BYTES_MAX).await?;
        let mut fields: Vec<(String, String)> =
            form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
        fields.extend(form_urlencoded::parse(&body).into_owned());
        Ok(Self(fields))
    }

    /// The first field of this name; empty if there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}
