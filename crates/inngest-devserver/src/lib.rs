//! The server put together: store, queue, engine, API, apps; started and stopped in the right order.
//!
//! Start: bind, open the store, listen (healthy from here on), pick up what an earlier process left, work.
//! Stop: not ready any more, take no more jobs and connections, let what is in flight finish within its time,
//! close the store.

mod apps;
mod banner;
mod demo;
mod listen;

pub use banner::Terminal;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use inngest_api::{Api, Apps, Auth, DevInfo, Handler, Limits, Metrics, Readiness, ServerKind, StartOptions, Trusted};
use inngest_config::{CronCatchup, DevOptions};
use inngest_core::limits::RunLimits;
use inngest_core::{Clock, Ids, SystemClock, SystemEntropy};
use inngest_executor::driver::http::{HttpClient, HttpExecutor};
use inngest_executor::engine::{self, Engine, Options as EngineOptions, Parts};
use inngest_executor::flow_control::document::{Document, DocumentError};
use inngest_expr::cron::Zone;
use inngest_queue::memory::MemoryQueue;
use inngest_state::sqlite::{Options as StoreOptions, SqliteStore};
use inngest_state::{Store, StoreError};
use tokio::sync::watch;

/// Requests that are being answered when the server stops get this long, after the calls to apps had theirs.
const DRAIN: Duration = Duration::from_millis(250);

/// Why the server could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The port cannot be had.
    #[error(transparent)]
    Listen(#[from] listen::ListenError),
    /// The store cannot be opened.
    #[error("the data directory {dir} cannot be used: {cause}", dir = .dir.display())]
    Store {
        /// The directory.
        dir: PathBuf,
        /// Why.
        cause: StoreError,
    },
    /// No place for a temporary database.
    #[error("no temporary directory can be made: {0}; use --persist --sqlite-dir DIR")]
    NoTempDir(std::io::Error),
    /// The file of `--flow-control` says what cannot be.
    #[error("flow control in {path} cannot be used: {cause}")]
    FlowControl {
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: DocumentError,
    },
    /// The store failed while the server was starting.
    #[error(transparent)]
    Engine(#[from] StoreError),
    /// The task that hands out jobs is gone.
    #[error("the server cannot work any more after a panic; what was accepted is kept, please report this bug")]
    Panicked,
}

/// Runs `inngest dev` until `stop` turns true. The banner goes to `terminal`, if there is one.
pub async fn dev(
    options: DevOptions,
    version: &str,
    mut stop: watch::Receiver<bool>,
    terminal: Option<Terminal>,
) -> Result<(), ServerError> {
    let metrics = Metrics::install();
    let mut bound = listen::bind(options.host.as_deref(), options.port, options.strict_port).await?;
    let database = Database::of(&options)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open_store(&database, &options, Arc::clone(&clock)).await?;
    // Whatever a step may return fits into a reply, with what is around it.
    let reply_bytes_max = options.max_response_size.max(2 * options.max_step_output);
    let client = HttpClient::new().with_reply_limit(reply_bytes_max);
    let engine = Engine::open(Parts {
        store: Arc::new(store.clone()),
        history: Arc::new(store.clone()),
        queue: Arc::new(MemoryQueue::new(Arc::clone(&clock))),
        executor: Arc::new(HttpExecutor::new(client.clone(), Arc::clone(&clock), None)),
        fetcher: Arc::new(client.clone()),
        ids: Ids::new(clock, Arc::new(SystemEntropy)),
        options: EngineOptions {
            workers_max: options.queue_workers,
            retry_interval: options.retry_interval,
            cron_catchup: match options.cron_catchup {
                CronCatchup::Latest => engine::CronCatchup::Latest,
                CronCatchup::All => engine::CronCatchup::All,
                CronCatchup::None => engine::CronCatchup::None,
            },
            zone: zone(options.zone.as_deref()),
            limits: RunLimits {
                state_bytes: options.max_run_state,
                step_output_bytes: options.max_step_output,
                step_input_bytes: options.max_step_input,
                steps: options.max_steps,
                request_bytes: options.max_call_size,
            },
            flow_control: flow_control(&options)?,
        },
    })
    .await?;

    let readiness = Readiness::default();
    let (syncs, sync_requests) = Apps::channel();
    let api = Api {
        engine: engine.clone(),
        kind: ServerKind::Dev,
        auth: Arc::new(Auth::open()),
        limits: Limits {
            event_bytes_max: options.max_event_size,
            body_bytes_max: options.max_request_size,
            ..Limits::default()
        },
        info: Arc::new(info(&options, version, bound.port)),
        apps: syncs.clone(),
        trusted: Arc::new(Trusted { hosts: options.allowed_hosts.clone(), origins: options.cors_origins.clone() }),
        readiness: readiness.clone(),
        metrics,
    };
    let (close, closed) = watch::channel(false);
    let addresses = bound.addresses().join(" ");
    let serving =
        tokio::spawn(inngest_api::serve(std::mem::take(&mut bound.listeners), Handler::new(api), closed, DRAIN));
    tracing::info!(addr = %bound.shown, "starting server");
    let mut working = tokio::spawn({
        let engine = engine.clone();
        async move { engine.run_jobs().await }
    });
    readiness.set_ready();
    tracing::info!(addr = %bound.shown, %addresses, port = bound.port, database = %database.dir.display(), "ready");
    if let Some(terminal) = &terminal {
        terminal.print(&banner::text(&bound, &options));
    }
    let demo = options.demo.then(|| demo::start(bound.reachable));
    let syncing = {
        let options = apps::Options::of(&options, bound.url());
        tokio::spawn(apps::keep_in_sync(engine.clone(), client, options, syncs, sync_requests))
    };

    let ended = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        // Without this task events would be taken, but nothing would run: better to end and say so.
        ended = &mut working => Err(ended.map_or(ServerError::Panicked, |ended| match ended {
            Err(error) => ServerError::Engine(error),
            Ok(()) => ServerError::Panicked,
        })),
    };
    tracing::info!("stopping: calls in flight may finish");
    readiness.set_draining();
    syncing.abort();
    if let Some(demo) = demo {
        demo.abort();
    }
    let left = engine.shutdown(options.shutdown_timeout).await;
    close.send_replace(true);
    if serving.await.is_err() {
        tracing::error!("the listener ended with a panic");
    }
    working.abort();
    store.close().await;
    if left > 0 && options.persist {
        tracing::warn!(calls = left, "calls did not finish in time; the next start makes them again");
    } else if left > 0 {
        tracing::warn!(
            calls = left,
            "calls did not finish in time; with --persist the next start would make them again"
        );
    }
    tracing::info!("stopped");
    ended
}

