//! What an event must have for a condition to be true of it, so that events can be looked up instead of compared.

use inngest_core::Millis;
use serde_json::Value as Json;

use super::Value;
use super::bind::Bindings;
use super::eval::Scope;
use super::fuel::Fuel;
use super::parse::{Kind, Node, Parsed};

/// A necessary condition on a later event.
#[derive(Clone, Debug, PartialEq)]
pub enum Anchors {
    /// Nothing satisfies the expression.
    Never,
    /// Nothing is known: every event may.
    Any,
    /// One of these must hold.
    OneOf(Vec<Anchor>),
}

/// A test of one value of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Anchor {
    /// JSON pointer below the event, for example `/data/id`.
    pub path: String,
    /// What must hold of the value there.
    pub test: Test,
}

/// What must hold of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// It equals this one.
    Equal(Scalar),
    /// It is absent or `null`.
    Missing,
    /// It is a list with this item, or an object with this key.
    Member(Scalar),
    /// It is of the same type and below this one; `true`: or equals it.
    Below(Scalar, bool),
    /// It is of the same type and above this one; `true`: or equals it.
    Above(Scalar, bool),
}

/// A value that can be looked up.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub enum Scalar {
    /// Any number.
    Number(f64),
    /// A string.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
}

impl Anchor {
    /// Whether it holds for this event.
    #[must_use]
    pub fn holds(&self, event: &Json) -> bool {
        let value = event.pointer(&self.path).filter(|value| !value.is_null());
        match &self.test {
            Test::Missing => value.is_none(),
            Test::Equal(scalar) => value.and_then(Scalar::of).is_some_and(|value| value == *scalar),
            Test::Member(scalar) => match value {
                Some(Json::Array(items)) => items.iter().filter_map(Scalar::of).any(|item| item == *scalar),
                Some(Json::Object(entries)) => entries.keys().any(|key| Scalar::Text(key.clone()) == *scalar),
                _ => false,
            },
            Test::Below(scalar, equal) => {
                let order = value.and_then(Scalar::of).and_then(|value| value.order(scalar));
                order.is_some_and(|order| order.is_lt() || *equal && order.is_eq())
            }
            Test::Above(scalar, equal) => {
                let order = value.and_then(Scalar::of).and_then(|value| value.order(scalar));
                order.is_some_and(|order| order.is_gt() || *equal && order.is_eq())
            }
        }
    }
}

impl Scalar {
    fn of(value: &Json) -> Option<Self> {
        match value {
            Json::Number(number) => number.as_f64().map(Self::Number),
            Json::String(text) => Some(Self::Text(text.clone())),
            Json::Bool(value) => Some(Self::Bool(*value)),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "as numbers of events are: doubles")]
    fn of_value(value: &Value<'_>) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Int(value) => Some(Self::Number(*value as f64)),
            Value::Uint(value) => Some(Self::Number(*value as f64)),
            Value::Double(value) if !value.is_nan() => Some(Self::Number(*value)),
            Value::String(text) => Some(Self::Text(text.to_string())),
            _ => None,
        }
    }

    fn order(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.partial_cmp(b),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// What `null` counts as next to it.
    fn zero(&self) -> Option<Self> {
        match self {
            Self::Number(_) => Some(Self::Number(0.0)),
            Self::Text(_) => Some(Self::Text(String::new())),
            Self::Bool(_) => None,
        }
    }
}

pub(super) fn of(parsed: &Parsed, bindings: &Bindings) -> Anchors {
    Search { parsed, bindings, fuel: Fuel::full() }.anchors(&parsed.root, Wanted::True)
}

/// What the value of a part must be for the whole to be true.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// `true` itself.
    True,
    /// Anything that counts as true.
    Truthy,
    /// `false` itself.
    False,
}

struct Search<'e> {
    parsed: &'e Parsed,
    bindings: &'e Bindings,
    /// For all constants together.
    fuel: Fuel,
}

