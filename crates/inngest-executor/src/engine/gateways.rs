//! Ops of requests that the server makes in place of an app, as long as their jobs exist.
//!
//! They are in memory only, because they may hold the keys of providers. A job whose op is not here, after a
//! restart, asks its app for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inngest_core::RunId;
use inngest_queue::JobId;

use crate::response::{Op, OpReport, Reply, SdkResponse};

#[derive(Default)]
pub(super) struct Gateways {
    ops: Mutex<HashMap<JobId, Arc<OpReport>>>,
}

impl Gateways {
    /// Keeps the ops of an answer before the jobs that need them are committed.
    pub(super) fn keep(&self, run: RunId, response: &SdkResponse) {
        let Reply::Ops(ops) = &response.reply else { return };
        for report in ops.iter().filter(|report| matches!(report.op, Op::Gateway | Op::AiGateway)) {
            self.lock().insert(JobId::gateway(run, &report.id), Arc::new(report.clone()));
        }
    }

    pub(super) fn get(&self, job: JobId) -> Option<Arc<OpReport>> {
        self.lock().get(&job).cloned()
    }

    /// The jobs are gone.
    pub(super) fn forget(&self, jobs: &[JobId]) {
        let mut ops = self.lock();
        if !ops.is_empty() {
            jobs.iter().for_each(|job| drop(ops.remove(job)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<OpReport>>> {
        self.ops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
