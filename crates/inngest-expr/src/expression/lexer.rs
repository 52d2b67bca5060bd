//! Words of an expression.

use super::Problem;

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Ident(String),
    Int(u64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    /// An operator or a bracket.
    Symbol(&'static str),
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "(", ")", "[", "]", "{", "}", ".", ",", ":", "?", "+", "-", "*", "/", "%", "!",
    "<", ">",
];

/// The words of a text with their places, counted in characters from 1.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Problem> {
    let mut lexer = Lexer { rest: text, column: 1, len: text.chars().count() };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let column = lexer.column;
        if lexer.rest.is_empty() {
            tokens.push((Token::End, lexer.len.max(column.saturating_sub(1)).max(1)));
            return Ok(tokens);
        }
        tokens.push((lexer.next()?, column));
    }
}

struct Lexer<'t> {
    rest: &'t str,
    column: usize,
    len: usize,
}

impl<'t> Lexer<'t> {
    fn skip_blanks(&mut self) {
        loop {
            let blanks = self.rest.len() - self.rest.trim_start().len();
            self.take(blanks);
            if !self.rest.starts_with("//") {
                return;
            }
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    /// Takes so many bytes.
    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        self.column += taken.chars().count();
        taken
    }

    fn next(&mut self) -> Result<Token, Problem> {
        let first = self.rest.chars().next().expect("there is more");
        let second = self.rest.chars().nth(1).unwrap_or('\0');
        if let Some(string) = self.string()? {
            return Ok(string);
        }
        if first.is_ascii_digit() || (first == '.' && second.is_ascii_digit()) {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
            return Ok(Token::Ident(self.take(end).to_owned()));
        }
        // What users of JavaScript type: answered as the Go server does, to the letter.
        if self.rest.starts_with("===") || self.rest.starts_with("!==") {
            let after: String = self.rest[2..].chars().take(2).collect();
            return Err(Problem::new(self.column + 2, format!("Syntax error: token recognition error at: '{after}'")));
        }
        match SYMBOLS.into_iter().find(|symbol| self.rest.starts_with(symbol)) {
            Some(symbol) => {
                self.take(symbol.len());
                Ok(Token::Symbol(symbol))
            }
            None => Err(Problem::new(self.column, format!("Syntax error: token recognition error at: '{first}'"))),
        }
    }

    fn number(&mut self) -> Result<Token, Problem> {
        let column = self.column;
        let is_hex = self.rest.starts_with("0x") || self.rest.starts_with("0X");
        if is_hex {
            self.take(2);
            let end = self.rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(self.rest.len());
            let digits = self.take(end);
            let value = u64::from_str_radix(digits, 16).map_err(|_| Problem::new(column, "invalid int literal"))?;
            return Ok(self.suffixed(value));
        }
        let bytes = self.rest.as_bytes();
        let digits = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut end = digits(0);
        let mut is_double = false;
        if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            is_double = true;
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
                is_double = true;
                end = digits(end + 1 + sign);
            }
        }
        let text = self.take(end);
        if is_double {
            let value: f64 = text.parse().map_err(|_| Problem::new(column, "invalid double literal"))?;
            return if value.is_finite() {
                Ok(Token::Double(value))
            } else {
                Err(Problem::new(column, "invalid double literal"))
            };
        }
        let value = text.parse().map_err(|_| Problem::new(column, "invalid int literal"))?;
        Ok(self.suffixed(value))
    }

    fn suffixed(&mut self, value: u64) -> Token {
        if self.rest.starts_with(['u', 'U']) {
            self.take(1);
            return Token::Uint(value);
        }
        Token::Int(value)
    }

    /// A string or bytes, raw or not, with one or three quotes of either kind.
    fn string(&mut self) -> Result<Option<Token>, Problem> {
        let prefix_len = self.rest.find(|c: char| !matches!(c, 'r' | 'R' | 'b' | 'B')).unwrap_or(0);
        if prefix_len > 2 {
            return Ok(None);
        }
        let (prefix, quoted) = self.rest.split_at(prefix_len);
        let Some(quote) = quoted.chars().next().filter(|c| matches!(c, '"' | '\'')) else { return Ok(None) };
        let (raw, bytes) = (prefix.contains(['r', 'R']), prefix.contains(['b', 'B']));
        let column = self.column;
        let triple = quote.to_string().repeat(3);
        let delimiter = if quoted.starts_with(&triple) { triple } else { quote.to_string() };
        self.take(prefix_len + delimiter.len());
        let unfinished = || Problem::new(column, format!("Syntax error: token recognition error at: '{quote}'"));
        let mut out = Out { bytes: Vec::new(), binary: bytes };
        loop {
            if self.rest.starts_with(&delimiter) {
                self.take(delimiter.len());
                break;
            }
            let Some(c) = self.rest.chars().next() else { return Err(unfinished()) };
            if c == '\n' && delimiter.len() == 1 {
                return Err(unfinished());
            }
            self.take(c.len_utf8());
            if c == '\\' && !raw {
                self.escape(&mut out)?;
            } else {
                out.char(c);
            }
        }
        if bytes {
            return Ok(Some(Token::Bytes(out.bytes)));
        }
        let text = String::from_utf8(out.bytes).map_err(|_| Problem::new(column, "invalid string literal"))?;
        Ok(Some(Token::String(text)))
    }

    fn escape(&mut self, out: &mut Out) -> Result<(), Problem> {
        let column = self.column;
        let bad = || Problem::new(column, "Syntax error: invalid escape in a string");
        let c = self.rest.chars().next().ok_or_else(bad)?;
        self.take(c.len_utf8());
        let simple = match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '?' | '"' | '\'' | '`' => c,
            'x' | 'X' => {
                out.code(self.digits(2, 16).ok_or_else(bad)?);
                return Ok(());
            }
            'u' | 'U' if !out.binary => {
                let code = self.digits(if c == 'u' { 4 } else { 8 }, 16).ok_or_else(bad)?;
                char::from_u32(code).ok_or_else(bad)?
            }
            '0'..='3' => {
                let rest = self.digits(2, 8).ok_or_else(bad)?;
                out.code(c.to_digit(8).unwrap_or(0) * 64 + rest);
                return Ok(());
            }
            _ => return Err(bad()),
        };
        out.char(simple);
        Ok(())
    }

    fn digits(&mut self, count: usize, radix: u32) -> Option<u32> {
        let text = self.rest.get(..count).filter(|text| text.chars().all(|c| c.is_digit(radix)))?;
        let value = u32::from_str_radix(text, radix).ok()?;
        self.take(count);
        Some(value)
    }
}

/// The content of a string in the making.
struct Out {
    bytes: Vec<u8>,
    binary: bool,
}

impl Out {
    fn char(&mut self, c: char) {
        self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// `\xHH` and `\ooo`: a byte of bytes, a character of a string.
    fn code(&mut self, code: u32) {
        match (self.binary, u8::try_from(code)) {
            (true, Ok(byte)) => self.bytes.push(byte),
            _ => self.char(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }
}
