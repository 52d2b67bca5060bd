//! What is kept of the headers of replies, for the traces of runs.
//!
//! Many replies have the same headers: their JSON is made once, and shared. So that they are the same, those are left out
//! that differ from reply to reply by their nature.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use inngest_state::trace::Headers;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::gateway::{capitalised, is_credential};

/// Sets of headers that are shared, and names that are known; when there are more, all are forgotten.
const SETS_MAX: usize = 256;
const NAMES_MAX: usize = 1024;
/// One value in bytes; the rest is cut off.
const VALUE_BYTES_MAX: usize = 1024;
/// Names and values of one reply in bytes; what is beyond is left out.
const HEADERS_BYTES_MAX: usize = 8 * 1024;
/// What stands for a value that gives access to something.
const HIDDEN: &str = "[hidden]";
/// Headers of the connection, of the body as it was sent, of the moment, and of the call.
const OF_ONE_REPLY: [&str; 18] = [
    "age",
    "alt-svc",
    "connection",
    "content-length",
    "date",
    "etag",
    "expires",
    "keep-alive",
    "last-modified",
    "proxy-connection",
    "server-timing",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-inngest-signature",
    "x-response-time",
];
/// Headers by which a platform names a reply, or parts of their names: of interest only when the reply is an error.
const NAMES_OF_A_REPLY: [&str; 7] =
    ["cf-ray", "request-id", "requestid", "trace-id", "trace-context", "vercel-id", "cf-id"];

/// What becomes of a header, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    LeftOut,
    KeptOfErrors,
    Hidden,
    Kept,
}

impl Fate {
    fn of(name: &str) -> Self {
        match name {
            name if OF_ONE_REPLY.contains(&name) => Self::LeftOut,
            name if is_credential(name) => Self::Hidden,
            name if NAMES_OF_A_REPLY.iter().any(|part| name.contains(part)) => Self::KeptOfErrors,
            _ => Self::Kept,
        }
    }

    /// What is kept of a value.
    fn value(self, failed: bool, value: &HeaderValue) -> Option<&[u8]> {
        match self {
            Self::LeftOut => None,
            Self::KeptOfErrors => failed.then(|| value.as_bytes()),
            Self::Hidden => Some(HIDDEN.as_bytes()),
            Self::Kept => Some(value.as_bytes()),
        }
    }
}

/// The headers of earlier replies.
#[derive(Default)]
pub(super) struct Kept {
    hasher: RandomState,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    fates: HashMap<HeaderName, Fate>,
    sets: HashMap<u64, Arc<Headers>>,
}

impl Kept {
    /// What is kept of these.
    pub(super) fn of(&self, status: StatusCode, headers: &HeaderMap) -> Arc<Headers> {
        let failed = status.is_client_error() || status.is_server_error();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let fate = |name: &HeaderName| known.fates.get(name).copied().unwrap_or_else(|| Fate::of(name.as_str()));
        let kept = || {
            let kept = |(name, value)| Some((HeaderName::as_str(name), fate(name).value(failed, value)?));
            headers.iter().filter_map(kept)
        };
        let mut hasher = self.hasher.build_hasher();
        for header in kept() {
            header.hash(&mut hasher);
        }
        let key = hasher.finish();
        if let Some(known) = known.sets.get(&key) {
            return Arc::clone(known);
        }
        let made = Arc::new(render(kept()));
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.learn(headers);
        Arc::clone(known.sets.entry(key).or_insert(made))
    }
}

impl Known {
    /// Makes room for a set more, and remembers the fates of these.
    fn learn(&mut self, headers: &HeaderMap) {
        if self.sets.len() >= SETS_MAX {
            self.sets.clear();
        }
        for name in headers.keys() {
            if self.fates.len() >= NAMES_MAX {
                self.fates.clear();
            }
            self.fates.entry(name.clone()).or_insert_with(|| Fate::of(name.as_str()));
        }
    }
}

