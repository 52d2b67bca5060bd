//! The SQLite backend: the conformance suite, and what only a database in a file can get wrong.

use std::fs;
use std::sync::Arc;

use inngest_core::{Clock, FunctionId, Ids, Millis, RunId, RunStatus, SystemClock, SystemEntropy};
use inngest_core::{Event, Payload, event::EventBody};
use inngest_queue::flow::{Admission, Batch, Bucket, Debounce, KeyValue, Keys, RateLimit, Skip};
use inngest_queue::flow::{Singleton, SingletonMode};
use inngest_queue::{JobId, JobKind, QueueItem, StepRef, Token, gcra::Rate};
use inngest_state::sqlite::{Options, SqliteStore};
use inngest_state::{Admit, Change, CommitError, Committed, FinishRun, History, Hold, Requirement};
use inngest_state::{Store, StoreError, Transition, conformance};

fn open(dir: &std::path::Path) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(&Options::new(dir), Arc::new(SystemClock))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_passes_the_conformance_suite() {
    let dir = tempfile::tempdir().unwrap();
    conformance::exercise(|clock| SqliteStore::open(&Options::new(dir.path()), clock).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_without_the_cache_too() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { hot_bytes_max: 0, ..Options::new(dir.path()) };
    conformance::exercise(|clock| SqliteStore::open(&options, clock).unwrap()).await;
}

fn event() -> Event {
    let ids = Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
    let body = EventBody::Stored(Payload::from("{}"));
    Event { id: ids.event(SystemClock.now()), name: "a/b".into(), external_id: None, ts: Millis(1), body }
}

#[tokio::test]
async fn what_was_committed_is_there_after_closing_and_opening() {
    let dir = tempfile::tempdir().unwrap();
    let event = event();
    let store = open(dir.path()).unwrap();
    store.commit(Transition::of(vec![Change::PutEvent(Box::new(event.clone()), Vec::new())]).into()).await.unwrap();
    store.close().await;
    assert!(matches!(store.event(event.id).await, Err(StoreError::Closed)));
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(store.event(event.id).await.unwrap().unwrap().event, event);
}

#[tokio::test]
async fn a_second_process_is_told_that_the_directory_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error}");
    assert!(error.to_string().contains("main.lock is locked"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("main.db"), "this is no database, whatever its name says".repeat(100)).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert!(error.to_string().contains("restore a backup"), "{error}");
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let raw = rusqlite::Connection::open(dir.path().join("main.db")).unwrap();
    raw.pragma_update(None, "user_version", 999).unwrap();
    drop(raw);
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 999, .. }), "{error:?}");
}

#[tokio::test]
async fn a_path_that_is_no_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(&file).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error:?}");
}

#[tokio::test]
async fn a_full_disk_fails_the_commit_and_spares_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { size_bytes_max: Some(40 * 8192), ..Options::new(dir.path()) };
    let store = SqliteStore::open(&options, Arc::new(SystemClock)).unwrap();
    let mut large = event();
    large.body = EventBody::Stored(Payload::from(format!("\"{}\"", "x".repeat(2 * 1024 * 1024))));
    let put = |event: &Event| Arc::new(Transition::of(vec![Change::PutEvent(Box::new(event.clone()), Vec::new())]));
    let small = event();
    let (refused, kept) = tokio::join!(store.commit(put(&large)), store.commit(put(&small)));
    let error = refused.unwrap_err();
    assert!(matches!(error, CommitError::Store(StoreError::DiskFull(_))), "{error:?}");
    assert!(error.to_string().contains("free some space"), "{error}");
    kept.expect("a neighbour in the same batch is stored");
    assert!(store.event(large.id).await.unwrap().is_none());
}

const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

fn function() -> FunctionId {
    FunctionId::of_definition("f", "u")
}

/// Stores an event that one function matches.
async fn send(store: &SqliteStore, flow: Admission) -> (Event, Admit, Committed) {
    let (ids, event) = (Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy)), event());
    let run = ids.run(event.id, ids.now());
    let admit = Admit {
        run,
        function: function(),
        idempotency: None,
        flow: Some(Box::new(flow)),
        correlation_id: None,
        job: QueueItem::new(JobId::start(run), function(), JobKind::Start, ids.now()),
        deadline: None,
        cancel_on: Vec::new(),
    };
    let put = Change::PutEvent(Box::new(event.clone()), vec![admit.clone()]);
    let committed = store.commit(Transition::of(vec![put]).into()).await.expect("commits");
    (event, admit, committed)
}