impl Search<'_> {
    fn anchors(&self, node: &Node, wanted: Wanted) -> Anchors {
        if let Some(value) = self.constant(node) {
            let satisfied = match wanted {
                Wanted::True => matches!(value, Value::Bool(true)),
                Wanted::Truthy => value.is_truthy(),
                Wanted::False => matches!(value, Value::Bool(false)),
            };
            return if satisfied { Anchors::Any } else { Anchors::Never };
        }
        match &*node.kind {
            // The result is the last part, unless one before it counts as false.
            Kind::And(parts) if wanted != Wanted::False => {
                let last = parts.len() - 1;
                let wanted = |index| if index == last { wanted } else { Wanted::Truthy };
                let each = parts.iter().enumerate().map(|(index, part)| self.anchors(part, wanted(index)));
                each.fold(Anchors::Any, both)
            }
            Kind::Or(parts) if wanted != Wanted::False => {
                parts.iter().map(|part| self.anchors(part, wanted)).fold(Anchors::Never, either)
            }
            Kind::Chain { path, .. } if wanted == Wanted::True => match pointer(node) {
                Some(path) => Anchors::OneOf(vec![Anchor { path, test: Test::Equal(Scalar::Bool(true)) }]),
                None => {
                    debug_assert!(!path.root.is_empty());
                    Anchors::Any
                }
            },
            Kind::Call { name, args, .. } => match (name.as_str(), &args[..]) {
                ("!_", [inner]) if wanted != Wanted::False => self.anchors(inner, Wanted::False),
                // (`!` of what is missing or has no value is false as well, so `!!x` says little about `x`.)
                ("_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => self.comparison(name, a, b, wanted),
                ("@in", [a, b]) if wanted != Wanted::False => self.membership(a, b),
                _ => Anchors::Any,
            },
            _ => Anchors::Any,
        }
    }

    fn comparison(&self, name: &str, a: &Node, b: &Node, wanted: Wanted) -> Anchors {
        let (path, value, mirrored) = match (pointer(a), self.constant(b), self.constant(a), pointer(b)) {
            (Some(path), Some(value), ..) => (path, value, false),
            (_, _, Some(value), Some(path)) => (path, value, true),
            _ => return Anchors::Any,
        };
        let mut operator = Operator::of(name);
        if mirrored {
            operator = operator.mirrored();
        }
        if wanted == Wanted::False {
            operator = operator.negated();
        }
        let one_of = |tests: Vec<Test>| {
            Anchors::OneOf(tests.into_iter().map(|test| Anchor { path: path.clone(), test }).collect())
        };
        let scalar = match (&value, Scalar::of_value(&value)) {
            (Value::Null, _) if operator == Operator::Equal => return one_of(vec![Test::Missing]),
            (_, Some(scalar)) => scalar,
            _ => return Anchors::Any,
        };
        // What is absent is below everything, `null` is the zero of the other side; and either may be on any side
        // of an order that does not exist.
        let missing = |tests: Vec<Test>, equal: bool, below: bool| {
            let null = scalar.zero().and_then(|zero| zero.order(&scalar));
            let null =
                null.is_none_or(|order| equal && order.is_eq() || if below { order.is_lt() } else { order.is_gt() });
            let absent = below;
            let mut tests = tests;
            if null || absent {
                tests.push(Test::Missing);
            }
            one_of(tests)
        };
        match operator {
            Operator::Equal => one_of(vec![Test::Equal(scalar)]),
            Operator::NotEqual => Anchors::Any,
            Operator::Below(equal) => missing(vec![Test::Below(scalar.clone(), equal)], equal, true),
            Operator::Above(equal) => missing(vec![Test::Above(scalar.clone(), equal)], equal, false),
        }
    }

    fn membership(&self, item: &Node, of: &Node) -> Anchors {
        if let (Some(path), Some(Value::List(list))) = (pointer(item), self.constant(of)) {
            let mut tests = Vec::new();
            for item in list.iter() {
                match (&item, Scalar::of_value(&item)) {
                    (_, Some(scalar)) => tests.push(Test::Equal(scalar)),
                    (Value::Null, _) => tests.push(Test::Missing),
                    _ => return Anchors::Any,
                }
            }
            return Anchors::OneOf(tests.into_iter().map(|test| Anchor { path: path.clone(), test }).collect());
        }
        let (Some(value), Some(path)) = (self.constant(item), pointer(of)) else { return Anchors::Any };
        match Scalar::of_value(&value) {
            Some(scalar) => Anchors::OneOf(vec![Anchor { path, test: Test::Member(scalar) }]),
            None => Anchors::Any,
        }
    }

    /// The value of a part that depends neither on the later event nor on the time.
    fn constant<'n>(&'n self, node: &'n Node) -> Option<Value<'n>> {
        if depends(node) {
            return None;
        }
        let mut scope = Scope::bound(self.parsed, self.bindings, None, Millis(0));
        scope.fuel.set_to(&self.fuel);
        let value = scope.eval(node);
        self.fuel.set_to(&scope.fuel);
        // What took too long is not known.
        (!self.fuel.is_spent()).then_some(value)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Below(bool),
    Above(bool),
}

impl Operator {
    fn of(name: &str) -> Self {
        match name {
            "_==_" => Self::Equal,
            "_!=_" => Self::NotEqual,
            "_<_" => Self::Below(false),
            "_<=_" => Self::Below(true),
            "_>_" => Self::Above(false),
            _ => Self::Above(true),
        }
    }

    const fn mirrored(self) -> Self {
        match self {
            Self::Below(equal) => Self::Above(equal),
            Self::Above(equal) => Self::Below(equal),
            same => same,
        }
    }

    /// Exact in this dialect, also for what is missing.
    const fn negated(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Below(equal) => Self::Above(!equal),
            Self::Above(equal) => Self::Below(!equal),
        }
    }
}

