//! Lanes: the due calls of one function that the same limits hold up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use inngest_core::Millis;

use super::functions::FunctionNo;
use super::gates::GateNo;
use super::jobs::{At, Jobs, Place};
use crate::flow::KeyValue;

/// Names a lane.
pub(super) type LaneNo = u32;

/// Which line of a lane. Of two heads that are equal the one of a run that has started goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Side {
    /// Calls that nothing holds up that holds up starts only.
    Rest,
    /// First calls of runs, where throttles or a limit of runs concern them.
    Starts,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Rest, Self::Starts];
}

/// The place of a line among the lines of its function: by turn, then by the rank of its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) tag: u64,
    pub(super) rank: i64,
    pub(super) side: Side,
    pub(super) lane: LaneNo,
}

/// Where a line is. It is in one place at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Nowhere: it is empty.
    Idle,
    /// Among those of its function that are looked at next.
    Ready,
    /// Where it is held up.
    At(GateNo),
    /// Until the rest of its lane is over.
    Resting,
}

/// The due calls of one value of each key by which their function is limited.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) function: FunctionNo,
    /// The values.
    pub(super) key: Box<[KeyValue]>,
    /// What its jobs must pass: one gate for each rule of the function.
    pub(super) gates: Box<[GateNo]>,
    /// Its next turn.
    pub(super) tag: u64,
    pub(super) rest: Option<Rest>,
    /// When it is looked at again whether it may be forgotten.
    pub(super) fades: Option<Millis>,
    lines: [Line; 2],
}

impl Lane {
    pub(super) fn new(function: FunctionNo, key: Box<[KeyValue]>, gates: Box<[GateNo]>) -> Self {
        Self { function, key, gates, tag: 0, rest: None, fades: None, lines: [Line::default(), Line::default()] }
    }

    pub(super) const fn line(&self, side: Side) -> &Line {
        &self.lines[side as usize]
    }

    pub(super) const fn line_mut(&mut self, side: Side) -> &mut Line {
        &mut self.lines[side as usize]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.live == 0)
    }
}

/// One line of a lane.
#[derive(Debug)]
pub(super) struct Line {
    /// The jobs, and places of jobs that have left. The first is always one that waits.
    places: BinaryHeap<Reverse<Place>>,
    live: usize,
    pub(super) stand: Stand,
    /// Its place where it is.
    pub(super) spot: Spot,
    /// The gate whose next one it is, from there until it is looked at.
    pub(super) woken_by: Option<GateNo>,
    /// The gate where others wait for what this line waits for.
    pub(super) stands_for: Option<GateNo>,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            places: BinaryHeap::new(),
            live: 0,
            stand: Stand::Idle,
            spot: Spot { tag: 0, rank: 0, lane: 0, side: Side::Rest },
            woken_by: None,
            stands_for: None,
        }
    }
}

impl Line {
    /// Places of jobs that have left are dropped when they are more than those that wait, and more than this.
    const STALE: usize = 64;

    pub(super) fn push(&mut self, place: Place) {
        self.live += 1;
        self.places.push(Reverse(place));
    }

    pub(super) fn head(&self) -> Option<Place> {
        self.places.peek().map(|Reverse(place)| *place)
    }

    /// Takes the first one.
    pub(super) fn pop(&mut self) -> Option<Place> {
        let Reverse(place) = self.places.pop()?;
        self.live -= 1;
        Some(place)
    }

    /// One has left that may not have been the first.
    pub(super) const fn left(&mut self) {
        self.live -= 1;
    }

    /// Makes sure that the first place is that of a job that waits.
    pub(super) fn tidy(&mut self, jobs: &Jobs, at: At) {
        if self.live == 0 {
            self.places.clear();
            self.places.shrink_to(Self::STALE);
        }
        let waits = |place: Place| jobs.waits_at(place, |found| found == at);
        if self.places.len() > 2 * self.live + Self::STALE {
            let mut places = std::mem::take(&mut self.places).into_sorted_vec();
            places.dedup();
            places.retain(|Reverse(place)| waits(*place));
            self.places = places.into();
        }
        while self.places.len() > self.live
            && let Some(place) = self.head()
            && !waits(place)
        {
            self.places.pop();
        }
    }

