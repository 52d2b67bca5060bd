//! The URLs that are called, prepared once each: per call only the step id is put in.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use url::Url;

use crate::driver::CallError;

/// Prepared URLs kept; one more empties the cache.
const TARGETS_MAX: usize = 4096;

/// The prepared URLs, by their text.
#[derive(Debug, Default)]
pub(super) struct Targets(RwLock<HashMap<Arc<str>, Arc<Target>>>);

impl Targets {
    /// The prepared form of `url`.
    pub(super) fn of(&self, url: &Arc<str>) -> Result<Arc<Target>, CallError> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(url).cloned();
        if let Some(target) = known {
            return Ok(target);
        }
        let target = Arc::new(Target::new(url)?);
        let mut targets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if targets.len() >= TARGETS_MAX {
            targets.clear();
        }
        targets.insert(Arc::clone(url), Arc::clone(&target));
        Ok(target)
    }
}

/// A URL with a gap for the step id.
#[derive(Debug)]
pub(super) struct Target {
    scheme: Scheme,
    authority: Authority,
    /// Path and query up to the value of `stepId`, and what follows it.
    before: String,
    after: String,
}

impl Target {
    fn new(url: &str) -> Result<Self, CallError> {
        let url = parse(url)?;
        let mut pairs: Vec<_> = url.query_pairs().filter(|(name, _)| name != "stepId").collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        let gap = pairs.partition_point(|(name, _)| **name < *"stepId");
        let mut before = format!("{}?", url.path());
        if gap > 0 {
            before.push_str(&encode(&pairs[..gap]));
            before.push('&');
        }
        before.push_str("stepId=");
        let after = if gap < pairs.len() { format!("&{}", encode(&pairs[gap..])) } else { String::new() };
        let uri = uri(&url)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else { return Err(no_host()) };
        Ok(Self { scheme, authority, before, after })
    }

    /// The URL that runs this step.
    pub(super) fn uri(&self, step_id: &str) -> Result<Uri, CallError> {
        let mut path = String::with_capacity(self.before.len() + step_id.len() + self.after.len());
        path.push_str(&self.before);
        path.extend(form_urlencoded::byte_serialize(step_id.as_bytes()));
        path.push_str(&self.after);
        let path = PathAndQuery::from_maybe_shared(Bytes::from(path)).map_err(bad_url)?;
        let builder = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        builder.path_and_query(path).build().map_err(bad_url)
    }
}

/// A URL as it can be called.
pub(super) fn uri_of(url: &str) -> Result<Uri, CallError> {
    uri(&parse(url)?)
}

fn parse(url: &str) -> Result<Url, CallError> {
    let parsed = Url::parse(url).map_err(bad_url)?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        scheme => Err(CallError::BadUrl(format!("unsupported scheme \"{scheme}\", use http or https"))),
    }
}

/// Without user, password and fragment, which are no part of a request.
pub(super) fn uri(url: &Url) -> Result<Uri, CallError> {
    let host = url.host_str().ok_or_else(no_host)?;
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    Uri::builder().scheme(url.scheme()).authority(authority).path_and_query(path).build().map_err(bad_url)
}

fn encode(pairs: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn bad_url(error: impl std::fmt::Display) -> CallError {
    CallError::BadUrl(error.to_string())
}

fn no_host() -> CallError {
    CallError::BadUrl("the host is missing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_names_its_step_in_a_sorted_query() {
        for (url, step, expected) in [
            ("http://localhost:3000/api/inngest", "step", "http://localhost:3000/api/inngest?stepId=step"),
            (
                "http://localhost:3000/api/inngest?stepId=step&fnId=shop-order",
                "86f7",
                "http://localhost:3000/api/inngest?fnId=shop-order&stepId=86f7",
            ),
            ("https://a.b/x?z=1&fnId=a%20b&step=s#f", "s p", "https://a.b/x?fnId=a+b&step=s&stepId=s+p&z=1"),
            ("http://u:p@a.b?b=2&a=1&b=1", "x&y=1", "http://a.b/?a=1&b=2&b=1&stepId=x%26y%3D1"),
            ("http://[::1]:80/p", "s", "http://[::1]/p?stepId=s"),
            ("http://a.b/ä b", "s", "http://a.b/%C3%A4%20b?stepId=s"),
        ] {
            assert_eq!(Target::new(url).unwrap().uri(step).unwrap().to_string(), expected, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_called_says_why() {
        for (url, reason) in [
            ("", "relative URL without a base"),
            ("/api/inngest", "relative URL without a base"),
            ("ftp://a.b/", "unsupported scheme \"ftp\", use http or https"),
            ("wss://a.b/", "unsupported scheme \"wss\", use http or https"),
            ("http://", "empty host"),
        ] {
            let Err(CallError::BadUrl(problem)) = Target::new(url) else { panic!("{url}") };
            assert_eq!(problem, reason, "{url}");
        }
    }

    #[test]
    fn urls_are_prepared_once_and_the_number_kept_is_bounded() {
        let targets = Targets::default();
        let url: Arc<str> = "http://a.b/".into();
        assert!(Arc::ptr_eq(&targets.of(&url).unwrap(), &targets.of(&url).unwrap()));
        for n in 0..=TARGETS_MAX {
            targets.of(&format!("http://a.b/{n}").into()).unwrap();
        }
        assert!(targets.0.read().unwrap().len() <= TARGETS_MAX);
    }
}
