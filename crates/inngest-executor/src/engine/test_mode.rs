//! What tests of servers ask for (`TEST_MODE=true`): how much there is to do, and an end to all of it.

use inngest_core::{FunctionId, RunStatus};
use inngest_queue::JobId;
use inngest_state::history::{Between, GatheringFilter, RunFilter};
use inngest_state::{Change, StoreError};

use super::Engine;

/// Rows that are looked at together.
const PAGE: usize = 200;

impl Engine {
    /// How many jobs a function has, near and far.
    pub async fn count_jobs(&self, function: FunctionId) -> Result<usize, StoreError> {
        let mut filter = RunFilter { functions: Some(vec![function]), ..open_runs() };
        let mut count = 0;
        loop {
            let page = self.history().runs(filter.clone()).await?;
            for run in &page {
                count += self.history().trace(run.id).await?.jobs.len();
            }
            let Some(last) = page.last() else { break };
            filter.cursor = Some((last.queued_at, last.id));
        }
        let filter = GatheringFilter { function: Some(function), limit: PAGE, ..GatheringFilter::default() };
        Ok(count + self.history().gatherings(filter).await?.len())
    }

    /// Cancels all runs, and forgets what was gathered. Runs that are started by the end of others go on.
    pub async fn reset(&self) -> Result<(), StoreError> {
        let queued = Between { before: Some(self.ids().now()), ..Between::default() };
        loop {
            let page = self.history().runs(RunFilter { queued, ..open_runs() }).await?;
            if page.is_empty() {
                break;
            }
            for run in page {
                self.cancel(run.id).await?;
            }
        }
        loop {
            let filter = GatheringFilter { limit: PAGE, ..GatheringFilter::default() };
            let page = self.history().gatherings(filter).await?;
            if page.is_empty() {
                return Ok(());
            }
            let jobs: Vec<JobId> = page.iter().map(|gathering| JobId::gathered(gathering.id)).collect();
            let committed = self.commit_freely(jobs.iter().copied().map(Change::DropGathered).collect()).await?;
            self.publish(committed).await;
            self.inner.parts.queue.withdraw(&jobs).await;
        }
    }
}

/// The first page of the runs that have not ended, oldest first.
fn open_runs() -> RunFilter {
    let statuses = vec![RunStatus::Scheduled, RunStatus::Running];
    RunFilter { statuses, ascending: true, limit: PAGE, ..RunFilter::default() }
}
