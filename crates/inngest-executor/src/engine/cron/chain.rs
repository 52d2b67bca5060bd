//! One schedule: what it fires for next, and what becomes of times that were missed.

use inngest_core::{FunctionId, Millis};
use inngest_expr::cron;

use super::CronCatchup;
use super::presence::AWAY;
use crate::rules::CronTrigger;

/// Missed times of one schedule that are made up for at most; of more, the latest. A schedule of every second has
/// missed 86,400 after a day, and each would start a run.
pub(super) const CATCHUP_MAX: usize = 1_000;

/// One schedule and how far it got. It fires for its times in their order. Jitter may move a time beyond the next one:
/// then the next one fires with it, which is still within its own jitter.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) function: FunctionId,
    pub(super) trigger: CronTrigger,
    /// Fired for all times up to here, or decided not to.
    last: Millis,
    /// What should have fired before this time is decided on.
    settled: Millis,
}

/// What a schedule does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It fires now, for this time.
    Now(Millis),
    /// It fires then.
    At(Millis),
    /// It never fires any more.
    Never,
}

impl Chain {
    pub(super) fn new(function: FunctionId, trigger: CronTrigger, last: Millis) -> Self {
        Self { function, trigger, last, settled: Millis(i64::MIN) }
    }

    /// Takes over from the same schedule as it was registered before: it keeps its phase.
    pub(super) fn continues(self, before: &Self) -> Self {
        Self { last: self.last.max(before.last), settled: before.settled, ..self }
    }

    pub(super) fn next(&self, now: Millis) -> Next {
        let Some(at) = self.trigger.schedule.next(self.last) else { return Next::Never };
        let fires = self.fires(at);
        if fires <= now { Next::Now(at) } else { Next::At(fires) }
    }

    /// It has fired for this time.
    pub(super) fn fired(&mut self, at: Millis) {
        self.last = at;
    }

    /// Decides on the times that should have fired before `since`, when nobody was there to fire them. Returns the
    /// last one that will never fire, if the next process must know.
    pub(super) fn settle(&mut self, since: Millis, policy: CronCatchup) -> Option<Millis> {
        if since <= self.settled {
            return None;
        }
        self.settled = since;
        // One that is hardly late is not missed: the server was merely started anew.
        let first = self.trigger.schedule.next(self.last)?;
        if self.fires(first).plus(AWAY) >= since {
            return None;
        }
        let missed = self.latest_missed(since)?;
        match policy {
            CronCatchup::None => self.last = missed,
            CronCatchup::Latest => {
                self.last = just_before(missed);
                return None;
            }
            CronCatchup::All => {
                let mut first = missed;
                for _ in 1..CATCHUP_MAX {
                    first = self.trigger.schedule.latest(self.last, just_before(first))?;
                }
                let dropped = self.trigger.schedule.latest(self.last, just_before(first))?;
                let (function, schedule) = (self.function, &self.trigger.text);
                tracing::warn!(%function, schedule = &**schedule, "too many times were missed; the latest {CATCHUP_MAX} fire");
                self.last = dropped;
            }
        }
        Some(self.last)
    }

    /// The last time of those that should all have fired before `since`.
    fn latest_missed(&self, since: Millis) -> Option<Millis> {
        let jitter = self.trigger.jitter.unwrap_or_default();
        // Whatever the jitter of these is, it was over.
        let certain = Millis(since.0.saturating_sub(Millis(1).plus(jitter).0));
        let mut missed = self.trigger.schedule.latest(self.last, certain);
        // There are as many more as fit into the jitter.
        while let Some(at) = self.trigger.schedule.next(missed.unwrap_or(self.last))
            && self.fires(at) < since
        {
            missed = Some(at);
        }
        missed
    }

    /// When the time `at` is fired for: with its jitter, which is always the same for the same time.
    fn fires(&self, at: Millis) -> Millis {
        let Some(jitter) = self.trigger.jitter else { return at };
        let seed = format!("{}:{}:{}", self.function, self.trigger.text, at.0);
        at.plus(cron::jitter_offset(&seed, jitter))
    }
}

