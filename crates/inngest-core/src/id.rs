//! Newtypes for each id, and [`Ids`], which makes new ones.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use sha1::{Digest as _, Sha1};
use ulid::Ulid;
use uuid::Uuid;

use crate::{Clock, Entropy, Millis};

/// A text that is no ULID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a ULID: 26 characters of Crockford base32 expected")]
pub struct BadUlid;

macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Ulid);

        impl $name {
            /// Larger than every other id.
            pub const MAX: Self = Self(Ulid(u128::MAX));

            /// The time part.
            #[must_use]
            pub fn timestamp(self) -> Millis {
                Millis(i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX))
            }

            /// The 16 bytes as stored.
            #[must_use]
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_bytes()
            }

            /// From the 16 bytes as stored.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Ulid::from_bytes(bytes))
            }

            /// Writes the 26 characters into `buffer` and returns them, without allocating.
            pub fn encode(self, buffer: &mut [u8; ulid::ULID_LEN]) -> &str {
                self.0.array_to_str(buffer)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.encode(&mut [0; ulid::ULID_LEN]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadUlid;

            fn from_str(text: &str) -> Result<Self, BadUlid> {
                // 26 characters hold two bits more than an id has; the library would drop them.
                let fits = text.as_bytes().first().is_some_and(|first| *first <= b'7');
                if fits { Ulid::from_string(text).map(Self).map_err(|_| BadUlid) } else { Err(BadUlid) }
            }
        }
    };
}

ulid_id! {
    /// Internal id of an accepted event. Its time is the time of receipt, never the event's `ts`.
    EventId
}
ulid_id! {
    /// Id of a run. Its time is at least 1 ms later than that of the newest event that started it.
    RunId
}
ulid_id! {
    /// Id of one call to an app; new for each dispatch.
    RequestId
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id! {
    /// Id of an app: UUIDv5 of its name.
    AppId
}
uuid_id! {
    /// Id of a function: UUIDv5 of its name and first step URL, kept for ever once stored.
    FunctionId
}

impl AppId {
    /// The id of an app that is not stored yet.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()))
    }
}

impl FunctionId {
    /// The id of a function that is not stored yet.
    #[must_use]
    pub fn of_definition(name: &str, step_url: &str) -> Self {
        let mut text = String::with_capacity(name.len() + step_url.len());
        text.push_str(name);
        text.push_str(step_url);
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()))
    }
}

/// The hashed id of a step, as SDKs send it: normally 40 hex digits, but opaque to us.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub Arc<str>);

impl StepId {
    /// The id that SDKs send for a step of the user's id, which is used for the `index`-th time, from 0.
    #[must_use]
    pub fn hashed(id: &str, index: u64) -> Self {
        let hash = match index {
            0 => Sha1::digest(id),
            _ => Sha1::digest(format!("{id}:{index}")),
        };
        Self(hex::encode(hash).into())
    }

    /// The text as the SDK sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for StepId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes new ids. Cheap to clone. Events, and runs, that are named in the same millisecond are in the order in which
/// they were named: who comes first is served first.
#[derive(Clone)]
pub struct Ids {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    events: Arc<Mutex<Ulid>>,
    runs: Arc<Mutex<Ulid>>,
}

impl Ids {
    /// Ids whose time comes from `clock` and whose random part from `entropy`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy, events: Arc::default(), runs: Arc::default() }
    }

    /// The clock behind the ids.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// 64 random bits.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.entropy.next_u64()
    }

    /// An event id of the time `at`.
    #[must_use]
    pub fn event(&self, at: Millis) -> EventId {
        EventId(self.next(&self.events, at))
    }

    /// The id of a run that `event` starts: 1 ms later than the event or `now`, whichever is later.
    #[must_use]
    pub fn run(&self, event: EventId, now: Millis) -> RunId {
        RunId(self.next(&self.runs, Millis(event.timestamp().0 + 1).max(now)))
    }

    /// The id of a call to an app.
    #[must_use]
    pub fn request(&self, at: Millis) -> RequestId {
        RequestId(self.ulid(at))
    }

    /// The next id of one kind: after `last` if that is of the same millisecond, by a random distance.
    fn next(&self, last: &Mutex<Ulid>, at: Millis) -> Ulid {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let next = if last.timestamp_ms() == at.0.max(0).unsigned_abs() {
            Ulid(last.0.wrapping_add(1 + u128::from(self.entropy.next_u64() >> 32)))
        } else {
            // Without the highest bit there is room for as many as can be.
            Ulid(self.ulid(at).0 & !(1 << (Ulid::RAND_BITS - 1)))
        };
        *last = next;
        next
    }

    fn ulid(&self, at: Millis) -> Ulid {
        let random = (u128::from(self.entropy.next_u64()) << 64) | u128::from(self.entropy.next_u64());
        Ulid::from_parts(at.0.max(0).unsigned_abs(), random)
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_the_ids_that_sdks_send() {
        assert_eq!(StepId::hashed("a", 0).as_str(), "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8");
        assert_eq!(StepId::hashed("a", 1), StepId::hashed("a:1", 0));
    }
    use crate::{SystemClock, SystemEntropy};

    #[test]
    fn app_and_function_ids_are_those_of_the_go_server() {
        assert_eq!(AppId::of_name("shop").to_string(), "a8fd5300-06f2-541e-8b69-ded0c0c7c233");
        assert_eq!(AppId::of_name("app").to_string(), "3d5626ad-7fe4-5c0b-95e9-77a4ed2fb255");
        let id = FunctionId::of_definition("hello", "http://localhost:21650/api/inngest?fnId=app-hello&stepId=step");
        assert_eq!(id.to_string(), "4f746339-72ac-5c99-966c-90913aee6977");
    }

    #[test]
    fn ids_of_one_millisecond_are_in_order() {
        let ids = Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
        let at = Millis(1_000);
        let runs: Vec<RunId> = (0..10_000).map(|_| ids.run(ids.event(at), at)).collect();
        assert!(runs.is_sorted() && runs.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(runs.iter().all(|run| run.timestamp() == Millis(1_001)));
        let again = Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy)).event(at);
        assert_ne!(ids.event(at).0.0 >> 40, again.0.0 >> 40, "nor can they be guessed");
    }

    #[test]
    fn a_run_is_later_than_its_event() {
        let ids = Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
        let event = ids.event(Millis(1_000));
        assert_eq!(ids.run(event, Millis(1_000)).timestamp(), Millis(1_001));
        assert_eq!(ids.run(event, Millis(5_000)).timestamp(), Millis(5_000));
    }

    #[test]
    fn ids_round_trip_as_text_and_bytes() {
        let ids = Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
        let id = ids.event(Millis(1_700_000_000_000));
        assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        assert_eq!(EventId::from_bytes(id.to_bytes()), id);
        for bad in ["", "bad", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ"] {
            assert_eq!(bad.parse::<RunId>(), Err(BadUlid), "{bad}");
        }
        assert_eq!("7ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse::<RunId>().map(|id| id.0.0), Ok(u128::MAX));
    }
}