fn end(run: RunId) -> Change {
    let (status, ended_at) = (RunStatus::Cancelled, SystemClock.now());
    Change::FinishRun(Box::new(FinishRun {
        run,
        status,
        output: None,
        error: None,
        started_at: None,
        ended_at,
        last_call: None,
        in_flight: Vec::new(),
        finished: None,
    }))
}

#[tokio::test]
async fn flow_control_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyValue::of("k");
    let rate = RateLimit { bucket: Bucket::of_function(function()), key, rate: Rate::lossy(1, MINUTE) };
    let limited = || Admission { rates: vec![rate], ..Admission::default() };
    let debounce = Debounce { key, period: MINUTE, timeout: None };
    let debounced = || Admission { debounce: Some(debounce), ..Admission::default() };
    let batched = || Admission { batch: Some(Batch { key, size: 2, timeout: MINUTE }), ..Admission::default() };
    let singleton = Singleton { key, mode: SingletonMode::Cancel };
    let single = || Admission { singleton: Some(singleton), ..Admission::default() };
    let tat = (SystemClock.now().0 + 60_000) * 1_000_000;
    let token = Token { bucket: Bucket::shared("t"), key, tat };

    let store = open(dir.path()).unwrap();
    let (_, _, started) = send(&store, limited()).await;
    assert_eq!(started.admitted.len(), 1);
    let (lost, pending, _) = send(&store, debounced()).await;
    let (first, opens, _) = send(&store, batched()).await;
    let (_, holder, _) = send(&store, single()).await;
    let (_, next, _) = send(&store, single()).await;
    let put = vec![Change::PutTokens(vec![token]), Change::PutHold(function(), Some(Hold::PausedQueue))];
    store.commit(Transition::of(put).into()).await.unwrap();
    drop(store);

    let store = open(dir.path()).unwrap();
    let (event, _, limited) = send(&store, limited()).await;
    assert_eq!(limited.skipped, [(event.id, function(), Skip::RateLimited)]);
    let (_, _, joined) = send(&store, debounced()).await;
    assert_eq!(joined.skipped, [(lost.id, function(), Skip::Debounced)]);
    assert_eq!((joined.jobs[0].id, joined.jobs[0].generation), (JobId::gathered(pending.run), 2));
    let (second, full, filled) = send(&store, batched()).await;
    assert_eq!(filled.removed, [JobId::gathered(opens.run)]);
    assert_eq!(store.run_record(full.run).await.unwrap().unwrap().event_ids, [first.id, second.id]);
    let ended = store.commit(Transition::of(vec![end(holder.run)]).into()).await.unwrap();
    assert_eq!(ended.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [JobId::start(next.run)]);
    assert_eq!(store.tokens().await.unwrap(), [token]);
    assert_eq!(store.holds().await.unwrap(), [(function(), Hold::PausedQueue)]);
}

#[tokio::test]
async fn what_limits_count_is_removed_when_it_does_not_matter_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let tokens: Vec<Token> = [1, i64::MAX]
        .into_iter()
        .map(|tat| Token { bucket: Bucket::shared("t"), key: KeyValue::of(&tat.to_string()), tat })
        .collect();
    let store = open(dir.path()).unwrap();
    store.commit(Transition::of(vec![Change::PutTokens(tokens)]).into()).await.unwrap();
    // The first commit of a process is followed by it, and closing waits for that.
    store.close().await;
    drop(store);
    let raw = rusqlite::Connection::open(dir.path().join("main.db")).unwrap();
    let left: Vec<i64> = raw
        .prepare("SELECT tat FROM tats")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(left, [i64::MAX]);
}

#[tokio::test]
async fn what_has_expired_does_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let token = |n: i64| Token { bucket: Bucket::shared("t"), key: KeyValue::of(&n.to_string()), tat: 1 };
    store.commit(Transition::of(vec![Change::PutTokens((0..9_000).map(token).collect())]).into()).await.unwrap();
    for _ in 0..12 {
        store.commit(Transition::default().into()).await.unwrap();
    }
    store.close().await;
    let raw = rusqlite::Connection::open(dir.path().join("main.db")).unwrap();
    assert_eq!(raw.query_row("SELECT count(*) FROM tats", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[tokio::test]
async fn jobs_that_an_earlier_process_left_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for _ in 0..3 {
        send(&store, Admission::default()).await;
    }
    assert_eq!(store.job_count().await.unwrap(), 3);
    store.close().await;
    drop(store);
    assert_eq!(open(dir.path()).unwrap().job_count().await.unwrap(), 3);
}

#[tokio::test]
async fn an_end_that_was_undone_can_be_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { size_bytes_max: Some(60 * 8192), ..Options::new(dir.path()) };
    let store = SqliteStore::open(&options, Arc::new(SystemClock)).unwrap();
    let singleton = Singleton { key: KeyValue::of("k"), mode: SingletonMode::Skip };
    let single = || Admission { singleton: Some(singleton), ..Admission::default() };
    let (_, holder, _) = send(&store, single()).await;
    let large = EventBody::Stored(Payload::from(format!("\"{}\"", "x".repeat(2 * 1024 * 1024))));
    let large = Change::PutEvent(Box::new(Event { body: large, ..event() }), Vec::new());
    let refused = store.commit(Transition::of(vec![end(holder.run), large]).into()).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::DiskFull(_)))));
    assert_eq!(store.job_count().await.unwrap(), 1, "what was undone does not count");
    store.commit(Transition::of(vec![end(holder.run)]).into()).await.unwrap();
    let (_, _, next) = send(&store, single()).await;
    assert_eq!(next.admitted.len(), 1);
}