fn just_before(at: Millis) -> Millis {
    Millis(at.0 - 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use inngest_expr::cron::Schedule;

    use super::*;

    const START: Millis = Millis(1_700_000_000_000);
    const SECOND: i64 = 1_000;
    const MINUTE: i64 = 60 * SECOND;
    const DAY: i64 = 24 * 60 * MINUTE;

    fn chain(text: &str, jitter: Option<u64>) -> Chain {
        let trigger = CronTrigger {
            text: text.into(),
            schedule: Schedule::parse(text).unwrap(),
            jitter: jitter.map(Duration::from_secs),
        };
        Chain::new(FunctionId::of_definition("f", "u"), trigger, START)
    }

    /// What fires from `from` to `until`, as (time, when), for somebody who is there all the time.
    fn watched(chain: &mut Chain, from: Millis, until: Millis) -> Vec<(Millis, Millis)> {
        let (mut now, mut fired) = (from, Vec::new());
        loop {
            match chain.next(now) {
                Next::Now(at) => {
                    chain.fired(at);
                    fired.push((at, now));
                }
                Next::At(at) if at <= until => now = at,
                Next::At(_) | Next::Never => return fired,
            }
        }
    }

    fn later(by: i64) -> Millis {
        Millis(START.0 + by)
    }

    #[test]
    fn every_time_fires_once_within_its_jitter_however_long_that_is() {
        for (text, period, jitter) in
            [("* * * * *", MINUTE, 300), ("* * * * * *", SECOND, 10), ("* * * * *", MINUTE, 2)]
        {
            let mut chain = chain(text, Some(jitter));
            let until = later(120 * period);
            let fired = watched(&mut chain, START, until);
            let jitter = i64::try_from(jitter * 1_000).unwrap();
            let expected: Vec<i64> = (1..).map(|n| (START.0 / period + n) * period).take(fired.len()).collect();
            assert!(fired.len() as i64 >= 120 - jitter / period - 1, "{text}: {}", fired.len());
            assert_eq!(fired.iter().map(|(at, _)| at.0).collect::<Vec<_>>(), expected, "{text}: none is left out");
            for (at, when) in fired {
                assert!((1_000..jitter).contains(&(when.0 - at.0)), "{text}: {at} at {when}");
            }
        }
    }

    #[test]
    fn only_the_latest_missed_time_fires_and_those_still_to_come_keep_their_jitter() {
        for jitter in [None, Some(30), Some(300)] {
            for downtime in (0..40).map(|n| n * 17 * SECOND + 20 * MINUTE) {
                let since = later(downtime);
                let mut chain = chain("* * * * *", jitter);
                let untouched = watched(&mut self::chain("* * * * *", jitter), START, later(2 * DAY / 24));
                assert_eq!(chain.settle(since, CronCatchup::Latest), None);
                let fired = watched(&mut chain, since, later(2 * DAY / 24));
                let (late, rest) = fired.split_first().unwrap();
                let missed = untouched.iter().filter(|(_, when)| *when < since).count();
                assert_eq!(late.0, untouched[missed - 1].0, "{jitter:?} {downtime}: the latest one");
                assert_eq!(late.1, since, "{jitter:?} {downtime}: at once");
                assert_eq!(rest, &untouched[missed..], "{jitter:?} {downtime}");
            }
        }
    }

    #[test]
    fn no_missed_time_fires_if_none_is_to() {
        for jitter in [None, Some(300)] {
            let since = later(20 * MINUTE);
            let mut chain = chain("* * * * *", jitter);
            let untouched = watched(&mut self::chain("* * * * *", jitter), START, later(60 * MINUTE));
            let missed = untouched.iter().filter(|(_, when)| *when < since).count();
            assert_eq!(chain.settle(since, CronCatchup::None), Some(untouched[missed - 1].0), "{jitter:?}");
            assert_eq!(watched(&mut chain, since, later(60 * MINUTE)), untouched[missed..], "{jitter:?}");
        }
    }

    #[test]
    fn a_short_restart_misses_nothing() {
        for (text, back_at, expected) in [("* * * * *", 42, 1), ("* * * * * *", 4, 4), ("* * * * *", 46, 0)] {
            let mut chain = chain(text, None);
            chain.settle(later(back_at * SECOND), CronCatchup::None);
            assert_eq!(watched(&mut chain, later(back_at * SECOND), later(back_at * SECOND)).len(), expected, "{text}");
        }
    }

    #[test]
    fn missed_times_are_made_up_for_in_order_up_to_a_limit() {
        let mut few = chain("* * * * *", None);
        let since = later(20 * MINUTE);
        assert_eq!(few.settle(since, CronCatchup::All), None);
        assert_eq!(watched(&mut few, since, since).len(), 20);

        let mut many = chain("* * * * * *", None);
        let since = later(3 * DAY);
        let dropped = many.settle(since, CronCatchup::All).expect("some are given up");
        let fired = watched(&mut many, since, since);
        // The time of `since` itself is not missed.
        assert_eq!(fired.len(), CATCHUP_MAX + 1);
        assert_eq!((fired[0].0.0 - dropped.0, fired[CATCHUP_MAX].0), (SECOND, since));
    }

    #[test]
    fn what_is_decided_stays_decided_and_a_change_of_jitter_counts_at_once() {
        let since = later(20 * MINUTE);
        let mut before = chain("* * * * *", Some(300));
        before.settle(since, CronCatchup::Latest);
        let plain = CronTrigger { jitter: None, ..before.trigger.clone() };
        let mut after = Chain::new(before.function, plain, START).continues(&before);
        assert_eq!(after.settle(since, CronCatchup::Latest), None);
        assert!(after.next(since) != Next::Now(later(40 * SECOND)), "the first missed one was given up");
        let fired = watched(&mut after, later(25 * MINUTE), later(27 * MINUTE));
        assert_eq!(fired.last().map(|(at, when)| when.0 - at.0), Some(0));
    }

    #[test]
    fn a_schedule_without_times_never_fires() {
        let mut never = chain("0 0 31 2 *", None);
        assert_eq!(never.settle(later(DAY), CronCatchup::All), None);
        assert_eq!(never.next(later(DAY)), Next::Never);
    }
}
