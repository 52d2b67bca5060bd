//! Members of objects, read leniently in their names and strictly in their types.

use std::time::Duration;

use inngest_expr::duration;
use inngest_expr::expression::{CompileError, Expression, Roots};
use serde_json::{Map, Value};

/// Characters of a value that a problem shows.
const SHOWN_MAX: usize = 100;

/// What is wrong with the configuration of a function.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    /// In front of every text.
    function: String,
    shapes: Vec<String>,
    rules: Vec<String>,
}

impl Problems {
    /// Names the function that the following problems are about.
    pub(crate) fn of(&mut self, function: &str) {
        self.function = format!("{function}: ");
    }

    /// Something has not the form it must have: reported as an invalid request.
    pub(crate) fn shape(&mut self, text: impl AsRef<str>) {
        self.shapes.push(format!("{}{}", self.function, text.as_ref()));
    }

    /// As [`Problems::shape`], of the value of a member.
    pub(crate) fn kind(&mut self, path: &str, expected: &str, value: &Value) {
        let text: String = value.to_string().chars().take(SHOWN_MAX).collect();
        self.shape(format!("{path} must be {expected}, not {text}"));
    }

    /// A rule is broken: reported as an invalid function.
    pub(crate) fn rule(&mut self, text: impl AsRef<str>) {
        self.rules.push(format!("{}{}", self.function, text.as_ref()));
    }

    /// As [`Problems::rule`], of what is left out for it.
    pub(super) fn refuse<T>(&mut self, text: impl AsRef<str>) -> Option<T> {
        self.rule(text);
        None
    }

    /// All wrong forms, and all broken rules.
    pub(crate) fn into_parts(self) -> (Vec<String>, Vec<String>) {
        (self.shapes, self.rules)
    }
}

/// A member by its name, whatever the case of its letters: SDKs do not agree on it. The name is the last word of its
/// path, by which problems call it.
pub(crate) fn field<'o>(object: &'o Map<String, Value>, path: &str) -> Option<&'o Value> {
    let name = path.rsplit('.').next().unwrap_or(path);
    object.get(name).or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// Whether a member says something.
pub(super) fn is_set(object: &Map<String, Value>, key: &str) -> bool {
    match field(object, key) {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

/// A text; `None` when it is absent or null.
pub(crate) fn text<'o>(object: &'o Map<String, Value>, path: &str, problems: &mut Problems) -> Option<&'o str> {
    match field(object, path) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(value) => {
            problems.kind(path, "a string", value);
            None
        }
    }
}

/// A text that means nothing when it is empty. Expressions are not among those: an empty one would hold for
/// everything, which nobody means who wrote one.
pub(crate) fn optional<'o>(object: &'o Map<String, Value>, path: &str, problems: &mut Problems) -> Option<&'o str> {
    text(object, path, problems).filter(|text| !text.is_empty())
}

pub(crate) fn object_at<'o>(
    object: &'o Map<String, Value>,
    path: &str,
    problems: &mut Problems,
) -> Option<&'o Map<String, Value>> {
    match field(object, path) {
        None | Some(Value::Null) => None,
        Some(Value::Object(inner)) => Some(inner),
        Some(value) => {
            problems.kind(path, "an object", value);
            None
        }
    }
}

pub(super) fn whole(object: &Map<String, Value>, path: &str, problems: &mut Problems) -> Option<i64> {
    match field(object, path) {
        None | Some(Value::Null) => None,
        Some(value) => {
            let number = integral(value);
            if number.is_none() {
                problems.kind(path, "a whole number", value);
            }
            number
        }
    }
}

/// A whole number, however it is written: SDKs whose numbers are all doubles send `10.0`.
pub(crate) fn integral(value: &Value) -> Option<i64> {
    // Up to here doubles are exact.
    const MAX: f64 = (1_u64 << 53) as f64;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and not too large")]
    let of_double = |number: f64| (number.fract() == 0.0 && number.abs() <= MAX).then_some(number as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(of_double))
}

/// Nanoseconds of a duration. The Kotlin SDK sends some within quotes of their own. The error is the text that Go's
/// parser has for it.
pub(crate) fn nanos(text: &str) -> Result<i64, String> {
    duration::parse(unquoted(text)).map(|span| span.nanos).map_err(|_| format!("time: invalid duration {text:?}"))
}

pub(super) fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// The nanoseconds of a duration that may be absent; `refusal` makes the text of one that cannot be read.
pub(super) fn length(
    object: &Map<String, Value>,
    path: &str,
    problems: &mut Problems,
    refusal: impl FnOnce(&str, &str) -> String,
) -> Option<i64> {
    let text = optional(object, path, problems)?;
    match nanos(text) {
        Ok(nanos) => Some(nanos),
        Err(problem) => {
            problems.rule(refusal(text, &problem));
            None
        }
    }
}

/// A length of time that is not negative.
pub(crate) fn duration_of(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// How much of an expression a sync checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// That it has the form of an expression.
    Form,
    /// Also its types, and that it names nothing but the event.
    Types,
}

/// An expression over the event that starts a run; `refusal` makes the text of one that does not compile.
pub(crate) fn compile(
    expression: &str,
    checked: Checked,
    problems: &mut Problems,
    refusal: impl FnOnce(&CompileError) -> String,
) -> Option<Expression> {
    let compiled = match checked {
        Checked::Form => Expression::parse(expression),
        Checked::Types => Expression::compile(expression, Roots::Event),
    };
    compiled.map_err(|error| problems.rule(refusal(&error))).ok()
}

/// As [`compile`], of one that may be absent; `None` when there is one that does not compile.
pub(super) fn expression(
    text: Option<&str>,
    checked: Checked,
    problems: &mut Problems,
    refusal: impl FnOnce(&str, &CompileError) -> String,
) -> Option<Option<Expression>> {
    let Some(text) = text else { return Some(None) };
    compile(text, checked, problems, |error| refusal(text, error)).map(Some)
}
