//! Evaluation.

use std::sync::Arc;

use inngest_core::Millis;
use serde_json::Value as Json;

use super::bind::Bindings;
use super::call;
use super::fuel::{Fuel, Spent};
use super::parse::{Kind, Macro, Node, Parsed, Path};
use super::value::{List, Map, type_named};
use super::{EvalError, Value, pattern};

/// What names stand for.
pub(super) struct Scope<'v> {
    parsed: &'v Parsed,
    event: Event<'v>,
    other: Option<&'v Json>,
    pub(super) now: Millis,
    pub(super) fuel: Fuel,
    variables: Vec<(Arc<str>, Value<'v>)>,
}

enum Event<'v> {
    Given(&'v Json),
    /// What it has at each of its chains is fixed; what is missing is `null`.
    Bound(&'v Bindings),
    /// One of several variables, all of them members of this object.
    Among(&'v Json),
}

impl<'v> Scope<'v> {
    pub(super) fn of_events(parsed: &'v Parsed, event: &'v Json, other: Option<&'v Json>, now: Millis) -> Self {
        Self { parsed, event: Event::Given(event), other, now, fuel: Fuel::full(), variables: Vec::new() }
    }

    pub(super) fn bound(parsed: &'v Parsed, bindings: &'v Bindings, other: Option<&'v Json>, now: Millis) -> Self {
        Self { parsed, event: Event::Bound(bindings), other, now, fuel: Fuel::full(), variables: Vec::new() }
    }

    pub(super) fn of_roots(parsed: &'v Parsed, roots: &'v Json, now: Millis) -> Self {
        Self { parsed, event: Event::Among(roots), other: None, now, fuel: Fuel::full(), variables: Vec::new() }
    }

    /// The value of the whole expression.
    pub(super) fn result(mut self) -> Result<Value<'v>, EvalError> {
        let value = self.eval(&self.parsed.root);
        if self.fuel.is_spent() {
            return Err(EvalError::TooCostly);
        }
        match value {
            Value::Unknown => Ok(Value::Bool(false)),
            Value::Error(error) => Err(error),
            Value::NoValue => Err(EvalError::NoResult),
            value => Ok(value),
        }
    }

    pub(super) fn eval(&mut self, node: &'v Node) -> Value<'v> {
        self.value(node).unwrap_or_else(|spent| Value::Error(spent.into()))
    }

    fn value(&mut self, node: &'v Node) -> Result<Value<'v>, Spent> {
        if let Kind::Literal(value) = &*node.kind {
            return Ok(value.clone());
        }
        self.fuel.take(1)?;
        match &*node.kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Chain { path, tracked } => self.chain(path, *tracked),
            Kind::Select(operand, field) => {
                let operand = self.eval(operand);
                self.field_of(operand, field)
            }
            Kind::Has(operand, field) => {
                let Value::Map(map) = self.eval(operand) else { return Ok(Value::Bool(false)) };
                Ok(Value::Bool(map.field(field, &self.fuel)?.is_some()))
            }
            Kind::And(parts) => Ok(self.first(parts, false)),
            Kind::Or(parts) => Ok(self.first(parts, true)),
            Kind::Choice(condition, then, otherwise) => {
                let chosen = if self.eval(condition).is_truthy() { then } else { otherwise };
                Ok(self.eval(chosen))
            }
            Kind::Call { name, args, .. } => self.call(name, args),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Macro { kind, over, variable, bodies } => self.run(*kind, over, variable, bodies),
        }
    }

    fn call(&mut self, name: &str, args: &'v [Node]) -> Result<Value<'v>, Spent> {
        if name == "matches" && !matches!(args.last().map(|pattern| &*pattern.kind), Some(Kind::Literal(_))) {
            self.fuel.take(pattern::FROM_EVENT)?;
        }
        let args: Vec<Value<'v>> = args.iter().map(|arg| self.eval(arg)).collect();
        Ok(call::call(name, &args, self.now, &self.fuel))
    }

    fn list(&mut self, items: &'v [Node]) -> Result<Value<'v>, Spent> {
        self.fuel.take(items.len())?;
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match self.eval(item) {
                value @ (Value::Error(_) | Value::Unknown | Value::NoValue) => return Ok(value),
                value => values.push(value),
            }
        }
        Ok(Value::List(List::Made(values.into())))
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

    fn map(&mut self, entries: &'v [(Node, Node)]) -> Result<Value<'v>, Spent> {
        self.fuel.take(entries.len())?;
        let mut values = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            for part in [key, value] {
                match self.eval(part) {
                    value @ (Value::Error(_) | Value::Unknown | Value::NoValue) => return Ok(value),
                    value => values.push(value),
                }
            }
        }
        let mut values = values.into_iter();
        let mut pairs = Vec::with_capacity(entries.len());
        while let (Some(key), Some(value)) = (values.next(), values.next()) {
            pairs.push((key, value));
        }
        Ok(Value::Map(Map::Made(pairs.into())))
    }

    fn chain(&self, path: &'v Path, tracked: bool) -> Result<Value<'v>, Spent> {
        /// Names and fields that are compared in the time of one unit.
        const NAMES_PER_UNIT: usize = 4;
        self.fuel.take((path.fields.len() + self.variables.len()) / NAMES_PER_UNIT)?;
        if let Some((_, value)) = self.variables.iter().rev().find(|(name, _)| **name == *path.root) {
            return path.fields.iter().try_fold(value.clone(), |value, field| self.field_of(value, field));
        }
        if let (Event::Bound(bindings), "event") = (&self.event, path.root.as_str()) {
            self.fuel.take(self.parsed.bound.len() / NAMES_PER_UNIT)?;
            return Ok(bindings.get(self.parsed, path).map_or(Value::Null, Value::of));
        }
        match self.data(path) {
            Ok(value) => Ok(value),
            Err(error) if path.fields.is_empty() => Ok(Value::Error(error)),
            Err(_) if tracked => Ok(Value::Unknown),
            Err(error) => {
                self.fuel.take(self.parsed.tracked.len() / NAMES_PER_UNIT)?;
                Ok(if self.is_missing(path) { Value::Unknown } else { Value::Error(error) })
            }
        }
    }

    fn field_of(&self, value: Value<'v>, field: &str) -> Result<Value<'v>, Spent> {
        Ok(match value {
            Value::Map(map) => match map.field(field, &self.fuel)? {
                Some(value) => value,
                None => Value::Error(EvalError::NoKey(field.to_owned())),
            },
            value @ (Value::Error(_) | Value::Unknown | Value::NoValue) => value,
            _ => Value::Error(EvalError::NoKey(field.to_owned())),
        })
    }

    /// What the events have there, or why nothing.
    fn data(&self, path: &'v Path) -> Result<Value<'v>, EvalError> {
        match (self.root(&path.root), type_named(&path.root), &path.fields[..]) {
            (Some(root), _, fields) => {
                find(root, fields).map(Value::of).map_err(|field| EvalError::NoKey(field.to_owned()))
            }
            (None, Some(name), []) => Ok(Value::Type(name)),
            _ => Err(EvalError::NoAttribute(path.root.clone())),
        }
    }

    fn root(&self, name: &str) -> Option<&'v Json> {
        match (name, &self.event) {
            ("event", Event::Given(event)) => Some(event),
            (name, Event::Among(roots)) => roots.get(name),
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

    fn run(
        &mut self,
        kind: Macro,
        over: &'v Node,
        variable: &Arc<str>,
        bodies: &'v [Node],
    ) -> Result<Value<'v>, Spent> {
        let items = match self.eval(over) {
            Value::List(list) => list,
            Value::Map(map) => {
                self.fuel.take(map.len())?;
                List::Made(map.entries().map(|(key, _)| key).collect())
            }
            Value::Unknown => return Ok(Value::Bool(false)),
            error @ (Value::Error(_) | Value::NoValue) => return Ok(error),
            other => {
                let text = format!("got '{}', expected iterable type", other.type_name());
                return Ok(Value::Error(EvalError::Other(text)));
            }
        };
        let mut result = match kind {
            Macro::All => Value::Bool(true),
            Macro::Exists => Value::Bool(false),
            Macro::ExistsOne | Macro::Map | Macro::Filter => Value::Null,
        };
        let (mut count, mut list) = (0, Vec::new());
        for item in items.iter() {
            self.fuel.take(1)?;
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
                        value @ (Value::Error(_) | Value::Unknown | Value::NoValue) => return Ok(value),
                        value => list.push(value),
                    }
                }
            }
        }
        Ok(match kind {
            Macro::All | Macro::Exists => result,
            Macro::ExistsOne => Value::Bool(count == 1),
            Macro::Map | Macro::Filter => Value::List(List::Made(list.into())),
        })
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
