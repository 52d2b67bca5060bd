//! What the event of a run fixes of a condition.

use std::io;

use serde_json::Value as Json;

use super::BindError;
use super::eval::find;
use super::parse::{Kind, Node, Parsed, Path};

/// The value of each chain below `event`, in the order in which the chains appear; what is missing is `null`.
/// Belongs to the expression it was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Bindings(Vec<Json>);

/// Longest JSON of all values that one condition takes from an event, in bytes: they are stored with each wait.
pub const BINDINGS_BYTES_MAX: usize = 64 * 1024;

impl Bindings {
    pub(super) fn of(parsed: &Parsed, event: &Json) -> Result<Self, BindError> {
        let mut room = Room(BINDINGS_BYTES_MAX);
        let mut value = |path: &Path| {
            let value = find(event, &path.fields).unwrap_or(&Json::Null);
            serde_json::to_writer(&mut room, value).map_err(|_| BindError::TooLarge)?;
            Ok(value.clone())
        };
        Ok(Self(parsed.bound.iter().map(&mut value).collect::<Result<_, _>>()?))
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

/// Takes so many bytes and keeps none.
struct Room(usize);

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
