//! Random operations in virtual time, against a model that counts everything anew whenever it is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use inngest_core::{AppId, FunctionId, Millis, RunId, StepId};
use proptest::prelude::*;

use crate::flow::{Bucket, Concurrency, Dispatch, KeyExpression, KeyValue, Keys, Scope, Throttle};
use crate::gcra::Rate;
use crate::scheduler::Scheduler;
use crate::scheduler::gates::nanos;
use crate::{Cause, Errand, JobId, JobKind, Lease, QueueItem, Settled, StartedRun, StepRef, Token, WaitFor, Work};

const FUNCTIONS: u8 = 3;
const RUNS: u8 = 12;

#[derive(Clone, Debug)]
enum Step {
    Offer { run: u8, what: u8, generation: u32, after_ms: u16, priority: i32, lacking: bool },
    Lease(Work, u8),
    Settle { which: u8, outcome: Settled },
    Withdraw { run: u8, what: u8 },
    Configure { function: u8, dispatch: Option<Dispatch> },
    Pass(u16),
    End(u8),
    Occupy(u8),
}

fn expression(name: &str) -> Option<KeyExpression> {
    (!name.is_empty()).then(|| KeyExpression::of(name))
}

fn concurrency() -> impl Strategy<Value = Concurrency> {
    let scope = prop_oneof![3 => Just(Scope::Function), 1 => Just(Scope::Environment), 1 => Just(Scope::Account)];
    (1_u32..4, scope, prop_oneof![Just(""), Just("a"), Just("b"), Just("same")]).prop_map(|(limit, scope, name)| {
        let name = if scope != Scope::Function && name.is_empty() { "same" } else { name };
        Concurrency { limit, scope, key: expression(name) }
    })
}

fn throttle() -> impl Strategy<Value = Throttle> {
    (0_u128..3, prop_oneof![Just(""), Just("a"), Just("b")], 1_u32..4, 0_u32..2).prop_map(
        |(bucket, name, limit, burst)| {
            let rate = Rate::lossless(limit, Duration::from_millis(700), burst);
            Throttle { bucket: Bucket(bucket), key: expression(name), rate }
        },
    )
}

