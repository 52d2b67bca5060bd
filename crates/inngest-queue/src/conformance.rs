//! What every queue must do, as cases that run on any backend: `exercise(make)`.
//!
//! Cases run under tokio's paused time; the clock given to the queue follows it.

mod flow;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use inngest_core::{Clock, FunctionId, Millis, RunId, StepId};

use crate::{Deadline, Depth, JobId, JobKind, Lease, Queue, QueueItem, Settled, Work};

/// A clock that follows tokio's, so that paused time moves it.
#[derive(Debug)]
pub struct TokioClock {
    start: tokio::time::Instant,
    /// Milliseconds by which it was set back since.
    behind: AtomicI64,
}

impl TokioClock {
    /// A clock that reads [`TokioClock::EPOCH`] now.
    #[must_use]
    pub fn start() -> Arc<Self> {
        Arc::new(Self { start: tokio::time::Instant::now(), behind: AtomicI64::new(0) })
    }

    /// Sets the clock back, as an administrator or NTP may do at any time.
    pub fn set_back(&self, ms: i64) {
        self.behind.fetch_add(ms, Ordering::Relaxed);
    }

    /// What the clock reads at its start.
    pub const EPOCH: Millis = Millis(1_700_000_000_000);
}

impl Clock for TokioClock {
    fn now(&self) -> Millis {
        let now = Self::EPOCH.plus(self.start.elapsed());
        Millis(now.0 - self.behind.load(Ordering::Relaxed))
    }
}

/// Runs every case on a new, empty queue made by `make`. Panics at the first that fails; the last name printed
/// is its name.
pub async fn exercise<Q: Queue>(make: impl Fn(Arc<dyn Clock>) -> Q) {
    macro_rules! cases {
        ($($name:ident)*) => {
            $(
                println!("case {}", stringify!($name));
                let clock = TokioClock::start();
                let case = Case { queue: make(clock.clone()), clock }.$name();
                tokio::time::timeout(DAY, case).await.expect("a case ends within a day of its own time");
            )*
        };
    }
    cases! {
        due_jobs_are_leased_at_once
        a_job_is_leased_once_at_a_time
        the_servers_own_work_does_not_wait_behind_calls
        later_jobs_wait_for_their_time
        an_earlier_job_shortens_the_wait
        an_offer_wakes_who_waits
        one_offer_serves_all_who_wait
        jobs_that_come_due_together_serve_all_who_wait
        who_stops_waiting_hands_the_timer_on
        older_runs_go_first
        priority_moves_a_run_ahead_or_back
        functions_take_turns
        a_function_has_one_turn_in_a_round
        only_newer_generations_replace
        a_newer_generation_may_be_due_later_or_earlier
        a_retry_offered_during_the_lease_comes_after_it
        only_the_newest_of_those_kept_aside_comes_after_the_lease
        given_back_jobs_run_again
        a_job_given_back_wakes_who_waits
        a_retry_kept_aside_sets_the_timer_of_who_waits
        a_job_given_back_gives_way_to_a_newer_one
        withdrawn_jobs_are_gone
        a_withdrawn_job_may_be_offered_again
        a_job_offered_after_it_was_withdrawn_under_lease_stays
        max_is_kept
        a_dropped_wait_loses_nothing
        due_jobs_stay_due_when_the_clock_is_set_back
        who_waits_sees_that_the_clock_was_set_forward
        a_retry_that_follows_keeps_the_slot_of_its_run
        much_that_comes_due_at_once_is_leased_at_once
        a_limit_of_a_function_holds_and_holds_up_no_other
        what_ends_wakes_who_waits_for_it
        functions_share_a_limit_of_their_environment_or_account
        two_limits_hold_together
        keys_take_turns
        apps_take_turns
        older_runs_finish_before_newer_ones_start
        priority_counts_where_a_limit_holds_up
        a_throttle_lets_starts_pass_at_their_exact_times
        a_throttle_holds_up_nothing_but_starts
        tokens_are_told_and_count_in_the_next_process
        a_new_rate_counts_from_the_next_start
        a_run_counts_until_it_ends_where_runs_are_limited
        runs_that_started_before_count
        new_limits_count_at_once
        a_paused_function_makes_no_calls_until_it_is_resumed
        keys_that_are_lacking_are_found_out_first
        a_key_rests_when_its_app_says_that_it_is_too_much
        only_adaptive_functions_rest
        jobs_that_wait_are_explained
        a_rest_is_explained
    }
}

