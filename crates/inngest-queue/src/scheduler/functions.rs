//! Functions and their turns.
//!
//! Apps take turns, then the functions of an app, then the lanes of a function, all of them one call at a time. Lanes
//! do so by start-time fair queueing with equal weights: each lane has a tag, the smallest goes first, of equal ones
//! the one with the best head (its priority, then its age); one call makes the tag larger by one. A lane that becomes
//! active, or was held up, begins at the tag of the current round at the earliest: it gets no credit for the past. A
//! round lasts for as many calls as there were lanes at its start, so that lanes that come without end do not keep one
//! that was served before from its next turn. Hence the bound:
//!
//! *With n lanes, a lane that nothing holds up is served after at most n calls of its function until the round is
//! over, and one for each of the lanes that there are then; one that has just been served, a round later.* A million
//! jobs of one key are one lane: they delay another key by one call in each round.

use std::collections::{BTreeSet, VecDeque};

use inngest_core::{AppId, FunctionId};

use super::arena::Map;
use super::gates::Rule;
use super::lanes::{LaneNo, Spot};
use crate::flow::{Concurrency, Dispatch, KeyExpression, KeyValue, Keys, Scope};

/// Names a function.
pub(super) type FunctionNo = u32;

/// A function of which calls wait, or for which limits are set.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) id: FunctionId,
    /// As it was configured; `None` for one that was not.
    pub(super) dispatch: Option<Dispatch>,
    /// Its limits, in the order in which they are asked.
    pub(super) rules: Vec<Rule>,
    /// The keys of its limits.
    pub(super) keys: Vec<KeyExpression>,
    pub(super) lanes: Map<Box<[KeyValue]>, LaneNo>,
    /// The lines that are looked at next.
    pub(super) ready: BTreeSet<Spot>,
    pub(super) round: Round,
    /// It is among those that take turns.
    pub(super) listed: bool,
}

impl Function {
    pub(super) fn new(id: FunctionId) -> Self {
        Self {
            id,
            dispatch: None,
            rules: Vec::new(),
            keys: Vec::new(),
            lanes: Map::default(),
            ready: BTreeSet::new(),
            round: Round::default(),
            listed: false,
        }
    }

    /// Sets limits; true when its lanes are other ones then.
    pub(super) fn configure(&mut self, dispatch: Option<Dispatch>) -> bool {
        let divided = (std::mem::take(&mut self.keys), self.limits_starts());
        self.rules = dispatch.as_ref().map(rules).unwrap_or_default();
        self.keys = self.rules.iter().filter_map(Rule::key).collect();
        self.keys.sort_unstable();
        self.keys.dedup();
        self.dispatch = dispatch;
        divided != (self.keys.clone(), self.limits_starts())
    }

    /// The app it takes turns with; those that are not configured do so together.
    pub(super) fn app(&self) -> Option<AppId> {
        self.dispatch.as_ref().map(|dispatch| dispatch.app)
    }

    pub(super) fn paused(&self) -> bool {
        self.dispatch.as_ref().is_some_and(|dispatch| dispatch.paused)
    }

    pub(super) fn adaptive(&self) -> bool {
        self.dispatch.as_ref().is_some_and(|dispatch| dispatch.adaptive)
    }

    /// Whether something holds up first calls of runs only.
    pub(super) fn limits_starts(&self) -> bool {
        self.rules.iter().any(|rule| !matches!(rule, Rule::Steps(_)))
    }

    /// The limit of its runs.
    pub(super) fn runs(&self) -> Option<&Rule> {
        self.rules.last().filter(|rule| matches!(rule, Rule::Runs(_)))
    }

    /// Whether its lane stays when it has no jobs: where nothing has a key there is only one, and most jobs are made
    /// when it is empty.
    pub(super) fn keeps_its_lane(&self) -> bool {
        self.dispatch.is_some() && self.keys.is_empty()
    }

    /// The values of its keys, if all were evaluated for the run.
    pub(super) fn key(&self, keys: &Keys) -> Option<Vec<KeyValue>> {
        self.keys.iter().map(|expression| keys.get(*expression)).collect()
    }

    /// Whether nobody needs to know of it any more.
    pub(super) fn is_forgotten(&self) -> bool {
        self.dispatch.is_none() && self.lanes.is_empty() && !self.listed
    }
}

/// The limits of a function, in the order in which they are asked: throttles, account, environment, function, keys,
/// runs. Of those that count the same the smallest holds, of throttles the first.
fn rules(dispatch: &Dispatch) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for throttle in &dispatch.throttles {
        if !rules.iter().any(|rule| matches!(rule, Rule::Throttle(known) if known.bucket == throttle.bucket)) {
            rules.push(Rule::Throttle(*throttle));
        }
    }
    let mut steps: Vec<Concurrency> = dispatch.steps.clone();
    steps.sort_by_key(|limit| {
        let scope = match (limit.scope, limit.key) {
            (Scope::Account, _) => 0,
            (Scope::Environment, _) => 1,
            (Scope::Function, None) => 2,
            (Scope::Function, Some(_)) => 3,
        };
        (scope, limit.key, limit.limit)
    });
    steps.dedup_by_key(|limit| (limit.scope, limit.key));
    rules.extend(steps.into_iter().map(Rule::Steps));
    rules.extend(dispatch.runs.map(Rule::Runs));
    rules
}