/// As the second schema has it: a run with two jobs, and one that has ended.
#[tokio::test]
async fn a_database_of_an_earlier_release_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let raw = rusqlite::Connection::open(dir.path().join("main.db")).unwrap();
    raw.execute_batch(include_str!("../src/sqlite/migrations/0001_initial.sql")).unwrap();
    raw.execute_batch(include_str!("../src/sqlite/migrations/0002_waits.sql")).unwrap();
    raw.pragma_update(None, "user_version", 2).unwrap();
    let ids = Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
    let (event, now) = (event(), SystemClock.now());
    let (open_run, retried, ended) = (ids.run(event.id, now), ids.run(event.id, now), ids.run(event.id, now));
    let (start, step) = (JobId::start(open_run), StepRef { id: "s".into(), name: "S".into() });
    let sleep = JobId::sleep(open_run, &step.id);
    let due = now.plus(MINUTE);
    let id = event.id.to_bytes();
    raw.execute("INSERT INTO events VALUES (?1,'a/b',NULL,1,NULL,NULL,x'7b7d')", [id]).unwrap();
    for (run, status) in [(open_run, 0), (retried, 0), (ended, 1)] {
        let sql = "INSERT INTO runs (id, function_id, status, event_ids, event_name, started_at) VALUES (?1,?2,?3,?4,'a/b',5)";
        raw.execute(sql, (run.to_bytes(), function().0.as_bytes(), status, id)).unwrap();
    }
    let retry = JobId::start(retried);
    for (job, kind, step, timer, attempt) in
        [(start, 1, None, None, 0), (retry, 1, None, None, 1), (sleep, 4, Some("s"), Some(due.0), 0)]
    {
        let sql = "INSERT INTO jobs (run_id, key, function_id, kind, step_id, step_name, queued_at, due, priority, timer, \
                   attempt, generation, version, plan_only, stack_current) VALUES (?1,?2,?3,?4,?5,'S',?6,?7,0,?8,?9,1,-1,0,0)";
        let (run, function) = (job.run.to_bytes(), function());
        let due = timer.unwrap_or(now.0);
        raw.execute(
            sql,
            rusqlite::params![
                run,
                job.key.cast_signed(),
                function.0.as_bytes(),
                kind,
                step,
                now.0,
                due,
                timer,
                attempt
            ],
        )
        .unwrap();
    }
    drop(raw);

    let store = open(dir.path()).unwrap();
    let first = QueueItem::new(start, function(), JobKind::Start, now);
    let again = QueueItem { attempt: 1, starts: false, ..QueueItem::new(retry, function(), JobKind::Start, now) };
    let mut ready = [first, again];
    ready.sort_by_key(|item| item.id);
    assert_eq!(store.jobs_ready(None, 9).await.unwrap(), ready);
    let item = QueueItem { due, ..QueueItem::new(sleep, function(), JobKind::Sleep(step), now) };
    assert_eq!(store.jobs_due(due, None, 9).await.unwrap(), [item]);
    assert!(store.run(open_run).await.unwrap().is_some() && store.run(ended).await.unwrap().is_none());
    let record = store.run_record(ended).await.unwrap().unwrap();
    assert_eq!((record.status, record.skip, record.gathering), (RunStatus::Completed, None, None));
    let started = store.started_runs(vec![function()]).await.unwrap();
    let mut open_runs = [open_run, retried];
    open_runs.sort_unstable();
    assert_eq!(started.iter().map(|run| run.run).collect::<Vec<_>>(), open_runs);
    assert!(started.iter().all(|run| run.keys == Keys::default()));
    let require = vec![Requirement::Generation(start, 1)];
    let committed = store.commit(Transition { require, changes: vec![end(open_run)] }.into()).await.unwrap();
    assert_eq!((committed.removed, committed.ended), (vec![sleep], vec![open_run]));
    drop(store);
    open(dir.path()).expect("it is of this release now");
}
