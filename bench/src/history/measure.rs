//! How long the reads of a store take.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use inngest_core::event::FUNCTION_FAILED;
use inngest_core::{Clock, FunctionId, Millis, RunId, RunStatus, SystemClock};
use inngest_state::history::{Between, EventFilter, RunFilter, RunTime};
use inngest_state::sqlite::{Options, SqliteStore};
use inngest_state::{History as _, StoreError};

use super::{APPS, DAY_MS, DAYS, FUNCTIONS, event_name, function, scattered};

const HOUR_MS: i64 = 60 * 60 * 1_000;

pub(super) fn run(dir: &Path, repetitions: usize) -> Result<()> {
    let began = Instant::now();
    let store = SqliteStore::open(&Options::new(dir), Arc::new(SystemClock))?;
    println!("opened in {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    println!("{:<44} {:>9} {:>9} {:>9} {:>9}   ms", "read", "rows", "p50", "p95", "max");
    runtime.block_on(async {
        let newest = store.runs(RunFilter { limit: 1, ..RunFilter::default() }).await?;
        let end = newest.first().context("the store is empty")?.queued_at;
        let mut reads = Reads { store, repetitions, end, dice: 1, own: None };
        reads.lists().await?;
        reads.counts().await?;
        reads.events().await?;
        reads.details().await
    })
}

struct Reads {
    store: SqliteStore,
    repetitions: usize,
    /// When the newest run was scheduled.
    end: Millis,
    dice: u64,
    /// How long the read took, if not all of what was done for it is to be measured.
    own: Option<Duration>,
}

impl Reads {
    async fn lists(&mut self) -> Result<()> {
        let page = || RunFilter { limit: 40, ..RunFilter::default() };
        self.list("runs: newest", |_| page()).await?;
        self.list("runs: newest 100", |_| RunFilter { limit: 100, ..page() }).await?;
        self.list("runs: page anywhere", |reads| RunFilter { cursor: Some(reads.place()), ..page() }).await?;
        self.list("runs: oldest first, page anywhere", |reads| RunFilter {
            cursor: Some(reads.place()),
            ascending: true,
            ..page()
        })
        .await?;
        self.list("runs: a function", |reads| RunFilter { functions: reads.one(), ..page() }).await?;
        self.list("runs: an app", |reads| RunFilter { functions: reads.app(), ..page() }).await?;
        self.list("runs: an app, page anywhere", |reads| RunFilter {
            functions: reads.app(),
            cursor: Some(reads.place()),
            ..page()
        })
        .await?;
        for status in
            [RunStatus::Failed, RunStatus::Cancelled, RunStatus::Running, RunStatus::Skipped, RunStatus::Completed]
        {
            let name = status.as_str();
            self.list(&format!("runs: {name}"), |_| RunFilter { statuses: vec![status], ..page() }).await?;
            self.list(&format!("runs: {name} of a function"), |reads| RunFilter {
                statuses: vec![status],
                functions: reads.one(),
                ..page()
            })
            .await?;
        }
        self.list("runs: an hour in the past", |reads| RunFilter { queued: reads.hours(1), ..page() }).await?;
        self.list("runs: deferred", |_| RunFilter { deferred: Some(true), ..page() }).await?;
        self.list("runs: deferred of a function", |reads| RunFilter {
            deferred: Some(true),
            functions: reads.one(),
            ..page()
        })
        .await?;
        for order in [RunTime::Started, RunTime::Ended] {
            self.list(&format!("runs by {order:?}"), |_| RunFilter { order, ..page() }).await?;
            self.list(&format!("runs by {order:?}: page anywhere"), |reads| RunFilter {
                order,
                cursor: Some(reads.place()),
                ..page()
            })
            .await?;
            self.list(&format!("runs by {order:?}: a function"), |reads| RunFilter {
                order,
                functions: reads.one(),
                ..page()
            })
            .await?;
            self.list(&format!("runs by {order:?}: Failed"), |_| RunFilter {
                order,
                statuses: vec![RunStatus::Failed],
                ..page()
            })
            .await?;
            self.list(&format!("runs by {order:?}: a day in the past"), |reads| {
                let mut filter = RunFilter { order, ..page() };
                *filter.time_mut(order) = reads.hours(24);
                filter
            })
            .await?;
            self.list(&format!("runs by Queued: {order:?} within a day"), |reads| {
                let mut filter = page();
                *filter.time_mut(order) = reads.hours(24);
                filter
            })
            .await?;
        }
        Ok(())
    }

    async fn list(&mut self, name: &str, filter: impl Fn(&mut Self) -> RunFilter) -> Result<()> {
        self.time(name, async |reads| {
            let filter = filter(reads);
            Ok(reads.store.runs(filter).await?.len() as u64)
        })
        .await
    }

    async fn counts(&mut self) -> Result<()> {
        let any = RunFilter::default;
        self.count("count runs: all", |_| any()).await?;
        self.count("count runs: from anywhere to now", |reads| RunFilter {
            queued: Between { before: Some(SystemClock.now()), ..reads.hours(1) },
            ..any()
        })
        .await?;
        self.count("count runs: 3 days", |reads| RunFilter { queued: reads.hours(72), ..any() }).await?;
        self.count("count runs: 3 days of an app", |reads| RunFilter {
            queued: reads.hours(72),
            functions: reads.app(),
            ..any()
        })
        .await?;
        self.count("count runs: 3 days of a function, Failed", |reads| RunFilter {
            queued: reads.hours(72),
            functions: reads.one(),
            statuses: vec![RunStatus::Failed],
            ..any()
        })
        .await?;
        self.count("count runs: 3 days, deferred", |reads| RunFilter {
            queued: reads.hours(72),
            deferred: Some(true),
            ..any()
        })
        .await?;
        self.count("count runs: started within 3 days", |reads| RunFilter { started: reads.hours(72), ..any() })
            .await?;
        self.count("count runs: Failed, ended within 3 days", |reads| RunFilter {
            ended: reads.hours(72),
            statuses: vec![RunStatus::Failed],
            ..any()
        })
        .await?;
        self.count("count runs: queued and ended within 3 days", |reads| RunFilter {
            ended: reads.hours(72),
            queued: reads.hours(72),
            ..any()
        })
        .await
    }

    async fn count(&mut self, name: &str, filter: impl Fn(&mut Self) -> RunFilter) -> Result<()> {
        self.time(name, async |reads| {
            let filter = filter(reads);
            reads.store.count_runs(filter).await
        })
        .await
    }

    async fn events(&mut self) -> Result<()> {
        let page = || EventFilter { limit: 50, ..EventFilter::default() };
        let named = |name: &str| EventFilter { names: vec![name.to_owned()], ..page() };
        let window = |reads: &mut Self, filter: EventFilter| {
            let Between { after, before } = reads.hours(72);
            EventFilter { received_after: after, received_before: before, ..filter }
        };
        type Filter<'f> = Box<dyn Fn(&mut Reads) -> EventFilter + 'f>;
        let filters: [(&str, Filter<'_>); 5] = [
            ("newest", Box::new(|_| page())),
            ("3 days", Box::new(|reads| window(reads, page()))),
            (
                "3 days, the server's too",
                Box::new(|reads| EventFilter { include_internal: true, ..window(reads, page()) }),
            ),
            ("a rare name", Box::new(|_| named("shop/rare"))),
            (
                "3 days of a name",
                Box::new(|reads| {
                    let name = event_name(reads.roll() % FUNCTIONS);
                    window(reads, named(&name))
                }),
            ),
        ];
        for (name, filter) in &filters {
            self.time(&format!("events: {name}"), async |reads| {
                let filter = filter(reads);
                Ok(reads.store.events(filter).await?.len() as u64)
            })
            .await?;
            self.time(&format!("count events: {name}"), async |reads| {
                let filter = filter(reads);
                reads.store.count_events(filter).await
            })
            .await?;
        }
        let none = EventFilter { include_internal: true, ..named(FUNCTION_FAILED) };
        self.time("events: of the server, a name without any", async |reads| {
            Ok(reads.store.events(none.clone()).await?.len() as u64)
        })
        .await
    }

    async fn details(&mut self) -> Result<()> {
        self.time("a run whole", async |reads| {
            let Some(run) = reads.somewhere(1).await?.pop() else { return Ok(0) };
            let began = Instant::now();
            let record = reads.store.run_record(run).await?;
            let trace = reads.store.trace(run).await?;
            let events = reads.store.event_records(record.map(|run| run.event_ids).unwrap_or_default()).await?;
            let notes = reads.store.metadata(run).await?;
            let defers = reads.store.defers(run).await?;
            reads.store.runs_with_ai(vec![run]).await?;
            let rows = trace.steps.len() + trace.attempts.len() + events.len() + notes.len() + defers.len();
            reads.measured(began);
            Ok(rows as u64)
        })
        .await?;
        self.time("runs of 50 events", async |reads| {
            let runs = reads.somewhere(50).await?;
            let events = reads.store.run_records(runs).await?.into_iter().flat_map(|run| run.event_ids).collect();
            let began = Instant::now();
            let found = reads.store.runs_of_events(events).await?.len() as u64;
            reads.measured(began);
            Ok(found)
        })
        .await
    }

    /// Runs next to each other, anywhere.
    async fn somewhere(&mut self, limit: usize) -> Result<Vec<RunId>, StoreError> {
        let filter = RunFilter { cursor: Some(self.place()), limit, ..RunFilter::default() };
        Ok(self.store.runs(filter).await?.into_iter().map(|run| run.id).collect())
    }

    /// Measures a read many times, and prints a line.
    async fn time(
        &mut self,
        name: &str,
        mut read: impl AsyncFnMut(&mut Self) -> Result<u64, StoreError>,
    ) -> Result<()> {
        let (mut times, mut rows) = (Vec::with_capacity(self.repetitions), 0);
        for _ in 0..self.repetitions {
            self.own = None;
            let began = Instant::now();
            rows = rows.max(read(self).await?);
            times.push(self.own.unwrap_or_else(|| began.elapsed()));
        }
        times.sort_unstable();
        let at = |part: f64| {
            let index = ((times.len() as f64 * part).ceil() as usize).clamp(1, times.len().max(1)) - 1;
            times.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        println!("{name:<44} {rows:>9} {:>9.2} {:>9.2} {:>9.2}", at(0.5), at(0.95), at(1.0));
        Ok(())
    }

    /// The read that is measured began at this time, and ends now.
    fn measured(&mut self, began: Instant) {
        self.own = Some(began.elapsed());
    }

    fn roll(&mut self) -> u64 {
        self.dice += 1;
        scattered(self.dice)
    }

    fn time_anywhere(&mut self) -> Millis {
        let ago = i64::try_from(self.roll() >> 1).unwrap_or_default() % (DAYS * DAY_MS);
        Millis(self.end.0 - ago)
    }

    fn place(&mut self) -> (Millis, RunId) {
        let at = self.time_anywhere();
        (at, RunId::from_bytes(super::ulid(at, 0)))
    }

    fn hours(&mut self, hours: i64) -> Between {
        let before = self.time_anywhere();
        Between { after: Some(Millis(before.0 - hours * HOUR_MS)), before: Some(before) }
    }

    fn one(&mut self) -> Option<Vec<FunctionId>> {
        Some(vec![function(self.roll() % FUNCTIONS)])
    }

    fn app(&mut self) -> Option<Vec<FunctionId>> {
        let app = self.roll() % APPS;
        Some((0..FUNCTIONS).filter(|number| number % APPS == app).map(function).collect())
    }
}
