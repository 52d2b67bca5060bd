//! What the event of a run fixes of a condition.

use serde_json::Value as Json;

use super::eval::find;
use super::parse::{Kind, Node, Parsed, Path};

/// The value of each chain below `event`, in the order in which the chains appear; what is missing is `null`.
/// Belongs to the expression it was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Bindings(Vec<Json>);

impl Bindings {
    pub(super) fn of(parsed: &Parsed, event: &Json) -> Self {
        let value = |path: &Path| find(event, &path.fields).cloned().unwrap_or(Json::Null);
        Self(parsed.bound.iter().map(value).collect())
    }

    /// As a JSON array, for a database.
    #[must_use]
    pub fn to_json(&self) -> String {
        Json::Array(self.0.clone()).to_string()
    }

    /// What [`Bindings::to_json`] wrote.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        let Json::Array(values) = serde_json::from_str(text).ok()? else { return None };
        Some(Self(values))
    }

    pub(super) fn get(&self, parsed: &Parsed, path: &Path) -> Option<&Json> {
        self.0.get(parsed.bound.iter().position(|bound| bound == path)?)
    }
}

/// The chains below `event`, each once.
pub(super) fn paths(root: &Node) -> Vec<Path> {
    let mut found = Vec::new();
    collect(root, &mut found);
    found
}

fn collect(node: &Node, found: &mut Vec<Path>) {
    if let Kind::Chain { path, .. } = &*node.kind
        && path.root == "event"
        && !found.contains(path)
    {
        found.push(path.clone());
    }
    node.kind.parts().for_each(|part| collect(part, found));
}