fn render<'h>(headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Headers {
    let mut room = HEADERS_BYTES_MAX;
    let mut names: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, value) in headers {
        let value = &value[..value.len().min(VALUE_BYTES_MAX)];
        let Some(left) = room.checked_sub(name.len() + value.len()) else { continue };
        room = left;
        names.entry(capitalised(name)).or_default().push(String::from_utf8_lossy(value).into());
    }
    let one_or_all = |mut values: Vec<Value>| match values.len() {
        1 => values.remove(0),
        _ => Value::Array(values),
    };
    let object: Map<String, Value> = names.into_iter().map(|(name, values)| (name, one_or_all(values))).collect();
    let json = Value::Object(object).to_string();
    let digest = Sha256::digest(json.as_bytes());
    let hash = digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    Headers { hash, json: json.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn replies_of_the_same_headers_share_one_text() {
        let kept = Kept::default();
        let with = |date, timing, signature| {
            headers(&[
                ("date", date),
                ("content-type", "application/json"),
                ("server-timing", timing),
                ("x-inngest-signature", signature),
                ("x-inngest-sdk", "inngest-js:v4"),
                ("content-length", date),
                ("x-many", "a"),
                ("x-many", "b"),
            ])
        };
        let first = kept.of(StatusCode::OK, &with("1", "a;dur=1", "t=1&s=a"));
        let second = kept.of(StatusCode::OK, &with("22", "a;dur=2", "t=2&s=b"));
        assert!(Arc::ptr_eq(&first, &second));
        let expected = r#"{"Content-Type":"application/json","X-Inngest-Sdk":"inngest-js:v4","X-Many":["a","b"]}"#;
        assert_eq!(std::str::from_utf8(&first.json), Ok(expected));
        let other = kept.of(StatusCode::OK, &headers(&[("content-type", "text/html")]));
        assert_ne!(first.hash, other.hash);
        assert_eq!(Kept::default().of(StatusCode::OK, &with("3", "", "")).hash, first.hash, "the hash is for ever");
    }

    #[test]
    fn secrets_are_hidden() {
        let secret = headers(&[
            ("set-cookie", "session=SECRET"),
            ("authorization", "Bearer SECRET"),
            ("x-api-key", "SECRET"),
            ("x-csrf-token", "SECRET"),
        ]);
        let json = String::from_utf8(Kept::default().of(StatusCode::OK, &secret).json.to_vec()).unwrap();
        assert!(!json.contains("SECRET"), "{json}");
        assert!(json.contains(r#""Set-Cookie":"[hidden]""#), "{json}");
    }

    #[test]
    fn names_of_one_reply_are_kept_of_an_error_only() {
        let named = headers(&[("cf-ray", "r"), ("x-request-id", "i"), ("x-vercel-id", "v")]);
        let json = |status| Kept::default().of(status, &named).json.clone();
        assert_eq!(json(StatusCode::OK), "{}");
        assert_eq!(json(StatusCode::BAD_GATEWAY), r#"{"Cf-Ray":"r","X-Request-Id":"i","X-Vercel-Id":"v"}"#);
    }

    #[test]
    fn large_headers_are_cut_and_left_out() {
        let large = "ä".repeat(VALUE_BYTES_MAX);
        let mut many = HeaderMap::new();
        for index in 0..100 {
            let name = HeaderName::try_from(format!("x-{index:03}")).unwrap();
            many.insert(name, HeaderValue::from_bytes(large.as_bytes()).unwrap());
        }
        let kept = Kept::default().of(StatusCode::OK, &many);
        assert!(kept.json.len() <= 2 * HEADERS_BYTES_MAX, "{}", kept.json.len());
        assert!(serde_json::from_slice::<Map<String, Value>>(&kept.json).unwrap().len() < 10);
    }

    #[test]
    fn sets_and_names_are_forgotten_when_there_are_too_many() {
        let kept = Kept::default();
        for index in 0..=NAMES_MAX {
            let name = HeaderName::try_from(format!("x-{index}")).unwrap();
            kept.of(StatusCode::OK, &HeaderMap::from_iter([(name, HeaderValue::from_static("a"))]));
        }
        let known = kept.known.read().unwrap();
        assert!(known.sets.len() <= SETS_MAX && known.fates.len() <= NAMES_MAX);
    }
}
