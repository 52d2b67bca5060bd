//! When events are sent: warm-up, measured window, drain; closed loop or a fixed rate.
//!
//! Pure: the present time is a parameter. In the closed loop an event is due when a slot is free. At a fixed rate the
//! n-th event is due at `start + n / rate`, whether or not the server keeps up; events that were due inside the window but
//! could not be sent yet are still sent while draining, so that a slow server cannot thin out the sample.

use std::time::{Duration, Instant};

/// How much load of which kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Events per second on a fixed schedule; `None` is the closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) limit: Limit,
    /// Time at the beginning that is not measured.
    pub(crate) warm_up: Duration,
    /// How long to wait without progress, and for what is left at the end.
    pub(crate) deadline: Duration,
}

/// Size of the measured window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Duration(Duration),
    /// Events sent after the warm-up; the window ends when the last of them has ended.
    Count(u64),
}

/// Progress through one plan.
pub(crate) struct Pace {
    plan: Plan,
    start: Instant,
    sent: u64,
    sent_measured: u64,
    phase: Phase,
    ended: u64,
    last_progress: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measuring { from: Instant },
    Draining { from: Instant, until: Instant },
}

/// What the passing of time has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    WindowOpens,
    WindowCloses,
    Finished,
}

impl Pace {
    pub(crate) fn new(plan: Plan, now: Instant) -> Self {
        Pace { plan, start: now, sent: 0, sent_measured: 0, phase: Phase::WarmUp, ended: 0, last_progress: now }
    }

    /// To be asked again until it has nothing more to say. `ended` counts ended events, `in_flight` those under way.
    pub(crate) fn advance(&mut self, now: Instant, ended: u64, in_flight: u64) -> Option<Turn> {
        if ended != self.ended {
            self.ended = ended;
            self.last_progress = now;
        }
        let stalled = in_flight > 0 && now >= self.last_progress + self.plan.deadline;
        match self.phase {
            Phase::WarmUp if now >= self.start + self.plan.warm_up => {
                // The planned instant, not the present one, so that at a fixed rate the window holds whole periods.
                self.phase = Phase::Measuring { from: self.start + self.plan.warm_up };
                self.last_progress = now;
                Some(Turn::WindowOpens)
            }
            Phase::WarmUp => None,
            Phase::Measuring { from } => {
                let until = match self.plan.limit {
                    Limit::Duration(length) => (now >= from + length).then_some(from + length),
                    Limit::Count(count) => {
                        let over = self.sent_measured >= count && in_flight == 0;
                        (over || stalled).then_some(now)
                    }
                };
                self.phase = Phase::Draining { from, until: until? };
                Some(Turn::WindowCloses)
            }
            Phase::Draining { until, .. } => {
                let empty = in_flight == 0 && self.due(now).is_none();
                (empty || stalled || now >= until + self.plan.deadline).then_some(Turn::Finished)
            }
        }
    }

