//! Flow control of functions, with everything in it that users write as text already read and evaluated.
//!
//! [`Admission`] stands between an event and a run: the store decides it on its rows, in the transition that stores
//! the event. [`Dispatch`] stands between a due job and its call: the queue decides it.

use std::sync::Arc;
use std::time::Duration;

use inngest_core::{AppId, FunctionId, RunId};
use sha2::{Digest as _, Sha256};

use crate::gcra::Rate;

/// Names the expression of a key: two limits count together when their expressions have the same text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyExpression(pub u64);

impl KeyExpression {
    /// The name of an expression.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self((hash(&["expression", text]) >> 64) as u64)
    }
}

/// The value of a key. Only whether two are equal matters, so it is a hash of the value's text: short whatever users
/// put into their events, and no user can make a value that meets another's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyValue(pub u128);

impl KeyValue {
    /// The value without a key: all share it.
    pub const NONE: Self = Self(0);

    /// The value of this text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(hash(&["value", text]))
    }
}

/// Names what admits at a rate: one function's own limit, or one that several functions share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub u128);

impl Bucket {
    /// The limit of one function.
    #[must_use]
    pub const fn of_function(function: FunctionId) -> Self {
        Self(function.0.as_u128())
    }

    /// A limit of this name, shared by whom the server's configuration names.
    #[must_use]
    pub fn shared(name: &str) -> Self {
        Self(hash(&["shared", name]))
    }
}

/// The first 128 bits of SHA-256 over the parts, each ended by a zero byte: fixed for ever, since it is stored.
fn hash(parts: &[&str]) -> u128 {
    let mut state = Sha256::new();
    for part in parts {
        state.update(part);
        state.update([0]);
    }
    let digest = state.finalize();
    u128::from_be_bytes(digest[..16].try_into().expect("a digest has 32 bytes"))
}

/// The keys by which a run is limited: evaluated once, from its first event, and the same for all its jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Option<Arc<[(KeyExpression, KeyValue)]>>);

impl Keys {
    /// Bytes of one key as stored.
    const STORED: usize = 24;

    /// These keys.
    #[must_use]
    pub fn of(keys: Vec<(KeyExpression, KeyValue)>) -> Self {
        Self((!keys.is_empty()).then(|| keys.into()))
    }

    /// The value of an expression, if it was evaluated for the run.
    #[must_use]
    pub fn get(&self, expression: KeyExpression) -> Option<KeyValue> {
        self.as_slice().iter().find(|(known, _)| *known == expression).map(|(_, value)| *value)
    }

    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[(KeyExpression, KeyValue)] {
        self.0.as_deref().unwrap_or_default()
    }

    /// As stored; `None` for none.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let keys = self.0.as_deref()?;
        let bytes = keys
            .iter()
            .flat_map(|(expression, value)| expression.0.to_be_bytes().into_iter().chain(value.0.to_be_bytes()));
        Some(bytes.collect())
    }

    /// From their stored form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let key = |chunk: &[u8]| {
            let (expression, value) = chunk.split_at(8);
            let expression = KeyExpression(u64::from_be_bytes(expression.try_into().expect("8 bytes")));
            (expression, KeyValue(u128::from_be_bytes(value.try_into().expect("16 bytes"))))
        };
        Self::of(bytes.chunks_exact(Self::STORED).map(key).collect())
    }
}

/// Among whom a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// One function.
    Function,
    /// All functions of the environment that declare the same key.
    Environment,
    /// All functions of the account that declare the same key.
    Account,
}

/// So many at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// How many; at least 1.
    pub limit: u32,
    /// Among whom.
    pub scope: Scope,
    /// For each value of a key, or for all together.
    pub key: Option<KeyExpression>,
}

/// So many starts in a time; more wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// What counts.
    pub bucket: Bucket,
    /// For each value of a key, or for all together.
    pub key: Option<KeyExpression>,
    /// How many.
    pub rate: Rate,
}

/// What the queue must know of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// The app that serves it: apps take turns.
    pub app: AppId,
    /// Calls to the app in flight at a time; all of them hold.
    pub steps: Vec<Concurrency>,
    /// Runs that have started and not ended.
    pub runs: Option<Concurrency>,
    /// Starts; all of them hold.
    pub throttles: Vec<Throttle>,
    /// Makes no calls for now.
    pub paused: bool,
    /// Rests when its app answers that it is too much.
    pub adaptive: bool,
}

