//! Schedules: at each of their times an event is made that starts one function.
//!
//! What is due when follows from the registered functions and from one row a schedule: the last time it has fired
//! for. Row, event and run are one transition, so a time is never fired for twice, and what passed while the server
//! was down is known at the next start.

mod chain;
mod presence;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use inngest_core::{FunctionId, Millis};
use inngest_state::{Change, CommitError, Requirement, StoreError, Tick, Transition};
use tokio::sync::watch;

use super::{Engine, Stage};
use crate::plan::internal_event;
use crate::routing;
use chain::{Chain, Next};
use presence::Presence;

/// What becomes of the times of schedules that passed while the server was down or the machine asleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CronCatchup {
    /// The latest fires, late.
    #[default]
    Latest,
    /// Each fires, late, oldest first.
    All,
    /// None does.
    None,
}

/// The wall clock is looked at this often while there are schedules: it may be set, and a machine may sleep.
const LOOK: Duration = Duration::from_secs(60);
/// Pause after the store failed.
const RETRY: Duration = Duration::from_secs(1);
/// Times that one schedule fires for before others have their turn.
const TURN: usize = 16;

type Key = (FunctionId, Arc<str>);

/// All schedules there are.
struct Schedules {
    chains: HashMap<Key, Chain>,
    /// Others may be registered by now.
    stale: bool,
    presence: Presence,
}

impl Schedules {
    fn new(now: Millis) -> Self {
        Self { chains: HashMap::new(), stale: true, presence: Presence::begin(now) }
    }
}

impl Engine {
    /// Fires schedules until the engine drains. While there are none, this sleeps.
    pub(super) async fn keep_schedules(self, mut stage: watch::Receiver<Stage>) {
        let mut schedules = Schedules::new(self.ids().now());
        loop {
            let registered = self.inner.registered.notified();
            let wait = match self.look(&mut schedules).await {
                Ok(next) => {
                    let now = self.ids().now();
                    let wait = next.map_or(Duration::MAX, |next| next.since(now).min(LOOK));
                    schedules.presence.sleep(now, wait);
                    wait
                }
                // Nothing is noted: after a long failure it is as if nobody had been there.
                Err(error) => {
                    tracing::error!(%error, "schedules wait for the store");
                    RETRY
                }
            };
            tokio::select! {
                () = registered => schedules.stale = true,
                () = tokio::time::sleep(wait), if wait < Duration::MAX => {}
                () = async { stage.wait_for(|stage| *stage > Stage::Open).await.map(drop).unwrap_or_default() } => return,
            }
        }
    }

    /// Takes up what is registered, fires what is due, and tells when to look again; that may be at once.
    async fn look(&self, schedules: &mut Schedules) -> Result<Option<Millis>, StoreError> {
        let since = schedules.presence.wake(self.ids().now());
        if schedules.stale {
            schedules.chains = self.load_chains(&schedules.chains).await?;
            schedules.stale = false;
        }
        let mut next: Option<Millis> = None;
        let mut gone = Vec::new();
        for (key, chain) in &mut schedules.chains {
            match self.take_turn(chain, since).await? {
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => gone.push(key.clone()),
            }
        }
        gone.iter().for_each(|key| drop(schedules.chains.remove(key)));
        Ok(next)
    }

    /// The schedules of all active functions. A new one begins now; one that is gone is forgotten, so that it
    /// begins anew should it come back.
    async fn load_chains(&self, before: &HashMap<Key, Chain>) -> Result<HashMap<Key, Chain>, StoreError> {
        let registry = self.registry();
        let now = self.ids().now();
        let mut known: HashMap<Key, Millis> = HashMap::new();
        for tick in self.inner.parts.store.ticks().await? {
            known.insert((tick.function, tick.schedule), tick.at);
        }
        let mut chains = HashMap::new();
        let mut changes = Vec::new();
        for (function, rules) in registry.active() {
            for trigger in &rules.schedules {
                let key = (function.id, Arc::clone(&trigger.text));
                let chain = |last| Chain::new(function.id, trigger.clone(), last);
                let chain = match (known.get(&key), before.get(&key)) {
                    (Some(last), Some(before)) => chain(*last).continues(before),
                    (Some(last), None) => chain(*last),
                    (None, _) => {
                        changes.push(Change::PutTick(tick(function.id, &trigger.text, now)));
                        chain(now)
                    }
                };
                chains.insert(key, chain);
            }
        }
        let gone: HashSet<&Key> = known.keys().filter(|key| !chains.contains_key(*key)).collect();
        changes
            .extend(gone.into_iter().map(|(function, schedule)| Change::RemoveTick(*function, Arc::clone(schedule))));
        if !changes.is_empty() {
            self.commit_freely(changes).await?;
        }
        Ok(chains)
    }

    /// Fires a schedule for the times that have come, but not for too many at once; returns when its next turn is,
    /// `None` when it never fires again.
    async fn take_turn(&self, chain: &mut Chain, since: Millis) -> Result<Option<Millis>, StoreError> {
        if let Some(skipped) = chain.settle(since, self.inner.parts.options.cron_catchup) {
            self.commit_freely(vec![Change::PutTick(tick(chain.function, &chain.trigger.text, skipped))]).await?;
        }
        for _ in 0..TURN {
            let now = self.ids().now();
            match chain.next(now) {
                Next::Never => return Ok(None),
                Next::At(at) => return Ok(Some(at)),
                Next::Now(at) => {
                    if !self.fire(chain, at, now).await? {
                        return Ok(None);
                    }
                    chain.fired(at);
                }
            }
        }
        Ok(Some(self.ids().now()))
    }

    /// Makes the event of a time; false when the function is not active any more, or has not this
    /// schedule.
    async fn fire(&self, chain: &Chain, at: Millis, now: Millis) -> Result<bool, StoreError> {
        let registry = self.registry();
        let Some(function) = registry.function(&chain.function) else { return Ok(false) };
        let rules = registry.rules(&chain.function);
        if !rules.is_some_and(|rules| rules.schedules.iter().any(|schedule| schedule.text == chain.trigger.text)) {
            return Ok(false);
        }
        let event = internal_event::scheduled(&chain.trigger.text, at, self.ids(), now);
        // The time is the event's id and thereby the key: two schedules that meet start the function once.
        let (_, admits) = routing::admit_for(&registry, function, None, &event, now, self.ids());
        let tick = tick(function.id, &chain.trigger.text, at);
        let transition = Transition {
            require: vec![Requirement::Active(function.id, function.version)],
            changes: vec![Change::PutEvent(Box::new(event), admits), Change::PutTick(tick)],
        };
        match self.inner.parts.store.commit(Arc::new(transition)).await {
            Ok(committed) => {
                self.publish(committed).await;
                Ok(true)
            }
            Err(CommitError::Rejected(_)) => Ok(false),
            Err(CommitError::Store(error)) => Err(error),
        }
    }
}

fn tick(function: FunctionId, schedule: &Arc<str>, at: Millis) -> Tick {
    Tick { function, schedule: Arc::clone(schedule), at }
}
