//! Requests to cancel many runs: stored first, then worked on run by run, also after a restart.
//!
//! A request may reach a little into the future, because clocks differ, and a run that is scheduled now may be stored
//! a little later. So a request is done when all runs have been looked at after the last one it can mean was stored.

use std::time::Duration;

use inngest_core::{FunctionId, Millis, RunStatus};
use inngest_expr::event as content;
use inngest_expr::expression::{Expression, Roots};
use inngest_state::history::{Between, RunFilter};
use inngest_state::{Cancellation, Change, StoreError};

use super::Engine;

/// Runs looked at between two notes of how far it went.
const PAGE: usize = 200;
/// A run is stored at most this long after the time at which it was scheduled.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// Requests older than this count no more and are removed.
const KEPT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Runs of a function that are to be cancelled.
#[derive(Clone, Debug)]
pub struct NewCancellation {
    /// Which function.
    pub function: FunctionId,
    /// Runs scheduled at or after.
    pub started_after: Option<Millis>,
    /// Runs scheduled at or before.
    pub started_before: Millis,
    /// Only runs whose first event satisfies this.
    pub condition: Option<String>,
}

/// Why a request is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CancellationError {
    /// The condition does not compile (400).
    #[error("invalid expression: {0}")]
    Condition(String),
    /// The store failed (503).
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn is_expired(cancellation: &Cancellation, now: Millis) -> bool {
    now.since(cancellation.created_at) > KEPT
}

impl Engine {
    /// Cancels every run that the request names, and returns it with its id. It is on disk before the first run is
    /// cancelled, and all there are now are cancelled when this resolves; those still to come will be.
    pub async fn cancel_many(&self, new: NewCancellation) -> Result<Cancellation, CancellationError> {
        let NewCancellation { function, started_after, started_before, condition } = new;
        if let Some(text) = &condition {
            Expression::compile(text, Roots::Event).map_err(|error| CancellationError::Condition(error.to_string()))?;
        }
        let now = self.ids().now();
        let cancellation = Cancellation {
            id: self.ids().event(now).to_string(),
            function,
            started_after,
            started_before,
            condition,
            created_at: now,
            cursor: None,
            done_at: None,
        };
        let mut changes: Vec<Change> = self.expired(now).await?.map(Change::RemoveCancellation).collect();
        changes.push(Change::PutCancellation(Box::new(cancellation.clone())));
        self.commit_freely(changes).await?;
        let looked = self.look_at_all(cancellation).await?;
        if looked.done_at.is_none() {
            tokio::spawn(self.clone().carry_out(looked.clone()));
        }
        Ok(looked)
    }

    /// Requests that count: not deleted, and not too old.
    pub async fn active_cancellations(&self) -> Result<Vec<Cancellation>, StoreError> {
        let now = self.ids().now();
        let mut all = self.history().cancellations().await?;
        all.retain(|cancellation| !is_expired(cancellation, now));
        Ok(all)
    }

    async fn expired(&self, now: Millis) -> Result<impl Iterator<Item = String>, StoreError> {
        let all = self.history().cancellations().await?;
        Ok(all.into_iter().filter(move |cancellation| is_expired(cancellation, now)).map(|expired| expired.id))
    }

    /// Removes a request from the list; runs it cancelled stay cancelled. False when it is unknown.
    pub async fn forget_cancellation(&self, id: &str) -> Result<bool, StoreError> {
        let known = self.history().cancellations().await?.iter().any(|cancellation| cancellation.id == id);
        if known {
            self.commit_freely(vec![Change::RemoveCancellation(id.to_owned())]).await?;
        }
        Ok(known)
    }

    /// Carries out what an earlier process could not finish.
    pub(super) async fn continue_cancellations(self) {
        let open = match self.history().cancellations().await {
            Ok(all) => all.into_iter().filter(|cancellation| cancellation.done_at.is_none()),
            Err(error) => return tracing::error!(%error, "requests to cancel runs could not be read"),
        };
        for cancellation in open {
            self.clone().carry_out(cancellation).await;
        }
    }

    /// Looks at all runs until the request is done.
    async fn carry_out(self, mut cancellation: Cancellation) {
        while cancellation.done_at.is_none() {
            let until = cancellation.started_before.plus(SETTLED_AFTER);
            tokio::time::sleep(until.since(self.ids().now())).await;
            cancellation = match self.look_at_all(cancellation).await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::error!(%error, "a request to cancel runs could not be carried out; it is tried again at the next start");
                    return;
                }
            };
        }
    }

    /// Looks at each run there is once, from where an earlier process stopped.
    async fn look_at_all(&self, mut cancellation: Cancellation) -> Result<Cancellation, StoreError> {
        let began = self.ids().now();
        let condition = cancellation.condition.as_deref().map(|text| Expression::compile(text, Roots::Event));
        // It compiled when it was accepted; should it not any more, nothing is cancelled.
        let condition = condition.transpose().map_err(|error| StoreError::Other(error.to_string()))?;
        loop {
            let filter = RunFilter {
                statuses: vec![RunStatus::Scheduled, RunStatus::Running],
                functions: Some(vec![cancellation.function]),
                queued: Between { after: cancellation.started_after, before: Some(cancellation.started_before) },
                ascending: true,
                cursor: cancellation.cursor.map(|run| (run.timestamp(), run)),
                limit: PAGE,
                ..RunFilter::default()
            };
            let page = self.history().runs(filter).await?;
            for run in &page {
                if self.satisfies(run.event_ids.first(), condition.as_ref()).await? {
                    self.cancel(run.id).await?;
                }
            }
            cancellation.cursor = page.last().map(|last| last.id);
            if page.is_empty() && began >= cancellation.started_before.plus(SETTLED_AFTER) {
                cancellation.done_at = Some(self.ids().now());
            }
            self.commit_freely(vec![Change::PutCancellation(Box::new(cancellation.clone()))]).await?;
            if page.is_empty() {
                return Ok(cancellation);
            }
        }
    }

    async fn satisfies(
        &self,
        event: Option<&inngest_core::EventId>,
        condition: Option<&Expression>,
    ) -> Result<bool, StoreError> {
        let (Some(event), Some(condition)) = (event, condition) else { return Ok(condition.is_none()) };
        let Some(record) = self.history().event(*event).await? else { return Ok(false) };
        let event = match content::parse(&record.body) {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(event_id = %event, %error, "an event cannot be read; its runs are not cancelled");
                return Ok(false);
            }
        };
        Ok(condition.matches(&event, self.ids().now()).unwrap_or(false))
    }
}
