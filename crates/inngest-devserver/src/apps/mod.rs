//! Apps are found, asked for their functions, and asked again when they may have changed.
//!
//! One task keeps the time and decides whom to ask; the asking itself happens beside it, so that an app that
//! does not answer holds up nobody else. What came of it is stored with the app and said once.

mod discovery;
mod ping;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use inngest_api::SyncRequest;
use inngest_config::DevOptions;
use inngest_core::App;
use inngest_executor::apps::{RegisterError, Registration, normalise_url};
use inngest_executor::driver::http::HttpClient;
use inngest_executor::engine::Engine;
use inngest_state::StoreError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use discovery::{Found, Ports};
use ping::Outcome;

/// Pause between two looks for the first app, and between two tries of an app that is down.
const SOON: Duration = Duration::from_secs(1);

/// Pause between two looks for more apps.
const LOOK_FOR_MORE_EVERY: Duration = Duration::from_secs(5);

/// Stored with a `-u` URL whose app answers, but pushes its functions elsewhere or nowhere.
const NOT_REGISTERED: &str = "the app answered, but did not register with this server";

/// How apps are found and asked.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    urls: Vec<String>,
    discovery: bool,
    ports: Vec<u16>,
    poll: bool,
    poll_interval: Duration,
    /// Where apps can reach this server, for advice.
    own_url: String,
}

impl Options {
    pub(crate) fn of(options: &DevOptions, own_url: String) -> Self {
        Self {
            urls: options.sdk_urls.iter().map(|url| normalise_url(&with_scheme(url))).collect(),
            discovery: options.discovery && options.sdk_urls.is_empty(),
            ports: discovery::ports(&options.discovery_ports),
            poll: options.poll,
            poll_interval: options.poll_interval,
            own_url,
        }
    }
}

fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// Runs until it is dropped, and what it has begun with it. Others may ask for syncs through `handle`, of which these are
/// the requests.
pub(crate) async fn keep_in_sync(
    engine: Engine,
    client: HttpClient,
    options: Options,
    handle: inngest_api::Apps,
    mut requests: mpsc::Receiver<SyncRequest>,
) {
    let now = Instant::now();
    let mut apps = Apps {
        engine,
        client,
        asking: JoinSet::new(),
        asked: HashSet::new(),
        looking: JoinSet::new(),
        ports: Some(Ports::default()),
        next_poll: now + options.poll_interval,
        next_look: now,
        patient: HashSet::new(),
        told: HashMap::new(),
        wanted: HashMap::new(),
        handle,
        options,
    };
    for url in apps.options.urls.clone() {
        apps.ask(url);
    }
    let mut next = now;
    loop {
        tokio::select! {
            () = sleep_until(next) => next = apps.take_turn(),
            Some(answered) = apps.asking.join_next() => {
                match answered {
                    Ok((url, outcome)) => apps.settle(url, outcome).await,
                    Err(error) => tracing::error!(%error, "a request to an app ended early"),
                }
                next = next.min(Instant::now() + SOON);
            }
            Some(request) = requests.recv() => {
                apps.wanted.entry(request.url.clone()).or_default().push(request.done);
                apps.ask(request.url);
            }
            Some(looked) = apps.looking.join_next() => match looked {
                Ok((ports, found)) => apps.meet(ports, found),
                Err(error) => tracing::error!(%error, "a look for apps ended early"),
            },
        }
    }
}

struct Apps {
    engine: Engine,
    client: HttpClient,
    options: Options,
    asking: JoinSet<(String, Outcome)>,
    /// URLs whose answer is awaited.
    asked: HashSet<String>,
    looking: JoinSet<(Ports, Vec<Found>)>,
    /// What was seen on the ports; away while somebody looks.
    ports: Option<Ports>,
    next_poll: Instant,
    next_look: Instant,
    /// URLs that answered, but to no avail: only a change of the app helps, so they are asked at polls only.
    patient: HashSet<String>,
    /// What was last said about a URL.
    told: HashMap<String, String>,
    /// Who waits to be told what came of a sync.
    wanted: HashMap<String, Vec<oneshot::Sender<Result<(), String>>>>,
    handle: inngest_api::Apps,
}