impl Dispatch {
    /// Nothing but turns.
    #[must_use]
    pub const fn unlimited(app: AppId) -> Self {
        Self { app, steps: Vec::new(), runs: None, throttles: Vec::new(), paused: false, adaptive: false }
    }
}

/// What stands between an event and a run of a function. In the order of the members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// The event joins others of its key, and nothing else is looked at.
    pub batch: Option<Batch>,
    /// Too many of them in a time, and the event starts nothing. All must allow it; none counts it otherwise.
    pub rates: Vec<RateLimit>,
    /// The event waits for the last one of its key.
    pub debounce: Option<Debounce>,
    /// One run at a time.
    pub singleton: Option<Singleton>,
    /// No new runs.
    pub closed: Option<Closed>,
}

/// Events that come together start one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Which of them do.
    pub key: KeyValue,
    /// It starts with so many.
    pub size: u32,
    /// It starts so long after the first one was received.
    pub timeout: Duration,
}

/// So many runs in a time; events beyond start nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// What counts.
    pub bucket: Bucket,
    /// The value of its key.
    pub key: KeyValue,
    /// How many.
    pub rate: Rate,
}

/// Only the last of several events that come shortly after one another starts a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debounce {
    /// Which of them do.
    pub key: KeyValue,
    /// Shortly.
    pub period: Duration,
    /// The run starts so long after the first one at the latest.
    pub timeout: Option<Duration>,
}

/// One run of a key at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Singleton {
    /// Which runs.
    pub key: KeyValue,
    /// What becomes of the others.
    pub mode: SingletonMode,
}

/// What happens when there is a run already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SingletonMode {
    /// The new one is skipped.
    #[default]
    Skip,
    /// It is cancelled, and the new one starts once it has ended.
    Cancel,
}

/// Why a function starts no new runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It is paused, and new runs are skipped meanwhile.
    Paused,
    /// It finishes what it has.
    Draining,
}

/// Why an event started no run of a function that it matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// An event of the same id has started one before.
    Duplicate,
    /// There were too many.
    RateLimited,
    /// A later one started the run in its place.
    Debounced,
    /// Another run of its key goes on.
    Singleton(RunId),
    /// The function was paused.
    Paused,
    /// The function was draining.
    Draining,
}

impl Skip {
    /// Its code as stored.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Duplicate => 1,
            Self::RateLimited => 2,
            Self::Debounced => 3,
            Self::Singleton(_) => 4,
            Self::Paused => 5,
            Self::Draining => 6,
        }
    }

    /// The skip of a stored code, and of the run that was in the way.
    #[must_use]
    pub fn from_code(code: u8, existing: Option<RunId>) -> Option<Self> {
        Some(match code {
            1 => Self::Duplicate,
            2 => Self::RateLimited,
            3 => Self::Debounced,
            4 => Self::Singleton(existing?),
            5 => Self::Paused,
            6 => Self::Draining,
            _ => return None,
        })
    }

    /// As the APIs name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "Idempotency",
            Self::RateLimited => "RateLimited",
            Self::Debounced => "Debounced",
            Self::Singleton(_) => "Singleton",
            Self::Paused => "FunctionPaused",
            Self::Draining => "FunctionDrained",
        }
    }

    /// Whether it leaves a run of status `Skipped` in the lists.
    #[must_use]
    pub const fn leaves_run(self) -> bool {
        matches!(self, Self::Singleton(_) | Self::Paused | Self::Draining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_stored_and_found() {
        let (a, b) = (KeyExpression::of("event.data.a"), KeyExpression::of("event.data.b"));
        let keys = Keys::of(vec![(a, KeyValue::of("x")), (b, KeyValue::of(""))]);
        assert_eq!(Keys::from_bytes(&keys.to_bytes().unwrap()), keys);
        assert_eq!((keys.get(a), keys.get(b)), (Some(KeyValue::of("x")), Some(KeyValue::of(""))));
        assert_eq!(keys.get(KeyExpression::of("event.data.c")), None);
        assert_eq!(Keys::of(Vec::new()).to_bytes(), None);
        assert_eq!(Keys::from_bytes(&[]), Keys::default());
    }

    #[test]
    fn stored_hashes_never_change() {
        assert_eq!(KeyValue::of("a"), KeyValue(VALUE_OF_A));
        assert_ne!(KeyValue::of("a").0, Bucket::shared("a").0);
    }

    /// `printf 'value\0a\0' | sha256sum`, the first half.
    const VALUE_OF_A: u128 = 0xda70_3365_6389_71a1_ad68_8e78_af72_0434;
}
