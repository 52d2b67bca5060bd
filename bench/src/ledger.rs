//! The books of one workload: which events are under way, which of their runs have ended, and what happened twice.
//!
//! Each event has one small record that stays until the workload is over, so that a step executed again or a run ended
//! again is noticed however late it comes. Sequence numbers begin with digits drawn at random for the process: calls
//! that belong to an earlier benchmark against the same server are told apart and counted as strangers.

use crate::stats::Samples;
use crate::stub::Answer;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Sequence numbers of one process share their digits above this one; all have the same length and fit a double.
const SERIES: u64 = 100_000_000_000;

/// First sequence number of this process.
pub(crate) fn first_sequence() -> u64 {
    (1_000 + RandomState::new().hash_one("bench") % 8_000) * SERIES
}

/// State of the events of one workload.
pub(crate) struct Ledger {
    first: u64,
    runs_per_event: u8,
    records: Vec<Record>,
    pub(crate) totals: Totals,
    pub(crate) first_call: Samples,
    pub(crate) end: Samples,
    /// From one start to the next, where they come at even distances.
    spacing: Option<Duration>,
    /// When they came, the measured ones.
    starts: Vec<Instant>,
}

/// Counters since the workload began, warm-up included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) events_ended: u64,
    pub(crate) runs_ended: u64,
    pub(crate) calls: u64,
    pub(crate) duplicate_steps: u64,
    pub(crate) duplicate_runs: u64,
    pub(crate) strangers: u64,
}

struct Record {
    due: Instant,
    /// The client slot that waits for the end, in the closed loop.
    slot: u32,
    steps_done: u16,
    /// One bit for each function of the event.
    ended: u8,
    called: bool,
    measured: bool,
    abandoned: bool,
}

/// What a call meant for its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing that anybody waits for.
    None,
    /// A run ended, others of the same event go on.
    Run,
    /// The last run of the event ended; this slot may send the next one.
    Event { slot: u32 },
}

impl Ledger {
    pub(crate) fn new(first: u64, runs_per_event: u8, spacing: Option<Duration>) -> Self {
        Ledger {
            first,
            runs_per_event,
            records: Vec::new(),
            totals: Totals::default(),
            first_call: Samples::default(),
            end: Samples::default(),
            spacing,
            starts: Vec::new(),
        }
    }

    /// Number that the next event will carry.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Opens the record of an event that was due at `due`; `measured` events enter the latency figures.
    pub(crate) fn open(&mut self, due: Instant, slot: u32, measured: bool) {
        self.records.push(Record { due, slot, steps_done: 0, ended: 0, called: false, measured, abandoned: false });
    }

    pub(crate) fn due(&self, sequence: u64) -> Option<(Instant, bool)> {
        self.position(sequence).map(|at| (self.records[at].due, self.records[at].measured))
    }

    /// The server did not acknowledge this event, so its runs are not expected. Says whether they had not ended yet.
    pub(crate) fn abandon(&mut self, sequence: u64) -> bool {
        let all = all_runs(self.runs_per_event);
        let Some(at) = self.position(sequence) else { return false };
        let record = &mut self.records[at];
        let open = record.ended != all || all == 0;
        record.abandoned |= open;
        open
    }

    /// An event that starts no run is over once it is accepted.
    pub(crate) fn accepted_without_runs(&mut self) {
        self.totals.events_ended += 1;
    }

    /// The server called a function for an event.
    pub(crate) fn called(&mut self, sequence: u64, now: Instant) {
        self.totals.calls += 1;
        let Some(at) = self.position(sequence) else {
            self.totals.strangers += 1;
            return;
        };
        let record = &mut self.records[at];
        if !record.called {
            record.called = true;
            if record.measured {
                self.first_call.record(now.saturating_duration_since(record.due));
                if self.spacing.is_some() {
                    self.starts.push(now);
                }
            }
        }
    }

    /// The function's answer was written.
    pub(crate) fn answered(&mut self, sequence: u64, function: u8, answer: Answer, now: Instant) -> Progress {
        let all = all_runs(self.runs_per_event);
        let Some(at) = self.position(sequence) else { return Progress::None };
        let record = &mut self.records[at];
        match answer {
            Answer::Plan => Progress::None,
            Answer::Step(number) => {
                let bit = 1 << number;
                self.totals.duplicate_steps += u64::from(record.steps_done & bit != 0);
                record.steps_done |= bit;
                Progress::None
            }
            Answer::Result | Answer::Parked if record.ended & (1 << function) != 0 => {
                self.totals.duplicate_runs += 1;
                Progress::None
            }
            Answer::Result | Answer::Parked => {
                record.ended |= 1 << function;
                self.totals.runs_ended += 1;
                if record.ended != all {
                    return Progress::Run;
                }
                if record.abandoned {
                    return Progress::None;
                }
                self.totals.events_ended += 1;
                if record.measured {
                    self.end.record(now.saturating_duration_since(record.due));
                }
                Progress::Event { slot: record.slot }
            }
        }
    }

