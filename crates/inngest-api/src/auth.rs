//! Who may call what: event keys open `/e`, signing keys everything else. Without keys all is open, as in `dev`.

use http::{HeaderMap, header};
use inngest_core::signing::{SigningKey, same};
use percent_encoding::percent_decode_str;

/// The keys of a server.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    event_keys: Vec<String>,
    signing_keys: Vec<SigningKey>,
}

impl Auth {
    /// Nobody is asked for a key.
    #[must_use]
    pub fn open() -> Self {
        Self::default()
    }

    /// Only these keys are accepted.
    #[must_use]
    pub fn keys(event_keys: Vec<String>, signing_keys: Vec<SigningKey>) -> Self {
        Self { event_keys, signing_keys }
    }

    /// Whether the key of a path, as it stands there, may send events.
    pub(crate) fn accepts_event_key(&self, segment: &str) -> bool {
        if self.event_keys.is_empty() {
            return true;
        }
        let key = percent_decode_str(segment).decode_utf8_lossy();
        // All are compared, so that the time taken does not tell which one was close.
        self.event_keys.iter().fold(false, |found, known| found | same(known, &key))
    }

    /// Whether a request carries a signing key.
    pub(crate) fn accepts(&self, headers: &HeaderMap) -> bool {
        if self.signing_keys.is_empty() {
            return true;
        }
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        self.signing_keys.iter().fold(false, |found, key| found | key.accepts(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_open_what_they_are_for() {
        let key = "0123456789abcdef0123456789abcdef";
        let auth = Auth::keys(vec!["evkey1".into(), "ev/2".into()], vec![SigningKey::parse(key).unwrap()]);
        for (segment, accepted) in [("evkey1", true), ("ev%2F2", true), ("EVKEY1", false), ("", false), (key, false)] {
            assert_eq!(auth.accepts_event_key(segment), accepted, "{segment}");
        }
        let headers = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        assert!(auth.accepts(&headers(&format!("Bearer {key}"))));
        assert!(!auth.accepts(&headers("Bearer evkey1")) && !auth.accepts(&HeaderMap::new()));
        assert!(Auth::open().accepts(&headers("Bearer undefined")) && Auth::open().accepts_event_key("any"));
    }
}
