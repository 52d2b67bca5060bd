//! Who reads: a few connections for what execution needs, and threads of low priority for lists, counts and traces, so that
//! those who look on do not slow down what they look at.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::open;
use super::read::Reader;
use crate::StoreError;

/// Reads at a time that execution needs; more callers wait.
const READERS_MAX: usize = 4;

/// Reads at a time of those who look on.
const ONLOOKERS_MAX: usize = 2;

/// Their reads that may wait; more callers wait for a place.
const ONLOOKERS_WAITING_MAX: usize = 1_024;

/// The nice value of their threads: a thread that executes gets ten times as much of a core for which both compete.
#[cfg(target_os = "linux")]
const ONLOOKERS_NICE: i32 = 10;

/// Connections that are used from threads that may block.
#[derive(Clone)]
pub(super) struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    file: PathBuf,
    places: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { shared: Arc::new(Shared { file, places: Semaphore::new(READERS_MAX), idle: Mutex::default() }) }
    }

    /// Runs `query` on a thread that may block, on one snapshot of the database.
    pub(super) async fn read<T, Q>(&self, query: Q) -> Result<T, StoreError>
    where
        T: Send + 'static,
        Q: FnOnce(&Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let _place = self.shared.places.acquire().await.map_err(|_| StoreError::Closed)?;
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let idle = lock(&shared.idle).pop();
            let connection = idle.map_or_else(|| open::open_reader(&shared.file), Ok)?;
            let result = on_snapshot(&connection, query);
            lock(&shared.idle).push(connection);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Other(error.to_string()))?
    }

    pub(super) fn close(&self) {
        self.shared.places.close();
        lock(&self.shared.idle).clear();
    }
}

/// What a thread is to read, and whom it tells.
type Read = Box<dyn FnOnce(&Result<Connection, StoreError>) + Send>;

/// The answers of one read, for all who asked for it: a `Vec<oneshot::Sender<Result<T, StoreError>>>`.
type Askers = Box<dyn Any + Send>;

/// Threads of low priority, one connection each. Reads are served in the order in which they were asked for; one that
/// nobody has begun yet is shared by all who ask for the same.
#[derive(Clone)]
pub(super) struct Onlookers {
    reads: mpsc::Sender<Read>,
    places: Arc<Semaphore>,
    waiting: Arc<Mutex<HashMap<String, Askers>>>,
}

impl Onlookers {
    pub(super) fn spawn(file: &Path) -> Result<Self, StoreError> {
        let (reads, inbox) = mpsc::channel();
        let inbox = Arc::new(Mutex::new(inbox));
        for _ in 0..ONLOOKERS_MAX {
            let (file, inbox) = (file.to_owned(), Arc::clone(&inbox));
            Builder::new()
                .name("store-onlooker".into())
                .spawn(move || look_on(&file, &inbox))
                .map_err(|error| StoreError::Other(format!("no thread for a reader: {error}")))?;
        }
        Ok(Self { reads, places: Arc::new(Semaphore::new(ONLOOKERS_WAITING_MAX)), waiting: Arc::default() })
    }

    /// Runs `query` on one snapshot of the database, once for all who ask for `what` before it begins.
    pub(super) async fn read<T, Q>(&self, what: String, query: Q) -> Result<T, StoreError>
    where
        T: Clone + Send + 'static,
        Q: FnOnce(&Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        // A place comes first, so that what others join is sure to be read.
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel::<Result<T, StoreError>>();
        let is_first = {
            let mut waiting = lock(&self.waiting);
            match waiting.get_mut(&what).and_then(|askers| askers.downcast_mut::<Vec<_>>()) {
                Some(askers) => {
                    askers.push(answer);
                    false
                }
                None => waiting.insert(what.clone(), Box::new(vec![answer])).is_none(),
            }
        };
        if is_first {
            let waiting = Arc::clone(&self.waiting);
            let read: Read = Box::new(move |connection| {
                let _place: OwnedSemaphorePermit = place;
                let askers = lock(&waiting).remove(&what);
                let askers = askers.and_then(|askers| askers.downcast::<Vec<oneshot::Sender<_>>>().ok());
                let mut askers = askers.map(|askers| *askers).unwrap_or_default();
                askers.retain(|asker| !asker.is_closed());
                let Some(last) = askers.pop() else { return };
                let result = match connection {
                    Ok(connection) => on_snapshot(connection, query),
                    Err(error) => Err(error.clone()),
                };
                for asker in askers {
                    // Whoever asked may have stopped waiting.
                    let _unheard = asker.send(result.clone());
                }
                let _unheard = last.send(result);
            });
            self.reads.send(read).map_err(|_| StoreError::Closed)?;
        }
        answered.await.map_err(|_| StoreError::Other("the read panicked".to_owned()))?
    }

