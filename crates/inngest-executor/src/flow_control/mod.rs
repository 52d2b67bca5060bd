//! Flow control of functions: what their apps register ([`crate::config`]) and what the server's operator adds to it
//! ([`document`]), as types; and what it means for one event.

pub mod document;
mod evaluate;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use inngest_core::Function;
use inngest_expr::expression::Expression;
use inngest_queue::flow::{self, Bucket, Dispatch, KeyExpression, Scope, SingletonMode};
use inngest_queue::gcra::Rate;
use inngest_state::Hold;

pub(crate) use evaluate::after_batch;

/// Flow control of one function.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// Calls to the app in flight at a time; all of them hold.
    pub steps: Vec<Concurrency>,
    /// Runs that have started and not ended.
    pub runs: Option<Concurrency>,
    /// Starts in a time; more wait.
    pub throttles: Vec<Limit>,
    /// Runs in a time; more are skipped. An idempotency key is one of these.
    pub rates: Vec<Limit>,
    /// Events that come together start one run.
    pub batch: Option<Batch>,
    /// Only the last of several events starts a run.
    pub debounce: Option<Debounce>,
    /// By how many seconds a run goes before others.
    pub priority: Option<Expression>,
    /// One run at a time.
    pub singleton: Option<Singleton>,
    /// Rests when its app answers that it is too much.
    pub adaptive: bool,
}

/// An expression over the event of a run; what has the same value counts together.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name among the keys of a run.
    pub name: KeyExpression,
    /// As registered.
    pub text: Arc<str>,
    /// `None` when the text is no expression.
    expression: Option<Arc<Expression>>,
}

/// So many at a time.
#[derive(Clone, Debug)]
pub struct Concurrency {
    /// How many; at least 1.
    pub limit: u32,
    /// Among whom.
    pub scope: Scope,
    /// For each value of a key, or for all together.
    pub key: Option<Key>,
}

/// So many in a time.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The name under which functions share it; `None` for the function's own.
    pub shared: Option<Arc<str>>,
    /// For each value of a key, or for all together.
    pub key: Option<Key>,
    /// How many.
    pub rate: Rate,
}

/// `batchEvents`.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which events come together.
    pub key: Option<Key>,
    /// An event for which this is not true starts a run of its own.
    pub condition: Option<Expression>,
    /// A batch starts with so many.
    pub size: u32,
    /// It starts so long after its first event was received.
    pub timeout: Duration,
}

/// `debounce`.
#[derive(Clone, Debug)]
pub struct Debounce {
    /// Which events replace one another.
    pub key: Option<Key>,
    /// The run starts when none has come for so long.
    pub period: Duration,
    /// It starts so long after the first one at the latest.
    pub timeout: Option<Duration>,
}

/// `singleton`.
#[derive(Clone, Debug)]
pub struct Singleton {
    /// Which runs exclude one another.
    pub key: Option<Key>,
    /// What happens when there is a run already.
    pub mode: SingletonMode,
}

impl Key {
    /// The key of this expression.
    #[must_use]
    pub fn of(expression: Expression) -> Self {
        let text: Arc<str> = expression.text().into();
        Self { name: KeyExpression::of(&text), text, expression: Some(Arc::new(expression)) }
    }

    /// The key of a text that nobody has checked.
    #[must_use]
    pub fn unchecked(text: &str) -> Self {
        let expression = Expression::parse(text).ok().map(Arc::new);
        Self { name: KeyExpression::of(text), text: text.into(), expression }
    }
}

impl Limit {
    /// What counts it.
    #[must_use]
    pub fn bucket(&self, function: &Function) -> Bucket {
        self.shared.as_deref().map_or_else(|| Bucket::of_function(function.id), Bucket::shared)
    }
}

impl Flow {
    /// What the queue must know of the function.
    #[must_use]
    pub fn dispatch(&self, function: &Function, hold: Option<Hold>) -> Dispatch {
        let name = |key: &Option<Key>| key.as_ref().map(|key| key.name);
        let concurrency = |of: &Concurrency| flow::Concurrency { limit: of.limit, scope: of.scope, key: name(&of.key) };
        let throttle = |of: &Limit| flow::Throttle { bucket: of.bucket(function), key: name(&of.key), rate: of.rate };
        Dispatch {
            app: function.app,
            steps: self.steps.iter().map(concurrency).collect(),
            runs: self.runs.as_ref().map(concurrency),
            throttles: self.throttles.iter().map(throttle).collect(),
            paused: matches!(hold, Some(Hold::PausedQueue | Hold::PausedSkip)),
            adaptive: self.adaptive,
        }
    }

    /// The keys that must be known of a run to dispatch its jobs.
    pub fn dispatch_keys(&self) -> impl Iterator<Item = &Key> {
        let concurrency = self.steps.iter().chain(&self.runs).filter_map(|limit| limit.key.as_ref());
        concurrency.chain(self.throttles.iter().filter_map(|limit| limit.key.as_ref()))
    }
}
