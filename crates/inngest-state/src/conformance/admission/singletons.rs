//! One run of a key at a time.

use inngest_core::{FunctionId, RunId, RunStatus};
use inngest_queue::admission::AFTER_ANOTHER;
use inngest_queue::flow::{Admission, SingletonMode, Skip};
use inngest_queue::{JobId, JobKind, QueueItem};

use super::super::{Case, finish};
use super::{Matched, SECOND, singleton};
use crate::history::SkipFilter;
use crate::{Admit, Change, Committed, Rerun};

impl Case<'_> {
    pub(super) async fn singletons(&self) {
        self.a_second_run_is_skipped_as_long_as_the_first_goes_on().await;
        self.a_second_run_takes_the_place_of_the_first().await;
        self.of_many_runs_the_last_one_starts().await;
        self.a_run_that_never_began_leaves_its_place_to_who_was_before().await;
        self.a_run_waits_for_its_time_too().await;
        self.the_end_of_a_run_frees_its_key_for_what_it_starts().await;
        self.a_rerun_is_skipped_as_long_as_another_goes_on().await;
        self.a_rerun_takes_the_place_of_another().await;
    }

    async fn a_second_run_is_skipped_as_long_as_the_first_goes_on(&self) {
        let function = self.function("single-skip");
        let first = self.single(function, "a", SingletonMode::Skip).await;
        let holder = first.admit.run;
        assert!(first.is_started());
        let second = self.single(function, "a", SingletonMode::Skip).await;
        assert_eq!(second.skip(), Some(Skip::Singleton(holder)));
        let record = self.store.run_record(second.admit.run).await.expect("reads").expect("it is shown");
        assert_eq!((record.status, record.skip), (RunStatus::Skipped, Some(Skip::Singleton(holder))));
        assert!(self.single(function, "b", SingletonMode::Skip).await.is_started());
        assert!(self.single(self.function("single-other"), "a", SingletonMode::Skip).await.is_started());
        assert!(self.matched(function, Admission::default()).await.is_started(), "without a key it is none");
        self.end(holder).await;
        let third = self.single(function, "a", SingletonMode::Skip).await;
        assert!(third.is_started());
        assert_eq!(
            self.single(function, "a", SingletonMode::Skip).await.skip(),
            Some(Skip::Singleton(third.admit.run))
        );
    }

    async fn a_second_run_takes_the_place_of_the_first(&self) {
        let function = self.function("single-cancel");
        let first = self.single(function, "a", SingletonMode::Cancel).await;
        assert!(first.is_started());
        let second = self.single(function, "a", SingletonMode::Cancel).await;
        assert!(second.is_started(), "there is a run");
        let cancel = &second.committed.jobs[0];
        assert_eq!((cancel.id, &cancel.kind), (JobId::cancel(first.admit.run), &JobKind::Cancel));
        assert_eq!(second.committed.jobs[1], QueueItem { due: AFTER_ANOTHER, ..second.admit.job.clone() });
        self.is_held(&second.admit).await;
        let third = self.single(function, "a", SingletonMode::Skip).await;
        assert_eq!(third.skip(), Some(Skip::Singleton(second.admit.run)), "it counts although it has not begun");
        let ended = self.end(first.admit.run).await;
        assert_eq!(ended.jobs, [QueueItem { generation: 2, ..second.admit.job.clone() }]);
        assert!(self.all_ready().await.contains(&ended.jobs[0]));
        assert!(self.end(second.admit.run).await.jobs.is_empty());
        assert!(self.single(function, "a", SingletonMode::Cancel).await.is_started());
    }

    /// Each cancels the one before it, which has not begun; in whatever order these end, the last one starts after
    /// the first.
    async fn of_many_runs_the_last_one_starts(&self) {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1]] {
            let function = self.function(&format!("single-chain-{order:?}"));
            let mut runs = Vec::new();
            for index in 0..4_usize {
                let run = self.single(function, "a", SingletonMode::Cancel).await;
                if let Some(before) = index.checked_sub(1) {
                    let before: &Matched = &runs[before];
                    assert_eq!(run.jobs(), [JobId::cancel(before.admit.run), run.admit.job.id]);
                }
                runs.push(run);
            }
            let mut open = vec![0, 1, 2, 3];
            for index in order {
                let first = open[0];
                open.retain(|run| *run != index);
                let begins = (open[0] != first).then(|| runs[open[0]].admit.job.id);
                let ended = self.end(runs[index].admit.run).await;
                assert_eq!(
                    ended.jobs.iter().map(|job| job.id).collect::<Vec<_>>(),
                    Vec::from_iter(begins),
                    "{order:?}"
                );
            }
        }
    }

    async fn a_run_that_never_began_leaves_its_place_to_who_was_before(&self) {
        let function = self.function("single-back");
        let first = self.single(function, "a", SingletonMode::Cancel).await;
        let second = self.single(function, "a", SingletonMode::Cancel).await;
        assert!(self.end(second.admit.run).await.jobs.is_empty());
        let skipped = self.single(function, "a", SingletonMode::Skip).await;
        assert_eq!(skipped.skip(), Some(Skip::Singleton(first.admit.run)), "it goes on until its cancellation");
        let third = self.single(function, "a", SingletonMode::Cancel).await;
        self.is_held(&third.admit).await;
        let ended = self.end(first.admit.run).await;
        assert_eq!(ended.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [third.admit.job.id]);
    }

    async fn a_run_waits_for_its_time_too(&self) {
        let function = self.function("single-later");
        let first = self.single(function, "a", SingletonMode::Cancel).await;
        let event = self.event("admission/later");
        let flow = Admission { singleton: singleton("a", SingletonMode::Cancel), ..Admission::default() };
        let mut admit = self.with(&event, function, flow);
        admit.job.due = self.ids.now().plus(60 * SECOND);
        let second = self.put(event, admit).await;
        let ended = self.end(first.admit.run).await;
        assert_eq!(ended.jobs[0].due, second.admit.job.due);
        let due = self.store.jobs_due(second.admit.job.due, None, usize::MAX).await.expect("reads");
        assert!(due.contains(&ended.jobs[0]));
    }

    async fn the_end_of_a_run_frees_its_key_for_what_it_starts(&self) {
        let function = self.function("single-again");
        let first = self.single(function, "a", SingletonMode::Skip).await;
        let event = self.event("admission/again");
        let flow = Admission { singleton: singleton("a", SingletonMode::Skip), ..Admission::default() };
        let admit = self.with(&event, function, flow);
        let next = admit.run;
        let end = finish(first.admit.run, RunStatus::Completed, None, None);
        let committed = self.commit(vec![end, Change::PutEvent(Box::new(event), vec![admit])]).await;
        assert_eq!(committed.admitted.iter().map(|(_, run)| *run).collect::<Vec<_>>(), [next]);
    }

    async fn a_rerun_is_skipped_as_long_as_another_goes_on(&self) {
        let function = self.function("rerun-skip");
        let original = self.single(function, "a", SingletonMode::Skip).await;
        let holder = original.admit.run;
        let (admit, committed) = self.rerun(&original, SingletonMode::Skip).await;
        assert!(committed.jobs.is_empty() && self.store.run(admit.run).await.expect("reads").is_none());
        let record = self.store.run_record(admit.run).await.expect("reads").expect("it is shown");
        assert_eq!((record.status, record.skip), (RunStatus::Skipped, Some(Skip::Singleton(holder))));
        assert_eq!((record.original_run, record.event_ids), (Some(holder), vec![original.event.id]));
        assert_eq!(self.runs_of(original.event.id).await, [holder]);
        let of_event = SkipFilter { event: Some(original.event.id), limit: 9, ..SkipFilter::default() };
        assert_eq!(self.store.skips(of_event.clone()).await.expect("reads"), [], "the event has started a run");
        assert!(committed.skipped.is_empty());

        // What is known of an event that was skipped stays.
        let skipped = self.single(function, "a", SingletonMode::Skip).await;
        let of_event = SkipFilter { event: Some(skipped.event.id), ..of_event };
        let before = self.store.skips(of_event.clone()).await.expect("reads");
        self.rerun(&skipped, SingletonMode::Skip).await;
        assert_eq!((before.len(), self.store.skips(of_event).await.expect("reads")), (1, before));
    }

    async fn a_rerun_takes_the_place_of_another(&self) {
        let function = self.function("rerun-cancel");
        let original = self.single(function, "a", SingletonMode::Cancel).await;
        let holder = original.admit.run;
        let (admit, committed) = self.rerun(&original, SingletonMode::Cancel).await;
        let jobs: Vec<JobId> = committed.jobs.iter().map(|job| job.id).collect();
        assert_eq!(jobs, [JobId::cancel(holder), admit.job.id]);
        self.is_held(&admit).await;
        let ended = self.end(holder).await;
        assert_eq!(ended.jobs, [QueueItem { generation: 2, ..admit.job.clone() }]);
        let record = self.store.run_record(admit.run).await.expect("reads").expect("stored");
        assert_eq!((record.original_run, record.skip), (Some(holder), None));
        assert_eq!(self.runs_of(original.event.id).await, [holder, admit.run]);
    }

    /// Runs the event of a run anew.
    async fn rerun(&self, original: &Matched, mode: SingletonMode) -> (Admit, Committed) {
        let flow = Admission { singleton: singleton("a", mode), ..Admission::default() };
        let admit = self.with(&original.event, original.admit.function, flow);
        let rerun = Rerun {
            admit: admit.clone(),
            events: vec![original.event.id],
            event_name: original.event.name.clone(),
            original: original.admit.run,
            steps: Vec::new(),
            input: None,
        };
        (admit, self.commit(vec![Change::Rerun(Box::new(rerun))]).await)
    }

    async fn single(&self, function: FunctionId, key: &str, mode: SingletonMode) -> Matched {
        self.matched(function, Admission { singleton: singleton(key, mode), ..Admission::default() }).await
    }

    async fn end(&self, run: RunId) -> Committed {
        self.commit(vec![finish(run, RunStatus::Cancelled, None, None)]).await
    }

    /// The first job of the run is nowhere to be found for who looks for work.
    async fn is_held(&self, admit: &Admit) {
        let now = self.ids.now();
        assert!(!self.all_ready().await.iter().any(|job| job.id == admit.job.id));
        let years = now.plus(100 * 365 * 86_400 * SECOND);
        let due = self.store.jobs_due(years, None, usize::MAX).await.expect("reads");
        assert!(!due.iter().any(|job| job.id == admit.job.id));
        assert_eq!(self.store.next_due(years).await.expect("reads"), None);
        self.store.void_leases(now).await.expect("writes");
        let jobs = self.store.trace(admit.run).await.expect("reads").jobs;
        assert!(jobs.iter().any(|job| job.id == admit.job.id && job.generation == 1));
    }
}
