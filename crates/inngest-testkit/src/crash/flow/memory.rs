//! What was sent and what the app has seen, and what can be said of it without asking the server.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::Lateness;
use crate::Call;
use crate::stub::Span;

/// Everything that happened, in its order.
#[derive(Default)]
pub(super) struct Memory {
    seen: Mutex<HashMap<&'static str, Vec<Seen>>>,
    sent: Mutex<HashMap<&'static str, Vec<Sent>>>,
    /// When the server was dead, before it was started again.
    deaths: Mutex<Vec<Instant>>,
}

/// An event that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) number: u64,
    pub(super) key: String,
    /// Its id, if it was acknowledged.
    pub(super) id: Option<String>,
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

/// A call to the app.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) run: String,
    pub(super) key: String,
    /// Numbers of its events.
    pub(super) numbers: Vec<u64>,
    pub(super) span: Span,
    /// When it was received, in milliseconds since 1970.
    pub(super) wall: u64,
}

/// A run as the app has seen it.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) numbers: Vec<u64>,
    /// The first call begins.
    pub(super) from: Instant,
    /// The same, in milliseconds since 1970.
    pub(super) wall: u64,
    /// The last call ends.
    pub(super) to: Option<Instant>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    pub(super) fn sees(&self, function: &'static str, call: &Call) {
        let data = &call.body["event"]["data"];
        let numbers = call.body["events"]
            .as_array()
            .map_or_else(Vec::new, |events| events.iter().filter_map(|event| event["data"]["n"].as_u64()).collect());
        let wall = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0));
        let key = data["k"].as_str().unwrap_or_default().to_owned();
        let seen = Seen { run: call.run().to_owned(), key, numbers, span: call.span.clone(), wall };
        locked(&self.seen).entry(function).or_default().push(seen);
    }

    pub(super) fn sends(&self, event: &'static str, sent: Sent) {
        locked(&self.sent).entry(event).or_default().push(sent);
    }

    pub(super) fn dies(&self) {
        locked(&self.deaths).push(Instant::now());
    }

    /// Acknowledged events that have not been seen yet.
    pub(super) fn backlog(&self, event: &'static str) -> usize {
        let started: HashSet<u64> = self.calls(event).into_iter().flat_map(|call| call.numbers).collect();
        self.sent(event).iter().filter(|sent| sent.id.is_some() && !started.contains(&sent.number)).count()
    }

    pub(super) fn sent(&self, event: &str) -> Vec<Sent> {
        locked(&self.sent).get(event).cloned().unwrap_or_default()
    }

    /// The calls to a function, in the order of their arrival.
    pub(super) fn calls(&self, function: &str) -> Vec<Seen> {
        let mut calls = locked(&self.seen).get(function).cloned().unwrap_or_default();
        calls.sort_by_key(|call| call.span.from);
        calls
    }

    /// The runs of a function, in the order of their first calls.
    pub(super) fn runs(&self, function: &str) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for call in self.calls(function) {
            let (from, to) = self.span(&call);
            match places.get(&call.run) {
                Some(place) => runs[*place].to = to,
                None => {
                    places.insert(call.run.clone(), runs.len());
                    let Seen { run: id, key, numbers, wall, .. } = call;
                    runs.push(Run { id, key, numbers, from, wall, to });
                }
            }
        }
        runs
    }

    /// When a call was in flight: it ends with the server that made it at the latest.
    pub(super) fn span(&self, call: &Seen) -> (Instant, Option<Instant>) {
        let from = call.span.from;
        let death = locked(&self.deaths).iter().copied().find(|death| *death >= from);
        let to = match (call.span.to(), death) {
            (Some(answer), Some(death)) => Some(answer.min(death)),
            (answer, death) => answer.or(death),
        };
        (from, to)
    }

    /// Whether the server lived on between two moments.
    pub(super) fn lives(&self, from: Instant, to: Instant) -> bool {
        !locked(&self.deaths).iter().any(|death| (from..=to).contains(death))
    }
}

/// By their keys.
pub(super) fn by_key<T>(items: Vec<T>, key: impl Fn(&T) -> &str) -> BTreeMap<String, Vec<T>> {
    let mut keys: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for item in items {
        keys.entry(key(&item).to_owned()).or_default().push(item);
    }
    keys
}

/// The first start that comes although the ones before it had used up everything: `at_once`, and one more for each
/// `emission`. Each may have been noted late by up to `slack`.
pub(super) fn too_early(starts: &[i64], at_once: i64, emission: i64, slack: i64) -> Option<usize> {
    let mut tat = i64::MIN;
    for (n, start) in starts.iter().enumerate() {
        tat = tat.max(*start);
        if tat > start + emission * (at_once - 1) + slack {
            return Some(n);
        }
        tat += emission;
    }
    None
}

/// How late these were.
pub(super) fn lateness(mut late: Vec<Duration>) -> Lateness {
    late.sort_unstable();
    let at = |share: usize| late.get(late.len().saturating_sub(1) * share / 100).copied().unwrap_or_default();
    Lateness { count: late.len(), late: [at(50), at(99)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_that_come_too_early_are_found() {
        let early = |starts: &[i64], at_once| too_early(starts, at_once, 100, 30);
        assert_eq!(early(&[0, 100, 200, 350, 450], 1), None);
        assert_eq!(early(&[0, 100, 220, 300, 400], 1), None, "one was 20 ms late");
        assert_eq!(early(&[0, 60, 200], 1), Some(1));
        assert_eq!(early(&[0, 80, 160, 240], 1), Some(2), "what is too early each time adds up");
        assert_eq!(early(&[0, 0, 100, 200, 200], 2), Some(4));
        assert_eq!(early(&[0, 0, 100, 500, 500], 2), None);
    }

    #[test]
    fn a_call_ends_with_its_server() {
        let memory = Memory::default();
        let from = Instant::now();
        memory.dies();
        assert!(!memory.lives(from, Instant::now()));
        let call = Seen { run: "r".into(), key: "k".into(), numbers: vec![1], span: Span::since(from), wall: 0 };
        locked(&memory.seen).entry("f").or_default().push(call);
        assert!(memory.runs("f")[0].to.is_some());
    }
}
