//! The rules of admission: what becomes of an event that a function has matched.
//!
//! They are pure. The store brings the rows they look at ([`Rows`]), and writes what they decide, in the transition
//! that stores the event.

use std::time::Duration;

use inngest_core::{Millis, RunId};

use crate::Gathering;
use crate::flow::{Admission, Batch, Closed, Debounce, RateLimit, Singleton, SingletonMode, Skip};

/// Added to the period of a debounce: its sender counts from the reply, which comes after the commit.
pub const DEBOUNCE_GRACE: Duration = Duration::from_millis(8);

/// A batch starts when its events have so many bytes, however few they are.
pub const BATCH_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Due time of the first job of a run that starts after another one: the end of that one makes it due.
pub const AFTER_ANOTHER: Millis = Millis(i64::MAX);

/// What a store knows about one event and one function. Each is asked for only when it matters.
pub trait Rows {
    /// Why it cannot be told.
    type Error;

    /// Whether an event of the same id has started the function before.
    fn is_duplicate(&mut self) -> Result<bool, Self::Error>;

    /// What this limit counts ([`crate::gcra`]); any time that has passed when it counts nothing.
    fn tat(&mut self, limit: &RateLimit) -> Result<i64, Self::Error>;

    /// The run that holds this singleton, the newest one if others must end before it.
    fn holder(&mut self, singleton: Singleton) -> Result<Option<RunId>, Self::Error>;
}

/// What becomes of an event, and what its rate limits count from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The TAT of each of the function's rate limits, in their order; empty when the event does not count, because it
    /// neither starts a run nor joins a debounce.
    pub counted: Vec<i64>,
    /// What becomes of the event.
    pub outcome: Outcome,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It joins a batch.
    Batch(Batch),
    /// It joins a debounce.
    Debounce(Debounce),
    /// It starts a run, or none.
    Run(Start),
}

/// When a run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At once.
    Now,
    /// When this one has ended, which is to be cancelled.
    After(RunId),
    /// Not at all.
    Never(Skip),
}

/// What an event does to the debounce of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// There is none that is open: it begins a new one.
    Opens,
    /// It takes the place of the event that would have started the run.
    Replaces,
    /// Nothing: it is older than that.
    Loses,
}

/// A debounce whose run has not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// `ts` of the event that will start it.
    pub ts: Millis,
    /// When it will.
    pub deadline: Millis,
}

/// What becomes of an event that came now.
pub fn decide<R: Rows>(admission: &Admission, rows: &mut R, now: Millis) -> Result<Decision, R::Error> {
    let uncounted = |outcome| Decision { counted: Vec::new(), outcome };
    if rows.is_duplicate()? {
        return Ok(uncounted(Outcome::Run(Start::Never(Skip::Duplicate))));
    }
    if let Some(batch) = admission.batch {
        return Ok(uncounted(Outcome::Batch(batch)));
    }
    let Some(counted) = count(&admission.rates, rows, now)? else {
        return Ok(uncounted(Outcome::Run(Start::Never(Skip::RateLimited))));
    };
    let outcome = match admission.debounce {
        Some(debounce) => Outcome::Debounce(debounce),
        None => Outcome::Run(start(admission, rows)?),
    };
    Ok(match outcome {
        Outcome::Run(Start::Never(_)) => uncounted(outcome),
        _ => Decision { counted, outcome },
    })
}

/// What becomes of events that were gathered, when their time has come. Those of a batch have taken their keys of
/// idempotency already.
pub fn decide_gathered<R: Rows>(
    gathering: Gathering,
    admission: Option<&Admission>,
    rows: &mut R,
) -> Result<Start, R::Error> {
    if gathering == Gathering::Debounce && rows.is_duplicate()? {
        return Ok(Start::Never(Skip::Duplicate));
    }
    admission.map_or(Ok(Start::Now), |admission| start(admission, rows))
}

