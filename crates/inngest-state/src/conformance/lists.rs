//! Lists and counts of runs and events, held against a filter that is applied to each of them.

use inngest_core::event::{DEFERRED_SCHEDULE, EventBody, FUNCTION_FAILED, FUNCTION_FINISHED, INTERNAL_PREFIX};
use inngest_core::{Event, EventId, FunctionId, Millis, Payload, RunId, RunStatus};
use inngest_queue::flow::{Admission, Closed};
use inngest_queue::{JobId, JobKind, QueueItem};

use super::Case;
use crate::history::{Between, EventFilter, RunFilter, RunRecord, RunTime};
use crate::trace::{Headers, ResponseHead};
use crate::{Admit, Change, FinishRun};

/// All of it is of a time that no other case uses.
const BEGIN: i64 = 1_500_000_000_000;
const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
const RUNS: u64 = 160;
const FILTERS: u64 = 250;

impl Case<'_> {
    pub(super) async fn lists(&self) {
        self.runs_are_listed_and_counted_as_asked().await;
        self.events_are_listed_and_counted_as_asked().await;
        self.a_run_is_counted_where_it_stands().await;
        self.records_of_many_are_read_together().await;
    }

    async fn runs_are_listed_and_counted_as_asked(&self) {
        let mut dice = Dice(7);
        let functions: Vec<FunctionId> = (0..4).map(|n| self.function(&format!("lists-{n}"))).collect();
        let mut ids = Vec::new();
        for _ in 0..RUNS {
            // Most are of one function.
            let function = functions[usize::try_from(dice.below(9)).unwrap_or_default().saturating_sub(5)];
            ids.push(self.listed_run(&mut dice, function).await);
        }
        let runs = self.store.run_records(ids).await.expect("reads");
        assert_eq!(runs.len() as u64, RUNS);
        for _ in 0..FILTERS {
            let filter = any_filter(&mut dice, &functions);
            let expected = expected(&runs, &filter);
            let count = self.store.count_runs(filter.clone()).await.expect("counts");
            assert_eq!(count, expected.len() as u64, "{filter:?}");
            assert_eq!(self.pages(&filter).await, expected, "{filter:?}");
        }
    }

    /// A run as old as this case, that may have started and ended.
    async fn listed_run(&self, dice: &mut Dice, function: FunctionId) -> RunId {
        let queued = BEGIN + dice.below(3 * 24 * 6) * 10 * MINUTE + dice.below(2);
        let deferred = dice.below(4) == 0;
        let event = self.event_at(queued, if deferred { DEFERRED_SCHEDULE } else { "case/lists" });
        let run = RunId::from_bytes(event.id.to_bytes());
        let skipped = dice.below(8) == 0;
        let flow = Admission { closed: skipped.then_some(Closed::Paused), ..Admission::default() };
        let admit = Admit {
            run,
            function,
            idempotency: None,
            flow: Some(Box::new(flow)),
            correlation_id: None,
            job: QueueItem::new(JobId::start(run), function, JobKind::Start, self.ids.now()),
            deadline: None,
            cancel_on: Vec::new(),
        };
        self.commit(vec![Change::PutEvent(Box::new(event), vec![admit])]).await;
        let started = queued + dice.below(20) * dice.below(20) * MINUTE;
        let starts = dice.below(5) > 0;
        if starts && !skipped {
            self.commit(vec![Change::StartRun { run, at: Millis(started), job: None }]).await;
        }
        if dice.below(6) > 0 && !skipped {
            let status = [RunStatus::Completed, RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled];
            let finish = FinishRun {
                run,
                status: status[dice.index(4)],
                output: Some(Payload::from("1")),
                error: None,
                started_at: (dice.below(2) == 0).then_some(Millis(started)),
                ended_at: Millis(started + dice.below(300) * MINUTE),
                last_call: None,
                in_flight: Vec::new(),
                finished: None,
            };
            self.commit(vec![Change::FinishRun(Box::new(finish))]).await;
        }
        run
    }

    fn event_at(&self, at: i64, name: &str) -> Event {
        let id = self.ids.event(Millis(at));
        Event { id, name: name.into(), external_id: None, ts: Millis(at), body: EventBody::Stored(Payload::from("{}")) }
    }

    /// The whole list, page by page.
    async fn pages(&self, filter: &RunFilter) -> Vec<RunId> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.store.runs(RunFilter { cursor, ..filter.clone() }).await.expect("reads");
            assert!(page.len() <= filter.limit, "{filter:?}");
            let Some(last) = page.last() else { return all };
            cursor = last.time(filter.order).map(|at| (at, last.id));
            all.extend(page.iter().map(|run| run.id));
        }
    }

    async fn events_are_listed_and_counted_as_asked(&self) {
        const NAMES: [&str; 6] = ["lists/a", "lists/b", "zz/c", FUNCTION_FINISHED, FUNCTION_FAILED, "inngest/lists"];
        let mut dice = Dice(11);
        let begin = BEGIN + 10 * DAY;
        let mut events = Vec::new();
        for _ in 0..120 {
            let event = self.event_at(begin + dice.below(3 * 24 * 60) * MINUTE, NAMES[dice.index(6)]);
            self.commit(vec![Change::PutEvent(Box::new(event.clone()), Vec::new())]).await;
            events.push((event.id, event.name));
        }
        events.sort_by_key(|event| std::cmp::Reverse(event.0));
        for _ in 0..FILTERS {
            let names = (0..dice.below(4)).map(|_| NAMES[dice.index(6)].to_owned()).collect();
            let after = begin + dice.below(3 * 24) * 60 * MINUTE - dice.below(3);
            let filter = EventFilter {
                names,
                received_after: Some(Millis(after)),
                received_before: Some(Millis(after + dice.below(60 * 60) * MINUTE)),
                include_internal: dice.below(2) == 0,
                cursor: None,
                limit: 1 + dice.index(30),
            };
            let window = Between { after: filter.received_after, before: filter.received_before };
            let expected: Vec<EventId> = events
                .iter()
                .filter(|(id, name)| {
                    window.holds(Some(id.timestamp()))
                        && (filter.names.is_empty() || filter.names.iter().any(|other| **other == **name))
                        && (filter.include_internal || !name.starts_with(INTERNAL_PREFIX))
                })
                .map(|(id, _)| *id)
                .collect();
            let count = self.store.count_events(filter.clone()).await.expect("counts");
            assert_eq!(count, expected.len() as u64, "{filter:?}");
            let mut listed: Vec<EventId> = Vec::new();
            loop {
                let page = EventFilter { cursor: listed.last().copied(), ..filter.clone() };
                let page = self.store.events(page).await.expect("reads");
                if page.is_empty() {
                    break;
                }
                listed.extend(page.iter().map(|record| record.event.id));
            }
            assert_eq!(listed, expected, "{filter:?}");
        }
    }

    async fn a_run_is_counted_where_it_stands(&self) {
        let function = self.function("lists-counted");
        let count = async |status| {
            let filter = RunFilter { statuses: vec![status], functions: Some(vec![function]), ..RunFilter::default() };
            self.store.count_runs(filter).await.expect("counts")
        };
        let event = self.event("case/counted");
        let run = self.admit(&event, &[function]).await.1[0];
        self.admit(&event, &[function]).await;
        assert_eq!(count(RunStatus::Scheduled).await, 1, "a repeated event starts no run");
        for _ in 0..2 {
            self.commit(vec![Change::StartRun { run, at: self.ids.now(), job: None }]).await;
        }
        assert_eq!((count(RunStatus::Scheduled).await, count(RunStatus::Running).await), (0, 1));
        let late = vec![super::finish(run, RunStatus::Failed, None, None)];
        self.fenced(JobId::start(run), 9, late.clone()).await.expect_err("it is fenced");
        assert_eq!(count(RunStatus::Running).await, 1, "what was rejected changes nothing");
        self.fenced(JobId::start(run), 1, late).await.expect("commits");
        assert_eq!((count(RunStatus::Running).await, count(RunStatus::Failed).await), (0, 1));
        let late = vec![Change::StartRun { run, at: self.ids.now(), job: None }];
        self.commit(late).await;
        assert_eq!(count(RunStatus::Failed).await, 1, "a run that has ended does not start");
    }

    async fn records_of_many_are_read_together(&self) {
        let function = self.function("lists-many");
        let (first, second) = (self.event("case/many"), self.event("case/many"));
        let runs = [self.admit(&first, &[function]).await.1, self.admit(&second, &[function]).await.1].concat();
        // Of headers that come again only the first are written, by whichever step.
        let head =
            ResponseHead { status: 206, headers: Headers { hash: 77, json: Payload::from(r#"{"x":"y"}"#) }.into() };
        for run in &runs {
            let mut step = self.step(*run, "a", "null");
            step.response = Some(head.clone());
            let steps = vec![Change::RecordStep(Box::new(step.clone()))];
            self.fenced(JobId::start(*run), 1, steps).await.expect("commits");
            assert_eq!(self.store.trace(*run).await.expect("reads").steps, [step]);
        }
        let unknown = RunId::from_bytes([9; 16]);
        let mut found = self.store.run_records(vec![runs[1], unknown, runs[0]]).await.expect("reads");
        found.sort_by_key(|run| run.id);
        assert_eq!(found.iter().map(|run| run.id).collect::<Vec<_>>(), runs);
        let events = vec![second.id, first.id, EventId::from_bytes([9; 16])];
        assert_eq!(self.store.event_records(events.clone()).await.expect("reads").len(), 2);
        for (event, of_event) in self.store.runs_of_events(events).await.expect("reads") {
            let expected: &[RunId] = if event == first.id {
                &runs[..1]
            } else if event == second.id {
                &runs[1..]
            } else {
                &[]
            };
            assert_eq!(of_event.iter().map(|run| run.id).collect::<Vec<_>>(), expected);
        }
        assert_eq!(self.store.runs_with_ai(runs).await.expect("reads"), []);
    }
}

fn any_filter(dice: &mut Dice, functions: &[FunctionId]) -> RunFilter {
    let mut filter = RunFilter {
        statuses: RunStatus::ALL.into_iter().filter(|_| dice.below(3) == 0).collect(),
        functions: (dice.below(2) == 0).then(|| functions.iter().copied().filter(|_| dice.below(2) == 0).collect()),
        deferred: [None, None, Some(true), Some(false)][dice.index(4)],
        order: [RunTime::Queued, RunTime::Started, RunTime::Ended][dice.index(3)],
        ascending: dice.below(2) == 0,
        limit: 1 + dice.index(40),
        ..RunFilter::default()
    };
    for time in [RunTime::Queued, RunTime::Started, RunTime::Ended] {
        let own = time == RunTime::Queued && filter.functions.is_none();
        if own || dice.below(3) == 0 {
            let after = BEGIN - MINUTE + dice.below(3 * 24 * 60) * MINUTE;
            let before = after + dice.below(3 * 24 * 60) * MINUTE;
            let open = |dice: &mut Dice| !own && dice.below(3) == 0;
            *filter.time_mut(time) = Between {
                after: (!open(dice)).then_some(Millis(after)),
                before: (!open(dice)).then_some(Millis(before)),
            };
        }
    }
    filter
}

fn expected(runs: &[RunRecord], filter: &RunFilter) -> Vec<RunId> {
    let fits = |run: &&RunRecord| {
        let status = match filter.statuses[..] {
            [] => run.status != RunStatus::Skipped,
            _ => filter.statuses.contains(&run.status),
        };
        status
            && filter.functions.as_ref().is_none_or(|functions| functions.contains(&run.function))
            && filter.deferred.is_none_or(|deferred| run.is_deferred() == deferred)
            && [RunTime::Queued, RunTime::Started, RunTime::Ended]
                .into_iter()
                .all(|time| filter.time(time).holds(run.time(time)))
            && run.time(filter.order).is_some()
    };
    let mut fitting: Vec<_> = runs.iter().filter(fits).map(|run| (run.time(filter.order), run.id)).collect();
    fitting.sort_unstable();
    if !filter.ascending {
        fitting.reverse();
    }
    fitting.into_iter().map(|(_, id)| id).collect()
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(i64::try_from(length).unwrap_or(1))).unwrap_or_default()
    }

    fn below(&mut self, bound: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 33).unwrap_or_default() % bound
    }
}
