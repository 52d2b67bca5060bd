//! Expressions: the dialect of CEL that Inngest's users write.
//!
//! A text is parsed once ([`parse`]), checked ([`check`], [`policy`]) and then evaluated over JSON by reference
//! ([`eval`]). What sets the dialect apart from CEL: missing data is tolerated, operands of different types are
//! compared and concatenated, and `&&`, `||` and `?:` go by truthiness. A condition of a wait is bound to the event
//! of its run ([`bind`]), and tells what an event must have to satisfy it ([`anchors`]).

mod anchors;
mod bind;
mod cache;
mod call;
mod check;
mod equalities;
mod eval;
mod fuel;
mod functions;
mod interpolate;
mod lexer;
mod parse;
mod pattern;
mod policy;
mod value;

use inngest_core::Millis;
use serde_json::Value as Json;

pub use anchors::{Anchor, Anchors, Scalar, Test};
pub use bind::{BINDINGS_BYTES_MAX, Bindings};
pub use cache::Cache;
pub use fuel::UNITS_MAX;
pub use policy::PolicyError;
pub use value::{List, Map, Text, Value};

use eval::Scope;
use parse::Parsed;

/// Longest text of an expression, in bytes; a longer one does not compile.
pub const TEXT_BYTES_MAX: usize = 4 * 1024;

/// Which variables an expression may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Roots {
    /// `event`.
    Event,
    /// `event`, and `async`: an event that comes later.
    EventAndAsync,
    /// What is known of a run: `event`, `output`, `error`, `run`, `function`, `app` and `duration_ms`.
    Run,
}

/// Why a text is no expression that can be used; prints as the Go server's compiler does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error compiling expression: ERROR: <input>:1:{column}: {problem}\n | {shown}\n | {dots}^", dots = ".".repeat(column.saturating_sub(1)))]
pub struct CompileError {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// The text.
    shown: String,
}

/// Why a condition cannot be kept for later events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// What it takes from the event of the run would be stored with each wait.
    #[error(
        "the values that the expression takes from the run's event are longer than {BINDINGS_BYTES_MAX} bytes of JSON"
    )]
    TooLarge,
}

/// Why an expression gives no answer for an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Data that is not there, where that is not tolerated.
    #[error("no such key: {0}")]
    NoKey(String),
    /// An index beyond a list.
    #[error("index out of bounds: {0}")]
    OutOfBounds(String),
    /// A variable that does not exist.
    #[error("no such attribute(s): {0}")]
    NoAttribute(String),
    /// An operator or function that does not take these operands.
    #[error("no such overload: {0}")]
    NoOverload(&'static str),
    /// More work than an evaluation may be.
    #[error("the expression takes more than {UNITS_MAX} units of work for this event")]
    TooCostly,
    /// Anything else.
    #[error("{0}")]
    Other(String),
    /// It has no result at all.
    #[error("expression did not return true or false")]
    NoResult,
    /// It has a result, but neither `true` nor `false`.
    #[error("expression did not return true or false: it returned {0}")]
    NotBool(&'static str),
}

/// A compiled expression. Cheap to share in an `Arc`.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Box<str>,
    parsed: Parsed,
}

impl Expression {
    /// Reads an expression without checking its types and names: enough for keys, of which registration accepts
    /// anything that has the form of an expression.
    pub fn parse(text: &str) -> Result<Self, CompileError> {
        Self::read(text, None)
    }

    fn read(text: &str, roots: Option<Roots>) -> Result<Self, CompileError> {
        let parsed = parse::parse(text, roots).map_err(|error| error.of(text))?;
        Ok(Self { text: text.into(), parsed })
    }

    /// Reads and checks an expression that may name these variables.
    pub fn compile(text: &str, roots: Roots) -> Result<Self, CompileError> {
        let expression = Self::read(text, Some(roots))?;
        check::check(&expression.parsed.root, roots).map_err(|error| error.of(text))?;
        Ok(expression)
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it may cancel runs: no macros, and no functions but `int`, `uint` and `double`.
    pub fn check_restrictive(&self) -> Result<(), PolicyError> {
        policy::check(&self.parsed.root)
    }

    /// Its value for these events.
    pub fn evaluate<'v>(
        &'v self,
        event: &'v Json,
        other: Option<&'v Json>,
        now: Millis,
    ) -> Result<Value<'v>, EvalError> {
        Scope::of_events(&self.parsed, event, other, now).result()
    }

    /// Whether it is true of an event.
    pub fn matches(&self, event: &Json, now: Millis) -> Result<bool, EvalError> {
        boolean(self.evaluate(event, None, now)?)
    }

    /// Whether it is true of an object that has each of its variables as a member ([`Roots::Run`]).
    pub fn matches_roots(&self, roots: &Json, now: Millis) -> Result<bool, EvalError> {
        boolean(Scope::of_roots(&self.parsed, roots, now).result()?)
    }

    /// The texts of which the value at this path must be one for the expression to be true; `None` when nothing of the
    /// kind is known. A text may be among them for which it is false all the same.
    #[must_use]
    pub fn texts_at(&self, root: &str, field: &str) -> Option<Vec<&str>> {
        equalities::texts_at(&self.parsed.root, root, field)
    }

    /// What of it is fixed by the event of a run.
    pub fn bind(&self, event: &Json) -> Result<Bindings, BindError> {
        Bindings::of(&self.parsed, event)
    }

    /// Whether it is true of a later event, with what the event of the run has fixed.
    pub fn matches_bound(&self, bindings: &Bindings, other: &Json, now: Millis) -> Result<bool, EvalError> {
        boolean(self.evaluate_bound(bindings, other, now)?)
    }

    /// Its value for a later event, with what the event of the run has fixed.
    pub fn evaluate_bound<'v>(
        &'v self,
        bindings: &'v Bindings,
        other: &'v Json,
        now: Millis,
    ) -> Result<Value<'v>, EvalError> {
        Scope::bound(&self.parsed, bindings, Some(other), now).result()
    }

    /// The text with the values of the run's event in the place of their names, as it is shown.
    #[must_use]
    pub fn interpolated(&self, event: &Json) -> String {
        interpolate::interpolate(&self.text, event)
    }

    /// What a later event must have for the expression to be true of it.
    #[must_use]
    pub fn anchors(&self, bindings: &Bindings) -> Anchors {
        anchors::of(&self.parsed, bindings)
    }
}

fn boolean(value: Value<'_>) -> Result<bool, EvalError> {
    match value {
        Value::Bool(value) => Ok(value),
        other => Err(EvalError::NotBool(other.type_name())),
    }
}

/// A problem at a character of the text, counted from 1.
#[derive(Debug)]
struct Problem {
    column: usize,
    text: String,
}

impl Problem {
    fn new(column: usize, text: impl Into<String>) -> Self {
        Self { column, text: text.into() }
    }

    fn of(self, text: &str) -> CompileError {
        CompileError { column: self.column, problem: self.text, shown: text.to_owned() }
    }
}

#[cfg(test)]
mod tests;