/// The rounds in which the lanes of a function take turns.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Lanes that become active begin with this tag.
    pub(super) number: u64,
    /// Calls until it is over.
    left: usize,
}

impl Round {
    /// A lane of this tag is served, one of so many.
    pub(super) fn serve(&mut self, tag: u64, lanes: usize) {
        if tag > self.number {
            *self = Self { number: tag, left: lanes };
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            *self = Self { number: self.number + 1, left: lanes };
        }
    }
}

/// The functions that have something to look at, in the order in which they take turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    numbers: Map<Option<AppId>, usize>,
    /// The functions of each app.
    apps: Vec<VecDeque<FunctionNo>>,
    order: VecDeque<usize>,
}

impl Turns {
    pub(super) fn push(&mut self, app: Option<AppId>, function: FunctionNo) {
        let app = *self.numbers.entry(app).or_insert_with(|| {
            self.apps.push(VecDeque::new());
            self.apps.len() - 1
        });
        if self.apps[app].is_empty() {
            self.order.push_back(app);
        }
        self.apps[app].push_back(function);
    }

    /// Whose turn it is.
    pub(super) fn current(&self) -> Option<FunctionNo> {
        self.apps[*self.order.front()?].front().copied()
    }

    /// It has had its turn, and takes another one if it has more.
    pub(super) fn pass(&mut self, more: bool) {
        let Some(app) = self.order.pop_front() else { return };
        let functions = &mut self.apps[app];
        let function = functions.pop_front();
        functions.extend(function.filter(|_| more));
        if !functions.is_empty() {
            self.order.push_back(app);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flow::{Bucket, Throttle};
    use crate::gcra::Rate;

    fn limit(limit: u32, scope: Scope, key: Option<&str>) -> Concurrency {
        Concurrency { limit, scope, key: key.map(KeyExpression::of) }
    }

    #[test]
    fn limits_are_asked_in_a_fixed_order_and_the_smallest_of_equal_ones_holds() {
        let app = AppId::of_name("a");
        let throttle = Throttle { bucket: Bucket(1), key: None, rate: Rate::lossless(1, Duration::from_secs(1), 0) };
        let [keyed, all, fewer, shared, account, runs] = [
            limit(1, Scope::Function, Some("a")),
            limit(5, Scope::Function, None),
            limit(4, Scope::Function, None),
            limit(9, Scope::Environment, Some("b")),
            limit(7, Scope::Account, Some("b")),
            limit(3, Scope::Function, Some("a")),
        ];
        let dispatch = Dispatch {
            steps: vec![keyed, all, fewer, shared, account],
            runs: Some(runs),
            throttles: vec![throttle, throttle],
            ..Dispatch::unlimited(app)
        };
        let steps = [account, shared, fewer, keyed].map(Rule::Steps);
        let expected = [vec![Rule::Throttle(throttle)], steps.to_vec(), vec![Rule::Runs(runs)]].concat();
        assert_eq!(rules(&dispatch), expected);
        let mut function = Function::new(FunctionId::of_definition("f", "u"));
        assert!(function.configure(Some(dispatch.clone())));
        assert_eq!(function.keys.len(), 2);
        assert!(!function.configure(Some(Dispatch { paused: true, ..dispatch.clone() })), "the lanes stay the same");
        assert!(function.configure(Some(Dispatch { throttles: vec![], runs: None, ..dispatch })));
        assert!(!function.limits_starts());
    }

    #[test]
    fn apps_take_turns_and_then_their_functions() {
        let mut turns = Turns::default();
        let (a, b) = (Some(AppId::of_name("a")), Some(AppId::of_name("b")));
        for (app, function) in [(a, 1), (a, 2), (a, 3), (b, 9)] {
            turns.push(app, function);
        }
        let order: Vec<_> = (0..8).filter_map(|_| turns.current().inspect(|_| turns.pass(true))).collect();
        assert_eq!(order, [1, 9, 2, 9, 3, 9, 1, 9]);
    }

    #[test]
    fn a_round_ends_after_as_many_calls_as_there_were_lanes() {
        let mut round = Round::default();
        round.serve(5, 3);
        assert_eq!(round.number, 5);
        round.serve(5, 100);
        round.serve(5, 100);
        assert_eq!(round.number, 6, "lanes that came meanwhile do not make it longer");
    }
}
