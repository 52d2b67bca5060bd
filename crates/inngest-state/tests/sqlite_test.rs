//! The SQLite backend: the conformance suite, and what only a database in a file can get wrong.

use std::fs;
use std::sync::Arc;

use inngest_core::{Clock, Ids, Millis, SystemClock, SystemEntropy};
use inngest_core::{Event, Payload, event::EventBody};
use inngest_state::sqlite::{Options, SqliteStore};
use inngest_state::{Change, CommitError, History, Store, StoreError, Transition, conformance};

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