struct Case<Q> {
    queue: Q,
    clock: Arc<TokioClock>,
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

impl<Q: Queue> Case<Q> {
    async fn due_jobs_are_leased_at_once(self) {
        self.offer([self.job(1, "f"), self.job(2, "f")]).await;
        assert_eq!(self.queue.depth().await, Depth { waiting: 2, leased: 0 });
        let leases = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(runs(&leases), [1, 2]);
        assert_eq!(leases[0].item, self.job(1, "f"));
        assert_eq!(self.queue.depth().await, Depth { waiting: 0, leased: 2 });
        for lease in leases {
            self.queue.settle(lease, Settled::Done, Vec::new()).await;
        }
        assert_eq!(self.queue.depth().await, Depth::default());
    }

    async fn a_job_is_leased_once_at_a_time(self) {
        self.offer([self.job(1, "f")]).await;
        let _held = self.queue.lease(Work::Calls, 1).await;
        self.offer([self.job(1, "f")]).await;
        self.nothing_for(HOUR).await;
    }

    async fn the_servers_own_work_does_not_wait_behind_calls(self) {
        let deadline = QueueItem { kind: JobKind::Deadline(Deadline::Start), ..self.job(3, "f") };
        self.offer([self.job(1, "f"), self.job(2, "f"), deadline]).await;
        assert_eq!(runs(&self.queue.lease(Work::Own, 10).await), [3]);
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [1, 2]);
    }

