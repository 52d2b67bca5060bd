//! Apps are found, asked for their functions, and asked again when they may have changed.

mod discovery;
mod ping;

use std::collections::HashSet;
use std::time::Duration;

use inngest_config::DevOptions;
use inngest_executor::apps::normalise_url;
use inngest_executor::driver::http::HttpClient;
use inngest_executor::engine::Engine;

use ping::Outcome;

/// Pause between two looks for apps on the usual ports, and between two tries of an app that is down.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Pause between two looks once an app is there.
const LOOK_FOR_MORE_EVERY: Duration = Duration::from_secs(5);

/// How apps are found and asked.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    urls: Vec<String>,
    discovery: bool,
    ports: Vec<u16>,
    poll: bool,
    poll_interval: Duration,
}

impl Options {
    pub(crate) fn of(options: &DevOptions) -> Self {
        Self {
            urls: options.sdk_urls.iter().map(|url| normalise_url(&with_scheme(url))).collect(),
            discovery: options.discovery && options.sdk_urls.is_empty(),
            ports: discovery::ports(&options.discovery_ports),
            poll: options.poll,
            poll_interval: options.poll_interval,
        }
    }
}

fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// Runs until it is dropped.
pub(crate) async fn keep_in_sync(engine: Engine, client: HttpClient, options: Options) {
    let mut apps = Apps { engine, client, hinted: HashSet::new() };
    for url in &options.urls {
        apps.ask(url).await;
    }
    let (mut since_poll, mut since_look) = (Duration::ZERO, LOOK_FOR_MORE_EVERY);
    loop {
        let known = apps.urls();
        if options.discovery && (known.is_empty() || since_look >= LOOK_FOR_MORE_EVERY) {
            apps.discover(&options.ports).await;
            since_look = Duration::ZERO;
        }
        let pause = if known.iter().all(|(_, error)| !error) && !(options.discovery && known.is_empty()) {
            options.poll_interval.min(LOOK_FOR_MORE_EVERY)
        } else {
            LOOK_EVERY
        };
        tokio::time::sleep(pause).await;
        since_poll += pause;
        since_look += pause;
        let all = options.poll && since_poll >= options.poll_interval;
        if all {
            since_poll = Duration::ZERO;
        }
        for (url, error) in apps.urls() {
            if all || error {
                apps.ask(&url).await;
            }
        }
    }
}

struct Apps {
    engine: Engine,
    client: HttpClient,
    /// URLs whose owner was told once that something stands in the way.
    hinted: HashSet<String>,
}

impl Apps {
    /// Serve URLs of the apps that can be asked, and whether they have an error.
    fn urls(&self) -> Vec<(String, bool)> {
        let registry = self.engine.registry();
        let apps = registry.apps().filter(|app| app.archived_at.is_none() && app.url.starts_with("http"));
        let mut urls: Vec<(String, bool)> = apps.map(|app| (app.url.to_string(), app.error.is_some())).collect();
        urls.sort();
        urls.dedup_by(|a, b| a.0 == b.0);
        urls
    }

    async fn ask(&mut self, url: &str) {
        let outcome = ping::ping(&self.client, url).await;
        let problem = match outcome {
            Outcome::InBand(registration) => match self.engine.register(*registration).await {
                Ok(registered) => {
                    if registered.modified {
                        tracing::info!(%url, "app synced");
                    }
                    None
                }
                Err(error) => {
                    Some((error.app_problem().map_or_else(|| error.to_string(), |(_, text)| text), error.to_string()))
                }
            },
            Outcome::Accepted => None,
            Outcome::Failed { code, advice } => Some((code, advice)),
        };
        self.note(url, problem).await;
    }

    /// Stores what stands in the way of an app, or that nothing does, and says so once.
    async fn note(&mut self, url: &str, problem: Option<(String, String)>) {
        let before = self.error_of(url);
        let after = problem.as_ref().map(|(code, _)| code.clone());
        if before == Some(after.clone()) {
            return;
        }
        match &problem {
            Some((code, advice)) => tracing::warn!(%url, error = %code, "{advice}"),
            None if before.as_ref().is_some_and(Option::is_some) => tracing::info!(%url, "the app answers again"),
            None => {}
        }
        // An app that pushed its functions has cleared its error by itself; one that is unknown and answers
        // will push them in a moment.
        if (before.is_some() || after.is_some())
            && let Err(error) = self.engine.report_app(url, after).await
        {
            tracing::error!(%error, "the state of an app could not be stored");
        }
    }

    /// The stored error of the app at a URL; `None` when there is no such app.
    fn error_of(&self, url: &str) -> Option<Option<String>> {
        let registry = self.engine.registry();
        registry.apps().find(|app| *app.url == *url && app.archived_at.is_none()).map(|app| app.error.clone())
    }

    async fn discover(&mut self, ports: &[u16]) {
        for found in discovery::look(&self.client, ports).await {
            if self.error_of(&found.url).is_some() {
                continue;
            }
            if found.cloud_mode {
                if self.hinted.insert(found.url.clone()) {
                    tracing::warn!(url = %found.url, "an app was found, but it is in cloud mode and does not answer a dev server; start it with INNGEST_DEV=1");
                }
                continue;
            }
            tracing::info!(url = %found.url, "app found");
            self.ask(&found.url).await;
        }
    }
}
