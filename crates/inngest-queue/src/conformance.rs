//! What every queue must do, as cases that run on any backend: `exercise(make)`.
//!
//! Cases run under tokio's paused time; the clock given to the queue follows it.

use std::sync::Arc;
use std::time::Duration;

use inngest_core::{Clock, FunctionId, Millis, RunId, StepId};

use crate::{Depth, JobId, JobKind, Lease, Queue, QueueItem, Settled};

/// A clock that follows tokio's, so that paused time moves it.
#[derive(Debug)]
pub struct TokioClock(tokio::time::Instant);

impl TokioClock {
    /// A clock that reads [`TokioClock::EPOCH`] now.
    #[must_use]
    pub fn start() -> Arc<Self> {
        Arc::new(Self(tokio::time::Instant::now()))
    }

    /// What the clock reads at its start.
    pub const EPOCH: Millis = Millis(1_700_000_000_000);
}

impl Clock for TokioClock {
    fn now(&self) -> Millis {
        Self::EPOCH.plus(self.0.elapsed())
    }
}

/// Runs every case on a new, empty queue made by `make`. Panics at the first that fails.
pub async fn exercise<Q: Queue>(make: impl Fn(Arc<dyn Clock>) -> Q) {
    let case = || {
        let clock = TokioClock::start();
        Case { queue: make(clock.clone()), clock }
    };
    case().due_jobs_are_leased_at_once().await;
    case().a_job_is_leased_once_at_a_time().await;
    case().later_jobs_wait_for_their_time().await;
    case().an_earlier_job_shortens_the_wait().await;
    case().an_offer_wakes_who_waits().await;
    case().older_runs_go_first().await;
    case().functions_take_turns().await;
    case().only_newer_generations_replace().await;
    case().a_retry_offered_during_the_lease_comes_after_it().await;
    case().given_back_jobs_run_again().await;
    case().withdrawn_jobs_are_gone().await;
    case().max_is_kept().await;
    case().a_dropped_wait_loses_nothing().await;
}

struct Case<Q> {
    queue: Q,
    clock: Arc<TokioClock>,
}

const HOUR: Duration = Duration::from_secs(3_600);

impl<Q: Queue> Case<Q> {
    async fn due_jobs_are_leased_at_once(self) {
        self.offer([self.job(1, "f"), self.job(2, "f")]).await;
        assert_eq!(self.queue.depth().await, Depth { waiting: 2, leased: 0 });
        let leases = self.queue.lease(10).await;
        assert_eq!(runs(&leases), [1, 2]);
        assert_eq!(leases[0].item, self.job(1, "f"));
        assert_eq!(self.queue.depth().await, Depth { waiting: 0, leased: 2 });
        for lease in leases {
            self.queue.settle(lease, Settled::Done).await;
        }
        assert_eq!(self.queue.depth().await, Depth::default());
    }

    async fn a_job_is_leased_once_at_a_time(self) {
        self.offer([self.job(1, "f")]).await;
        let _held = self.queue.lease(1).await;
        self.offer([self.job(1, "f")]).await;
        self.nothing_for(HOUR).await;
    }

    async fn later_jobs_wait_for_their_time(self) {
        self.offer([self.later(1, 5_000), self.later(2, 2_000)]).await;
        for (run, at) in [(2, 2_000), (1, 5_000)] {
            assert_eq!(runs(&self.queue.lease(10).await), [run]);
            let now = self.clock.now().0 - TokioClock::EPOCH.0;
            assert!((at..at + 50).contains(&now), "run {run} at {now}");
        }
    }