    async fn later_jobs_wait_for_their_time(self) {
        self.offer([self.later(1, 5_000), self.later(2, 2_000)]).await;
        for (run, at) in [(2, 2_000), (1, 5_000)] {
            assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [run]);
            let now = self.clock.now().0 - TokioClock::EPOCH.0;
            assert!((at..at + 50).contains(&now), "run {run} at {now}");
        }
    }

    async fn an_earlier_job_shortens_the_wait(self) {
        self.offer([self.later(1, 60_000)]).await;
        let (leases, ()) = tokio::join!(self.queue.lease(Work::Calls, 1), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.offer([self.later(2, 3_000)]).await;
        });
        assert_eq!(runs(&leases), [2]);
        assert!(self.clock.now().0 - TokioClock::EPOCH.0 < 3_100);
    }

    async fn an_offer_wakes_who_waits(self) {
        let (leases, ()) = tokio::join!(self.queue.lease(Work::Calls, 1), async {
            tokio::task::yield_now().await;
            self.offer([self.job(1, "f")]).await;
        });
        assert_eq!(runs(&leases), [1]);
        assert_eq!(self.clock.now(), TokioClock::EPOCH);
    }

    async fn one_offer_serves_all_who_wait(self) {
        let (a, b, c, ()) = tokio::join!(
            self.queue.lease(Work::Calls, 1),
            self.queue.lease(Work::Calls, 1),
            self.queue.lease(Work::Calls, 1),
            async {
                tokio::task::yield_now().await;
                self.offer((1..=3).map(|run| self.job(run, "f")).collect::<Vec<_>>()).await;
            }
        );
        assert_eq!(sorted(&[&a, &b, &c]), [1, 2, 3]);
        assert_eq!(self.clock.now(), TokioClock::EPOCH);
    }

    async fn jobs_that_come_due_together_serve_all_who_wait(self) {
        let (a, b, ()) = tokio::join!(self.queue.lease(Work::Calls, 1), self.queue.lease(Work::Calls, 1), async {
            tokio::task::yield_now().await;
            self.offer([self.later(1, 1_000), self.later(2, 1_000)]).await;
        });
        assert_eq!(sorted(&[&a, &b]), [1, 2]);
        assert!(self.clock.now().0 - TokioClock::EPOCH.0 < 1_100);
    }

    /// Whoever was told of the earlier job is cancelled; the other one waits for an hour otherwise.
    async fn who_stops_waiting_hands_the_timer_on(self) {
        self.offer([self.later(1, 3_600_000)]).await;
        let second = Duration::from_secs(1);
        let first =
            async { tokio::time::timeout(2 * second, self.queue.lease(Work::Calls, 1)).await.unwrap_or_default() };
        let (nothing, leases, ()) = tokio::join!(first, self.queue.lease(Work::Calls, 1), async {
            tokio::time::sleep(second).await;
            self.offer([self.later(2, 5_000)]).await;
        });
        assert_eq!((runs(&nothing), runs(&leases)), (vec![], vec![2]));
        assert!(self.clock.now().0 - TokioClock::EPOCH.0 < 5_100);
    }

    async fn older_runs_go_first(self) {
        self.offer([self.job(5, "f"), self.job(3, "f"), self.job(9, "f"), self.job(1, "f")]).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [1, 3, 5, 9]);
        // A retry that comes due keeps the place of its run.
        self.offer([self.later(2, 1_000)]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.offer([self.job(7, "f")]).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [2, 7]);
    }

    async fn priority_moves_a_run_ahead_or_back(self) {
        let at = |second: u64, number: u128| {
            let run = RunId::from_bytes(((u128::from(second) * 1_000) << 80 | number).to_be_bytes());
            QueueItem::new(JobId::start(run), function("f"), JobKind::Start, TokioClock::EPOCH)
        };
        let (first, ahead, back) = (at(100, 1), at(160, 2), at(90, 3));
        let items = [first, QueueItem { priority: 120, ..ahead }, QueueItem { priority: -60, ..back }];
        self.offer(items).await;
        let order =
            self.queue.lease(Work::Calls, 10).await.into_iter().map(|lease| lease.item.id.run.timestamp().0 / 1_000);
        assert_eq!(order.collect::<Vec<_>>(), [160, 100, 90]);
    }

    async fn functions_take_turns(self) {
        self.offer((1..=100).map(|run| self.job(run, "busy")).collect::<Vec<_>>()).await;
        self.offer([self.job(200, "quiet"), self.job(201, "calm")]).await;
        let first = self.queue.lease(Work::Calls, 6).await;
        let of = |name: &str| first.iter().filter(|lease| lease.item.function == function(name)).count();
        assert_eq!((of("busy"), of("quiet"), of("calm")), (4, 1, 1));
    }

    /// Also a function whose due jobs were all withdrawn, and that has new ones.
    async fn a_function_has_one_turn_in_a_round(self) {
        self.offer([self.job(1, "f")]).await;
        self.queue.withdraw(&[self.job(1, "f").id]).await;
        self.offer((2..=9).map(|run| self.job(run, "f")).collect::<Vec<_>>()).await;
        self.offer((12..=19).map(|run| self.job(run, "g")).collect::<Vec<_>>()).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 6).await), [2, 12, 3, 13, 4, 14]);
    }

    async fn only_newer_generations_replace(self) {
        let generation = |number| QueueItem { generation: number, attempt: number, ..self.job(1, "f") };
        self.offer([generation(2), generation(1), generation(2), generation(3)]).await;
        let leases = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(leases.iter().map(|lease| lease.item.generation).collect::<Vec<_>>(), [3]);
    }

    async fn a_newer_generation_may_be_due_later_or_earlier(self) {
        self.offer([self.job(1, "f"), self.later(2, 5_000)]).await;
        self.offer([
            QueueItem { generation: 2, ..self.later(1, 5_000) },
            QueueItem { generation: 2, ..self.job(2, "f") },
        ])
        .await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [2]);
        self.nothing_for(Duration::from_secs(4)).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [1]);
        assert_eq!(self.queue.depth().await, Depth { waiting: 0, leased: 2 });
    }

    async fn a_retry_offered_during_the_lease_comes_after_it(self) {
        self.offer([self.job(1, "f")]).await;
        let lease = self.queue.lease(Work::Calls, 1).await.remove(0);
        self.offer([QueueItem { generation: 2, ..self.later(1, 1_000) }]).await;
        self.nothing_for(Duration::from_secs(5)).await;
        self.queue.settle(lease, Settled::Done, Vec::new()).await;
        assert_eq!(self.queue.lease(Work::Calls, 1).await[0].item.generation, 2);
    }

    async fn only_the_newest_of_those_kept_aside_comes_after_the_lease(self) {
        self.offer([self.job(1, "f")]).await;
        let lease = self.queue.lease(Work::Calls, 1).await.remove(0);
        for generation in [2, 4, 3] {
            self.offer([QueueItem { generation, ..self.job(1, "f") }]).await;
        }
        self.queue.settle(lease, Settled::Done, Vec::new()).await;
        let next = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(next.iter().map(|lease| lease.item.generation).collect::<Vec<_>>(), [4]);
        for lease in next {
            self.queue.settle(lease, Settled::Done, Vec::new()).await;
        }
        assert_eq!(self.queue.depth().await, Depth::default());
    }

    async fn given_back_jobs_run_again(self) {
        self.offer([self.job(1, "f")]).await;
        for _ in 0..3 {
            let lease = self.queue.lease(Work::Calls, 1).await.remove(0);
            self.queue.settle(lease, Settled::GivenBack, Vec::new()).await;
        }
        assert_eq!(self.queue.depth().await, Depth { waiting: 1, leased: 0 });
    }

    async fn a_job_given_back_wakes_who_waits(self) {
        self.offer([self.job(1, "f")]).await;
        let lease = self.queue.lease(Work::Calls, 1).await.remove(0);
        let (leases, ()) = tokio::join!(self.queue.lease(Work::Calls, 1), async {
            tokio::task::yield_now().await;
            self.queue.settle(lease, Settled::GivenBack, Vec::new()).await;
        });
        assert_eq!(runs(&leases), [1]);
        assert_eq!(self.clock.now(), TokioClock::EPOCH);
    }

    async fn a_retry_kept_aside_sets_the_timer_of_who_waits(self) {
        self.offer([self.job(1, "f")]).await;
        let lease = self.queue.lease(Work::Calls, 1).await.remove(0);
        self.offer([QueueItem { generation: 2, ..self.later(1, 3_000) }]).await;
        let (leases, ()) = tokio::join!(self.queue.lease(Work::Calls, 1), async {
            tokio::task::yield_now().await;
            self.queue.settle(lease, Settled::Done, Vec::new()).await;
        });
        assert_eq!(leases[0].item.generation, 2);
        assert!(self.clock.now().0 - TokioClock::EPOCH.0 < 3_100);
    }

    async fn a_job_given_back_gives_way_to_a_newer_one(self) {
        self.offer([self.job(1, "f")]).await;
        let lease = self.queue.lease(Work::Calls, 1).await.remove(0);
        self.offer([QueueItem { generation: 2, ..self.later(1, 5_000) }]).await;
        self.queue.settle(lease, Settled::GivenBack, Vec::new()).await;
        self.nothing_for(Duration::from_secs(4)).await;
        assert_eq!(self.queue.lease(Work::Calls, 10).await[0].item.generation, 2);
        self.nothing_for(HOUR).await;
    }

    async fn withdrawn_jobs_are_gone(self) {
        self.offer([self.job(1, "f"), self.later(2, 1_000), self.job(3, "f")]).await;
        let ids = [1, 2, 9].map(|run| self.job(run, "f").id);
        self.queue.withdraw(&ids).await;
        let lease = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(runs(&lease), [3]);
        self.queue.withdraw(&[lease[0].item.id]).await;
        for lease in lease {
            self.queue.settle(lease, Settled::GivenBack, Vec::new()).await;
        }
        self.nothing_for(HOUR).await;
        assert_eq!(self.queue.depth().await, Depth::default());
    }

    async fn a_withdrawn_job_may_be_offered_again(self) {
        self.offer([self.job(1, "f")]).await;
        self.queue.withdraw(&[self.job(1, "f").id]).await;
        self.offer([self.later(1, 2_000)]).await;
        self.nothing_for(Duration::from_secs(1)).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [1]);
        assert_eq!(self.queue.depth().await, Depth { waiting: 0, leased: 1 });
        self.nothing_for(HOUR).await;
    }

    async fn a_job_offered_after_it_was_withdrawn_under_lease_stays(self) {
        self.offer([self.job(1, "f")]).await;
        let lease = self.queue.lease(Work::Calls, 1).await.remove(0);
        self.offer([QueueItem { generation: 2, ..self.job(1, "f") }]).await;
        self.queue.withdraw(&[self.job(1, "f").id]).await;
        self.offer([QueueItem { generation: 3, ..self.job(1, "f") }]).await;
        self.queue.settle(lease, Settled::GivenBack, Vec::new()).await;
        let next = self.queue.lease(Work::Calls, 10).await;
        assert_eq!(next.iter().map(|lease| lease.item.generation).collect::<Vec<_>>(), [3]);
    }

    async fn max_is_kept(self) {
        self.offer((1..=10).map(|run| self.job(run, "f")).collect::<Vec<_>>()).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 3).await), [1, 2, 3]);
        assert_eq!(runs(&self.queue.lease(Work::Calls, 4).await), [4, 5, 6, 7]);
    }

    async fn a_dropped_wait_loses_nothing(self) {
        self.nothing_for(Duration::from_secs(1)).await;
        self.offer([self.job(1, "f")]).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 1).await), [1]);
    }

    async fn due_jobs_stay_due_when_the_clock_is_set_back(self) {
        self.offer([self.job(1, "f"), self.later(2, 1_000)]).await;
        self.clock.set_back(60_000);
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [1]);
        self.nothing_for(Duration::from_secs(60)).await;
        assert_eq!(runs(&self.queue.lease(Work::Calls, 10).await), [2]);
    }

    async fn who_waits_sees_that_the_clock_was_set_forward(self) {
        self.offer([self.later(1, 3_600_000)]).await;
        let began = tokio::time::Instant::now();
        let (leases, ()) = tokio::join!(self.queue.lease(Work::Calls, 1), async {
            tokio::task::yield_now().await;
            self.clock.set_back(-7_200_000);
        });
        assert_eq!(runs(&leases), [1]);
        assert!(began.elapsed() <= Duration::from_secs(61));
    }

    /// Also for one that waits for the other kind of work.
    async fn much_that_comes_due_at_once_is_leased_at_once(self) {
        let cancel = QueueItem { kind: JobKind::Cancel, id: JobId::cancel(run_id(9_999)), ..self.later(9_999, 1_000) };
        self.offer((1..=3_000).map(|run| self.later(run, 999)).chain([cancel]).collect::<Vec<_>>()).await;
        assert_eq!(runs(&self.queue.lease(Work::Own, 1).await), [9_999]);
        let mut leased = 0;
        while leased < 3_000 {
            leased += self.queue.lease(Work::Calls, 3_000).await.len();
        }
        assert!(self.clock.now().0 - TokioClock::EPOCH.0 < 1_010);
    }

    async fn offer(&self, items: impl IntoIterator<Item = QueueItem>) {
        self.queue.offer(items.into_iter().collect()).await;
    }

    async fn nothing_for(&self, pause: Duration) {
        let leased = tokio::time::timeout(pause, self.queue.lease(Work::Calls, 1)).await;
        assert!(leased.is_err(), "leased {leased:?}");
    }

    fn job(&self, run: u128, name: &str) -> QueueItem {
        let id = JobId::step(run_id(run), &StepId::from("a"));
        QueueItem::new(id, function(name), JobKind::Discovery, TokioClock::EPOCH)
    }

    fn later(&self, run: u128, after_ms: i64) -> QueueItem {
        QueueItem { due: Millis(TokioClock::EPOCH.0 + after_ms), ..self.job(run, "f") }
    }
}

fn run_id(number: u128) -> RunId {
    RunId::from_bytes(number.to_be_bytes())
}

fn function(name: &str) -> FunctionId {
    FunctionId::of_definition(name, "conformance")
}

fn runs(leases: &[Lease]) -> Vec<u128> {
    leases.iter().map(|lease| u128::from_be_bytes(lease.item.id.run.to_bytes())).collect()
}

/// The runs of several leases, in order.
fn sorted(leases: &[&[Lease]]) -> Vec<u128> {
    let mut found: Vec<u128> = leases.iter().flat_map(|leases| runs(leases)).collect();
    found.sort_unstable();
    found
}
