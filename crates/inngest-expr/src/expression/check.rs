//! Names and types, as far as they are known without data: everything of an event may be anything.

use std::sync::Arc;

use super::parse::{Kind, Macro, Node};
use super::value::type_named;
use super::{Problem, Roots, Value};

/// A type that is known before evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Type {
    Any,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    List(Box<Type>),
    Map,
    Timestamp,
    Duration,
    Kind,
}

impl Type {
    /// Whether a value of this type may be where the other one is wanted.
    fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(a), Self::List(b)) => a.fits(b),
            (a, b) => a == b,
        }
    }
}

pub(super) fn check(root: &Node, roots: Roots) -> Result<(), Problem> {
    Checker { roots, variables: Vec::new() }.check(root).map(drop)
}

struct Checker {
    roots: Roots,
    variables: Vec<(Arc<str>, Type)>,
}

impl Checker {
    fn check(&mut self, node: &Node) -> Result<Type, Problem> {
        match &*node.kind {
            Kind::Literal(value) => Ok(of_literal(value)),
            Kind::Chain { path, .. } => self.chain(node, &path.root, path.fields.is_empty()),
            Kind::Select(operand, field) => match self.check(operand)? {
                Type::Any | Type::Map => Ok(Type::Any),
                _ => Err(Problem::new(node.column, format!("type does not support field selection: {field}"))),
            },
            Kind::Has(operand, _) => match self.check(operand)? {
                Type::Any | Type::Map => Ok(Type::Bool),
                _ => Err(Problem::new(node.column, "type does not support field selection")),
            },
            Kind::And(parts) => self.logic(node, "_&&_", parts),
            Kind::Or(parts) => self.logic(node, "_||_", parts),
            Kind::Choice(condition, then, otherwise) => {
                if !self.check(condition)?.fits(&Type::Bool) {
                    return Err(no_overload(node, "_?_:_"));
                }
                let (then, otherwise) = (self.check(then)?, self.check(otherwise)?);
                match (then, otherwise) {
                    (Type::Any, _) | (_, Type::Any) => Ok(Type::Any),
                    (a, b) if a == b => Ok(a),
                    _ => Err(no_overload(node, "_?_:_")),
                }
            }
            Kind::Call { name, method, args } => {
                let args = args.iter().map(|arg| self.check(arg)).collect::<Result<Vec<_>, _>>()?;
                call(name, *method, &args).ok_or_else(|| no_overload(node, name))?.ok_or_else(|| {
                    Problem::new(node.column, format!("undeclared reference to '{name}' (in container '')"))
                })
            }
            Kind::List(items) => {
                let types = items.iter().map(|item| self.check(item)).collect::<Result<Vec<_>, _>>()?;
                let one = types.first().filter(|first| types.iter().all(|other| other == *first)).cloned();
                Ok(Type::List(one.unwrap_or(Type::Any).into()))
            }
            Kind::Map(entries) => {
                for (key, value) in entries {
                    self.check(key)?;
                    self.check(value)?;
                }
                Ok(Type::Map)
            }
            Kind::Macro { kind, over, variable, bodies } => self.comprehension(node, *kind, over, variable, bodies),
        }
    }

    fn chain(&self, node: &Node, root: &str, bare: bool) -> Result<Type, Problem> {
        if let Some((_, known)) = self.variables.iter().rev().find(|(name, _)| **name == *root) {
            return match known {
                known if bare => Ok(known.clone()),
                Type::Any | Type::Map => Ok(Type::Any),
                _ => Err(Problem::new(node.column, "type does not support field selection")),
            };
        }
        if bare && type_named(root).is_some() {
            return Ok(Type::Kind);
        }
        let declared = match root {
            "event" | "vars" => true,
            "async" => self.roots == Roots::EventAndAsync,
            "output" | "error" | "run" | "function" | "app" | "duration_ms" => self.roots == Roots::Run,
            _ => false,
        };
        let is_map = !matches!(root, "output" | "duration_ms");
        match declared {
            true if bare && is_map => Ok(Type::Map),
            true => Ok(Type::Any),
            false => Err(Problem::new(node.column, format!("undeclared reference to '{root}' (in container '')"))),
        }
    }

    fn logic(&mut self, node: &Node, name: &str, parts: &[Node]) -> Result<Type, Problem> {
        for part in parts {
            if !self.check(part)?.fits(&Type::Bool) {
                return Err(no_overload(node, name));
            }
        }
        Ok(Type::Bool)
    }

    fn comprehension(
        &mut self,
        node: &Node,
        kind: Macro,
        over: &Node,
        variable: &Arc<str>,
        bodies: &[Node],
    ) -> Result<Type, Problem> {
        let item = match self.check(over)? {
            Type::Any | Type::Map => Type::Any,
            Type::List(item) => *item,
            _ => return Err(Problem::new(node.column, "expression of this type cannot be a range of a comprehension")),
        };
        self.variables.push((Arc::clone(variable), item.clone()));
        let types = bodies.iter().map(|body| self.check(body)).collect::<Result<Vec<_>, _>>();
        self.variables.pop();
        let types = types?;
        let conditions = if kind == Macro::Map { types.len() - 1 } else { types.len() };
        if !types[..conditions].iter().all(|condition| condition.fits(&Type::Bool)) {
            return Err(no_overload(node, "_?_:_"));
        }
        Ok(match kind {
            Macro::All | Macro::Exists | Macro::ExistsOne => Type::Bool,
            Macro::Filter => Type::List(item.into()),
            Macro::Map => Type::List(types.last().cloned().unwrap_or(Type::Any).into()),
        })
    }
}