fn dispatch() -> impl Strategy<Value = Dispatch> {
    let steps = prop::collection::vec(concurrency(), 0..3);
    let throttles = prop::collection::vec(throttle(), 0..3);
    let runs = prop::option::of(concurrency());
    let flags = (prop::bool::weighted(0.15), prop::bool::weighted(0.5), any::<bool>());
    (steps, throttles, runs, flags).prop_map(|(steps, throttles, runs, (paused, adaptive, app))| Dispatch {
        app: AppId::of_name(if app { "x" } else { "y" }),
        steps,
        runs,
        throttles,
        paused,
        adaptive,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let offer = (0..RUNS, 0_u8..5, 1_u32..4, 0_u16..400, -2..3, prop::bool::weighted(0.1));
    let outcome = prop_oneof![
        4 => Just(Settled::Done),
        1 => Just(Settled::GivenBack),
        1 => (0_i64..2_000).prop_map(|ms| Settled::Overloaded(Some(Millis(ms)))),
    ];
    prop_oneof![
        8 => offer.prop_map(|(run, what, generation, after_ms, priority, lacking)| Step::Offer {
            run, what, generation, after_ms: after_ms.saturating_sub(200), priority, lacking
        }),
        6 => (1_u8..4).prop_map(|max| Step::Lease(Work::Calls, max)),
        1 => (1_u8..4).prop_map(|max| Step::Lease(Work::Own, max)),
        6 => (any::<u8>(), outcome).prop_map(|(which, outcome)| Step::Settle { which, outcome }),
        1 => (0..RUNS, 0_u8..5).prop_map(|(run, what)| Step::Withdraw { run, what }),
        2 => (0..FUNCTIONS, prop::option::weighted(0.9, dispatch()))
            .prop_map(|(function, dispatch)| Step::Configure { function, dispatch }),
        3 => (0_u16..500).prop_map(Step::Pass),
        2 => (0..RUNS).prop_map(Step::End),
        1 => (0..RUNS).prop_map(Step::Occupy),
    ]
}

fn function_of(number: u8) -> FunctionId {
    FunctionId::of_definition(&(number % FUNCTIONS).to_string(), "u")
}

fn run_of(number: u8) -> RunId {
    RunId::from_bytes(((1_000 + u128::from(number)) << 80 | u128::from(number)).to_be_bytes())
}

fn keys_of(run: u8) -> Keys {
    let key = |name: &str, value: u8| (KeyExpression::of(name), KeyValue::of(&value.to_string()));
    Keys::of(vec![key("a", run % 2), key("b", run % 4), key("same", 0)])
}

fn id_of(run: u8, what: u8) -> JobId {
    match what {
        0 | 1 => JobId::start(run_of(run)),
        _ => JobId::step(run_of(run), &StepId::from(what.to_string().as_str())),
    }
}

fn item_of(run: u8, what: u8, due: Millis) -> QueueItem {
    let step = || StepRef { id: StepId::from(what.to_string().as_str()), name: "s".into() };
    let kind = match what {
        0 | 1 => JobKind::Start,
        2 | 3 => JobKind::Step(step()),
        _ => JobKind::Wait(step(), WaitFor::Event),
    };
    QueueItem { keys: keys_of(run), ..QueueItem::new(id_of(run, what), function_of(run), kind, due) }
}

/// A job that waits; once it is due, whether it is the start of a run.
#[derive(Clone, Debug)]
struct Waiting {
    item: QueueItem,
    paid: bool,
    starts: Option<bool>,
}

#[derive(Debug)]
struct Leased {
    lease: Lease,
    next: Option<QueueItem>,
    withdrawn: bool,
}

/// What must be true, kept in the plainest way.
#[derive(Default)]
struct Model {
    now: Millis,
    dispatch: BTreeMap<FunctionId, Dispatch>,
    waiting: BTreeMap<JobId, Waiting>,
    leased: BTreeMap<JobId, Leased>,
    holders: BTreeMap<RunId, (FunctionId, Keys)>,
    tats: BTreeMap<(Bucket, KeyValue), i64>,
    rests: BTreeMap<(FunctionId, Vec<KeyValue>), Millis>,
}

fn value(key: Option<KeyExpression>, keys: &Keys) -> Option<KeyValue> {
    key.map_or(Some(KeyValue::NONE), |key| keys.get(key))
}

fn same(a: &Concurrency, b: &Concurrency, a_of: FunctionId, b_of: FunctionId) -> bool {
    (a.scope, a.key) == (b.scope, b.key) && (a.scope != Scope::Function || a_of == b_of)
}

impl Model {
    fn expressions(&self, function: FunctionId) -> Vec<KeyExpression> {
        let Some(dispatch) = self.dispatch.get(&function) else { return Vec::new() };
        let steps = dispatch.steps.iter().chain(&dispatch.runs).filter_map(|limit| limit.key);
        let mut all: Vec<_> =
            steps.chain(self.throttles(function).iter().filter_map(|throttle| throttle.key)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// `None` when keys are lacking.
    fn lane(&self, item: &QueueItem) -> Option<Vec<KeyValue>> {
        self.expressions(item.function).into_iter().map(|key| item.keys.get(key)).collect()
    }

    fn limits_starts(&self, function: FunctionId) -> bool {
        self.dispatch.get(&function).is_some_and(|known| known.runs.is_some() || !known.throttles.is_empty())
    }

    /// What has come due since is the start of a run, or not.
    fn classify(&mut self) {
        let ids: Vec<JobId> = self.waiting.keys().copied().collect();
        for id in ids {
            let job = &self.waiting[&id];
            if job.item.due <= self.now && job.starts.is_none() && self.lane(&job.item).is_some() {
                let starts = job.item.starts
                    && !job.paid
                    && self.limits_starts(job.item.function)
                    && !self.holders.contains_key(&id.run);
                self.waiting.get_mut(&id).unwrap().starts = Some(starts);
            }
        }
    }

    fn calls_at(&self, limit: &Concurrency, function: FunctionId, value_here: KeyValue) -> usize {
        let calls = self.leased.values().filter(|job| job.lease.errand != Errand::Rekey);
        let counted = calls.filter(|job| {
            let item = &job.lease.item;
            let limits = self.dispatch.get(&item.function).map(|known| known.steps.as_slice()).unwrap_or_default();
            let counts = limits.iter().any(|other| same(limit, other, function, item.function));
            counts && item.work() == Work::Calls && value(limit.key, &item.keys) == Some(value_here)
        });
        counted.count()
    }

    fn runs_at(&self, limit: &Concurrency, function: FunctionId, value_here: KeyValue) -> usize {
        let counted = self.holders.values().filter(|(other, keys)| {
            let runs = self.dispatch.get(other).and_then(|known| known.runs);
            runs.is_some_and(|runs| same(limit, &runs, function, *other)) && value(limit.key, keys) == Some(value_here)
        });
        counted.count()
    }

    /// The throttles of a function, those of one bucket once.
    fn throttles(&self, function: FunctionId) -> Vec<Throttle> {
        let mut throttles: Vec<Throttle> = Vec::new();
        for throttle in self.dispatch.get(&function).map(|known| known.throttles.as_slice()).unwrap_or_default() {
            if !throttles.iter().any(|known| known.bucket == throttle.bucket) {
                throttles.push(*throttle);
            }
        }
        throttles
    }

    /// Whether a due job may be leased now.
    fn may_run(&self, job: &Waiting, work: Work) -> bool {
        let item = &job.item;
        if item.due > self.now {
            return false;
        }
        let Some(lane) = self.lane(item).filter(|_| item.work() == Work::Calls) else { return work == Work::Own };
        if work == Work::Own {
            return false;
        }
        let Some(dispatch) = self.dispatch.get(&item.function) else { return true };
        let starts = job.starts == Some(true);
        let at = |key| value(key, &item.keys).expect("the lane has all keys");
        let rests = self.rests.get(&(item.function, lane)).is_some_and(|until| *until > self.now);
        let tat = |throttle: &Throttle| self.tats.get(&(throttle.bucket, at(throttle.key))).copied().unwrap_or(0);
        !dispatch.paused
            && !rests
            && dispatch
                .steps
                .iter()
                .all(|limit| self.calls_at(limit, item.function, at(limit.key)) < limit.limit as usize)
            && (!starts
                || self
                    .throttles(item.function)
                    .iter()
                    .all(|throttle| throttle.rate.take(tat(throttle), nanos(self.now)).is_ok()))
            && (!starts
                || dispatch
                    .runs
                    .is_none_or(|limit| self.runs_at(&limit, item.function, at(limit.key)) < limit.limit as usize))
    }

    /// Takes over what was leased.
    fn lease(&mut self, lease: Lease, work: Work) {
        let id = lease.item.id;
        let job = self.waiting.remove(&id).expect("what is leased was waiting");
        assert_eq!(job.item, lease.item);
        assert!(self.may_run(&job, work), "{job:?} must not run");
        let lane = self.lane(&job.item);
        let mine = (job.item.rank(), id);
        for other in self.waiting.values().filter(|other| other.item.function == job.item.function) {
            let line = (self.lane(&other.item), other.starts, other.item.work());
            if line == (lane.clone(), job.starts, job.item.work()) && lane.is_some() && work == Work::Calls {
                let first = mine < (other.item.rank(), other.item.id);
                assert!(first || !self.may_run(other, work), "{other:?} goes before {job:?}");
            }
        }
        if work == Work::Calls {
            let starts = job.starts == Some(true);
            let first = job.item.starts;
            let mut tokens = Vec::new();
            for Throttle { bucket, key, rate } in self.throttles(job.item.function) {
                let key = value(key, &job.item.keys).expect("the lane has all keys");
                let tat = self.tats.get(&(bucket, key)).copied().unwrap_or(0);
                let tat = if starts { rate.take(tat, nanos(self.now)).expect("it may run") } else { tat };
                self.tats.insert((bucket, key), tat);
                tokens.extend(first.then_some(Token { bucket, key, tat }));
            }
            let Errand::Work(found) = &lease.errand else { panic!("a call is leased to be made") };
            // What has passed may be forgotten.
            let counts = |token: &&Token| token.tat > nanos(self.now);
            assert!(found.iter().filter(counts).eq(tokens.iter().filter(counts)));
            if self.dispatch.get(&job.item.function).is_some_and(|known| known.runs.is_some()) {
                self.holders.insert(id.run, (job.item.function, job.item.keys));
            }
        } else {
            assert_eq!(lease.errand == Errand::Rekey, job.item.work() == Work::Calls);
        }
        self.leased.insert(id, Leased { lease, next: None, withdrawn: false });
    }

    fn offer(&mut self, item: QueueItem) {
        if let Some(leased) = self.leased.get_mut(&item.id) {
            let newest = leased.next.as_ref().map_or(leased.lease.item.generation, |next| next.generation);
            if item.generation > newest {
                leased.next = Some(item);
            }
        } else if self.waiting.get(&item.id).is_none_or(|known| known.item.generation < item.generation) {
            self.waiting.insert(item.id, Waiting { item, paid: false, starts: None });
        }
        self.classify();
    }

    fn withdraw(&mut self, id: JobId) {
        self.waiting.remove(&id);
        if let Some(leased) = self.leased.get_mut(&id) {
            (leased.next, leased.withdrawn) = (None, true);
        }
    }

    fn settle(&mut self, id: JobId, outcome: Settled) -> Lease {
        let Leased { lease, next, withdrawn } = self.leased.remove(&id).expect("it is leased");
        let call = lease.item.work() == Work::Calls && lease.errand != Errand::Rekey;
        let adaptive = self.dispatch.get(&lease.item.function).is_some_and(|known| known.adaptive);
        if let (Settled::Overloaded(Some(until)), true, Some(lane)) =
            (outcome, call && adaptive, self.lane(&lease.item))
        {
            let rest = self.rests.entry((lease.item.function, lane)).or_default();
            *rest = (*rest).max(until);
        }
        let again = match next {
            Some(next) => Some((next, false)),
            None if outcome == Settled::GivenBack && !withdrawn => Some((lease.item.clone(), call)),
            None => None,
        };
        if let Some((item, paid)) = again {
            self.waiting.insert(id, Waiting { item, paid, starts: None });
        }
        self.classify();
        lease
    }

    fn configure(&mut self, function: FunctionId, dispatch: Option<Dispatch>) {
        let lanes = (self.expressions(function), self.limits_starts(function));
        let runs = self.dispatch.get(&function).and_then(|known| known.runs);
        match dispatch {
            Some(dispatch) => self.dispatch.insert(function, dispatch),
            None => self.dispatch.remove(&function),
        };
        let known = self.dispatch.get(&function).cloned();
        if lanes != (self.expressions(function), self.limits_starts(function)) {
            self.rests.retain(|(of, _), _| *of != function);
            for job in self.waiting.values_mut().filter(|job| job.item.function == function) {
                job.starts = None;
            }
        }
        if known.as_ref().is_none_or(|known| !known.adaptive) {
            self.rests.retain(|(of, _), _| *of != function);
        }
        let now = known.and_then(|known| known.runs);
        if runs != now {
            let calls = self.leased.values().filter(|job| job.lease.errand != Errand::Rekey && !job.withdrawn);
            for item in calls.map(|job| &job.lease.item).filter(|item| item.work() == Work::Calls) {
                if item.function == function {
                    self.holders.insert(item.id.run, (function, item.keys.clone()));
                }
            }
            self.holders
                .retain(|_, (of, keys)| *of != function || now.is_some_and(|now| value(now.key, keys).is_some()));
        }
        self.classify();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn limits_hold_and_nothing_waits_that_may_run(
        first in prop::collection::vec(dispatch(), FUNCTIONS as usize),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        play(first, steps);
    }
}

fn play(first: Vec<Dispatch>, steps: Vec<Step>) {
    let (mut scheduler, mut model) = (Scheduler::default(), Model { now: Millis(10_000), ..Model::default() });
    for (number, dispatch) in first.into_iter().enumerate() {
        configure(&mut scheduler, &mut model, number as u8, Some(dispatch));
    }
    for step in steps {
        perform(&mut scheduler, &mut model, step);
        agree(&scheduler, &model);
    }
    finish(&mut scheduler, &mut model);
}

fn perform(scheduler: &mut Scheduler, model: &mut Model, step: Step) {
    let now = model.now;
    match step {
        Step::Offer { run, what, generation, after_ms, priority, lacking } => {
            let due = now.plus(Duration::from_millis(after_ms.into()));
            let mut item =
                QueueItem { generation, starts: what == 0 || what == 3, priority, ..item_of(run, what, due) };
            if lacking {
                item.keys = Keys::of(item.keys.as_slice()[..1].to_vec());
            }
            scheduler.offer(item.clone(), now);
            model.offer(item);
        }
        Step::Lease(work, max) => lease(scheduler, model, work, max.into()),
        Step::Settle { which, outcome } => {
            let Some(id) = model.leased.keys().nth(usize::from(which) % model.leased.len().max(1)).copied() else {
                return;
            };
            let outcome = match outcome {
                Settled::Overloaded(Some(after)) => Settled::Overloaded(Some(Millis(now.0 + 1 + after.0))),
                other => other,
            };
            let lease = model.settle(id, outcome);
            scheduler.settle(&lease, outcome, now);
        }
        Step::Withdraw { run, what } => {
            scheduler.withdraw(id_of(run, what), now);
            model.withdraw(id_of(run, what));
        }
        Step::Configure { function, dispatch } => configure(scheduler, model, function, dispatch),
        Step::Pass(ms) => {
            model.now = now.plus(Duration::from_millis(ms.into()));
            // What comes due without anybody doing anything is told by the one timer.
            let due = scheduler.next().is_some_and(|next| next <= model.now);
            let had = Work::Calls;
            let waited = !scheduler.has_due(had);
            scheduler.advance(model.now);
            model.classify();
            assert!(due || !waited || !scheduler.has_due(had), "it came due without a timer");
        }
        Step::End(run) => {
            for what in 0..5 {
                scheduler.withdraw(id_of(run, what), now);
                model.withdraw(id_of(run, what));
            }
            scheduler.ended(&[run_of(run)], now);
            model.holders.remove(&run_of(run));
        }
        Step::Occupy(run) => {
            let started = StartedRun { run: run_of(run), function: function_of(run), keys: keys_of(run) };
            if model.dispatch.get(&started.function).is_some_and(|known| known.runs.is_some()) {
                model.holders.insert(started.run, (started.function, started.keys.clone()));
                if let Some(job) = model.waiting.get_mut(&JobId::start(started.run)) {
                    job.starts = job.starts.map(|_| false);
                }
            }
            scheduler.occupy(vec![started], now);
        }
    }
}

/// What is leased may be, and when less is leased than asked for, nothing else may.
fn lease(scheduler: &mut Scheduler, model: &mut Model, work: Work, max: usize) {
    model.classify();
    let leases = scheduler.lease(work, max, model.now);
    let more = leases.len() < max;
    for lease in leases {
        model.lease(lease, work);
    }
    if more {
        let left = model.waiting.values().find(|job| model.may_run(job, work));
        assert!(left.is_none(), "nothing was leased, but {left:?} may run");
    }
}

fn configure(scheduler: &mut Scheduler, model: &mut Model, function: u8, dispatch: Option<Dispatch>) {
    model.configure(function_of(function), dispatch);
    let all = model.dispatch.iter().map(|(id, dispatch)| (*id, dispatch.clone())).collect();
    scheduler.configure(all, model.now);
}

fn agree(scheduler: &Scheduler, model: &Model) {
    scheduler.check(model.now);
    assert_eq!((scheduler.depth().waiting, scheduler.depth().leased), (model.waiting.len(), model.leased.len()));
    for run in 0..RUNS {
        let ids = [0, 2, 3, 4].map(|what| id_of(run, what));
        for explanation in scheduler.explain(&ids, model.now) {
            let Some(job) = model.waiting.get(&explanation.item.id) else {
                assert!(matches!(explanation.cause, Cause::Running | Cause::Keys));
                continue;
            };
            let turn = matches!(explanation.cause, Cause::Turn { .. });
            if job.item.work() == Work::Calls && job.starts.is_some() {
                assert_eq!(turn, model.may_run(job, Work::Calls), "{explanation:?}");
            }
            assert!(explanation.expected.is_none_or(|at| at >= model.now || at == job.item.due));
        }
    }
}

/// Once limits are gone all jobs run, and then nothing is left of anything.
fn finish(scheduler: &mut Scheduler, model: &mut Model) {
    for function in 0..FUNCTIONS {
        configure(scheduler, model, function, None);
    }
    model.now = model.now.plus(Duration::from_secs(7_200));
    while !model.waiting.is_empty() || !model.leased.is_empty() {
        for work in [Work::Calls, Work::Own] {
            lease(scheduler, model, work, 100);
        }
        while let Some((id, _)) = model.leased.first_key_value() {
            let lease = model.settle(*id, Settled::Done);
            scheduler.settle(&lease, Settled::Done, model.now);
        }
        agree(scheduler, model);
    }
    for run in 0..RUNS {
        scheduler.ended(&[run_of(run)], model.now);
    }
    scheduler.lease(Work::Calls, 1, model.now);
    assert!(scheduler.is_empty(), "{scheduler:?}");
}
