//! Apps that answer in every way, asked by the loop itself with a real engine behind it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::put;
use http::StatusCode;
use inngest_config::Layers;
use inngest_core::{Ids, SystemClock, SystemEntropy};
use inngest_executor::driver::http::HttpExecutor;
use inngest_executor::engine::{Options as EngineOptions, Parts};
use inngest_queue::memory::MemoryQueue;
use inngest_state::sqlite::{Options as StoreOptions, SqliteStore};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

type Behaviour = Arc<Mutex<(StatusCode, Value)>>;

/// What an app does when it is asked, before it answers.
#[derive(Clone, Copy, PartialEq)]
enum Push {
    /// Nothing: the answer is all there is.
    Nothing,
    /// Registers this name, under another name of its host if so said.
    Named { elsewhere: bool },
    /// Pushes a function that the server refuses, as its API would store it.
    Refused,
}

struct World {
    engine: Engine,
    url: String,
    behaviour: Behaviour,
    push: Arc<Mutex<Push>>,
    asked: Arc<AtomicUsize>,
    handle: Mutex<Option<inngest_api::Apps>>,
    _dir: tempfile::TempDir,
}

async fn engine(dir: &std::path::Path) -> Engine {
    let clock: Arc<dyn inngest_core::Clock> = Arc::new(SystemClock);
    let store = SqliteStore::open(&StoreOptions::new(dir), Arc::clone(&clock)).unwrap();
    let parts = Parts {
        store: Arc::new(store.clone()),
        history: Arc::new(store),
        queue: Arc::new(MemoryQueue::new(Arc::clone(&clock))),
        executor: Arc::new(HttpExecutor::new(HttpClient::new(), Arc::clone(&clock), None)),
        fetcher: Arc::new(HttpClient::new()),
        ids: Ids::new(clock, Arc::new(SystemEntropy)),
        options: EngineOptions { workers_max: 1, ..EngineOptions::default() },
    };
    Engine::open(parts).await.unwrap()
}

fn registration(url: &str) -> Registration {
    let body = json!({ "appName": "shop", "url": url, "sdk": "js:v4.0.0", "framework": "x", "functions": [] });
    Registration::parse(body.to_string().as_bytes()).unwrap()
}

