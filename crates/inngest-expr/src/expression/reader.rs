//! The text of an expression, read.

use serde_json::{Number, Value};

use super::{Comparison, CompileError};

/// Words that are no names in CEL.
const KEYWORDS: [&str; 4] = ["true", "false", "null", "in"];

/// One side of a comparison.
enum Operand {
    Path(Vec<String>),
    Constant(Value),
}

/// Reads an expression from left to right.
pub(super) struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// What joins two comparisons.
    pub(super) fn and(&mut self) -> Result<(), CompileError> {
        if self.takes("&&") { Ok(()) } else { Err(self.refused()) }
    }

    pub(super) fn comparison(&mut self) -> Result<Comparison, CompileError> {
        let left = self.operand()?;
        let equal = if self.takes("==") {
            true
        } else if self.takes("!=") {
            false
        } else if self.is_done() {
            return Err(CompileError::Unsupported("an expression without a comparison".into()));
        } else {
            return Err(self.refused());
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
            Some('0'..='9' | '-' | '.') => self.number(),
            Some(character) if character.is_ascii_alphabetic() || character == '_' => self.name(),
            Some(_) => Err(self.refused()),
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
                    path.push(self.field()?);
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

    fn field(&mut self) -> Result<String, CompileError> {
        let start = self.at;
        let name = self.identifier();
        if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) || KEYWORDS.contains(&name) {
            self.at = start;
            return Err(self.syntax("expected a field name after '.'"));
        }
        Ok(name.to_owned())
    }

    fn identifier(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        self.at += length;
        &rest[..length]
    }

    /// A text in single or double quotes.
    fn string(&mut self) -> Result<String, CompileError> {
        let Some(quote) = self.next() else { return Err(self.syntax("expected a text")) };
        if self.text[self.at..].starts_with(&[quote, quote].iter().collect::<String>()) {
            return Err(CompileError::Unsupported("a text in triple quotes".into()));
        }
        let mut text = String::new();
        loop {
            match self.peek() {
                None | Some('\n' | '\r') => return Err(self.syntax("the text has no end")),
                Some('\\') => text.push(self.escape()?),
                Some(character) => {
                    self.at += character.len_utf8();
                    if character == quote {
                        return Ok(text);
                    }
                    text.push(character);
                }
            }
        }
    }

    /// The escapes of CEL: those of C, and `\xHH`, `\uHHHH`, `\UHHHHHHHH` and `\OOO` for one code point.
    fn escape(&mut self) -> Result<char, CompileError> {
        const PROBLEM: &str = "unknown escape in a text";
        let start = self.at;
        self.at += 1;
        let (length, radix) = match self.peek() {
            Some('x' | 'X') => (2, 16),
            Some('u') => (4, 16),
            Some('U') => (8, 16),
            Some('0'..='3') => (3, 8),
            simple => {
                let character = match simple {
                    Some('a') => '\x07',
                    Some('b') => '\x08',
                    Some('t') => '\t',
                    Some('n') => '\n',
                    Some('v') => '\x0b',
                    Some('f') => '\x0c',
                    Some('r') => '\r',
                    Some(same @ ('\\' | '?' | '"' | '\'' | '`')) => same,
                    _ => {
                        self.at = start;
                        return Err(self.syntax(PROBLEM));
                    }
                };
                self.at += 1;
                return Ok(character);
            }
        };
        self.at += usize::from(radix == 16);
        let digits = self.text.get(self.at..self.at + length);
        let digits = digits.filter(|digits| digits.bytes().all(|digit| char::from(digit).is_digit(radix)));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok());
        let Some(character) = code.and_then(char::from_u32) else {
            self.at = start;
            return Err(self.syntax(PROBLEM));
        };
        self.at += length;
        Ok(character)
    }

    fn number(&mut self) -> Result<Operand, CompileError> {
        let rest = &self.text[self.at..];
        let in_number = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
        let length = rest.bytes().take_while(in_number).count();
        let text = &rest[..length];
        // CEL allows `.5`, JSON does not.
        let whole = if text.starts_with('.') { format!("0{text}") } else { text.to_owned() };
        let Ok(number) = serde_json::from_str::<Number>(&whole) else { return Err(self.unsupported()) };
        let is_integer = !text.contains(['.', 'e', 'E']);
        if is_integer && text.parse::<i64>().is_err() {
            return Err(self.syntax("the integer is out of range"));
        }
        self.at += length;
        Ok(Operand::Constant(Value::Number(number)))
    }

    fn takes(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.text[self.at..].starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    pub(super) fn is_done(&mut self) -> bool {
        self.skip_space();
        self.at == self.text.len()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    /// What stands here is no operator of this build, and perhaps none at all.
    fn refused(&self) -> CompileError {
        let rest = &self.text[self.at..];
        let single = |sign: &str, double: &str| rest.starts_with(sign) && !rest.starts_with(double);
        if single("=", "==") || single("&", "&&") || single("|", "||") {
            return self.syntax("there is no such operator; '==', '!=' and '&&' are spelled with two signs");
        }
        self.unsupported()
    }

    fn unsupported(&self) -> CompileError {
        let rest: String = self.text[self.at..].chars().take(20).collect();
        CompileError::Unsupported(format!("`{rest}`"))
    }

    fn syntax(&self, problem: &'static str) -> CompileError {
        CompileError::Syntax { at: self.text[..self.at].chars().count() + 1, problem }
    }
}
