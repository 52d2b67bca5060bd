//! The counters of the SQLite backend, held against the rows they count after random transitions and restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use inngest_core::event::{DEFERRED_SCHEDULE, EventBody, FUNCTION_FINISHED};
use inngest_core::{Event, EventId, FunctionId, Millis, Payload, RunId, RunStatus, SystemClock};
use inngest_queue::flow::{Admission, Closed};
use inngest_queue::{JobId, JobKind, QueueItem};
use inngest_state::sqlite::{Options, SqliteStore};
use inngest_state::{Admit, Change, CommitError, FinishRun, Requirement, Store, StoreError, Transition};
use proptest::prelude::*;
use rusqlite::Connection;

const HOUR_MS: i64 = 60 * 60 * 1_000;

#[derive(Clone, Debug)]
enum Step {
    /// An event of this hour starts a run of each function, or is skipped.
    Admit { hour: i64, functions: u8, deferred: bool, skipped: bool },
    /// The run of this number starts, if there is one.
    Start { run: usize, hour: i64 },
    /// It ends.
    Finish { run: usize, hour: i64, status: u8 },
    /// The same, but it is refused.
    Rejected { run: usize },
    /// A transition that the database cannot store, in one batch with one that it can.
    TooLarge,
    /// The process ends and begins anew.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let hour = 0..60_i64;
    prop_oneof![
        4 => (hour.clone(), 1..3_u8, any::<bool>(), any::<bool>())
            .prop_map(|(hour, functions, deferred, skipped)| Step::Admit { hour, functions, deferred, skipped }),
        3 => (0..20_usize, hour.clone()).prop_map(|(run, hour)| Step::Start { run, hour }),
        3 => (0..20_usize, hour, 1..4_u8).prop_map(|(run, hour, status)| Step::Finish { run, hour, status }),
        1 => (0..20_usize).prop_map(|run| Step::Rejected { run }),
        1 => Just(Step::TooLarge),
        1 => Just(Step::Restart),
    ]
}

fn function(number: u8) -> FunctionId {
    FunctionId::of_definition(&number.to_string(), "u")
}

struct World {
    dir: tempfile::TempDir,
    store: Option<SqliteStore>,
    runs: Vec<RunId>,
    ids: u128,
}

impl World {
    fn open(&mut self) {
        self.store = None;
        let options = Options { size_bytes_max: Some(120 * 8192), ..Options::new(self.dir.path()) };
        self.store = Some(SqliteStore::open(&options, Arc::new(SystemClock)).expect("opens"));
    }

    async fn commit(&self, transition: Transition) -> Result<(), CommitError> {
        self.store.as_ref().expect("it is open").commit(transition.into()).await.map(|_| ())
    }

