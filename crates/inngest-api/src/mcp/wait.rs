//! Tools that wait for runs to end: they are woken by commits, and never poll.

use std::sync::Arc;
use std::time::Duration;

use inngest_core::RunId;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::native::Problem;
use crate::Api;

/// Calls that wait at a time; more are refused.
const WAITS_MAX: usize = 500;

/// How long a call waits unless it says otherwise, and at most.
const TIMEOUT_SECONDS: u32 = 30;
const TIMEOUT_SECONDS_MAX: u32 = 600;

/// Shortest time from one look to the next: on a busy server, something changes all the time.
const INTERVAL_MIN: Duration = Duration::from_millis(20);

/// Places for calls that wait.
#[derive(Clone)]
pub(super) struct Waits(Arc<Semaphore>);

impl Default for Waits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WAITS_MAX)))
    }
}

/// How long to wait, of what was asked for in seconds.
pub(super) fn timeout(asked: Option<u32>) -> Result<Duration, Problem> {
    let seconds = asked.unwrap_or(TIMEOUT_SECONDS);
    if seconds > TIMEOUT_SECONDS_MAX {
        return Err(Problem::new(format!("timeout cannot exceed {TIMEOUT_SECONDS_MAX} seconds")));
    }
    Ok(Duration::from_secs(seconds.into()))
}

impl Waits {
    /// Waits until all of these runs have ended, or the time is over.
    pub(super) async fn until_ended(&self, api: &Api, mut runs: Vec<RunId>, timeout: Duration) -> Result<(), Problem> {
        let Ok(_place) = self.0.try_acquire() else {
            return Err(Problem::new(format!("{WAITS_MAX} calls wait for runs already: try again later")));
        };
        let deadline = Instant::now() + timeout;
        let mut changes = api.engine.changes();
        loop {
            changes.mark_unchanged();
            let looked = Instant::now();
            while let Some(run) = runs.last() {
                if api.engine.run(*run).await?.is_some() {
                    break;
                }
                runs.pop();
            }
            if runs.is_empty() {
                return Ok(());
            }
            let changed = async {
                sleep_until(looked + INTERVAL_MIN).await;
                changes.changed().await
            };
            if !matches!(timeout_at(deadline, changed).await, Ok(Ok(()))) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_ever() {
        let seconds = |asked| timeout(asked).ok().map(|time| time.as_secs());
        assert_eq!((seconds(None), seconds(Some(0)), seconds(Some(600))), (Some(30), Some(0), Some(600)));
        assert_eq!(seconds(Some(601)), None);
    }
}