impl Apps {
    /// Begins what is due now, and returns when something will be.
    fn take_turn(&mut self) -> Instant {
        let now = Instant::now();
        let poll_is_due = now >= self.next_poll;
        if poll_is_due {
            self.next_poll = now + self.options.poll_interval;
        }
        let known = self.known();
        let mut next = now + self.options.poll_interval.min(LOOK_FOR_MORE_EVERY);
        for (url, in_error) in &known {
            let is_urgent = *in_error && !self.patient.contains(url);
            if is_urgent {
                next = next.min(now + SOON);
            }
            if is_urgent || (poll_is_due && (*in_error || self.options.poll)) {
                self.ask(url.clone());
            }
        }
        if !self.options.discovery {
            return next;
        }
        if now >= self.next_look
            && let Some(ports) = self.ports.take()
        {
            self.next_look = now + if known.is_empty() { SOON } else { LOOK_FOR_MORE_EVERY };
            self.look(ports);
        }
        next.min(self.next_look.max(now + SOON))
    }

    /// URLs that can be asked, and whether something stands in the way: those of apps, and those the user
    /// named that no app is known for yet.
    fn known(&self) -> Vec<(String, bool)> {
        let registry = self.engine.registry();
        let apps = registry.apps().filter(|app| app.archived_at.is_none() && app.url.starts_with("http"));
        let mut urls: Vec<(String, bool)> = apps.map(|app| (app.url.to_string(), app.error.is_some())).collect();
        let named = self.options.urls.iter().filter(|url| registry.apps().all(|app| *app.url != ***url));
        urls.extend(named.map(|url| (url.clone(), true)));
        // Of several apps at one URL the one in error counts.
        urls.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        urls.dedup_by(|later, kept| later.0 == kept.0);
        urls
    }

    fn ask(&mut self, url: String) {
        if self.asked.insert(url.clone()) {
            let client = self.client.clone();
            self.asking.spawn(async move {
                let outcome = ping::ping(&client, &url).await;
                (url, outcome)
            });
        }
    }

    async fn settle(&mut self, url: String, outcome: Outcome) {
        self.asked.remove(&url);
        let done = match outcome {
            Outcome::InBand(registration) => self.register(&url, *registration).await,
            Outcome::Accepted => self.accepted(&url).await,
            Outcome::Refused { code, advice } => {
                self.patient.insert(url.clone());
                if self.is_refused(&url) {
                    self.told.remove(&url);
                    Ok(())
                } else {
                    self.failed(&url, code, &advice).await
                }
            }
            Outcome::Failed { code, advice } => {
                self.patient.remove(&url);
                self.failed(&url, code, &advice).await
            }
        };
        if let Err(error) = &done {
            tracing::error!(%error, "the state of an app could not be stored");
        }
        for waiting in self.wanted.remove(&url).unwrap_or_default() {
            let outcome = match &done {
                Err(error) => Err(error.to_string()),
                Ok(()) => self.problem_of(&url).map_or(Ok(()), Err),
            };
            // Whoever asked may have gone.
            let _told = waiting.send(outcome);
        }
    }

    /// What stands in the way of an app that has just been asked.
    fn problem_of(&self, url: &str) -> Option<String> {
        let (at_url, elsewhere) = self.registered(url);
        let is_registered = at_url || elsewhere;
        self.error_of(url).or_else(|| (!is_registered).then(|| NOT_REGISTERED.to_owned()))
    }

    /// Applies a sync that came in the answer: the same way as one that is pushed.
    async fn register(&mut self, url: &str, registration: Registration) -> Result<(), StoreError> {
        let (app, functions) = (registration.app_name.clone(), registration.functions.len());
        match self.engine.register(registration).await {
            Ok(registered) => {
                if registered.modified {
                    tracing::info!(%app, %url, functions, "app synced");
                }
                self.accepted(url).await
            }
            Err(RegisterError::Store(error)) => Err(error),
            Err(error) => {
                self.patient.insert(url.to_owned());
                let code = error.app_problem().map_or_else(|| error.to_string(), |(_, reason)| reason);
                self.failed(url, code, &ping::refused(&error)).await
            }
        }
    }

