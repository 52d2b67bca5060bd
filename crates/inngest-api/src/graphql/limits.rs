//! How much a request may ask for: what its fragments unfold to, and how long its answer becomes.
//!
//! Depth and complexity are checked by the schema (`schema.rs`). Both are told from the document, which does not say how
//! long the lists are that it nests; so what is answered is counted, too.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextResolve, ResolveInfo};
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{ServerError, ServerResult, Value, async_trait};

use super::session::Session;

/// Selections of a document, those of fragments as often as they are spread; more are refused (422).
pub(super) const SELECTIONS_MAX: usize = 10_000;
/// Fragments of a document; more are refused (422). Who checks a document descends from each into those it spreads.
pub(super) const FRAGMENTS_MAX: usize = 200;
/// Deepest nesting of selections and fragments; deeper is refused (422).
const NESTING_MAX: usize = 32;

/// Length of an answer, each field and each item of a list counted as [`FIELD_BYTES`] and its text; what would be longer
/// is given up.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const FIELD_BYTES: usize = 256;

/// Whether a document asks for too much, or its fragments go in circles.
pub(super) fn is_too_large(document: &ExecutableDocument) -> bool {
    let mut unfolding = Unfolding { document, known: HashMap::new() };
    let sizes = document.operations.iter().map(|(_, operation)| unfolding.set(&operation.node.selection_set.node, 0));
    document.fragments.len() > FRAGMENTS_MAX || sizes.fold(0, usize::saturating_add) > SELECTIONS_MAX
}

struct Unfolding<'d> {
    document: &'d ExecutableDocument,
    /// Sizes of fragments; of one that is being looked at, more than there may be.
    known: HashMap<&'d str, usize>,
}

impl<'d> Unfolding<'d> {
    /// How many selections a set unfolds to; `usize::MAX` when it is nested too deep, or in itself.
    fn set(&mut self, set: &'d SelectionSet, depth: usize) -> usize {
        if depth > NESTING_MAX {
            return usize::MAX;
        }
        set.items.iter().fold(0, |sum, item| {
            let below = match &item.node {
                Selection::Field(field) => self.set(&field.node.selection_set.node, depth + 1),
                Selection::InlineFragment(fragment) => self.set(&fragment.node.selection_set.node, depth + 1),
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, depth + 1),
            };
            sum.saturating_add(1).saturating_add(below)
        })
    }

    fn fragment(&mut self, name: &'d str, depth: usize) -> usize {
        if let Some(size) = self.known.get(name) {
            return *size;
        }
        let Some(fragment) = self.document.fragments.get(name) else { return 0 };
        self.known.insert(name, usize::MAX);
        let size = self.set(&fragment.node.selection_set.node, depth);
        self.known.insert(name, size);
        size
    }
}

/// Counts what is answered.
pub(super) struct Meter;

impl ExtensionFactory for Meter {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait::async_trait]
impl Extension for Meter {
    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let session = ctx.data_unchecked::<Arc<Session>>();
        let spend = |bytes| if session.spend(bytes) { Ok(()) } else { Err(too_long()) };
        spend(FIELD_BYTES)?;
        let value = next.run(ctx, info).await?;
        if let Some(Value::String(text)) = &value {
            spend(text.len())?;
        }
        Ok(value)
    }
}

/// Ends the work; it is the one error of the answer, which has no data.
pub(super) fn too_long() -> ServerError {
    ServerError::new(
        format!("the answer would be longer than {ANSWER_BYTES_MAX} bytes; ask for fewer fields or shorter pages"),
        None,
    )
}
