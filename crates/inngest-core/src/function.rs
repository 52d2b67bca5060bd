//! A registered function.

use std::sync::Arc;

use crate::{AppId, FunctionId, Millis, Payload, limits};

/// A registered function: what routing, the engine and the drivers need of it, parsed once at sync.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Stable for ever once stored.
    pub id: FunctionId,
    /// The app that serves it.
    pub app: AppId,
    /// `<app>-<fn>`: the name used by `invoke`, the UI and `fnId`.
    pub slug: Arc<str>,
    /// Display name.
    pub name: Arc<str>,
    /// In declared order; the first that matches starts the run.
    pub triggers: Vec<Trigger>,
    /// The normalised URL that is POSTed to.
    pub url: Arc<str>,
    /// Key of the one entry of `steps`, normally `step`; sent as `stepId` on discovery calls.
    pub step_id: Arc<str>,
    /// Retries after the first attempt, for each step and for the function body separately.
    pub retries: u32,
    /// +1 at each changed sync.
    pub version: u32,
    /// The whole configuration as registered (canonical, URLs normalised): what later capabilities
    /// (flow control, cron, cancelOn, timeouts) and the APIs read.
    pub config: Payload,
    /// First registration.
    pub created_at: Millis,
    /// Set when a sync no longer listed it; runs in progress go on.
    pub archived_at: Option<Millis>,
}

impl Function {
    /// Attempts each unit of work gets.
    #[must_use]
    pub fn attempts_max(&self) -> u32 {
        self.retries.min(limits::RETRIES_MAX) + 1
    }
}

/// What starts a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// An event by name, optionally narrowed by an expression over `event`.
    Event {
        /// Exact name, or a pattern that ends in `/*` or `.*`.
        name: Arc<str>,
        /// CEL over `event`.
        expression: Option<Arc<str>>,
    },
    /// A schedule, kept as registered.
    Cron {
        /// Five fields, with an optional `TZ=` prefix.
        schedule: Arc<str>,
        /// Spread after the tick, as registered.
        jitter: Option<Arc<str>>,
    },
}
