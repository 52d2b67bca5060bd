//! The calls that are in flight in this process.
//!
//! An SDK that checkpoints says which call it belongs to, each in its own way: by the job and its generation, or
//! only by the request. This table leads from the one to the other. It is a help and no truth: the store decides
//! whether a generation is current.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inngest_core::{Millis, RequestId, RunId};
use inngest_queue::JobId;

/// One dispatch of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dispatch {
    /// Which job.
    pub(super) job: JobId,
    /// Which dispatch of it.
    pub(super) generation: u32,
    /// Which attempt that is.
    pub(super) attempt: u32,
}

/// Calls by the id of their request.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls(Arc<Mutex<HashMap<RequestId, Dispatch>>>);

/// A call that is in flight until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    calls: Calls,
    request: RequestId,
}

impl Calls {
    /// Notes a call.
    pub(super) fn begin(&self, request: RequestId, dispatch: Dispatch) -> InFlight {
        self.lock().insert(request, dispatch);
        InFlight { calls: self.clone(), request }
    }

    /// The dispatch that a request belongs to.
    pub(super) fn of_request(&self, request: RequestId) -> Option<Dispatch> {
        self.lock().get(&request).copied()
    }

    /// The dispatch of a run that is in flight with this generation.
    pub(super) fn of_run(&self, run: RunId, generation: u32) -> Option<Dispatch> {
        self.lock().values().find(|call| call.job.run == run && call.generation == generation).copied()
    }

    /// Which attempt the dispatch of a job is; the first when it is not in flight.
    pub(super) fn attempt_of(&self, job: JobId, generation: u32) -> u32 {
        let calls = self.lock();
        let call = calls.values().find(|call| call.job == job && call.generation == generation);
        call.map_or(0, |call| call.attempt)
    }

    /// All calls of a run, and when they began.
    pub(super) fn of(&self, run: RunId) -> Vec<(JobId, Millis)> {
        let calls = self.lock();
        let own = calls.iter().filter(|(_, call)| call.job.run == run);
        own.map(|(request, call)| (call.job, request.timestamp())).collect()
    }

    /// Whether a job is being worked on.
    pub(super) fn works_on(&self, job: JobId) -> bool {
        self.lock().values().any(|call| call.job == job)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Dispatch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.request);
    }
}
