//! Flow control: what limits allow, and whom they hold up.

use std::time::Duration;

use inngest_core::{AppId, Millis, StepId};

use super::{Case, HOUR, TokioClock, function, run_id, runs, sorted};
use crate::flow::{Bucket, Concurrency, Dispatch, KeyExpression, KeyValue, Keys, Scope, Throttle};
use crate::gcra::Rate;
use crate::{Cause, Errand, JobId, JobKind, Lease, Queue, QueueItem, Settled, StartedRun, Token, Work};

const SECOND: Duration = Duration::from_secs(1);

/// So many calls at a time, among whom and for each value of which key.
fn at_a_time(limit: u32, scope: Scope, key: &str) -> Concurrency {
    Concurrency { limit, scope, key: expression(key) }
}

fn expression(key: &str) -> Option<KeyExpression> {
    (!key.is_empty()).then(|| KeyExpression::of(key))
}

/// So many starts a second and no more at once, of one function.
fn a_second(limit: u32, name: &str) -> Throttle {
    Throttle { bucket: Bucket::of_function(function(name)), key: None, rate: Rate::lossless(limit, SECOND, 0) }
}

fn plain() -> Dispatch {
    Dispatch::unlimited(AppId::of_name("app"))
}

fn steps(steps: &[Concurrency]) -> Dispatch {
    Dispatch { steps: steps.to_vec(), ..plain() }
}

