//! The in-memory index: the conformance suite, and random operations against an obvious model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use inngest_core::{Clock, FunctionId, Millis, RunId};
use inngest_queue::conformance::{TokioClock, exercise};
use inngest_queue::memory::MemoryQueue;
use inngest_queue::{JobId, JobKind, Lease, Queue, QueueItem, Settled, Work};
use proptest::prelude::*;

#[tokio::test(start_paused = true)]
async fn memory_passes_the_conformance_suite() {
    exercise(MemoryQueue::new).await;
}

#[derive(Clone, Debug)]
enum Step {
    Offer { job: u8, generation: u32, after_ms: u16 },
    Lease(u8),
    Settle { which: u8, done: bool },
    Withdraw(u8),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..12, 1_u32..4, 0_u16..500).prop_map(|(job, generation, after_ms)| Step::Offer {
            job,
            generation,
            after_ms
        }),
        (1_u8..4).prop_map(Step::Lease),
        (any::<u8>(), any::<bool>()).prop_map(|(which, done)| Step::Settle { which, done }),
        (0_u8..12).prop_map(Step::Withdraw),
        (0_u16..300).prop_map(Step::Pass),
    ]
}

/// A lease, what was offered meanwhile, and whether the job was withdrawn.
type Leased = (Lease, Option<(u32, Millis)>, bool);

/// What must be true of each job, kept in the plainest way.
#[derive(Default)]
struct Model {
    waiting: BTreeMap<u8, (u32, Millis)>,
    leased: BTreeMap<u8, Leased>,
}

fn item(job: u8, generation: u32, due: Millis) -> QueueItem {
    let run = RunId::from_bytes(u128::from(job).to_be_bytes());
    let function = FunctionId::of_definition(if job.is_multiple_of(3) { "a" } else { "b" }, "");
    let mut item = QueueItem::new(JobId::start(run), function, JobKind::Start, due);
    item.generation = generation;
    item
}

fn job_of(item: &QueueItem) -> u8 {
    item.id.run.to_bytes()[15]
}

proptest! {
    #[test]
    fn no_job_is_lost_doubled_or_early(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(steps));
    }
}

async fn play(steps: Vec<Step>) {
    let clock = TokioClock::start();
    let queue = MemoryQueue::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let mut model = Model::default();
    for step in steps {
        let now = clock.now();
        match step {
            Step::Offer { job, generation, after_ms } => {
                let due = now.plus(Duration::from_millis(after_ms.into()));
                queue.offer(vec![item(job, generation, due)]).await;
                if let Some((lease, next, _)) = model.leased.get_mut(&job) {
                    if generation > next.map_or(lease.item.generation, |(generation, _)| generation) {
                        *next = Some((generation, due));
                    }
                } else if model.waiting.get(&job).is_none_or(|(known, _)| generation > *known) {
                    model.waiting.insert(job, (generation, due));
                }
            }
            Step::Lease(max) => {
                let due = model.waiting.values().filter(|(_, due)| *due <= now).count();
                let leased = tokio::time::timeout(Duration::ZERO, queue.lease(Work::Calls, max.into()))
                    .await
                    .unwrap_or_default();
                assert_eq!(leased.len(), due.min(max.into()), "all that is due, up to max");
                for lease in leased {
                    let job = job_of(&lease.item);
                    let (generation, due) = model.waiting.remove(&job).expect("a job that waits");
                    assert!(due <= now && lease.item.generation == generation);
                    assert!(model.leased.insert(job, (lease, None, false)).is_none());
                }
            }
            Step::Settle { which, done } => {
                let Some(job) = model.leased.keys().nth(usize::from(which) % model.leased.len().max(1)).copied() else {
                    continue;
                };
                let (lease, next, withdrawn) = model.leased.remove(&job).expect("just found");
                let back = (lease.item.generation, lease.item.due);
                queue.settle(lease, if done { Settled::Done } else { Settled::GivenBack }, Vec::new()).await;
                if let Some(next) = next.or_else(|| (!done && !withdrawn).then_some(back)) {
                    model.waiting.insert(job, next);
                }
            }
            Step::Withdraw(job) => {
                queue.withdraw(&[item(job, 1, now).id]).await;
                model.waiting.remove(&job);
                if let Some((_, next, withdrawn)) = model.leased.get_mut(&job) {
                    (*next, *withdrawn) = (None, true);
                }
            }
            Step::Pass(ms) => tokio::time::sleep(Duration::from_millis(ms.into())).await,
        }
        let depth = queue.depth().await;
        assert_eq!((depth.waiting, depth.leased), (model.waiting.len(), model.leased.len()));
    }
}
