//! Spans of the user's own code come in.

use std::collections::HashMap;

use inngest_core::{FunctionId, RunId};
use inngest_state::{Change, Metadata, StoreError};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use super::Engine;
use crate::response::MetadataReport;
use crate::spans::{self, Found};

/// Runs of one export; the spans of others are rejected.
const RUNS_PER_EXPORT_MAX: usize = 100;

impl Engine {
    /// Stores the spans of an export. Returns how many were rejected: those that do not say where they belong, or belong
    /// to a run that is unknown or another function's.
    pub async fn take_spans(&self, export: ExportTraceServiceRequest) -> Result<usize, StoreError> {
        let (mut found, mut rejected) = spans::read(export);
        // The store looks at the spans of one run together.
        found.sort_by_key(|found| found.span.run);
        let mut runs: Vec<RunId> = found.iter().map(|found| found.span.run).collect();
        runs.dedup();
        runs.truncate(RUNS_PER_EXPORT_MAX);
        if runs.is_empty() {
            return Ok(rejected);
        }
        let known = self.history().run_records(runs).await?;
        let known: HashMap<RunId, FunctionId> = known.iter().map(|run| (run.id, run.function)).collect();
        let before = found.len();
        found.retain(|found| {
            let function = known.get(&found.span.run);
            function.is_some_and(|function| found.function.is_none_or(|named| named == *function))
        });
        rejected += before - found.len();
        if found.is_empty() {
            return Ok(rejected);
        }
        let mut changes: Vec<Change> = found.iter().flat_map(|found| self.notes_of(found)).collect();
        changes.push(Change::PutSpans(found.into_iter().map(|found| found.span).collect()));
        self.commit_freely(changes).await?;
        Ok(rejected)
    }

    fn notes_of(&self, found: &Found) -> Vec<Change> {
        let (span, at) = (&found.span, self.ids().now());
        let change = |note: &MetadataReport| {
            let MetadataReport { scope, kind, op, values } = note.clone();
            Change::PutMetadata(Box::new(Metadata {
                run: span.run,
                step: span.step.clone(),
                attempt: span.attempt,
                span: Some(span.id),
                scope,
                kind,
                op,
                values,
                at,
            }))
        };
        found.notes.iter().map(change).collect()
    }
}