    /// How late starts came, counted from the earliest one at even distances. A server that is too slow falls ever
    /// further behind; one that hurries is taken for the measure of the others.
    pub(crate) fn late(&self) -> Samples {
        let mut late = Samples::default();
        let Some((spacing, origin)) = self.spacing.zip(self.starts.first().copied()) else { return late };
        let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let place = |n: usize, start: Instant| nanos(start - origin) - nanos(spacing) * n as i64;
        let places = self.starts.iter().enumerate().map(|(n, start)| place(n, *start));
        let earliest = places.clone().min().unwrap_or(0);
        places.for_each(|place| late.record(Duration::from_nanos(place.abs_diff(earliest))));
        late
    }

    /// Runs of acknowledged events that have not ended.
    pub(crate) fn lost_runs(&self) -> u64 {
        let open = self.records.iter().filter(|record| !record.abandoned);
        open.map(|record| u64::from(self.runs_per_event) - u64::from(record.ended.count_ones())).sum()
    }

    fn position(&self, sequence: u64) -> Option<usize> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        (at < self.records.len()).then_some(at)
    }
}

fn all_runs(runs_per_event: u8) -> u8 {
    u8::try_from((1_u16 << runs_per_event) - 1).expect("no workload starts more than eight runs")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_event_ends_with_its_last_run_and_repeats_are_counted() {
        let now = Instant::now();
        let mut ledger = Ledger::new(1_000, 2, None);
        ledger.open(now, 7, true);
        ledger.called(1_000, now + Duration::from_millis(3));
        assert_eq!(ledger.answered(1_000, 0, Answer::Plan, now), Progress::None);
        assert_eq!(ledger.answered(1_000, 0, Answer::Step(2), now), Progress::None);
        assert_eq!(ledger.answered(1_000, 0, Answer::Step(2), now), Progress::None);
        assert_eq!(ledger.answered(1_000, 1, Answer::Result, now), Progress::Run);
        assert_eq!(ledger.lost_runs(), 1);
        assert_eq!(ledger.answered(1_000, 1, Answer::Result, now), Progress::None);
        let end = now + Duration::from_millis(5);
        assert_eq!(ledger.answered(1_000, 0, Answer::Result, end), Progress::Event { slot: 7 });
        ledger.called(999, now);
        assert_eq!(ledger.answered(1_001, 0, Answer::Result, now), Progress::None);
        let totals =
            Totals { events_ended: 1, runs_ended: 2, calls: 2, duplicate_steps: 1, duplicate_runs: 1, strangers: 1 };
        assert_eq!((ledger.totals, ledger.lost_runs()), (totals, 0));
        assert_eq!(ledger.first_call.percentiles().expect("one sample").max, 3.0);
        assert_eq!(ledger.end.percentiles().expect("one sample").max, 5.0);
    }

    #[test]
    fn warm_up_events_are_not_measured_and_abandoned_ones_not_lost() {
        let now = Instant::now();
        let mut ledger = Ledger::new(10, 1, None);
        ledger.open(now, 0, false);
        ledger.open(now, 1, true);
        assert!(ledger.abandon(11) && !ledger.abandon(12));
        assert_eq!(ledger.answered(10, 0, Answer::Result, now), Progress::Event { slot: 0 });
        assert_eq!(ledger.answered(11, 0, Answer::Result, now), Progress::None, "nobody waits for it");
        assert_eq!((ledger.lost_runs(), ledger.totals.events_ended, ledger.totals.runs_ended), (0, 1, 2));
        assert_eq!(ledger.end.percentiles(), None);
    }

    #[test]
    fn starts_are_late_against_even_distances() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let mut ledger = Ledger::new(0, 1, Some(ms(10)));
        for (sequence, at) in [1, 10, 20, 33].into_iter().enumerate() {
            ledger.open(now, 0, true);
            ledger.called(sequence as u64, now + ms(at));
        }
        // The second and the third were on time, the first one 1 ms late, the last one 3 ms.
        let late = ledger.late().percentiles().expect("four");
        assert_eq!((late.count, late.p50, late.max), (4, 0.0, 3.0));
        assert_eq!(Ledger::new(0, 1, None).late().percentiles(), None);
    }

    #[test]
    fn sequence_numbers_have_one_length_and_fit_a_double() {
        for _ in 0..100 {
            let first = first_sequence();
            assert_eq!((first.to_string().len(), (first + SERIES - 1).to_string().len()), (15, 15));
            assert!(first + SERIES < 1 << 53);
        }
    }
}