fn both(a: Anchors, b: Anchors) -> Anchors {
    match (a, b) {
        (Anchors::Never, _) | (_, Anchors::Never) => Anchors::Never,
        (Anchors::Any, other) | (other, Anchors::Any) => other,
        (Anchors::OneOf(a), Anchors::OneOf(b)) => Anchors::OneOf(if rank(&b) < rank(&a) { b } else { a }),
    }
}

fn either(a: Anchors, b: Anchors) -> Anchors {
    match (a, b) {
        (Anchors::Never, other) | (other, Anchors::Never) => other,
        (Anchors::Any, _) | (_, Anchors::Any) => Anchors::Any,
        (Anchors::OneOf(mut a), Anchors::OneOf(b)) => {
            a.extend(b);
            Anchors::OneOf(a)
        }
    }
}

/// How many events a list of tests lets through, roughly: smaller is better.
fn rank(anchors: &[Anchor]) -> usize {
    let one = |anchor: &Anchor| match &anchor.test {
        Test::Equal(Scalar::Text(_) | Scalar::Number(_)) => 1,
        Test::Member(_) => 10,
        Test::Equal(Scalar::Bool(_)) | Test::Missing => 100,
        Test::Below(..) | Test::Above(..) => 1_000,
    };
    anchors.iter().map(one).sum()
}

/// The place of a chain in the later event.
fn pointer(node: &Node) -> Option<String> {
    let Kind::Chain { path, tracked: true } = &*node.kind else { return None };
    if path.root != "async" || path.fields.is_empty() {
        return None;
    }
    Some(path.fields.iter().map(|field| format!("/{}", field.replace('~', "~0").replace('/', "~1"))).collect())
}

/// Whether a part depends on the later event, or on the time.
fn depends(node: &Node) -> bool {
    match &*node.kind {
        Kind::Chain { path, .. } if path.root != "event" => true,
        Kind::Call { name, .. } if name.starts_with("now") => true,
        // Variables look like chains of another root; macros are rare enough to be evaluated each time.
        Kind::Macro { .. } => true,
        kind => kind.parts().any(depends),
    }
}
