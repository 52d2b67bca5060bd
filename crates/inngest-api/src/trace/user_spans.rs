//! Spans of the user's own code, in the steps and attempts that they belong to.
//!
//! A span lies in another one of the user's, or, if it names none that is known, in the attempt of its step; if it names
//! no step, in what came of the call that it names.

use std::collections::HashMap;
use std::sync::Arc;

use inngest_core::{Millis, StepId};
use inngest_executor::spans::{WRAPPER, call_span};
use inngest_queue::JobId;
use inngest_state::trace::UserSpan;
use serde::Deserialize;

use super::metadata::Notes;
use super::names::hex;
use super::{RunView, Span, SpanStatus};

/// Spans that lie deeper in each other are shown at this depth.
const DEPTH_MAX: usize = 32;

/// Where the outermost spans lie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Attempt(StepId, u32),
    Step(StepId),
    /// The span of a call, as its app was told it.
    Call(String),
    Run,
}

/// The outermost spans that have no place in the tree yet.
pub(super) struct UserSpans {
    outermost: HashMap<Place, Vec<Span>>,
    /// In order.
    rest: Vec<Place>,
}

impl UserSpans {
    pub(super) fn of(view: &RunView, notes: &Notes<'_>) -> Self {
        let spans: Vec<&UserSpan> = view.trace.spans.iter().collect();
        let places: HashMap<[u8; 8], usize> = spans.iter().enumerate().map(|(place, span)| (span.id, place)).collect();
        let parents: Vec<Option<usize>> = (0..spans.len()).map(|span| shown_parent(&spans, &places, span)).collect();
        let mut children: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
        for (span, user) in spans.iter().enumerate() {
            if &*user.name != WRAPPER {
                children.entry(within_depth(&parents, span)).or_default().push(span);
            }
        }
        let mut this = Self { outermost: HashMap::new(), rest: Vec::new() };
        for &span in children.get(&None).into_iter().flatten() {
            let place = place(spans[span]);
            if !this.outermost.contains_key(&place) {
                this.rest.push(place.clone());
            }
            let shown = shown(&spans, &children, notes, span);
            this.outermost.entry(place).or_default().push(shown);
        }
        this
    }

    /// Those of an attempt of a step.
    pub(super) fn of_attempt(&mut self, step: Option<&StepId>, attempt: u32) -> Vec<Span> {
        step.map_or_else(Vec::new, |step| self.take(&Place::Attempt(step.clone(), attempt)))
    }

    /// Those of a step that have no place in one of its attempts.
    pub(super) fn of_step(&mut self, step: Option<&StepId>) -> Vec<Span> {
        let Some(step) = step else { return Vec::new() };
        let is_of_step = |place: &&Place| matches!(place, Place::Attempt(of, _) | Place::Step(of) if of == step);
        let places: Vec<Place> = self.rest.iter().filter(is_of_step).cloned().collect();
        places.iter().flat_map(|place| self.take(place)).collect()
    }

    /// Those of a call that name no step.
    pub(super) fn of_call(&mut self, job: JobId, attempt: u32) -> Vec<Span> {
        self.take(&Place::Call(hex(&call_span(job, attempt))))
    }

    /// All others.
    pub(super) fn rest(&mut self) -> Vec<Span> {
        let places = std::mem::take(&mut self.rest);
        places.iter().flat_map(|place| self.outermost.remove(place).unwrap_or_default()).collect()
    }

    fn take(&mut self, place: &Place) -> Vec<Span> {
        self.outermost.remove(place).unwrap_or_default()
    }
}

/// The nearest span around one that is shown.
fn shown_parent(spans: &[&UserSpan], places: &HashMap<[u8; 8], usize>, span: usize) -> Option<usize> {
    let mut parent = places.get(&spans[span].parent?).copied();
    // Wrappers lie in no wrappers, but what is reported may be anything.
    for _ in 0..DEPTH_MAX {
        match parent {
            Some(around) if &*spans[around].name == WRAPPER => {
                parent = spans[around].parent.and_then(|id| places.get(&id).copied());
            }
            _ => return parent,
        }
    }
    None
}

/// The span in which one is shown: one that is not too deep. What lies in itself, lies in none.
fn within_depth(parents: &[Option<usize>], span: usize) -> Option<usize> {
    let mut around = Vec::new();
    let mut next = parents[span];
    while let Some(parent) = next {
        if parent == span || around.len() > parents.len() {
            return None;
        }
        around.push(parent);
        next = parents[parent];
    }
    // From the outermost one.
    around.iter().rev().take(DEPTH_MAX).next_back().copied()
}

fn place(span: &UserSpan) -> Place {
    #[derive(Deserialize)]
    struct Content {
        call: Option<String>,
    }
    match (&span.step, span.attempt) {
        (Some(step), Some(attempt)) => Place::Attempt(step.clone(), attempt),
        (Some(step), None) => Place::Step(step.clone()),
        (None, _) => {
            let content = serde_json::from_slice::<Content>(&span.content).ok();
            content.and_then(|content| content.call).map_or(Place::Run, Place::Call)
        }
    }
}

fn shown(spans: &[&UserSpan], children: &HashMap<Option<usize>, Vec<usize>>, notes: &Notes<'_>, place: usize) -> Span {
    const NANOS_PER_MS: i64 = 1_000_000;
    let user = spans[place];
    let status = if user.failed { SpanStatus::Failed } else { SpanStatus::Completed };
    let (started, ended) = (Millis(user.started_ns / NANOS_PER_MS), Millis(user.ended_ns / NANOS_PER_MS));
    let mut span = Span::new(hex(&user.id), Arc::clone(&user.name), status, started);
    span.times(Some(started), Some(ended));
    span.step.clone_from(&user.step);
    span.metadata = notes.of_span(user.id);
    span.user = Some(Arc::new(user.clone()));
    let inner = children.get(&Some(place)).into_iter().flatten();
    span.children = inner.map(|&inner| shown(spans, children, notes, inner)).collect();
    span
}
