//! Evaluation.

use std::sync::Arc;

use inngest_core::Millis;
use serde_json::Value as Json;

use super::bind::Bindings;
use super::call;
use super::parse::{Kind, Macro, Node, Parsed, Path};
use super::value::{List, Map, type_named};
use super::{EvalError, Value};

/// Items that one evaluation may look at in macros, all together: an event is bounded, but loops in loops are not.
const STEPS_MAX: usize = 1_000_000;

/// What names stand for.
pub(super) struct Scope<'v> {
    parsed: &'v Parsed,
    event: Event<'v>,
    other: Option<&'v Json>,
    pub(super) now: Millis,
    steps: usize,
    variables: Vec<(Arc<str>, Value<'v>)>,
}

enum Event<'v> {
    Given(&'v Json),
    /// What it has at each of its chains is fixed; what is missing is `null`.
    Bound(&'v Bindings),
}

impl<'v> Scope<'v> {
    pub(super) fn of_events(parsed: &'v Parsed, event: &'v Json, other: Option<&'v Json>, now: Millis) -> Self {
        Self { parsed, event: Event::Given(event), other, now, steps: 0, variables: Vec::new() }
    }

    pub(super) fn bound(parsed: &'v Parsed, bindings: &'v Bindings, other: Option<&'v Json>, now: Millis) -> Self {
        Self { parsed, event: Event::Bound(bindings), other, now, steps: 0, variables: Vec::new() }
    }

    /// The value of the whole expression.
    pub(super) fn result(mut self) -> Result<Value<'v>, EvalError> {
        match self.eval(&self.parsed.root) {
            Value::Unknown => Ok(Value::Bool(false)),
            Value::Error(error) => Err(error),
            Value::NoValue => Err(EvalError::NoResult),
            value => Ok(value),
        }
    }

    pub(super) fn eval(&mut self, node: &'v Node) -> Value<'v> {
        match &*node.kind {
            Kind::Literal(value) => value.clone(),
            Kind::Chain { path, tracked } => self.chain(path, *tracked),
            Kind::Select(operand, field) => field_of(self.eval(operand), field),
            Kind::Has(operand, field) => {
                let found = matches!(self.eval(operand), Value::Map(map) if map.field(field).is_some());
                Value::Bool(found)
            }
            Kind::And(parts) => self.first(parts, false),
            Kind::Or(parts) => self.first(parts, true),
            Kind::Choice(condition, then, otherwise) => {
                if self.eval(condition).is_truthy() {
                    self.eval(then)
                } else {
                    self.eval(otherwise)
                }
            }
            Kind::Call { name, args, .. } => {
                let args: Vec<Value<'v>> = args.iter().map(|arg| self.eval(arg)).collect();
                call::call(name, &args, self.now)
            }
            Kind::List(items) => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    match self.eval(item) {
                        value @ (Value::Error(_) | Value::Unknown | Value::NoValue) => return value,
                        value => values.push(value),
                    }
                }
                Value::List(List::Made(values.into()))
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Macro { kind, over, variable, bodies } => self.run(*kind, over, variable, bodies),
        }
    }

    /// The first value that counts as `wanted`, or the last one.
    fn first(&mut self, parts: &'v [Node], wanted: bool) -> Value<'v> {
        let mut value = Value::Bool(!wanted);
        for part in parts {
            value = self.eval(part);
            if value.is_truthy() == wanted {
                break;
            }
        }
        value
    }

    fn map(&mut self, entries: &'v [(Node, Node)]) -> Value<'v> {
        let mut values = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            for part in [key, value] {
                match self.eval(part) {
                    value @ (Value::Error(_) | Value::Unknown | Value::NoValue) => return value,
                    value => values.push(value),
                }
            }
        }
        let mut values = values.into_iter();
        let mut pairs = Vec::with_capacity(entries.len());
        while let (Some(key), Some(value)) = (values.next(), values.next()) {
            pairs.push((key, value));
        }
        Value::Map(Map::Made(pairs.into()))
    }

    fn chain(&self, path: &'v Path, tracked: bool) -> Value<'v> {
        if let Some((_, value)) = self.variables.iter().rev().find(|(name, _)| **name == *path.root) {
            return path.fields.iter().fold(value.clone(), |value, field| field_of(value, field));
        }
        if let (Event::Bound(bindings), "event") = (&self.event, path.root.as_str()) {
            return bindings.get(self.parsed, path).map_or(Value::Null, Value::of);
        }
        let Some(root) = self.root(&path.root) else {
            if let (Some(name), []) = (type_named(&path.root), &path.fields[..]) {
                return Value::Type(name);
            }
            return if path.fields.is_empty() {
                Value::Error(EvalError::NoAttribute(path.root.clone()))
            } else if tracked || self.is_missing(path) {
                Value::Unknown
            } else {
                Value::Error(EvalError::NoAttribute(path.root.clone()))
            };
        };
        match find(root, &path.fields) {
            Ok(value) => Value::of(value),
            Err(_) if tracked || self.is_missing(path) => Value::Unknown,
            Err(field) => Value::Error(EvalError::NoKey(field.to_owned())),
        }
    }

    fn root(&self, name: &str) -> Option<&'v Json> {
        match (name, &self.event) {
            ("event", Event::Given(event)) => Some(event),
            ("async", _) => self.other,
            _ => None,
        }
    }

    /// Whether a chain that is tolerated when it is missing is missing, and this one goes through it.
    fn is_missing(&self, path: &Path) -> bool {
        self.parsed.tracked.iter().any(|tracked| {
            tracked.root == path.root
                && path.fields.starts_with(&tracked.fields)
                && self.root(&tracked.root).is_none_or(|root| find(root, &tracked.fields).is_err())
        })
    }

    fn run(&mut self, kind: Macro, over: &'v Node, variable: &Arc<str>, bodies: &'v [Node]) -> Value<'v> {
        let items: Vec<Value<'v>> = match self.eval(over) {
            Value::List(list) => list.iter().collect(),
            Value::Map(map) => map.entries().map(|(key, _)| key).collect(),
            Value::Unknown => return Value::Bool(false),
            error @ (Value::Error(_) | Value::NoValue) => return error,
            other => {
                let text = format!("got '{}', expected iterable type", other.type_name());
                return Value::Error(EvalError::Other(text));
            }
        };
        self.steps += items.len();
        if self.steps > STEPS_MAX {
            let text = format!("the expression looks at more than {STEPS_MAX} items");
            return Value::Error(EvalError::Other(text));
        }
        let mut result = match kind {
            Macro::All => Value::Bool(true),
            Macro::Exists => Value::Bool(false),
            Macro::ExistsOne | Macro::Map | Macro::Filter => Value::Null,
        };
        let (mut count, mut list) = (0, Vec::new());
        for item in items {
            let body = self.with(variable, item.clone(), &bodies[0]);
            match kind {
                Macro::All if result.is_truthy() => result = body,
                Macro::Exists if !result.is_truthy() => result = body,
                Macro::All | Macro::Exists => break,
                Macro::ExistsOne => count += usize::from(body.is_truthy()),
                Macro::Filter if body.is_truthy() => list.push(item),
                Macro::Filter => {}
                Macro::Map => {
                    let mapped = match bodies.get(1) {
                        None => body,
                        Some(mapped) if body.is_truthy() => self.with(variable, item, mapped),
                        Some(_) => continue,
                    };
                    match mapped {
                        value @ (Value::Error(_) | Value::Unknown | Value::NoValue) => return value,
                        value => list.push(value),
                    }
                }
            }
        }
        match kind {
            Macro::All | Macro::Exists => result,
            Macro::ExistsOne => Value::Bool(count == 1),
            Macro::Map | Macro::Filter => Value::List(List::Made(list.into())),
        }
    }

    fn with(&mut self, variable: &Arc<str>, value: Value<'v>, body: &'v Node) -> Value<'v> {
        self.variables.push((Arc::clone(variable), value));
        let result = self.eval(body);
        self.variables.pop();
        result
    }
}

/// What lies below `root`; the field that is not there otherwise.
pub(super) fn find<'v, 'f>(root: &'v Json, fields: &'f [String]) -> Result<&'v Json, &'f str> {
    let mut value = root;
    for field in fields {
        value = value.as_object().and_then(|entries| entries.get(field)).ok_or(field.as_str())?;
    }
    Ok(value)
}

fn field_of<'v>(value: Value<'v>, field: &str) -> Value<'v> {
    match value {
        Value::Map(map) => map.field(field).unwrap_or_else(|| Value::Error(EvalError::NoKey(field.to_owned()))),
        value @ (Value::Error(_) | Value::Unknown | Value::NoValue) => value,
        _ => Value::Error(EvalError::NoKey(field.to_owned())),
    }
}
