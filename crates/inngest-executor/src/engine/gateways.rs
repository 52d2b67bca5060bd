//! Ops of requests that the server makes in place of an app, as long as their jobs exist.
//!
//! They are in memory only, because they may hold the keys of providers. A job whose op is not here, after a
//! restart, asks its app for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inngest_queue::{JobId, JobKind, QueueItem};

use crate::response::{Op, OpReport, Reply, SdkResponse};

#[derive(Default)]
pub(super) struct Gateways {
    ops: Mutex<HashMap<JobId, Arc<OpReport>>>,
}

impl Gateways {
    /// Keeps the ops of an answer that a commit made jobs for. What a refused answer says is not kept: nothing would
    /// ever come to forget it. Returns the jobs.
    pub(super) fn keep(&self, response: &SdkResponse, jobs: &[QueueItem]) -> Vec<JobId> {
        let mut kept = Vec::new();
        let Reply::Ops(ops) = &response.reply else { return kept };
        for report in ops.iter().filter(|report| matches!(report.op, Op::Gateway | Op::AiGateway)) {
            let job = jobs.iter().find(|job| matches!(&job.kind, JobKind::Gateway(step) if step.id == report.id));
            if let Some(job) = job {
                self.lock().insert(job.id, Arc::new(report.clone()));
                kept.push(job.id);
            }
        }
        kept
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

#[cfg(test)]
mod tests {
    use inngest_core::{FunctionId, Millis, RunId, StepId};
    use inngest_queue::StepRef;

    use super::*;

    fn report(op: Op, id: &str) -> OpReport {
        OpReport {
            op,
            id: StepId::from(id),
            display_name: id.into(),
            name: None,
            opts: None,
            input: None,
            data: None,
            error: None,
            metadata: Vec::new(),
            timing: None,
        }
    }

    #[test]
    fn only_ops_that_became_jobs_are_kept_and_only_as_long_as_these() {
        let run: RunId = "01M85QRDBHC70063SSP1V76AAN".parse().unwrap();
        let reports = vec![report(Op::Gateway, "a"), report(Op::AiGateway, "b"), report(Op::StepRun, "c")];
        let job = |report: &OpReport| {
            let (id, kind) = (JobId::gateway(run, &report.id), JobKind::Gateway(StepRef::from(report)));
            QueueItem::new(id, FunctionId::of_definition("f", "u"), kind, Millis(0))
        };
        let jobs = [job(&reports[1])];
        let reply = Reply::Ops(reports.clone());
        let response =
            SdkResponse { status: 206, headers: Arc::default(), version: 1, no_retry: false, retry_at: None, reply };
        let gateways = Gateways::default();
        assert!(gateways.keep(&response, &[]).is_empty(), "the answer was refused");
        assert_eq!(gateways.keep(&response, &jobs), [jobs[0].id]);
        assert_eq!(gateways.get(jobs[0].id).map(|report| report.id.clone()), Some(StepId::from("b")));
        assert!(gateways.get(job(&reports[0]).id).is_none());
        gateways.forget(&[jobs[0].id]);
        assert!(gateways.lock().is_empty());
    }
}