    /// Those that wait, in no order. One that was withdrawn and offered again may be there twice.
    pub(super) fn waiting<'l>(&'l self, jobs: &'l Jobs, at: At) -> impl Iterator<Item = Place> + 'l {
        let stale = self.places.len() > self.live;
        let places = self.places.iter().map(|Reverse(place)| *place);
        places.filter(move |place| !stale || jobs.waits_at(*place, |found| found == at))
    }

    /// How many that wait go before this place, and no more than `max` of them.
    pub(super) fn ahead(&self, of: Place, max: usize, jobs: &Jobs, at: At) -> usize {
        before(&self.places, of, max, |place| jobs.waits_at(place, |found| found == at))
    }

    pub(super) const fn len(&self) -> usize {
        self.live
    }
}

/// How many places of a heap are before `of` and count; no more than `max`. Looks at these and at what is next to
/// them, whatever else there is.
pub(super) fn before(
    heap: &BinaryHeap<Reverse<Place>>,
    of: Place,
    max: usize,
    counts: impl Fn(Place) -> bool,
) -> usize {
    let (places, mut next, mut found) = (heap.as_slice(), vec![0], 0);
    while let Some(index) = next.pop().filter(|_| found < max) {
        if let Some(Reverse(place)) = places.get(index).filter(|Reverse(place)| *place < of) {
            found += usize::from(counts(*place));
            next.extend([2 * index + 1, 2 * index + 2]);
        }
    }
    found
}

/// The rest of a lane whose app answered that it was too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) until: Millis,
    /// How long the last one was of those that the app gave no time for.
    backoff: Duration,
}

impl Rest {
    /// No app is left alone for longer.
    pub(super) const MAX: Duration = Duration::from_secs(3_600);
    /// The first rest when the app gives no time; the next ones double.
    pub(super) const FIRST: Duration = Duration::from_secs(1);
    /// The longest rest when the app gives no time; and how long one is remembered.
    pub(super) const LONGEST: Duration = Duration::from_secs(60);

    /// The rest that follows on one. What was in flight when it began does not make it longer, but for the time that
    /// the app gives.
    pub(super) fn after(rest: Option<Self>, asked: Option<Millis>, now: Millis) -> Self {
        let known = rest.unwrap_or(Self { until: now, backoff: Duration::ZERO });
        match asked.filter(|until| *until > now) {
            Some(until) => Self { until: known.until.max(until.min(now.plus(Self::MAX))), ..known },
            None if known.until > now => known,
            None => {
                let backoff = (known.backoff * 2).clamp(Self::FIRST, Self::LONGEST);
                Self { until: now.plus(backoff), backoff }
            }
        }
    }

    /// Once the app has answered: the next rest is a first one.
    pub(super) fn answered(self, now: Millis) -> Option<Self> {
        (self.until > now).then_some(Self { backoff: Duration::ZERO, ..self })
    }

    /// When nothing of it needs to be known any more.
    pub(super) const fn forgotten(self) -> Millis {
        self.until.plus(Self::LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_until_an_answer_and_never_exceed_their_limits() {
        let (mut now, mut rest, mut lengths) = (Millis(0), None, Vec::new());
        for _ in 0..8 {
            let next = Rest::after(rest, None, now);
            lengths.push(next.until.since(now).as_secs());
            (rest, now) = (Some(next), next.until);
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(rest.unwrap().answered(now), None);
        let asked = Rest::after(None, Some(Millis(i64::MAX)), now);
        assert_eq!(asked.until, now.plus(Rest::MAX));
    }

    #[test]
    fn calls_that_were_in_flight_together_make_one_rest() {
        let first = Rest::after(None, None, Millis(0));
        assert_eq!(Rest::after(Some(first), None, Millis(500)), first);
        let longer = Rest::after(Some(first), Some(Millis(5_000)), Millis(500));
        assert_eq!(longer.until, Millis(5_000));
        assert_eq!(Rest::after(Some(longer), Some(Millis(3_000)), Millis(500)), longer);
        // An answer during the rest does not end it, but what follows begins anew.
        let answered = longer.answered(Millis(600)).unwrap();
        assert_eq!(answered.until, longer.until);
        assert_eq!(Rest::after(Some(answered), None, Millis(6_000)).until, Millis(7_000));
    }
}