fn no_overload(node: &Node, name: &str) -> Problem {
    Problem::new(node.column, format!("found no matching overload for '{name}'"))
}

fn of_literal(value: &Value<'_>) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) => Type::Int,
        Value::Uint(_) => Type::Uint,
        Value::Double(_) => Type::Double,
        Value::String(_) => Type::String,
        Value::Bytes(_) => Type::Bytes,
        _ => Type::Any,
    }
}

/// The type of a call. `None`: the function does not take these arguments; `Some(None)`: there is no such function.
#[expect(clippy::option_option, reason = "two ways to fail, told apart by the one caller")]
fn call(name: &str, method: bool, args: &[Type]) -> Option<Option<Type>> {
    use Type::{Any, Bool, Bytes, Double, Duration, Int, String, Timestamp, Uint};
    let fits =
        |wanted: &[Type]| args.len() == wanted.len() && args.iter().zip(wanted).all(|(arg, wanted)| arg.fits(wanted));
    let one_of = |wanted: &[Type]| args.len() == 1 && wanted.iter().any(|wanted| args[0].fits(wanted));
    let given = |holds: bool, result: Type| if holds { Some(Some(result)) } else { None };
    let same = |kinds: &[Type]| {
        let any = args.contains(&Any);
        args.len() == 2 && (any || args[0] == args[1] && kinds.iter().any(|kind| args[0].fits(kind)))
    };
    let numeric = || if args.contains(&Any) { Any } else { args[0].clone() };
    match (name, method) {
        ("_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_", _) => Some(Some(Bool)),
        ("_+_", _) => Some(Some(if args[0] == args[1] { args[0].clone() } else { Any })),
        ("_-_", _) => {
            let times = fits(&[Timestamp, Timestamp]) || fits(&[Timestamp, Duration]) || fits(&[Duration, Duration]);
            given(times || same(&[Int, Uint, Double]), if args.contains(&Timestamp) { Any } else { numeric() })
        }
        ("_*_" | "_/_", _) => given(same(&[Int, Uint, Double]), numeric()),
        ("_%_", _) => given(same(&[Int, Uint]), numeric()),
        ("-_", _) => given(one_of(&[Int, Double, Duration]), args[0].clone()),
        ("!_", _) => given(one_of(&[Bool]), Bool),
        ("@in", _) => match &args[1] {
            Type::List(item) => given(args[0].fits(item), Bool),
            Any | Type::Map => Some(Some(Bool)),
            _ => None,
        },
        ("_[_]", _) => match &args[0] {
            Type::List(item) => given(args[1].fits(&Int) || args[1].fits(&Double), (**item).clone()),
            Any | Type::Map => Some(Some(Any)),
            _ => None,
        },
        ("size", _) => given(one_of(&[String, Bytes, Type::List(Any.into()), Type::Map]), Int),
        ("contains" | "startsWith" | "endsWith", true) => given(fits(&[String, String]), Bool),
        ("matches", _) => given(fits(&[String, String]), Bool),
        ("int", false) => given(one_of(&[Int, Uint, Double, String, Timestamp]), Int),
        ("uint", false) => given(one_of(&[Int, Uint, Double, String]), Uint),
        ("double", false) => given(one_of(&[Int, Uint, Double, String]), Double),
        ("string", false) => given(one_of(&[Bool, Int, Uint, Double, String, Bytes, Timestamp, Duration]), String),
        ("bool", false) => given(one_of(&[Bool, String]), Bool),
        ("bytes", false) => given(one_of(&[Bytes, String]), Bytes),
        ("dyn", false) => given(args.len() == 1, Any),
        ("type", false) => given(args.len() == 1, Type::Kind),
        ("timestamp", false) => given(one_of(&[Timestamp, String, Int]), Timestamp),
        ("duration", false) => given(one_of(&[Duration, String, Int]), Duration),
        ("lowercase" | "uppercase" | "b64decode", false) => given(one_of(&[String]), String),
        ("json_parse", false) => given(one_of(&[String]), Any),
        ("date", false) => given(args.len() == 1, Timestamp),
        ("now", false) => given(args.is_empty(), Timestamp),
        ("now_plus" | "now_minus", false) => given(one_of(&[String]), Timestamp),
        ("getHours" | "getMinutes" | "getSeconds" | "getMilliseconds", true) => {
            given(one_of(&[Timestamp, Duration]) || fits(&[Timestamp, String]), Int)
        }
        ("getFullYear" | "getMonth" | "getDate" | "getDayOfMonth" | "getDayOfWeek" | "getDayOfYear", true) => {
            given(one_of(&[Timestamp]) || fits(&[Timestamp, String]), Int)
        }
        _ => Some(None),
    }
}