    /// The app answered. If it pushed its functions here, that has cleared its error, or has stored why they
    /// were refused; otherwise its owner should know that it talks to somebody else.
    async fn accepted(&mut self, url: &str) -> Result<(), StoreError> {
        if self.is_refused(url) {
            self.patient.insert(url.to_owned());
            self.told.remove(url);
            return Ok(());
        }
        let (at_url, elsewhere) = self.registered(url);
        if at_url || elsewhere {
            self.patient.remove(url);
            if self.told.remove(url).is_some() {
                tracing::info!(%url, "the app answers again");
            }
            // The app goes by another name of its host: the placeholder for this one has done its work.
            if !at_url && self.active(url, |app| app.name.is_empty()) {
                self.engine.remove_app(url).await?;
            }
            return Ok(());
        }
        self.patient.insert(url.to_owned());
        let advice = format!(
            "{url} answered, but no app at this URL registered here; if it is told about another server, start it with INNGEST_DEV={}",
            self.options.own_url
        );
        if !self.options.urls.iter().any(|named| named == url) {
            self.tell(url, NOT_REGISTERED, &advice);
            return Ok(());
        }
        self.failed(url, NOT_REGISTERED.to_owned(), &advice).await
    }

    /// Whether a push of this app was refused: the reason is stored and logged already, in more detail than the
    /// app hands it on, and stays until a push succeeds. All other errors are those told here.
    fn is_refused(&self, url: &str) -> bool {
        self.error_of(url).is_some_and(|error| self.told.get(url) != Some(&error))
    }

    /// Whether a named app is registered at this URL, and whether one is at the same port and
    /// path under another name of the host.
    fn registered(&self, url: &str) -> (bool, bool) {
        let registry = self.engine.registry();
        let mut named = registry.apps().filter(|app| app.archived_at.is_none() && !app.name.is_empty());
        (
            self.active(url, |app| !app.name.is_empty()),
            named.any(|app| discovery::port_and_path(&app.url) == discovery::port_and_path(url)),
        )
    }

    fn active(&self, url: &str, condition: impl Fn(&App) -> bool) -> bool {
        self.engine.registry().apps().any(|app| *app.url == *url && app.archived_at.is_none() && condition(app))
    }

    /// The stored error at a URL, if there is one.
    fn error_of(&self, url: &str) -> Option<String> {
        let registry = self.engine.registry();
        registry.apps().filter(|app| *app.url == *url && app.archived_at.is_none()).find_map(|app| app.error.clone())
    }

    /// Stores what stands in the way of an app. An app that was removed stays removed.
    async fn failed(&mut self, url: &str, code: String, advice: &str) -> Result<(), StoreError> {
        self.tell(url, &code, advice);
        let is_known = self.engine.registry().apps().any(|app| *app.url == *url);
        if self.error_of(url).as_ref() == Some(&code) || (is_known && !self.active(url, |_| true)) {
            return Ok(());
        }
        self.engine.report_app(url, Some(code)).await
    }

    /// Warns once for each change.
    fn tell(&mut self, url: &str, code: &str, advice: &str) {
        if self.told.get(url).is_none_or(|told| told != code) {
            tracing::warn!(%url, error = %code, "{advice}");
            self.told.insert(url.to_owned(), code.to_owned());
        }
    }

    fn look(&mut self, mut ports: Ports) {
        let registry = self.engine.registry();
        let apps = registry.apps().filter(|app| app.archived_at.is_none());
        let taken: HashSet<u16> = apps.filter_map(|app| Some(discovery::port_and_path(&app.url)?.0)).collect();
        let wanted: Vec<u16> = self.options.ports.iter().copied().filter(|port| !taken.contains(port)).collect();
        let client = self.client.clone();
        self.looking.spawn(async move {
            let found = ports.look(&client, &wanted).await;
            (ports, found)
        });
    }

    fn meet(&mut self, ports: Ports, found: Vec<Found>) {
        self.ports = Some(ports);
        for Found { url, cloud_mode } in found {
            if cloud_mode {
                let advice = format!(
                    "an app at {url} is in cloud mode and does not talk to a dev server; start it with INNGEST_DEV=1"
                );
                self.tell(&url, "cloud_mode", &advice);
                continue;
            }
            if !self.told.contains_key(&url) {
                tracing::info!(%url, "app found");
            }
            self.handle.discovered(&url);
            self.ask(url);
        }
    }
}

#[cfg(test)]
mod tests;