/// What all of these limits count with one more; `None` when one of them does not allow it.
fn count<R: Rows>(limits: &[RateLimit], rows: &mut R, now: Millis) -> Result<Option<Vec<i64>>, R::Error> {
    let now = nanoseconds(now);
    let mut counted = Vec::with_capacity(limits.len());
    for limit in limits {
        match limit.rate.take(rows.tat(limit)?, now) {
            Ok(tat) => counted.push(tat),
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(counted))
}

/// Whether the function may have one more run. A function that is closed cancels no run for one that does not start.
fn start<R: Rows>(admission: &Admission, rows: &mut R) -> Result<Start, R::Error> {
    let holder = match admission.singleton {
        Some(singleton) => rows.holder(singleton)?.map(|run| (singleton.mode, run)),
        None => None,
    };
    Ok(match (holder, admission.closed) {
        (Some((SingletonMode::Skip, run)), _) => Start::Never(Skip::Singleton(run)),
        (_, Some(Closed::Paused)) => Start::Never(Skip::Paused),
        (_, Some(Closed::Draining)) => Start::Never(Skip::Draining),
        (Some((SingletonMode::Cancel, run)), None) => Start::After(run),
        (None, None) => Start::Now,
    })
}

impl Debounce {
    /// What an event does that came now.
    #[must_use]
    pub fn join(pending: Option<Pending>, ts: Millis, now: Millis) -> Join {
        match pending {
            Some(pending) if now < pending.deadline && pending.ts <= ts => Join::Replaces,
            Some(pending) if now < pending.deadline => Join::Loses,
            _ => Join::Opens,
        }
    }

    /// When the run starts, if the first event came at `first_at` and the last one now.
    #[must_use]
    pub fn deadline(&self, first_at: Millis, now: Millis) -> Millis {
        let deadline = now.plus(self.period).plus(DEBOUNCE_GRACE);
        self.timeout.map_or(deadline, |timeout| deadline.min(first_at.plus(timeout)))
    }
}

impl Batch {
    /// Whether a batch of so many events and bytes starts now.
    #[must_use]
    pub const fn is_full(&self, events: u32, bytes: u64) -> bool {
        events >= self.size || bytes >= BATCH_BYTES_MAX
    }
}

/// In the unit of [`crate::gcra`].
#[must_use]
pub const fn nanoseconds(at: Millis) -> i64 {
    at.0.saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use super::*;
    use crate::flow::{Bucket, KeyValue};
    use crate::gcra::Rate;

    const NOW: Millis = Millis(1_000_000);
    const SECOND: Duration = Duration::from_secs(1);
    const KEY: KeyValue = KeyValue(7);
    const HOLDER: RunId = RunId::MAX;

    /// Rows of one function; those that are asked for in vain are not there.
    #[derive(Default)]
    struct Known {
        duplicate: bool,
        tats: HashMap<u128, i64>,
        holder: Option<RunId>,
        asked: Vec<&'static str>,
    }

    impl Rows for Known {
        type Error = Infallible;

        fn is_duplicate(&mut self) -> Result<bool, Infallible> {
            self.asked.push("key");
            Ok(self.duplicate)
        }

        fn tat(&mut self, limit: &RateLimit) -> Result<i64, Infallible> {
            self.asked.push("rate");
            Ok(self.tats.get(&limit.bucket.0).copied().unwrap_or(0))
        }

        fn holder(&mut self, _singleton: Singleton) -> Result<Option<RunId>, Infallible> {
            self.asked.push("singleton");
            Ok(self.holder)
        }
    }

    fn rate(bucket: u128) -> RateLimit {
        RateLimit { bucket: Bucket(bucket), key: KEY, rate: Rate::lossy(1, SECOND) }
    }

    fn everything() -> Admission {
        Admission {
            batch: Some(Batch { key: KEY, size: 3, timeout: SECOND }),
            rates: vec![rate(1), rate(2)],
            debounce: Some(Debounce { key: KEY, period: SECOND, timeout: None }),
            singleton: Some(Singleton { key: KEY, mode: SingletonMode::Cancel }),
            closed: Some(Closed::Paused),
        }
    }

    fn outcome(admission: &Admission, rows: &mut Known) -> Outcome {
        let Ok(decision) = decide(admission, rows, NOW);
        decision.outcome
    }

    const fn never(skip: Skip) -> Outcome {
        Outcome::Run(Start::Never(skip))
    }

    #[test]
    fn the_first_control_that_says_no_decides_and_the_next_are_not_asked() {
        let mut admission = everything();
        let duplicate = || Known { duplicate: true, holder: Some(HOLDER), ..Known::default() };
        let mut rows = duplicate();
        assert_eq!(outcome(&admission, &mut rows), never(Skip::Duplicate));
        assert_eq!(rows.asked, ["key"]);

        let mut rows = Known::default();
        assert_eq!(outcome(&admission, &mut rows), Outcome::Batch(admission.batch.unwrap()));
        assert_eq!(rows.asked, ["key"]);

        admission.batch = None;
        let mut rows = Known { tats: HashMap::from([(1, i64::MAX)]), ..Known::default() };
        assert_eq!(outcome(&admission, &mut rows), never(Skip::RateLimited));
        assert_eq!(rows.asked, ["key", "rate"]);

        let mut rows = Known::default();
        assert_eq!(outcome(&admission, &mut rows), Outcome::Debounce(admission.debounce.unwrap()));
        assert_eq!(rows.asked, ["key", "rate", "rate"]);

        admission.debounce = None;
        let mut rows = Known { holder: Some(HOLDER), ..Known::default() };
        assert_eq!(outcome(&admission, &mut rows), never(Skip::Paused));
        assert_eq!(rows.asked, ["key", "rate", "rate", "singleton"]);
    }

    #[test]
    fn all_rates_must_allow_it_and_none_counts_it_otherwise() {
        let admission = Admission { rates: vec![rate(1), rate(2)], ..Admission::default() };
        let now = nanoseconds(NOW);
        let emission = 1_000_000_000;
        for (tats, counted) in [
            ([0, 0], vec![now + emission, now + emission]),
            ([now, now - 5], vec![now + emission, now + emission]),
            ([now + 1, 0], vec![]),
            ([0, now + 1], vec![]),
        ] {
            let mut rows = Known { tats: HashMap::from([(1, tats[0]), (2, tats[1])]), ..Known::default() };
            let Ok(decision) = decide(&admission, &mut rows, NOW);
            let expected = if counted.is_empty() { never(Skip::RateLimited) } else { Outcome::Run(Start::Now) };
            assert_eq!(decision, Decision { counted, outcome: expected }, "{tats:?}");
        }
    }

    #[test]
    fn only_what_starts_a_run_or_is_debounced_counts() {
        let counts = |admission: Admission, holder: Option<RunId>| {
            let admission = Admission { rates: vec![rate(1)], ..admission };
            let Ok(decision) = decide(&admission, &mut Known { holder, ..Known::default() }, NOW);
            !decision.counted.is_empty()
        };
        let closed = |closed| Admission { closed: Some(closed), ..Admission::default() };
        let single = |mode| Admission { singleton: Some(Singleton { key: KEY, mode }), ..Admission::default() };
        let debounce = everything().debounce;
        for (admission, holder, expected) in [
            (Admission::default(), None, true),
            (single(SingletonMode::Skip), None, true),
            (single(SingletonMode::Cancel), Some(HOLDER), true),
            (Admission { debounce, ..closed(Closed::Paused) }, None, true),
            (single(SingletonMode::Skip), Some(HOLDER), false),
            (closed(Closed::Paused), None, false),
            (closed(Closed::Draining), None, false),
        ] {
            assert_eq!(counts(admission.clone(), holder), expected, "{admission:?} {holder:?}");
        }
    }

    #[test]
    fn a_run_starts_as_singleton_and_hold_allow() {
        use SingletonMode::{Cancel, Skip as Skips};
        let table = [
            (None, None, None, Start::Now),
            (Some(Skips), None, None, Start::Now),
            (Some(Cancel), None, None, Start::Now),
            (Some(Skips), Some(HOLDER), None, Start::Never(Skip::Singleton(HOLDER))),
            (Some(Cancel), Some(HOLDER), None, Start::After(HOLDER)),
            (None, None, Some(Closed::Paused), Start::Never(Skip::Paused)),
            (None, None, Some(Closed::Draining), Start::Never(Skip::Draining)),
            (Some(Skips), Some(HOLDER), Some(Closed::Paused), Start::Never(Skip::Singleton(HOLDER))),
            (Some(Cancel), Some(HOLDER), Some(Closed::Paused), Start::Never(Skip::Paused)),
            (Some(Cancel), Some(HOLDER), Some(Closed::Draining), Start::Never(Skip::Draining)),
        ];
        for (mode, holder, closed, expected) in table {
            let singleton = mode.map(|mode| Singleton { key: KEY, mode });
            let admission = Admission { singleton, closed, ..Admission::default() };
            let known = || Known { holder, ..Known::default() };
            assert_eq!(outcome(&admission, &mut known()), Outcome::Run(expected), "{mode:?} {holder:?} {closed:?}");
            for gathering in [Gathering::Debounce, Gathering::Batch] {
                assert_eq!(decide_gathered(gathering, Some(&admission), &mut known()), Ok(expected));
            }
        }
    }

    #[test]
    fn of_what_was_gathered_only_a_debounce_looks_at_the_key_of_its_event() {
        let duplicate = || Known { duplicate: true, ..Known::default() };
        let debounced = decide_gathered(Gathering::Debounce, None, &mut duplicate());
        assert_eq!(debounced, Ok(Start::Never(Skip::Duplicate)));
        assert_eq!(decide_gathered(Gathering::Batch, None, &mut duplicate()), Ok(Start::Now));
        assert_eq!(decide_gathered(Gathering::Debounce, None, &mut Known::default()), Ok(Start::Now));
        let again = decide_gathered(Gathering::Debounce, Some(&everything()), &mut Known::default());
        assert_eq!(again, Ok(Start::Never(Skip::Paused)), "neither gathered nor counted a second time");
    }

    #[test]
    fn the_newest_event_of_an_open_debounce_wins() {
        let pending = |ts, deadline| Some(Pending { ts: Millis(ts), deadline: Millis(NOW.0 + deadline) });
        for (pending, expected) in [
            (None, Join::Opens),
            (pending(50, 1), Join::Replaces),
            (pending(49, 1), Join::Replaces),
            (pending(51, 1), Join::Loses),
            (pending(51, 0), Join::Opens),
            (pending(50, -1), Join::Opens),
        ] {
            assert_eq!(Debounce::join(pending, Millis(50), NOW), expected, "{pending:?}");
        }
    }

    #[test]
    fn a_debounce_ends_a_period_after_its_last_event_or_at_its_timeout() {
        let grace = i64::try_from(DEBOUNCE_GRACE.as_millis()).unwrap();
        for (timeout, since_first, expected) in [
            (None, 0, 3_000 + grace),
            (None, 60_000, 3_000 + grace),
            (Some(5), 0, 3_000 + grace),
            (Some(5), 4_000, 1_000),
        ] {
            let timeout = timeout.map(Duration::from_secs);
            let debounce = Debounce { key: KEY, period: 3 * SECOND, timeout };
            let deadline = debounce.deadline(Millis(NOW.0 - since_first), NOW);
            assert_eq!(deadline.0 - NOW.0, expected, "{timeout:?} {since_first}");
        }
    }

    #[test]
    fn a_batch_is_full_by_number_or_by_bytes() {
        let batch = Batch { key: KEY, size: 3, timeout: SECOND };
        for (events, bytes, expected) in
            [(2, 100, false), (3, 100, true), (1, BATCH_BYTES_MAX, true), (2, BATCH_BYTES_MAX - 1, false)]
        {
            assert_eq!(batch.is_full(events, bytes), expected, "{events} {bytes}");
        }
    }
}
