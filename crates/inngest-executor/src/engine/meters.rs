//! What is counted of runs and calls, by function: names and meaning of the metrics in one place.
//!
//! The counters of a function are looked up once. A process that has installed no recorder of metrics counts nothing.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use inngest_core::{FunctionId, RunStatus};
use inngest_queue::{JobKind, QueueItem};
use inngest_state::{Change, Transition};
use metrics::{Counter, counter};

use crate::driver::CallError;
use crate::registry::Registry;
use crate::response::{Reply, SdkResponse};

/// Functions that are counted by name; those that come later are counted together.
const FUNCTIONS_MAX: usize = 1_000;
const OTHERS: &str = "_other";
/// A function that is not registered any more.
const UNKNOWN: &str = "unknown";

/// Runs that were created.
const RUN_SCHEDULED: &str = "inngest_function_run_scheduled_total";
/// Runs whose first call was made.
const RUN_STARTED: &str = "inngest_function_run_started_total";
/// Runs that ended, by `status`: `completed`, `failed`, `cancelled`.
const RUN_ENDED: &str = "inngest_function_run_ended_total";
/// Calls to apps that were planned, those that are made again too, but not the first one of a run.
const REQUEST_SCHEDULED: &str = "inngest_sdk_req_scheduled_total";
/// Calls to apps that were made.
const REQUEST_STARTED: &str = "inngest_sdk_req_started_total";
/// Calls to apps that were answered or broke, by `status`: `success`; `errored` is tried again, `failed` is not.
const REQUEST_ENDED: &str = "inngest_sdk_req_ended_total";

/// The counters of all functions.
#[derive(Default)]
pub(super) struct Meters {
    by_function: RwLock<HashMap<FunctionId, Arc<Meter>>>,
    others: OnceLock<Arc<Meter>>,
}

/// The counters of one function.
struct Meter {
    run_scheduled: Counter,
    run_started: Counter,
    run_completed: Counter,
    run_failed: Counter,
    run_cancelled: Counter,
    request_scheduled: Counter,
    request_started: Counter,
    request_succeeded: Counter,
    request_errored: Counter,
    request_failed: Counter,
}

impl Meter {
    fn of(function: &str) -> Self {
        let plain = |name: &'static str| counter!(name, "fn" => function.to_owned());
        let by_status = |name: &'static str, status| counter!(name, "fn" => function.to_owned(), "status" => status);
        Self {
            run_scheduled: plain(RUN_SCHEDULED),
            run_started: plain(RUN_STARTED),
            run_completed: by_status(RUN_ENDED, "completed"),
            run_failed: by_status(RUN_ENDED, "failed"),
            run_cancelled: by_status(RUN_ENDED, "cancelled"),
            request_scheduled: plain(REQUEST_SCHEDULED),
            request_started: plain(REQUEST_STARTED),
            request_succeeded: by_status(REQUEST_ENDED, "success"),
            request_errored: by_status(REQUEST_ENDED, "errored"),
            request_failed: by_status(REQUEST_ENDED, "failed"),
        }
    }
}

impl Meters {
    /// Jobs that a commit has made.
    pub(super) fn scheduled(&self, jobs: &[QueueItem], registry: &Registry) {
        for job in jobs {
            match job.kind {
                // A newer generation is the same job again.
                JobKind::Start if job.generation == 1 => self.of(job.function, registry).run_scheduled.increment(1),
                JobKind::Discovery | JobKind::Step(_) => self.of(job.function, registry).request_scheduled.increment(1),
                _ => {}
            }
        }
    }

    /// A call to an app begins; it may be the first one of its run.
    pub(super) fn call(&self, function: FunctionId, registry: &Registry, is_first: bool) {
        let meter = self.of(function, registry);
        meter.request_started.increment(1);
        if is_first {
            meter.run_started.increment(1);
        }
    }

    /// A call to an app is over; its job may have been put off to another attempt.
    pub(super) fn answered(
        &self,
        function: FunctionId,
        registry: &Registry,
        outcome: &Result<SdkResponse, CallError>,
        is_tried_again: bool,
    ) {
        let meter = self.of(function, registry);
        let is_failed = !matches!(outcome, Ok(response) if !matches!(response.reply, Reply::Failed(_)));
        match (is_tried_again, is_failed) {
            (true, _) => meter.request_errored.increment(1),
            (false, true) => meter.request_failed.increment(1),
            (false, false) => meter.request_succeeded.increment(1),
        }
    }

    /// A transition of a run of this function was committed.
    pub(super) fn committed(&self, function: FunctionId, registry: &Registry, transition: &Transition) {
        for change in &transition.changes {
            let Change::FinishRun(finish) = change else { continue };
            let meter = self.of(function, registry);
            match finish.status {
                RunStatus::Completed => meter.run_completed.increment(1),
                RunStatus::Failed => meter.run_failed.increment(1),
                RunStatus::Cancelled => meter.run_cancelled.increment(1),
                _ => {}
            }
        }
    }

    fn of(&self, function: FunctionId, registry: &Registry) -> Arc<Meter> {
        {
            let meters = self.by_function.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(meter) = meters.get(&function) {
                return Arc::clone(meter);
            }
            if meters.len() >= FUNCTIONS_MAX {
                return Arc::clone(self.others.get_or_init(|| Arc::new(Meter::of(OTHERS))));
            }
        }
        let name = registry.function(&function).map_or(UNKNOWN, |function| &*function.slug);
        let mut meters = self.by_function.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(meters.entry(function).or_insert_with(|| Arc::new(Meter::of(name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_beyond_the_limit_are_counted_together() {
        let (meters, registry) = (Meters::default(), Registry::default());
        let of = |n: usize| meters.of(FunctionId::of_definition(&n.to_string(), "u"), &registry);
        for n in 0..FUNCTIONS_MAX {
            of(n);
        }
        assert!(Arc::ptr_eq(&of(0), &of(0)) && !Arc::ptr_eq(&of(0), &of(1)));
        assert!(Arc::ptr_eq(&of(FUNCTIONS_MAX), &of(FUNCTIONS_MAX + 1)));
        assert_eq!(meters.by_function.read().unwrap().len(), FUNCTIONS_MAX);
    }
}