    pub(super) fn close(&self) {
        self.places.close();
    }
}

fn look_on(file: &Path, inbox: &Mutex<mpsc::Receiver<Read>>) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), ONLOOKERS_NICE) {
        tracing::warn!(%error, "lists and traces are read with the priority of execution");
    }
    let mut connection = Err(StoreError::Closed);
    loop {
        let Ok(read) = lock(inbox).recv() else { return };
        if connection.is_err() {
            connection = open::open_reader(file);
        }
        // The panic hook has logged it; who asked is told that there is no answer.
        if catch_unwind(AssertUnwindSafe(|| read(&connection))).is_err() {
            connection = Err(StoreError::Closed);
        }
    }
}

fn on_snapshot<T>(
    connection: &Connection,
    query: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let snapshot = connection.unchecked_transaction()?;
    query(&Reader { db: &snapshot })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::{Options, open};
    use super::*;

    fn onlookers() -> (tempfile::TempDir, Onlookers) {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options::new(dir.path());
        drop(open::open(&options).expect("opens"));
        let onlookers = Onlookers::spawn(&options.file()).expect("threads");
        (dir, onlookers)
    }

    #[tokio::test]
    async fn a_read_that_has_not_begun_is_shared() {
        let (_dir, onlookers) = onlookers();
        let (go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        // Both threads are busy until the gate opens.
        let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let mut busy = Vec::new();
        for number in 0..ONLOOKERS_MAX {
            let (onlookers, gate, begin) = (onlookers.clone(), Arc::clone(&gate), begin.clone());
            busy.push(tokio::spawn(async move {
                let wait = move |_: &Reader<'_>| {
                    begin.send(()).expect("it is waited for");
                    Ok(lock(&gate).recv().is_ok())
                };
                onlookers.read(format!("busy {number}"), wait).await
            }));
        }
        for _ in 0..ONLOOKERS_MAX {
            begun.recv().await;
        }
        let read = Arc::new(Mutex::new(0));
        let ask = |what: &str| {
            let read = Arc::clone(&read);
            let count = move |_: &Reader<'_>| {
                *lock(&read) += 1;
                Ok(*lock(&read))
            };
            let asked = onlookers.read(what.to_owned(), count);
            async { asked.await.expect("reads") }
        };
        let all = async { tokio::join!(ask("a"), ask("a"), ask("b"), ask("a")) };
        let open = async {
            for _ in 0..ONLOOKERS_MAX {
                go.send(()).expect("it is waited for");
            }
        };
        let ((one, two, _, four), ()) = tokio::join!(all, open);
        assert_eq!((one, two), (four, four), "one answer for all");
        assert_eq!(*lock(&read), 2);
        for busy in busy {
            assert!(busy.await.expect("no panic").expect("reads"));
        }
        ask("a").await;
        assert_eq!(*lock(&read), 3, "what has been read is not read from memory");
    }

    #[tokio::test]
    async fn a_panic_ends_its_read_only() {
        let (_dir, onlookers) = onlookers();
        for _ in 0..3 * ONLOOKERS_MAX {
            let failed = onlookers.read("panic".to_owned(), |_| -> Result<(), StoreError> { panic!("as asked") }).await;
            assert!(matches!(failed, Err(StoreError::Other(_))), "{failed:?}");
        }
        assert_eq!(onlookers.read("1".to_owned(), |_| Ok(1)).await.expect("reads"), 1);
        onlookers.close();
        let closed = onlookers.read("1".to_owned(), |_| Ok(1)).await;
        assert!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
    }
}