impl World {
    /// An app at its URL and an engine that knows nothing of it.
    async fn new(status: u16, body: Value, push: Push) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path()).await;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://localhost:{}/api/inngest", listener.local_addr().unwrap().port());
        let world = Self {
            engine,
            url,
            behaviour: Arc::new(Mutex::new((StatusCode::from_u16(status).unwrap(), body))),
            push: Arc::new(Mutex::new(push)),
            asked: Arc::default(),
            handle: Mutex::default(),
            _dir: dir,
        };
        let (engine, url) = (world.engine.clone(), world.url.clone());
        let (behaviour, push, asked) = (world.behaviour.clone(), world.push.clone(), world.asked.clone());
        let answer = async move || {
            asked.fetch_add(1, Ordering::Relaxed);
            let push = *push.lock().unwrap();
            match push {
                Push::Nothing => {}
                Push::Named { elsewhere } => {
                    let url = if elsewhere { url.replace("localhost", "shop.test") } else { url.clone() };
                    engine.register(registration(&url)).await.unwrap();
                }
                Push::Refused => engine.report_app(&url, Some("shop-f: no triggers".to_owned())).await.unwrap(),
            }
            let (status, body) = behaviour.lock().unwrap().clone();
            (status, [("x-inngest-sdk", "test")], body.to_string())
        };
        let router = Router::new().route("/api/inngest", put(answer).get(async || [("x-inngest-sdk", "test")]));
        tokio::spawn(async { axum::serve(listener, router).await });
        world
    }

    /// Keeps apps in sync with these flags while the test goes on.
    fn keep_in_sync(&self, flags: &[(&'static str, String)]) -> JoinSet<()> {
        let mut layers = Layers::default();
        layers.add_flags(flags.iter().map(|(name, value)| (*name, vec![value.clone()])));
        let mut options = Options::of(&DevOptions::resolve(&layers).unwrap(), "http://localhost:8288".to_owned());
        // The ports of this machine are none of this test's business.
        options.ports.retain(|port| self.url.contains(&format!(":{port}/")));
        let mut tasks = JoinSet::new();
        let (handle, requests) = inngest_api::Apps::channel();
        *self.handle.lock().unwrap() = Some(handle.clone());
        tasks.spawn(keep_in_sync(self.engine.clone(), HttpClient::new(), options, handle, requests));
        tasks
    }

    fn handle(&self) -> inngest_api::Apps {
        self.handle.lock().unwrap().clone().expect("somebody keeps apps in sync")
    }

    fn named(&self) -> JoinSet<()> {
        self.keep_in_sync(&[("sdk-url", self.url.clone()), ("poll-interval", "1".to_owned())])
    }

    fn answer(&self, status: u16, body: Value, push: Push) {
        *self.behaviour.lock().unwrap() = (StatusCode::from_u16(status).unwrap(), body);
        *self.push.lock().unwrap() = push;
    }

    /// Names and errors of the active apps.
    fn apps(&self) -> Vec<(String, Option<String>)> {
        let registry = self.engine.registry();
        let apps = registry.apps().filter(|app| app.archived_at.is_none());
        apps.map(|app| (app.name.to_string(), app.error.clone())).collect()
    }

    async fn until(&self, name: &str, error: Option<&str>) {
        let expected = [(name.to_owned(), error.map(str::to_owned))];
        let wait = async {
            while self.apps() != expected {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), wait).await.is_err() {
            panic!("{expected:?} expected, {:?} found", self.apps());
        }
    }

    /// Waits until the app was asked so many times more, and the last but one was dealt with.
    async fn asked_again(&self, times: usize) {
        let goal = self.asked.load(Ordering::Relaxed) + times;
        let wait = async {
            while self.asked.load(Ordering::Relaxed) < goal {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the app is asked again and again");
    }
}

#[tokio::test]
async fn a_named_url_is_a_placeholder_until_its_app_registers() {
    let world = World::new(404, json!(null), Push::Nothing).await;
    let _syncing = world.named();
    world.until("", Some("url_not_found")).await;
    world.answer(200, json!({}), Push::Named { elsewhere: false });
    world.until("shop", None).await;
    world.answer(401, json!(null), Push::Nothing);
    world.until("shop", Some("unauthorized")).await;
    world.answer(200, json!({}), Push::Named { elsewhere: false });
    world.until("shop", None).await;
}

#[tokio::test]
async fn an_app_that_registers_under_another_name_of_its_host_replaces_the_placeholder() {
    let world = World::new(500, json!({ "message": "starting" }), Push::Nothing).await;
    let _syncing = world.named();
    world.until("", Some("internal_server_error")).await;
    world.answer(200, json!({}), Push::Named { elsewhere: true });
    world.until("shop", None).await;
}

#[tokio::test]
async fn an_app_that_answers_but_does_not_register_is_told_apart() {
    let world = World::new(200, json!({ "message": "Successfully registered" }), Push::Nothing).await;
    let _syncing = world.named();
    world.until("", Some(NOT_REGISTERED)).await;
    world.answer(200, json!({}), Push::Named { elsewhere: false });
    world.until("shop", None).await;
}

#[tokio::test]
async fn the_reason_of_a_refusal_stays_whatever_the_app_makes_of_it() {
    let world = World::new(200, json!({}), Push::Refused).await;
    let _syncing = world.named();
    world.until("", Some("shop-f: no triggers")).await;
    for (status, message) in [(400, "At least one function is invalid"), (500, "error: function is invalid"), (200, "")]
    {
        world.answer(status, json!({ "message": message }), Push::Refused);
        world.asked_again(2).await;
        assert_eq!(world.apps(), [(String::new(), Some("shop-f: no triggers".to_owned()))], "{status}");
    }
    world.answer(200, json!({}), Push::Named { elsewhere: false });
    world.until("shop", None).await;
}

#[tokio::test]
async fn functions_in_the_answer_are_registered_the_same_way() {
    let url = World::new(200, json!({}), Push::Nothing).await;
    let body =
        json!({ "app_id": "shop", "functions": [], "url": url.url, "sdk_language": "go", "sdk_version": "0.16.0" });
    url.answer(200, body, Push::Nothing);
    let _syncing = url.named();
    url.until("shop", None).await;
}

#[tokio::test]
async fn without_polling_only_apps_in_error_are_asked() {
    let world = World::new(200, json!({}), Push::Named { elsewhere: false }).await;
    let _syncing = world.keep_in_sync(&[
        ("sdk-url", world.url.clone()),
        ("poll-interval", "1".to_owned()),
        ("no-poll", "true".to_owned()),
    ]);
    world.until("shop", None).await;
    let asked = world.asked.load(Ordering::Relaxed);
    // A second app at the same server is in error: it is asked meanwhile, the healthy one is not.
    let other = world.url.replace("/api/", "/other/");
    world.engine.report_app(&other, Some("unreachable".to_owned())).await.unwrap();
    let is_told = || world.apps().contains(&(String::new(), Some("url_not_found".to_owned())));
    let wait = async {
        while !is_told() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("apps in error are asked");
    assert_eq!(world.asked.load(Ordering::Relaxed), asked);
}

#[tokio::test]
async fn apps_are_found_by_their_port() {
    let world = World::new(200, json!({}), Push::Named { elsewhere: false }).await;
    let port = discovery::port_and_path(&world.url).unwrap().0.to_string();
    let _syncing = world.keep_in_sync(&[("discovery-port", port)]);
    world.until("shop", None).await;
    assert!(world.handle().is_discovered(&world.url));
    assert!(!world.handle().is_discovered("http://localhost:1/api/inngest"));
}

#[tokio::test]
async fn others_ask_for_a_sync_and_are_told_what_came_of_it() {
    let world = World::new(200, json!({}), Push::Named { elsewhere: false }).await;
    let _syncing = world.keep_in_sync(&[("no-discovery", "true".to_owned()), ("no-poll", "true".to_owned())]);
    let handle = world.handle();
    let nowhere = "http://localhost:1/api/inngest";
    assert_eq!(handle.sync(nowhere).await, Err("unreachable".to_owned()));
    let (one, other) = tokio::join!(handle.sync(&world.url), handle.sync(&world.url));
    assert_eq!((one, other), (Ok(()), Ok(())), "two who ask for the same");
    assert!(world.apps().contains(&("shop".to_owned(), None)), "{:?}", world.apps());
    world.answer(401, json!({}), Push::Nothing);
    assert_eq!(handle.sync(&world.url).await, Err("unauthorized".to_owned()));
}

#[tokio::test]
async fn a_silent_app_holds_up_nobody() {
    let world = World::new(200, json!({}), Push::Named { elsewhere: false }).await;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://localhost:{}/api/inngest", silent.local_addr().unwrap().port());
    let began = Instant::now();
    let _syncing = world.keep_in_sync(&[("sdk-url", format!("{url},{}", world.url))]);
    world.until("shop", None).await;
    assert!(began.elapsed() < ping::TIMEOUT, "{:?}", began.elapsed());
}
