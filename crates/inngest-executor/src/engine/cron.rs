//! Schedules: at each of their times an event is made that starts one function.
//!
//! What is due when follows from the registered functions and from one row a schedule: the last time it has fired
//! for. Row, event and run are one transition, so a time is never fired for twice, and what passed while the server
//! was down is known at the next start.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use inngest_core::event::EventBody;
use inngest_core::{Function, FunctionId, Millis};
use inngest_expr::cron;
use inngest_state::{Change, CommitError, Requirement, StoreError, Tick, Transition};
use tokio::sync::watch;

use super::{Engine, Stage};
use crate::plan::internal_event;
use crate::routing;
use crate::rules::CronTrigger;

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

/// A time that is missed by more than this passed while nobody was there to fire it.
const LATE: Duration = Duration::from_secs(5);
/// The wall clock is looked at this often while there are schedules: it may be set, and a machine may sleep.
const LOOK: Duration = Duration::from_secs(60);
/// Pause after the store failed.
const RETRY: Duration = Duration::from_secs(1);

type Key = (FunctionId, Arc<str>);

/// One schedule and how far it got.
struct Chain {
    function: Arc<Function>,
    trigger: CronTrigger,
    /// Fired up to here.
    last: Millis,
}

impl Engine {
    /// Fires schedules until the engine drains. While there are none, this sleeps.
    pub(super) async fn keep_schedules(self, mut stage: watch::Receiver<Stage>) {
        let mut chains: HashMap<Key, Chain> = HashMap::new();
        let mut stale = true;
        loop {
            let registered = self.inner.registered.notified();
            let outcome = self.step(&mut chains, &mut stale).await;
            let wait = match outcome {
                Ok(Some(next)) => next.since(self.ids().now()).min(LOOK),
                Ok(None) => Duration::MAX,
                Err(error) => {
                    tracing::error!(%error, "schedules wait for the store");
                    RETRY
                }
            };
            tokio::select! {
                () = registered => stale = true,
                () = tokio::time::sleep(wait), if wait < Duration::MAX => {}
                () = async { stage.wait_for(|stage| *stage > Stage::Open).await.map(drop).unwrap_or_default() } => return,
            }
        }
    }

    /// Takes up what is registered, fires what is due, and tells when the next is.
    async fn step(&self, chains: &mut HashMap<Key, Chain>, stale: &mut bool) -> Result<Option<Millis>, StoreError> {
        if *stale {
            *chains = self.load_chains().await?;
            *stale = false;
        }
        let mut next: Option<Millis> = None;
        let mut gone = Vec::new();
        for (key, chain) in chains.iter_mut() {
            match self.fire_due(chain).await? {
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => gone.push(key.clone()),
            }
        }
        gone.iter().for_each(|key| drop(chains.remove(key)));
        Ok(next)
    }

    /// The schedules of all active functions. A new one begins now; one that is gone is forgotten, so that it
    /// begins anew should it come back.
    async fn load_chains(&self) -> Result<HashMap<Key, Chain>, StoreError> {
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
                let last = known.get(&key).copied().unwrap_or_else(|| {
                    let schedule = Arc::clone(&trigger.text);
                    changes.push(Change::PutTick(Tick { function: function.id, schedule, at: now }));
                    now
                });
                let (function, trigger) = (Arc::clone(function), trigger.clone());
                chains.insert(key, Chain { function, trigger, last });
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

    /// Fires a schedule for the times that have come; returns when it fires next, `None` when it never does.
    async fn fire_due(&self, chain: &mut Chain) -> Result<Option<Millis>, StoreError> {
        loop {
            let Some(mut at) = chain.trigger.schedule.next(chain.last) else { return Ok(None) };
            let now = self.ids().now();
            let fire_at = chain.fires(at);
            if fire_at > now {
                return Ok(Some(fire_at));
            }
            if now.since(fire_at) > LATE {
                match self.inner.parts.options.cron_catchup {
                    CronCatchup::All => {}
                    CronCatchup::Latest => at = chain.latest(at, now),
                    CronCatchup::None => {
                        let latest = chain.latest(at, now);
                        if now.since(chain.fires(latest)) > LATE {
                            let function = chain.function.id;
                            let schedule = Arc::clone(&chain.trigger.text);
                            self.commit_freely(vec![Change::PutTick(Tick { function, schedule, at: latest })]).await?;
                            chain.last = latest;
                            continue;
                        }
                        at = latest;
                    }
                }
            }
            if !self.fire(chain, at, now).await? {
                return Ok(None);
            }
            chain.last = at;
        }
    }

    /// Makes the event of a time; false when the function is not active any more, or has another schedule.
    async fn fire(&self, chain: &Chain, at: Millis, now: Millis) -> Result<bool, StoreError> {
        let registry = self.registry();
        let Some(function) = registry.function(&chain.function.id) else { return Ok(false) };
        let schedules = registry.rules(&function.id).map_or(&[][..], |rules| &rules.schedules);
        if !schedules.iter().any(|schedule| schedule.text == chain.trigger.text) {
            return Ok(false);
        }
        let event = internal_event::scheduled(&chain.trigger.text, at, self.ids(), now);
        let mut admits = routing::admit(&registry, &event, now, self.ids());
        admits.retain(|admit| admit.function != function.id);
        let EventBody::Stored(body) = &event.body else { unreachable!("just rendered") };
        // The time is the event's id and thereby the key: two schedules that meet start the function once.
        admits.push(routing::admission(&registry, function, &event, || &**body, now, self.ids()));
        let tick = Tick { function: function.id, schedule: Arc::clone(&chain.trigger.text), at };
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

impl Chain {
    /// When the time `at` is fired for: with its jitter, which is always the same for the same time.
    fn fires(&self, at: Millis) -> Millis {
        let Some(jitter) = self.trigger.jitter else { return at };
        let seed = format!("{}:{}:{}", self.function.id, self.trigger.text, at.0);
        at.plus(cron::jitter_offset(&seed, jitter))
    }

    /// The latest time not before `at` that should have been fired for by now.
    fn latest(&self, at: Millis, now: Millis) -> Millis {
        let latest = self.trigger.schedule.latest(at, now).unwrap_or(at);
        // With jitter its turn may still come.
        if self.fires(latest) <= now {
            latest
        } else {
            self.trigger.schedule.latest(at, Millis(latest.0 - 1)).unwrap_or(at)
        }
    }
}