impl<Q: Queue> Case<Q> {
    pub(super) async fn a_limit_of_a_function_holds_and_holds_up_no_other(self) {
        self.configure([("f", steps(&[at_a_time(2, Scope::Function, "")])), ("g", plain())]).await;
        self.offer([1, 2, 3, 4].map(|run| self.job(run, "f"))).await;
        self.offer([5, 6, 7].map(|run| self.job(run, "g"))).await;
        let mut leases = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(sorted(&[&leases]), [1, 2, 5, 6, 7]);
        self.nothing_for(HOUR).await;
        let first = leases.iter().position(|lease| runs(std::slice::from_ref(lease)) == [1]).expect("leased");
        self.done([leases.remove(first)]).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [3]);
    }

    pub(super) async fn what_ends_wakes_who_waits_for_it(self) {
        self.configure([("f", steps(&[at_a_time(1, Scope::Function, "")]))]).await;
        self.offer([1, 2].map(|run| self.job(run, "f"))).await;
        let first = self.queue.lease(Work::Calls, 10).await;
        let (next, ()) = tokio::join!(self.queue.lease(Work::Calls, 10), async {
            tokio::time::sleep(SECOND).await;
            self.done(first).await;
        });
        assert_eq!((runs(&next), self.ms()), (vec![2], 1_000));
    }

    /// Each of them may use all of it, and they take turns.
    pub(super) async fn functions_share_a_limit_of_their_environment_or_account(self) {
        for scope in [Scope::Environment, Scope::Account] {
            let shared = steps(&[at_a_time(1, scope, "'shared'")]);
            let other = steps(&[at_a_time(1, scope, "'other'")]);
            self.configure([("f", shared.clone()), ("g", shared), ("h", other)]).await;
            self.offer([1, 2, 3].map(|run| self.keyed(run, "f", &[("'shared'", "x")]))).await;
            self.offer([4, 5, 6].map(|run| self.keyed(run, "g", &[("'shared'", "x")]))).await;
            self.offer([self.keyed(7, "h", &[("'other'", "x")])]).await;
            let mut order = Vec::new();
            let mut leases = self.queue.lease(Work::Calls, 10).await;
            assert_eq!(leases.len(), 2, "another expression counts on its own");
            for _ in 0..6 {
                leases.sort_by_key(|lease| lease.item.function == function("h"));
                order.push(leases[0].item.function == function("f"));
                self.done([leases.remove(0)]).await;
                if order.len() < 6 {
                    leases.append(&mut self.queue.lease(Work::Calls, 10).await);
                }
            }
            self.done(leases).await;
            assert!(order.windows(2).all(|pair| pair[0] != pair[1]), "{order:?}");
        }
    }

    pub(super) async fn two_limits_hold_together(self) {
        let limits = [at_a_time(2, Scope::Function, ""), at_a_time(1, Scope::Function, "user")];
        self.configure([("f", steps(&limits))]).await;
        let users = ["a", "a", "a", "b", "c"];
        self.offer((1..).zip(users).map(|(run, user)| self.keyed(run, "f", &[("user", user)])).collect::<Vec<_>>())
            .await;
        let leases = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(sorted(&[&leases]), [1, 4], "one of each user, two in all");
        self.done(leases.into_iter().filter(|lease| runs(std::slice::from_ref(lease)) == [4])).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [5], "not another one of the first user");
    }

    /// However many jobs one key has.
    pub(super) async fn keys_take_turns(self) {
        self.configure([("f", steps(&[at_a_time(1_000, Scope::Function, "user")]))]).await;
        self.offer((1..=500).map(|run| self.keyed(run, "f", &[("user", "hot")])).collect::<Vec<_>>()).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 3).await), [1, 2, 3]);
        self.offer((901..=903).map(|run| self.keyed(run, "f", &[("user", &run.to_string())])).collect::<Vec<_>>())
            .await;
        let next = self.queue.lease(Work::Calls, 5).await;
        assert_eq!(next.iter().filter(|lease| lease.item.id.run >= run_id(900)).count(), 3, "{:?}", runs(&next));
        assert_eq!(runs(&self.queue.lease(Work::Calls, 2).await), [6, 7], "under one key the oldest goes first");
    }

    pub(super) async fn apps_take_turns(self) {
        let app = |name| Dispatch::unlimited(AppId::of_name(name));
        self.configure([("f", app("x")), ("g", app("x")), ("h", app("y"))]).await;
        self.offer((1..=9).map(|run| self.job(run, "f")).collect::<Vec<_>>()).await;
        self.offer((11..=19).map(|run| self.job(run, "g")).collect::<Vec<_>>()).await;
        self.offer((21..=29).map(|run| self.job(run, "h")).collect::<Vec<_>>()).await;
        let first = self.queue.lease(Work::Calls, 8).await;
        assert_eq!(first.iter().filter(|lease| lease.item.function == function("h")).count(), 4);
    }

    /// A run that has started goes on before others start.
    pub(super) async fn older_runs_finish_before_newer_ones_start(self) {
        self.configure([(
            "f",
            Dispatch { throttles: vec![a_second(1_000, "f")], ..steps(&[at_a_time(1, Scope::Function, "")]) },
        )])
        .await;
        self.offer([1, 2, 3].map(|run| self.start(run, "f"))).await;
        let mut order = Vec::new();
        for step in ["b", "c", "end", "b", "c", "end", "b", "c", "end"] {
            let lease = self.queue.lease(Work::Calls, 1).await.remove(0);
            let run = runs(std::slice::from_ref(&lease))[0];
            order.push(run);
            let id = JobId::step(lease.item.id.run, &StepId::from(step));
            let next = (step != "end").then(|| QueueItem { id, ..self.job(run, "f") });
            self.queue.settle(lease, Settled::Done, next.into_iter().collect()).await;
        }
        assert_eq!(order, [1, 1, 1, 2, 2, 2, 3, 3, 3]);
    }

    pub(super) async fn a_retry_that_follows_keeps_the_slot_of_its_run(self) {
        self.configure([("f", steps(&[at_a_time(1, Scope::Function, "")]))]).await;
        self.offer([1, 2].map(|run| self.job(run, "f"))).await;
        let lease = self.queue.lease(Work::Calls, 10).await.remove(0);
        let retry = QueueItem { attempt: 1, generation: 2, ..self.job(1, "f") };
        self.queue.settle(lease, Settled::Done, vec![retry]).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [1]);
    }

    pub(super) async fn priority_counts_where_a_limit_holds_up(self) {
        self.configure([("f", steps(&[at_a_time(1, Scope::Function, "")]))]).await;
        self.offer([self.job(1, "f")]).await;
        let mut held = self.queue.lease(Work::Calls, 1).await;
        let job = |run, priority| QueueItem { priority, ..self.job(run, "f") };
        self.offer([job(2, 0), job(3, 0), job(4, 100), job(5, 50), job(6, 500)]).await;
        let mut order = Vec::new();
        for _ in 0..5 {
            self.done(held).await;
            held = self.queue.lease(Work::Calls, 10).await;
            order.extend(runs(&held));
        }
        assert_eq!(order, [6, 4, 5, 2, 3]);
    }

    pub(super) async fn a_throttle_lets_starts_pass_at_their_exact_times(self) {
        let throttle = Throttle { rate: Rate::lossless(3, 6 * SECOND, 0), ..a_second(1, "f") };
        self.configure([("f", Dispatch { throttles: vec![throttle], ..plain() })]).await;
        self.offer((1..=7).map(|run| self.start(run, "f")).collect::<Vec<_>>()).await;
        let mut starts = Vec::new();
        while starts.len() < 7 {
            for lease in self.queue.lease(Work::Calls, 1).await {
                starts.push((runs(std::slice::from_ref(&lease))[0], self.ms()));
                self.done([lease]).await;
            }
        }
        let exact = [(1, 0), (2, 0), (3, 0), (4, 2_000), (5, 4_000), (6, 6_000), (7, 8_000)];
        assert!(
            starts.iter().zip(exact).all(|(is, exact)| is.0 == exact.0 && (exact.1..exact.1 + 3).contains(&is.1)),
            "{starts:?}"
        );
    }

    /// Only the first call of a run is a start: not its retry, and not what follows.
    pub(super) async fn a_throttle_holds_up_nothing_but_starts(self) {
        self.configure([("f", Dispatch { throttles: vec![a_second(1, "f")], ..plain() })]).await;
        self.offer([self.start(1, "f"), self.start(2, "f")]).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [1]);
        let retry = QueueItem { starts: false, attempt: 1, generation: 2, ..self.start(3, "f") };
        self.offer([retry, self.job(4, "f")]).await;
        assert_eq!(sorted(&[&self.queue.lease(Work::Calls, 10).await]), [3, 4]);
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [2]);
        assert!(self.ms() >= 1_000);
    }

    pub(super) async fn tokens_are_told_and_count_in_the_next_process(self) {
        let throttle = Throttle { key: expression("user"), ..a_second(1, "f") };
        let throttled = Dispatch { throttles: vec![throttle], ..plain() };
        self.configure([("f", throttled)]).await;
        let token = |user: &str, tat_ms: i64| Token {
            bucket: throttle.bucket,
            key: KeyValue::of(user),
            tat: (TokioClock::EPOCH.0 + tat_ms) * 1_000_000,
        };
        self.queue.restore(vec![token("a", 5_000), token("c", -5_000)]).await;
        let start = |run, user| QueueItem {
            kind: JobKind::Start,
            starts: true,
            id: JobId::start(run_id(run)),
            ..self.keyed(run, "f", &[("user", user)])
        };
        self.offer([start(1, "a"), start(2, "b"), start(3, "c")]).await;
        let leases = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(sorted(&[&leases]), [2, 3]);
        let mut told: Vec<&Errand> = leases.iter().map(|lease| &lease.errand).collect();
        told.sort_by_key(|errand| **errand != Errand::Work(vec![token("b", 1_000)]));
        assert_eq!(told, [&Errand::Work(vec![token("b", 1_000)]), &Errand::Work(vec![token("c", 1_000)])]);
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [1]);
        assert!((5_000..5_003).contains(&self.ms()), "{}", self.ms());
    }

    pub(super) async fn a_new_rate_counts_from_the_next_start(self) {
        let throttled = |seconds| Dispatch {
            throttles: vec![Throttle { rate: Rate::lossless(1, seconds * SECOND, 0), ..a_second(1, "f") }],
            ..plain()
        };
        self.configure([("f", throttled(10))]).await;
        self.offer([1, 2, 3].map(|run| self.start(run, "f"))).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [1]);
        self.configure([("f", throttled(1))]).await;
        for (run, at) in [(2, 10_000), (3, 11_000)] {
            assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [run]);
            assert!((at..at + 5).contains(&self.ms()), "run {run} at {}", self.ms());
        }
    }

    /// Over sleeps and waits, until it ends.
    pub(super) async fn a_run_counts_until_it_ends_where_runs_are_limited(self) {
        let runs_limited = Dispatch { runs: Some(at_a_time(1, Scope::Function, "user")), ..plain() };
        self.configure([("f", runs_limited)]).await;
        let start = |run, user| QueueItem {
            kind: JobKind::Start,
            starts: true,
            id: JobId::start(run_id(run)),
            ..self.keyed(run, "f", &[("user", user)])
        };
        self.offer([start(1, "a"), start(2, "a"), start(3, "b")]).await;
        let leases = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(sorted(&[&leases]), [1, 3]);
        self.done(leases).await;
        self.nothing_for(HOUR).await;
        self.offer([self.keyed(1, "f", &[("user", "a")])]).await;
        let leases = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(runs(&leases), [1], "the next call of a run that has started");
        self.done(leases).await;
        let (next, ()) = tokio::join!(self.queue.lease(Work::Calls, 10), async {
            tokio::time::sleep(SECOND).await;
            self.queue.ended(&[run_id(1)]).await;
        });
        assert_eq!(runs(&next), [2]);
    }

    pub(super) async fn runs_that_started_before_count(self) {
        let runs_limited = Dispatch { runs: Some(at_a_time(2, Scope::Function, "")), ..plain() };
        self.configure([("f", runs_limited)]).await;
        let started = |run| StartedRun { run: run_id(run), function: function("f"), keys: Keys::default() };
        self.offer([1, 2, 3].map(|run| self.start(run, "f"))).await;
        self.queue.occupy(vec![started(1), started(9)]).await;
        self.queue.occupy(vec![started(1)]).await;
        let leases = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(runs(&leases), [1], "its first call is made again");
        self.nothing_for(HOUR).await;
        self.queue.ended(&[run_id(9)]).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [2]);
    }

    pub(super) async fn new_limits_count_at_once(self) {
        let limit = |limit| steps(&[at_a_time(limit, Scope::Function, "")]);
        self.configure([("f", limit(1))]).await;
        self.offer((1..=8).map(|run| self.job(run, "f")).collect::<Vec<_>>()).await;
        let mut held = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(held.len(), 1);
        let (more, ()) = tokio::join!(self.queue.lease(Work::Calls, 10), async {
            tokio::task::yield_now().await;
            self.configure([("f", limit(4))]).await;
        });
        assert_eq!(runs(&more), [2, 3, 4]);
        held.extend(more);
        self.configure([("f", limit(2))]).await;
        self.done(held.drain(..2)).await;
        self.nothing_for(HOUR).await;
        self.done(held).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [5, 6]);
        self.configure([]).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [7, 8]);
    }

    pub(super) async fn a_paused_function_makes_no_calls_until_it_is_resumed(self) {
        self.configure([("f", Dispatch { paused: true, ..plain() }), ("g", plain())]).await;
        let sleep = QueueItem { kind: JobKind::Cancel, id: JobId::cancel(run_id(4)), ..self.job(4, "f") };
        self.offer([self.job(1, "f"), self.job(2, "g"), self.later(3, 1_000), sleep]).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [2]);
        assert_eq!(runs(&self.queue.lease(Work::Own, 10).await), [4], "the server's own work goes on");
        self.nothing_for(HOUR).await;
        let (leases, ()) = tokio::join!(self.queue.lease(Work::Calls, 10), async {
            tokio::task::yield_now().await;
            self.configure([("f", plain())]).await;
        });
        assert_eq!(runs(&leases), [1, 3]);
    }

    pub(super) async fn keys_that_are_lacking_are_found_out_first(self) {
        self.configure([("f", steps(&[at_a_time(1, Scope::Function, "old")]))]).await;
        self.offer([1, 2].map(|run| self.keyed(run, "f", &[("old", "x")]))).await;
        let held = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(runs(&held), [1]);
        self.configure([("f", steps(&[at_a_time(1, Scope::Function, "new")]))]).await;
        let mut rekey = self.queue.lease(Work::Own, 10).await;
        assert_eq!((runs(&rekey), &rekey[0].errand), (vec![2], &Errand::Rekey));
        self.queue.settle(rekey.remove(0), Settled::GivenBack, Vec::new()).await;
        let rekey = self.queue.lease(Work::Own, 10).await;
        assert_eq!(rekey[0].errand, Errand::Rekey);
        self.offer([QueueItem { generation: 2, ..self.keyed(2, "f", &[("new", "y")]) }]).await;
        self.done(rekey).await;
        let leases = self.queue.lease(Work::Calls, 10).await;
        assert_eq!((runs(&leases), leases[0].item.generation), (vec![2], 2));
        self.nothing_for(HOUR).await;
    }

    pub(super) async fn a_key_rests_when_its_app_says_that_it_is_too_much(self) {
        let adaptive = Dispatch { adaptive: true, ..steps(&[at_a_time(5, Scope::Function, "user")]) };
        self.configure([("f", adaptive)]).await;
        let job = |run, user| self.keyed(run, "f", &[("user", user)]);
        self.offer([job(1, "a")]).await;
        let lease = self.queue.lease(Work::Calls, 10).await.remove(0);
        self.queue.settle(lease, Settled::Overloaded(Some(Millis(TokioClock::EPOCH.0 + 30_000))), Vec::new()).await;
        self.offer([job(2, "a"), job(3, "b")]).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [3], "another key does not rest");
        let mut lease = self.queue.lease(Work::Calls, 10).await;
        assert!(runs(&lease) == [2] && (30_000..30_005).contains(&self.ms()), "{}", self.ms());
        // Without a time, the rests grow until the app answers.
        let mut rests = Vec::new();
        for (run, answered) in [(4, false), (5, false), (6, true), (7, false), (8, false)] {
            let outcome = if answered { Settled::Answered } else { Settled::Overloaded(None) };
            let began = self.ms();
            self.queue.settle(lease.remove(0), outcome, Vec::new()).await;
            self.offer([job(run, "a")]).await;
            lease = self.queue.lease(Work::Calls, 10).await;
            rests.push((self.ms() - began) / 1_000);
        }
        assert_eq!(rests, [1, 2, 0, 1, 2]);
    }

    pub(super) async fn only_adaptive_functions_rest(self) {
        self.configure([("f", plain())]).await;
        self.offer([1, 2].map(|run| self.job(run, "f"))).await;
        let lease = self.queue.lease(Work::Calls, 1).await.remove(0);
        self.queue.settle(lease, Settled::Overloaded(Some(Millis(i64::MAX))), Vec::new()).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [2]);
        assert_eq!(self.ms(), 0);
    }

    pub(super) async fn jobs_that_wait_are_explained(self) {
        let one = at_a_time(1, Scope::Function, "");
        let throttle = a_second(1, "t");
        self.configure([
            ("f", steps(&[one])),
            ("r", Dispatch { runs: Some(one), ..plain() }),
            ("t", Dispatch { throttles: vec![throttle], ..plain() }),
            ("p", Dispatch { paused: true, ..plain() }),
            ("k", steps(&[at_a_time(1, Scope::Function, "user")])),
        ])
        .await;
        self.offer([1, 2, 3].map(|run| self.job(run, "f"))).await;
        self.offer([11, 12].map(|run| self.start(run, "r"))).await;
        self.offer([21, 22, 23].map(|run| self.start(run, "t"))).await;
        let held = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(sorted(&[&held]), [1, 11, 21]);
        self.offer([self.job(31, "p"), self.job(41, "k"), self.later(51, 9_000), self.job(61, "g"), self.job(62, "g")])
            .await;
        let epoch = TokioClock::EPOCH.0;
        let concurrency = |of_runs, holder, ahead| Cause::Concurrency {
            limit: one,
            of_runs,
            in_use: 1,
            holders: vec![run_id(holder)],
            ahead,
        };
        let next = Millis(epoch + 1_000);
        let expected = [
            (1, Cause::Running, None),
            (3, concurrency(false, 1, 1), None),
            (12, concurrency(true, 11, 0), None),
            (23, Cause::Throttle { bucket: throttle.bucket, next, ahead: 1 }, Some(2_000)),
            (31, Cause::Paused, None),
            (41, Cause::Keys, None),
            (51, Cause::Later, Some(9_000)),
            (62, Cause::Turn { ahead: 1 }, None),
        ];
        let id = |run: u128| if [12, 23].contains(&run) { JobId::start(run_id(run)) } else { self.job(run, "").id };
        let ids = expected.each_ref().map(|(run, ..)| id(*run));
        let explained = self.queue.explain(&[&ids[..], &[id(99)]].concat()).await;
        assert_eq!(explained.len(), ids.len(), "what is not known is left out");
        for ((id, explanation), (run, cause, at)) in ids.iter().zip(explained).zip(expected) {
            assert_eq!((explanation.cause, explanation.expected.map(|at| at.0 - epoch)), (cause, at), "run {run}");
            assert_eq!(explanation.item.id, *id);
        }
        // Once it is known how long calls take, it can be told when the next ones will be made.
        tokio::time::sleep(2 * SECOND).await;
        self.done(held.into_iter().filter(|lease| lease.item.function == function("f"))).await;
        self.queue.lease(Work::Calls, 10).await;
        let explanation = self.queue.explain(&[id(3)]).await.remove(0);
        let expected = explanation.expected.expect("it is known").0 - epoch;
        assert!((3_900..4_100).contains(&expected), "{expected}");
    }

    pub(super) async fn a_rest_is_explained(self) {
        self.configure([("f", Dispatch { adaptive: true, ..plain() })]).await;
        self.offer([self.job(1, "f")]).await;
        let lease = self.queue.lease(Work::Calls, 1).await.remove(0);
        let until = Millis(TokioClock::EPOCH.0 + 5_000);
        self.queue.settle(lease, Settled::Overloaded(Some(until)), Vec::new()).await;
        self.offer([self.job(2, "f")]).await;
        let explanation = self.queue.explain(&[self.job(2, "f").id]).await.remove(0);
        assert_eq!((explanation.cause, explanation.expected), (Cause::Overload { until, ahead: 0 }, Some(until)));
    }

    async fn configure<const N: usize>(&self, functions: [(&str, Dispatch); N]) {
        self.queue.configure(functions.into_iter().map(|(name, dispatch)| (function(name), dispatch)).collect()).await;
    }

    async fn done(&self, leases: impl IntoIterator<Item = Lease>) {
        for lease in leases {
            self.queue.settle(lease, Settled::Done, Vec::new()).await;
        }
    }

    fn keyed(&self, run: u128, name: &str, keys: &[(&str, &str)]) -> QueueItem {
        let keys = keys.iter().map(|(key, value)| (KeyExpression::of(key), KeyValue::of(value)));
        QueueItem { keys: Keys::of(keys.collect()), ..self.job(run, name) }
    }

    fn start(&self, run: u128, name: &str) -> QueueItem {
        QueueItem::new(JobId::start(run_id(run)), function(name), JobKind::Start, TokioClock::EPOCH)
    }

    /// Milliseconds since the start of the case.
    fn ms(&self) -> i64 {
        use inngest_core::Clock as _;
        self.clock.now().0 - TokioClock::EPOCH.0
    }
}
