//! Expressions over an event.
//!
//! This build understands one form: comparisons of a path with a constant, `event.data.id == 'x'`, joined by
//! `&&`. That is what failure handlers are registered with. Everything else is refused when it is compiled,
//! with a text that says so; the whole CEL dialect takes this module's place later.

mod reader;

use reader::Reader;
use serde_json::Value;

/// Why a text is no expression that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// CEL, perhaps, but not the part of it that this build evaluates.
    #[error("{0} is not supported by this version: only comparisons such as event.data.id == 'x', joined by &&, are")]
    Unsupported(String),
    /// Not CEL.
    #[error("syntax error at character {at}: {problem}")]
    Syntax {
        /// Counted from 1.
        at: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Why an expression gives no answer for an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {}

/// A compiled expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    comparisons: Vec<Comparison>,
}

#[derive(Clone, Debug, PartialEq)]
struct Comparison {
    path: Vec<String>,
    equal: bool,
    constant: Value,
}

impl Expression {
    /// Compiles `text`.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        let mut reader = Reader::new(text);
        let mut comparisons = vec![reader.comparison()?];
        while !reader.is_done() {
            reader.and()?;
            comparisons.push(reader.comparison()?);
        }
        Ok(Self { comparisons })
    }

    /// Whether `event` satisfies it. A missing field equals `null` and nothing else; numbers are doubles.
    pub fn matches(&self, event: &Value) -> Result<bool, EvalError> {
        Ok(self.comparisons.iter().all(|comparison| comparison.holds(event)))
    }
}

impl Comparison {
    fn holds(&self, event: &Value) -> bool {
        let found = self.path.iter().try_fold(event, |value, key| value.get(key)).unwrap_or(&Value::Null);
        let equal = match (found, &self.constant) {
            (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
            (a, b) => a == b,
        };
        equal == self.equal
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn comparisons_with_constants() {
        let event = json!({
            "name": "billing/invoice.paid", "ts": 1_716_200_000_000_i64, "v": "2024-05", "user": { "plan": "pro" },
            "data": { "amount": 1250, "rate": 0.2, "paid": true, "note": null, "empty": "", "zero": 0,
                      "kebab-key": "kk", "quoted": "say \"hi\"", "customer": { "address": { "city": "Lyon" } } },
        });
        let table = [
            ("event.name == \"billing/invoice.paid\"", true),
            ("event.ts == 1716200000000", true),
            ("event.data.amount == 1250.0", true),
            ("event.data.amount != 1250", false),
            ("event.data.paid == true", true),
            ("event.data.rate == 0.2", true),
            ("'Lyon' == event.data.customer.address.city", true),
            ("event.data[\"kebab-key\"] == 'kk'", true),
            ("event[\"data\"].amount == -1", false),
            ("event.data.quoted == 'say \"hi\"'", true),
            ("event.data.note == null", true),
            ("event.data.note != \"x\"", true),
            ("event.data.note == \"\"", false),
            ("event.data.note == false", false),
            ("event.data.coupon == null", true),
            ("event.data.coupon != null", false),
            ("event.data.coupon == 'X'", false),
            ("event.data.coupon != 'X'", true),
            ("event.data.coupon == 0", false),
            ("event.data.coupon.code == null", true),
            ("event.data.amount.value == 3", false),
            ("event.data.empty == ''", true),
            (" event.data.paid==true&&event.user.plan == 'pro' && event.v != 'x' ", true),
            ("event.data.paid == true && event.user.plan == 'free'", false),
            (r#"event.data.quoted == "say \"hi\"""#, true),
            (r"event.data.quoted == 'say \x22hi\042'", true),
            (r"event.data.customer.address.city == '\u004cy\U0000006fn'", true),
            (r"event['kebab-key'] == 'it\'s'", false),
            ("event.data['amount'] == 1250 && event['data']['paid'] != false", true),
            ("event.data.amount[\"x\"] == null", true),
            ("event.data.rate == .2", true),
            ("event == null", false),
        ];
        for (text, expected) in table {
            let expression = Expression::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(expression.matches(&event), Ok(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_by_name() {
        let unsupported = [
            "event.data.n > 5",
            "event.data.a == event.data.b",
            "1 == 1",
            "event.data.x",
            "size(event.data.x) == 1",
            "event.data.x == 'a' || event.data.y == 'b'",
            "(event.data.x == 1)",
            "!event.data.x",
            "event.data.x == 1 + 1",
            "event.data.tags[0] == 'a'",
            "event.data.x.contains('a') == true",
            "async.data.x == 1",
            "event.data.x == '''a'''",
            "true",
            "event.data.x in [1]",
            "event.data.x == r'a'",
            "event.data.x == 5u",
            "event.data.x == 0x10",
            "event.data.x == 1 // why",
        ];
        for text in unsupported {
            let error = Expression::compile(text).unwrap_err();
            assert!(matches!(error, CompileError::Unsupported(_)), "{text}: {error}");
            assert!(error.to_string().contains("event.data.id == 'x'"), "{error}");
        }
    }

    #[test]
    fn what_is_no_cel_is_refused_with_its_place() {
        let table = [
            ("", 1),
            ("event.data.x ==", 16),
            ("event. == 1", 8),
            ("event.data.1x == 1", 12),
            ("event.data.in == 1", 12),
            ("event.data.x == 'open", 22),
            ("event.data.x == 'a\nb'", 19),
            ("event.data['x' == 1", 16),
            ("event.data.x = 1", 14),
            ("event.data.x === 1", 16),
            ("event.data.x & 1", 14),
            (r"event.data.x == 'é\q'", 19),
            (r"event.data.x == '\ud800'", 18),
            (r"event.data.x == '\x2'", 18),
            (r"event.data.x == '\", 18),
            ("event.data.x == 99999999999999999999", 17),
            ("event.data.x == 1 &&", 21),
        ];
        for (text, place) in table {
            match Expression::compile(text) {
                Err(CompileError::Syntax { at, .. }) => assert_eq!(at, place, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}|(event|\\.|data|\\[|\\]|'|\"|==|!=|&&|=|1|-| |é|\\\\|u00){0,20}") {
            if let Ok(expression) = Expression::compile(&text) {
                let _any = expression.matches(&json!({ "data": 1 }));
            }
        }
    }
}