/// The time zone of schedules that name none. One that cannot be used is told here, once: no schedule may silently
/// never fire.
fn zone(variable: Option<&str>) -> Zone {
    let Some(value) = variable else { return Zone::utc() };
    Zone::of_variable(value).unwrap_or_else(|error| {
        tracing::warn!(%error, "TZ is no name such as Europe/Berlin; schedules that name no time zone are in UTC");
        Zone::utc()
    })
}

fn flow_control(options: &DevOptions) -> Result<Option<Document>, ServerError> {
    let Some((path, document)) = &options.flow_control else { return Ok(None) };
    let wrong = |cause| ServerError::FlowControl { path: path.clone(), cause };
    Document::parse(document).map(Some).map_err(wrong)
}

/// Where the database lives; a temporary directory goes with this value.
struct Database {
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Database {
    fn of(options: &DevOptions) -> Result<Self, ServerError> {
        if options.persist {
            return Ok(Self { dir: options.sqlite_dir.clone(), _temporary: None });
        }
        let temporary = tempfile::Builder::new().prefix("inngest-dev-").tempdir().map_err(ServerError::NoTempDir)?;
        Ok(Self { dir: temporary.path().to_owned(), _temporary: Some(temporary) })
    }
}

/// Opening migrates, which may take long: not on a thread that serves others.
async fn open_store(
    database: &Database,
    options: &DevOptions,
    clock: Arc<dyn Clock>,
) -> Result<SqliteStore, ServerError> {
    let dir = database.dir.clone();
    let store_options = StoreOptions { size_bytes_max: options.max_store_size, ..StoreOptions::new(&dir) };
    let opening = tokio::task::spawn_blocking(move || SqliteStore::open(&store_options, clock));
    let opened = opening.await.unwrap_or_else(|error| Err(StoreError::Other(error.to_string())));
    opened.map_err(|cause| ServerError::Store { dir, cause })
}

fn info(options: &DevOptions, version: &str, port: u16) -> DevInfo {
    let mut features = vec![("FEATURE_CEL_SEARCH", true), ("enable-step-metadata", true), ("run-details-v4", true)]
        .into_iter()
        .map(|(name, on)| (name.to_owned(), on))
        .collect::<Vec<_>>();
    let flags = std::env::var("INNGEST_FEATURE_FLAGS").unwrap_or_default();
    features.extend(flags.split(',').filter_map(|flag| {
        let (name, on) = flag.split_once('=')?;
        Some((name.trim().to_owned(), on.trim() == "true"))
    }));
    DevInfo {
        version: version.to_owned(),
        port,
        features,
        test_mode: std::env::var("TEST_MODE").is_ok_and(|mode| mode == "true"),
        options: StartOptions {
            urls: options.sdk_urls.clone(),
            autodiscover: options.discovery,
            poll: options.poll,
            poll_interval: options.poll_interval.as_secs(),
            retry_interval: options.retry_interval.map_or(0, |interval| interval.as_secs()),
            queue_workers: options.queue_workers,
            tick_ms: options.tick_ms,
            persist: options.persist,
            sqlite_dir: if options.persist { options.sqlite_dir.display().to_string() } else { String::new() },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_zone_that_cannot_be_used_is_utc() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        for (variable, expected) in [
            (None, Zone::utc()),
            (Some("Europe/Berlin"), berlin.clone()),
            (Some(":Europe/Berlin"), berlin),
            (Some("CET-1CEST"), Zone::utc()),
            (Some("UTC0"), Zone::utc()),
            (Some(":/etc/localtime"), Zone::utc()),
        ] {
            assert_eq!(zone(variable), expected, "{variable:?}");
        }
    }
}