    async fn an_earlier_job_shortens_the_wait(self) {
        self.offer([self.later(1, 60_000)]).await;
        let (leases, ()) = tokio::join!(self.queue.lease(1), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.offer([self.later(2, 3_000)]).await;
        });
        assert_eq!(runs(&leases), [2]);
        assert!(self.clock.now().0 - TokioClock::EPOCH.0 < 3_100);
    }

    async fn an_offer_wakes_who_waits(self) {
        let (leases, ()) = tokio::join!(self.queue.lease(1), async {
            tokio::task::yield_now().await;
            self.offer([self.job(1, "f")]).await;
        });
        assert_eq!(runs(&leases), [1]);
        assert_eq!(self.clock.now(), TokioClock::EPOCH);
    }

    async fn older_runs_go_first(self) {
        self.offer([self.job(5, "f"), self.job(3, "f"), self.job(9, "f"), self.job(1, "f")]).await;
        assert_eq!(runs(&self.queue.lease(10).await), [1, 3, 5, 9]);
        // A retry that comes due keeps the place of its run.
        self.offer([self.later(2, 1_000)]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.offer([self.job(7, "f")]).await;
        assert_eq!(runs(&self.queue.lease(10).await), [2, 7]);
    }

    async fn functions_take_turns(self) {
        self.offer((1..=100).map(|run| self.job(run, "busy")).collect::<Vec<_>>()).await;
        self.offer([self.job(200, "quiet"), self.job(201, "calm")]).await;
        let first = self.queue.lease(6).await;
        let of = |name: &str| first.iter().filter(|lease| lease.item.function == function(name)).count();
        assert_eq!((of("busy"), of("quiet"), of("calm")), (4, 1, 1));
    }

    async fn only_newer_generations_replace(self) {
        let generation = |number| QueueItem { generation: number, attempt: number, ..self.job(1, "f") };
        self.offer([generation(2), generation(1), generation(2), generation(3)]).await;
        let leases = self.queue.lease(10).await;
        assert_eq!(leases.iter().map(|lease| lease.item.generation).collect::<Vec<_>>(), [3]);
    }

    async fn a_retry_offered_during_the_lease_comes_after_it(self) {
        self.offer([self.job(1, "f")]).await;
        let lease = self.queue.lease(1).await.remove(0);
        self.offer([QueueItem { generation: 2, ..self.later(1, 1_000) }]).await;
        self.nothing_for(Duration::from_secs(5)).await;
        self.queue.settle(lease, Settled::Done).await;
        assert_eq!(self.queue.lease(1).await[0].item.generation, 2);
    }

    async fn given_back_jobs_run_again(self) {
        self.offer([self.job(1, "f")]).await;
        for _ in 0..3 {
            let lease = self.queue.lease(1).await.remove(0);
            self.queue.settle(lease, Settled::GivenBack).await;
        }
        assert_eq!(self.queue.depth().await, Depth { waiting: 1, leased: 0 });
    }

    async fn withdrawn_jobs_are_gone(self) {
        self.offer([self.job(1, "f"), self.later(2, 1_000), self.job(3, "f")]).await;
        let ids = [1, 2, 9].map(|run| self.job(run, "f").id);
        self.queue.withdraw(&ids).await;
        let lease = self.queue.lease(10).await;
        assert_eq!(runs(&lease), [3]);
        self.queue.withdraw(&[lease[0].item.id]).await;
        for lease in lease {
            self.queue.settle(lease, Settled::GivenBack).await;
        }
        self.nothing_for(HOUR).await;
        assert_eq!(self.queue.depth().await, Depth::default());
    }

    async fn max_is_kept(self) {
        self.offer((1..=10).map(|run| self.job(run, "f")).collect::<Vec<_>>()).await;
        assert_eq!(runs(&self.queue.lease(3).await), [1, 2, 3]);
        assert_eq!(runs(&self.queue.lease(4).await), [4, 5, 6, 7]);
    }

    async fn a_dropped_wait_loses_nothing(self) {
        self.nothing_for(Duration::from_secs(1)).await;
        self.offer([self.job(1, "f")]).await;
        assert_eq!(runs(&self.queue.lease(1).await), [1]);
    }

    async fn offer(&self, items: impl IntoIterator<Item = QueueItem>) {
        self.queue.offer(items.into_iter().collect()).await;
    }

    async fn nothing_for(&self, pause: Duration) {
        let leased = tokio::time::timeout(pause, self.queue.lease(1)).await;
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
