//! Which texts a value must be one of, so that what is searched can be looked up instead of compared.

use super::Value;
use super::parse::{Kind, Node};

pub(super) fn texts_at<'n>(node: &'n Node, root: &str, field: &str) -> Option<Vec<&'n str>> {
    match &*node.kind {
        // One part that says something is enough; of several the shortest.
        Kind::And(parts) => {
            parts.iter().filter_map(|part| texts_at(part, root, field)).min_by_key(|texts: &Vec<&str>| texts.len())
        }
        Kind::Or(parts) => {
            let each = parts.iter().map(|part| texts_at(part, root, field));
            each.collect::<Option<Vec<_>>>().map(|texts| texts.concat())
        }
        Kind::Call { name, args, .. } => match (name.as_str(), &args[..]) {
            ("_==_", [a, b]) if is_at(a, root, field) => Some(vec![text(b)?]),
            ("_==_", [a, b]) if is_at(b, root, field) => Some(vec![text(a)?]),
            ("@in", [a, b]) if is_at(a, root, field) => {
                let Kind::List(items) = &*b.kind else { return None };
                items.iter().map(text).collect()
            }
            _ => None,
        },
        _ => None,
    }
}

fn is_at(node: &Node, root: &str, field: &str) -> bool {
    matches!(&*node.kind, Kind::Chain { path, .. } if path.root == root && path.fields == [field])
}

fn text(node: &Node) -> Option<&str> {
    match &*node.kind {
        Kind::Literal(Value::String(text)) => Some(text),
        _ => None,
    }
}
