//! Expressions over an event.
//!
//! This build understands one form: comparisons of a path with a constant, `event.data.id == 'x'`, joined by
//! `&&`. That is what failure handlers are registered with. Everything else is refused when it is compiled,
//! with a text that says so; the whole CEL dialect takes this module's place later.

use serde_json::{Number, Value};

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
        let mut reader = Reader { text, at: 0 };
        let mut comparisons = vec![reader.comparison()?];
        while !reader.is_done() {
            if !reader.takes("&&") {
                return Err(reader.unsupported());
            }
            comparisons.push(reader.comparison()?);
        }
        Ok(Self { comparisons })
    }

    /// Whether `event` satisfies it. A missing field equals `null` and nothing else.
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

/// One side of a comparison.
enum Operand {
    Path(Vec<String>),
    Constant(Value),
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn comparison(&mut self) -> Result<Comparison, CompileError> {
        let left = self.operand()?;
        let equal = if self.takes("==") {
            true
        } else if self.takes("!=") {
            false
        } else if self.is_done() {
            return Err(CompileError::Unsupported("an expression without a comparison".into()));
        } else {
            return Err(self.unsupported());
        };
        match (left, self.operand()?) {
            (Operand::Path(path), Operand::Constant(constant)) | (Operand::Constant(constant), Operand::Path(path)) => {
                Ok(Comparison { path, equal, constant })
            }
            (Operand::Path(_), Operand::Path(_)) => Err(CompileError::Unsupported("a comparison of two fields".into())),
            (Operand::Constant(_), Operand::Constant(_)) => {
                Err(CompileError::Unsupported("a comparison of two constants".into()))
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, CompileError> {
        self.skip_space();
        match self.peek() {
            None => Err(self.syntax("unexpected end")),
            Some('\'' | '"') => Ok(Operand::Constant(Value::from(self.string()?))),
            Some('0'..='9' | '-') => self.number(),
            Some(character) if character.is_ascii_alphabetic() || character == '_' => self.name(),
            Some(_) => Err(self.unsupported()),
        }
    }

    fn name(&mut self) -> Result<Operand, CompileError> {
        match self.identifier() {
            "true" => Ok(Operand::Constant(Value::Bool(true))),
            "false" => Ok(Operand::Constant(Value::Bool(false))),
            "null" => Ok(Operand::Constant(Value::Null)),
            "event" => self.path(),
            other => Err(CompileError::Unsupported(format!("`{other}`"))),
        }
    }

    /// The rest of a path, after `event`.
    fn path(&mut self) -> Result<Operand, CompileError> {
        let mut path = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some('.') => {
                    self.at += 1;
                    self.skip_space();
                    let key = self.identifier().to_owned();
                    if key.is_empty() {
                        return Err(self.syntax("expected a field name after '.'"));
                    }
                    path.push(key);
                }
                Some('[') => {
                    self.at += 1;
                    self.skip_space();
                    if !matches!(self.peek(), Some('\'' | '"')) {
                        return Err(CompileError::Unsupported("an index that is no constant text".into()));
                    }
                    path.push(self.string()?);
                    if !self.takes("]") {
                        return Err(self.syntax("expected ']'"));
                    }
                }
                Some('(') => return Err(CompileError::Unsupported("a function call".into())),
                _ => return Ok(Operand::Path(path)),
            }
        }
    }

    fn identifier(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        self.at += length;
        &rest[..length]
    }

    fn string(&mut self) -> Result<String, CompileError> {
        let rest = &self.text[self.at..];
        let quote = rest.chars().next().unwrap_or('"');
        let Some(length) = rest[1..].find(quote) else { return Err(self.syntax("the text has no end")) };
        let content = &rest[1..=length];
        if content.contains('\\') || (content.is_empty() && rest[2..].starts_with(quote)) {
            return Err(CompileError::Unsupported("a text with escapes or triple quotes".into()));
        }
        self.at += length + 2;
        Ok(content.to_owned())
    }

    fn number(&mut self) -> Result<Operand, CompileError> {
        let rest = &self.text[self.at..];
        let in_number = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
        let length = rest.bytes().take_while(in_number).count();
        let number: Option<Number> = serde_json::from_str(&rest[..length]).ok();
        let Some(number) = number else { return Err(self.unsupported()) };
        self.at += length;
        Ok(Operand::Constant(Value::Number(number)))
    }

    fn takes(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.text[self.at..].starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn is_done(&mut self) -> bool {
        self.skip_space();
        self.at == self.text.len()
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn unsupported(&self) -> CompileError {
        let rest: String = self.text[self.at..].chars().take(20).collect();
        CompileError::Unsupported(format!("`{rest}`"))
    }

    fn syntax(&self, problem: &'static str) -> CompileError {
        CompileError::Syntax { at: self.text[..self.at].chars().count() + 1, problem }
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
            "event.data.x == 'it\\'s'",
            "event.data.x == '''a'''",
            "true",
            "event.data.x in [1]",
        ];
        for text in unsupported {
            let error = Expression::compile(text).unwrap_err();
            assert!(matches!(error, CompileError::Unsupported(_)), "{text}: {error}");
            assert!(error.to_string().contains("event.data.id == 'x'"), "{error}");
        }
        for text in ["", "event.data.x ==", "event. == 1", "event.data.x == 'open", "event.data['x' == 1"] {
            assert!(matches!(Expression::compile(text), Err(CompileError::Syntax { .. })), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}|(event|\\.|data|\\[|\\]|'|\"|==|!=|&&|1|-| |é){0,20}") {
            if let Ok(expression) = Expression::compile(&text) {
                let _any = expression.matches(&json!({ "data": 1 }));
            }
        }
    }
}
