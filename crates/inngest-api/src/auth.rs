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

    /// The event keys, as they may be shown.
    pub(crate) fn masked_event_keys(&self) -> Vec<String> {
        self.event_keys.iter().map(|key| masked(key)).collect()
    }

    /// The signing keys, as they may be shown: by the ends of their hashes, which are no secret to who may ask.
    pub(crate) fn masked_signing_keys(&self) -> Vec<String> {
        self.signing_keys.iter().map(|key| masked(key.hashed())).collect()
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

/// The ends of a key: enough to tell it from others. Of a short one they would be most of it.
fn masked(key: &str) -> String {
    const SHOWN: usize = 4;
    let letters: Vec<char> = key.chars().collect();
    if letters.len() < 4 * SHOWN {
        return "…".to_owned();
    }
    let (start, end) = (&letters[..SHOWN], &letters[letters.len() - SHOWN / 2..]);
    start.iter().chain(&['…']).chain(end).collect()
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

    #[test]
    fn keys_are_shown_by_their_ends() {
        let key = "0123456789abcdef0123456789abcdef";
        let auth =
            Auth::keys(vec!["evkey1".into(), "a-long-event-key-42".into()], vec![SigningKey::parse(key).unwrap()]);
        assert_eq!(auth.masked_event_keys(), ["…", "a-lo…42"]);
        assert_eq!(auth.masked_signing_keys(), ["223e…2a"], "of its hash");
    }
}