    /// When the next event is due: now or earlier to send at once; `None` when no more are to be sent.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let due = match self.plan.rate {
            Some(rate) => self.start + Duration::from_secs_f64(self.sent as f64 / rate),
            None => now,
        };
        let open = match (self.plan.limit, self.phase) {
            (_, Phase::WarmUp) => true,
            (Limit::Count(count), Phase::Measuring { .. }) => self.sent_measured < count,
            (Limit::Count(_), Phase::Draining { .. }) => false,
            (Limit::Duration(length), Phase::Measuring { from }) => due < from + length,
            (Limit::Duration(_), Phase::Draining { until, .. }) => self.plan.rate.is_some() && due < until,
        };
        open.then_some(due)
    }

    /// Notes that the event due at `due` is being sent; says whether it belongs to the measured ones.
    pub(crate) fn send(&mut self, due: Instant) -> bool {
        self.sent += 1;
        let measured = match self.phase {
            Phase::WarmUp => false,
            Phase::Measuring { from } | Phase::Draining { from, .. } => due >= from,
        };
        self.sent_measured += u64::from(measured);
        measured
    }

    pub(crate) fn sent_measured(&self) -> u64 {
        self.sent_measured
    }

    /// Events that were due in the window and were never sent.
    pub(crate) fn unsent(&self) -> u64 {
        match (self.plan.rate, self.phase, self.plan.limit) {
            (Some(rate), Phase::Draining { until, .. }, Limit::Duration(_)) => {
                let due = (until.saturating_duration_since(self.start).as_secs_f64() * rate).ceil();
                (due as u64).saturating_sub(self.sent)
            }
            (_, _, Limit::Count(count)) => count.saturating_sub(self.sent_measured),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace(rate: Option<f64>, limit: Limit) -> (Pace, Instant) {
        let now = Instant::now();
        (Pace::new(Plan { rate, limit, warm_up: SECOND, deadline: 10 * SECOND }, now), now)
    }

    #[test]
    fn closed_loop_by_duration() {
        let (mut pace, start) = pace(None, Limit::Duration(2 * SECOND));
        assert_eq!(pace.due(start), Some(start));
        assert!(!pace.send(start));
        assert_eq!(pace.advance(start, 0, 1), None);
        assert_eq!(pace.advance(start + SECOND, 0, 1), Some(Turn::WindowOpens));
        assert!(pace.send(start + SECOND));
        assert_eq!(pace.advance(start + 2 * SECOND, 1, 1), None);
        assert_eq!(pace.advance(start + 3 * SECOND, 1, 1), Some(Turn::WindowCloses));
        assert_eq!(pace.due(start + 3 * SECOND), None, "nothing is sent while draining");
        assert_eq!(pace.advance(start + 3 * SECOND, 1, 1), None);
        assert_eq!(pace.advance(start + 4 * SECOND, 2, 0), Some(Turn::Finished));
        assert_eq!((pace.sent_measured(), pace.unsent()), (1, 0));
    }

    #[test]
    fn what_does_not_end_is_given_up_at_the_deadline() {
        let (mut pace, start) = pace(None, Limit::Duration(SECOND));
        pace.send(start);
        assert_eq!(pace.advance(start + SECOND, 0, 1), Some(Turn::WindowOpens));
        assert_eq!(pace.advance(start + 2 * SECOND, 0, 1), Some(Turn::WindowCloses));
        assert_eq!(pace.advance(start + 10 * SECOND, 0, 1), None);
        assert_eq!(pace.advance(start + 12 * SECOND, 0, 1), Some(Turn::Finished));
    }

    #[test]
    fn closed_loop_by_count_ends_with_the_last_event_or_without_progress() {
        let (mut pace, start) = pace(None, Limit::Count(2));
        assert_eq!(pace.advance(start + SECOND, 0, 0), Some(Turn::WindowOpens));
        assert!(pace.send(start + SECOND) && pace.send(start + SECOND));
        assert_eq!(pace.due(start + SECOND), None);
        assert_eq!(pace.advance(start + 9 * SECOND, 1, 1), None);
        assert_eq!(pace.advance(start + 18 * SECOND, 1, 1), None, "the end of the first was progress");
        let mut finished = start + 19 * SECOND;
        assert_eq!(pace.advance(finished, 1, 1), Some(Turn::WindowCloses));
        finished += SECOND;
        assert_eq!(pace.advance(finished, 1, 1), Some(Turn::Finished));
    }

    #[test]
    fn fixed_rate_keeps_its_schedule_and_catches_up_while_draining() {
        let (mut pace, start) = pace(Some(2.0), Limit::Duration(SECOND));
        let half = SECOND / 2;
        assert_eq!(pace.due(start), Some(start));
        assert!(!pace.send(start));
        assert_eq!(pace.due(start), Some(start + half));
        assert_eq!(pace.advance(start + SECOND, 1, 0), Some(Turn::WindowOpens));
        assert!(!pace.send(start + half), "was due before the window");
        assert!(pace.send(start + SECOND));
        assert_eq!(pace.due(start + 2 * SECOND), Some(start + 3 * half));
        assert_eq!(pace.advance(start + 2 * SECOND, 1, 2), Some(Turn::WindowCloses));
        assert_eq!(pace.unsent(), 1);
        assert_eq!(pace.due(start + 2 * SECOND), Some(start + 3 * half), "still to be sent, though late");
        assert_eq!(pace.advance(start + 2 * SECOND, 3, 0), None);
        assert!(pace.send(start + 3 * half));
        assert_eq!((pace.due(start + 2 * SECOND), pace.unsent()), (None, 0));
        assert_eq!(pace.advance(start + 3 * SECOND, 4, 0), Some(Turn::Finished));
    }
}