    fn event(&mut self, at: Millis, name: &str, body: Payload) -> Event {
        self.ids += 1;
        let id = EventId::from_bytes(((u128::from(at.0.unsigned_abs()) << 80) | self.ids).to_be_bytes());
        Event { id, name: name.into(), external_id: None, ts: at, body: EventBody::Stored(body) }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Admit { hour, functions, deferred, skipped } => {
                let name = if deferred { DEFERRED_SCHEDULE } else { "a/b" };
                let event = self.event(Millis(hour * HOUR_MS), name, Payload::from("{}"));
                let admits: Vec<Admit> = (0..functions).map(|number| admit(event.id, number, skipped)).collect();
                self.runs.extend(admits.iter().map(|admit| admit.run));
                let put = || vec![Change::PutEvent(Box::new(event.clone()), admits.clone())];
                self.commit(Transition::of(put())).await.expect("commits");
                self.commit(Transition::of(put())).await.expect("a repeated event changes nothing");
            }
            Step::Start { run, hour } => {
                let Some(run) = self.runs.get(run).copied() else { return };
                let start = Change::StartRun { run, at: Millis(hour * HOUR_MS), job: None };
                self.commit(Transition::of(vec![start])).await.expect("commits");
            }
            Step::Finish { run, hour, status } => {
                let Some(run) = self.runs.get(run).copied() else { return };
                let finished = self.event(Millis(hour * HOUR_MS), FUNCTION_FINISHED, Payload::from("{}"));
                let changes = vec![finish(run, hour, status), Change::PutEvent(Box::new(finished), Vec::new())];
                let transition = Transition { require: vec![Requirement::RunOpen(run)], changes };
                match self.commit(transition).await {
                    Ok(()) | Err(CommitError::Rejected(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Rejected { run } => {
                let Some(run) = self.runs.get(run).copied() else { return };
                let require = vec![Requirement::Generation(JobId::start(run), 9)];
                let late = self.commit(Transition { require, changes: vec![finish(run, 1, 1)] }).await;
                assert!(matches!(late, Err(CommitError::Rejected(_))), "{late:?}");
            }
            Step::TooLarge => {
                let large = self.event(Millis(1), "large", Payload::from(format!("\"{}\"", "x".repeat(2_000_000))));
                let small = self.event(Millis(1), "small", Payload::from("{}"));
                let put = |event: Event| Transition::of(vec![Change::PutEvent(Box::new(event), Vec::new())]);
                let (refused, kept) = tokio::join!(self.commit(put(large)), self.commit(put(small)));
                assert!(matches!(refused, Err(CommitError::Store(StoreError::DiskFull(_)))), "{refused:?}");
                kept.expect("its neighbour is stored");
            }
            Step::Restart => self.open(),
        }
    }
}

fn admit(event: EventId, number: u8, skipped: bool) -> Admit {
    let run = RunId::from_bytes((u128::from_be_bytes(event.to_bytes()) + (u128::from(number) << 64)).to_be_bytes());
    let flow = Admission { closed: skipped.then_some(Closed::Paused), ..Admission::default() };
    Admit {
        run,
        function: function(number),
        idempotency: None,
        flow: Some(Box::new(flow)),
        correlation_id: None,
        job: QueueItem::new(JobId::start(run), function(number), JobKind::Start, Millis(1)),
        deadline: None,
        cancel_on: Vec::new(),
    }
}

fn finish(run: RunId, hour: i64, status: u8) -> Change {
    Change::FinishRun(Box::new(FinishRun {
        run,
        status: RunStatus::from_code(status).expect("a status"),
        output: None,
        error: None,
        started_at: (hour % 2 == 0).then_some(Millis(hour * HOUR_MS)),
        ended_at: Millis(hour * HOUR_MS + 1),
        last_call: None,
        in_flight: Vec::new(),
        finished: None,
    }))
}

/// Bucket of the hour and of the day.
fn buckets(at: i64) -> [i64; 2] {
    let (day, hour) = (at / HOUR_MS / 24, at / HOUR_MS % 24);
    [day * 25 + hour, day * 25 + 24]
}

type RunKey = (i64, i64, Vec<u8>, bool, &'static str);

fn counted(db: &Connection) -> (BTreeMap<RunKey, i64>, BTreeMap<(i64, String), i64>) {
    let (mut runs, mut events) = (BTreeMap::new(), BTreeMap::new());
    let mut statement = db.prepare("SELECT * FROM run_counts").expect("prepares");
    let mut rows = statement.query([]).expect("reads");
    while let Some(row) = rows.next().expect("reads") {
        for status in RunStatus::ALL {
            let count: i64 = row.get(status.as_str().to_lowercase().as_str()).expect("a column");
            let get = |column| row.get(column).expect("a number");
            let key =
                (get("bucket"), get("time"), row.get(2).expect("an id"), row.get(3).expect("a flag"), status.as_str());
            if count != 0 {
                runs.insert(key, count);
            }
        }
    }
    let mut statement = db.prepare("SELECT bucket, name, events FROM event_counts").expect("prepares");
    let mut rows = statement.query([]).expect("reads");
    while let Some(row) = rows.next().expect("reads") {
        events.insert((row.get(0).expect("a bucket"), row.get(1).expect("a name")), row.get(2).expect("a number"));
    }
    let mut statement = db.prepare("SELECT changes FROM count_changes").expect("prepares");
    let mut rows = statement.query([]).expect("reads");
    while let Some(row) = rows.next().expect("reads") {
        add_noted(row.get_ref(0).expect("a column").as_blob().expect("JSON"), &mut runs, &mut events);
    }
    runs.retain(|_, count| *count != 0);
    (runs, events)
}

/// Adds what is not summed up yet.
fn add_noted(json: &[u8], runs: &mut BTreeMap<RunKey, i64>, events: &mut BTreeMap<(i64, String), i64>) {
    const COLUMNS: [&str; 6] = ["Running", "Completed", "Failed", "Cancelled", "Scheduled", "Skipped"];
    type Changes = (Vec<(i64, i64, (u64, u64), bool, [i64; 6])>, Vec<(i64, String, i64)>);
    let (noted_runs, noted_events): Changes = serde_json::from_slice(json).expect("JSON");
    for (hour, time, (high, low), deferred, counts) in noted_runs {
        let function = [high.to_be_bytes(), low.to_be_bytes()].concat();
        for (status, count) in COLUMNS.into_iter().zip(counts) {
            let status = RunStatus::ALL.into_iter().find(|one| one.as_str().eq_ignore_ascii_case(status)).expect("one");
            for bucket in [hour, hour / 25 * 25 + 24] {
                let key = (bucket, time, function.clone(), deferred, status.as_str());
                *runs.entry(key).or_default() += count;
            }
        }
    }
    for (bucket, name, count) in noted_events {
        let all = if name.starts_with("inngest/") { "inngest/" } else { "" };
        for bucket in [bucket, bucket / 25 * 25 + 24] {
            *events.entry((bucket, name.clone())).or_default() += count;
            *events.entry((bucket, all.to_owned())).or_default() += count;
        }
    }
}

fn recounted(db: &Connection) -> (BTreeMap<RunKey, i64>, BTreeMap<(i64, String), i64>) {
    let (mut runs, mut events) = (BTreeMap::new(), BTreeMap::new());
    let time = |id: [u8; 16]| i64::try_from(u128::from_be_bytes(id) >> 80).expect("48 bits");
    let sql = "SELECT id, function_id, event_name, status, started_at, ended_at FROM runs";
    let mut statement = db.prepare(sql).expect("prepares");
    let mut rows = statement.query([]).expect("reads");
    while let Some(row) = rows.next().expect("reads") {
        let deferred = row.get::<_, String>(2).expect("a name") == DEFERRED_SCHEDULE;
        let status = RunStatus::from_code(row.get(3).expect("a code")).expect("a status").as_str();
        let times = [Some(time(row.get(0).expect("an id"))), row.get(4).expect("a time"), row.get(5).expect("a time")];
        for (number, at) in (0..).zip(times) {
            for bucket in at.into_iter().flat_map(buckets) {
                *runs.entry((bucket, number, row.get(1).expect("an id"), deferred, status)).or_default() += 1;
            }
        }
    }
    let mut statement = db.prepare("SELECT id, name FROM events").expect("prepares");
    let mut rows = statement.query([]).expect("reads");
    while let Some(row) = rows.next().expect("reads") {
        let name: String = row.get(1).expect("a name");
        let all = if name.starts_with("inngest/") { "inngest/" } else { "" };
        for bucket in buckets(time(row.get(0).expect("an id"))) {
            *events.entry((bucket, name.clone())).or_default() += 1;
            *events.entry((bucket, all.to_owned())).or_default() += 1;
        }
    }
    (runs, events)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counters_tell_what_is_stored(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut world = World { dir: tempfile::tempdir().expect("a directory"), store: None, runs: Vec::new(), ids: 0 };
        world.open();
        runtime.block_on(async {
            for step in steps {
                world.step(step).await;
            }
        });
        let jobs = world.store.as_ref().map(|store| runtime.block_on(store.job_count()).expect("counts"));
        world.store = None;
        let file = world.dir.path().join("main.db");
        let db = Connection::open(&file).expect("opens");
        prop_assert_eq!(counted(&db), recounted(&db));
        let stored: i64 = db.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)).expect("counts");
        prop_assert_eq!(jobs, Some(stored.unsigned_abs()));
        // As a database of an earlier release that is brought up to date.
        let counters = counted(&db);
        db.execute_batch("DROP TABLE run_counts; DROP TABLE event_counts; DROP TABLE count_changes; DROP TABLE cut_off; ALTER TABLE apps DROP COLUMN feature_observations; ALTER TABLE defers DROP COLUMN name; CREATE INDEX runs_skipped ON runs (id) WHERE status = 7").expect("drops");
        for index in ["runs_of_function", "runs_started", "runs_ended", "runs_unusual", "runs_unusual_of_function", "runs_deferred", "events_named"] {
            db.execute(&format!("DROP INDEX {index}"), []).expect("drops");
        }
        db.pragma_update(None, "user_version", 4).expect("writes");
        drop(db);
        world.open();
        world.store = None;
        prop_assert_eq!(counted(&Connection::open(&file).expect("opens")), counters);
    }
}
