//! From words to a tree.

use std::sync::Arc;

use super::lexer::{Token, tokens};
use super::{Problem, TEXT_BYTES_MAX, Value, bind};

/// Deeper nesting is refused.
const DEPTH_MAX: usize = 100;

/// A parsed expression.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) root: Node,
    /// Every chain that is tolerated when it is missing.
    pub(super) tracked: Vec<Path>,
    /// Every chain below `event`.
    pub(super) bound: Vec<Path>,
}

/// A variable and fields below it: `event.data.id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) root: String,
    pub(super) fields: Vec<String>,
}

/// One part of an expression, and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) column: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Literal(Value<'static>),
    /// `tracked`: missing data is tolerated here.
    Chain {
        path: Path,
        tracked: bool,
    },
    /// A field of something that is no chain.
    Select(Box<Node>, String),
    Has(Box<Node>, String),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Choice(Box<Node>, Box<Node>, Box<Node>),
    /// An operator (by its name in CEL), a function, or a method whose receiver is the first argument.
    Call {
        name: String,
        method: bool,
        args: Vec<Node>,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Macro {
        kind: Macro,
        over: Box<Node>,
        variable: Arc<str>,
        bodies: Vec<Node>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

/// Words that are no names, not even of fields.
const LITERAL_WORDS: [&str; 4] = ["in", "true", "false", "null"];
/// Words that are no names of variables.
const RESERVED: [&str; 18] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "struct",
];

pub(super) fn parse(text: &str) -> Result<Parsed, Problem> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Problem::new(1, format!("the expression is longer than {TEXT_BYTES_MAX} bytes")));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    if parser.peek() == &Token::End {
        return Err(Problem::new(0, "Syntax error: mismatched input '<EOF>'"));
    }
    let mut root = parser.expression()?;
    if parser.peek() != &Token::End {
        return Err(parser.unexpected());
    }
    let mut tracked = Vec::new();
    track(&mut root, true, &mut Vec::new(), &mut tracked);
    let bound = bind::paths(&root);
    Ok(Parsed { root, tracked, bound })
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
}

type Parse = Result<Node, Problem>;

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn column(&self) -> usize {
        self.tokens[self.at].1
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn eat(&mut self, symbol: &'static str) -> bool {
        let found = *self.peek() == Token::Symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), Problem> {
        if self.eat(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> Problem {
        let shown = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Symbol(symbol) => (*symbol).to_owned(),
            Token::Ident(name) => name.clone(),
            Token::Int(value) | Token::Uint(value) => value.to_string(),
            Token::Double(value) => value.to_string(),
            Token::String(_) | Token::Bytes(_) => "a string".to_owned(),
        };
        Problem::new(self.column(), format!("Syntax error: extraneous input '{shown}'"))
    }

    fn expression(&mut self) -> Parse {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Problem::new(self.column(), format!("the expression is nested deeper than {DEPTH_MAX}")));
        }
        let condition = self.or()?;
        let node = if self.eat("?") {
            let column = condition.column;
            let then = self.or()?;
            self.expect(":")?;
            let otherwise = self.expression()?;
            Node { kind: Kind::Choice(condition.into(), then.into(), otherwise.into()), column }
        } else {
            condition
        };
        self.depth -= 1;
        Ok(node)
    }

    fn or(&mut self) -> Parse {
        let mut left = self.and()?;
        while self.eat("||") {
            let right = self.and()?;
            left = Node { column: left.column, kind: Kind::Or(left.into(), right.into()) };
        }
        Ok(left)
    }

    fn and(&mut self) -> Parse {
        let mut left = self.relation()?;
        while self.eat("&&") {
            let right = self.relation()?;
            left = Node { column: left.column, kind: Kind::And(left.into(), right.into()) };
        }
        Ok(left)
    }

    fn relation(&mut self) -> Parse {
        let mut left = self.binary(0)?;
        loop {
            let name = match self.peek() {
                Token::Symbol("==") => "_==_",
                Token::Symbol("!=") => "_!=_",
                Token::Symbol("<") => "_<_",
                Token::Symbol("<=") => "_<=_",
                Token::Symbol(">") => "_>_",
                Token::Symbol(">=") => "_>=_",
                Token::Ident(word) if word == "in" => "@in",
                _ => return Ok(left),
            };
            self.advance();
            let right = self.binary(0)?;
            left = operator(name, left.column, vec![left, right]);
        }
    }

    /// Sums (level 0) of products (level 1).
    fn binary(&mut self, level: usize) -> Parse {
        const LEVELS: [&[(&str, &str)]; 2] =
            [&[("+", "_+_"), ("-", "_-_")], &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")]];
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        loop {
            let found = operators.iter().find(|(symbol, _)| *self.peek() == Token::Symbol(symbol));
            let Some((_, name)) = found else { return Ok(left) };
            self.advance();
            let right = self.binary(level + 1)?;
            left = operator(name, left.column, vec![left, right]);
        }
    }

    fn unary(&mut self) -> Parse {
        let column = self.column();
        let (symbol, name) = match self.peek() {
            Token::Symbol("!") => ("!", "!_"),
            Token::Symbol("-") => ("-", "-_"),
            _ => return self.member(),
        };
        let mut count = 0;
        while self.eat(symbol) {
            count += 1;
            if count > DEPTH_MAX {
                return Err(Problem::new(column, format!("the expression is nested deeper than {DEPTH_MAX}")));
            }
            // A negative number is a literal.
            let literal = match self.peek() {
                Token::Int(value) if symbol == "-" => {
                    Some(negative(*value).ok_or_else(|| Problem::new(column, "invalid int literal"))?)
                }
                Token::Double(value) if symbol == "-" => Some(Value::Double(-value)),
                _ => None,
            };
            if let Some(value) = literal {
                self.advance();
                let inner = self.suffixes(Node { kind: Kind::Literal(value), column })?;
                return Ok((1..count).fold(inner, |inner, _| operator(name, column, vec![inner])));
            }
        }
        let inner = self.member()?;
        Ok((0..count).fold(inner, |inner, _| operator(name, column, vec![inner])))
    }

    fn member(&mut self) -> Parse {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    fn suffixes(&mut self, mut node: Node) -> Parse {
        let mut count = 0;
        loop {
            count += 1;
            if count > DEPTH_MAX {
                return Err(Problem::new(self.column(), format!("the expression is nested deeper than {DEPTH_MAX}")));
            }
            let column = self.column();
            if self.eat(".") {
                if *self.peek() == Token::Symbol("?") {
                    return Err(Problem::new(column, "unsupported syntax '.?'"));
                }
                let Token::Ident(name) = self.peek().clone() else { return Err(self.unexpected()) };
                if LITERAL_WORDS.contains(&&*name) {
                    return Err(self.unexpected());
                }
                self.advance();
                node = if self.eat("(") { self.method(node, name, column)? } else { select(node, name, column) };
            } else if self.eat("[") {
                if *self.peek() == Token::Symbol("?") {
                    return Err(Problem::new(column, "unsupported syntax '[?'"));
                }
                let index = self.expression()?;
                self.expect("]")?;
                node = operator("_[_]", column, vec![node, index]);
            } else {
                return Ok(node);
            }
        }
    }

    fn method(&mut self, receiver: Node, name: String, column: usize) -> Parse {
        let args = self.arguments(")")?;
        let kind = match (name.as_str(), args.len()) {
            ("all", 2) => Macro::All,
            ("exists", 2) => Macro::Exists,
            ("exists_one", 2) => Macro::ExistsOne,
            ("map", 2 | 3) => Macro::Map,
            ("filter", 2) => Macro::Filter,
            _ => {
                let args = std::iter::once(receiver).chain(args).collect();
                return Ok(Node { kind: Kind::Call { name, method: true, args }, column });
            }
        };
        let mut args = args.into_iter();
        let variable = match args.next().map(|node| (node.kind, node.column)) {
            Some((Kind::Chain { path, .. }, _)) if path.fields.is_empty() => path.root.into(),
            _ => return Err(Problem::new(column, "argument must be a simple name")),
        };
        Ok(Node { kind: Kind::Macro { kind, over: receiver.into(), variable, bodies: args.collect() }, column })
    }

    fn arguments(&mut self, end: &'static str) -> Result<Vec<Node>, Problem> {
        let mut nodes = Vec::new();
        while !self.eat(end) {
            if !nodes.is_empty() {
                self.expect(",")?;
                // A list may end with a comma.
                if end == "]" && self.eat(end) {
                    break;
                }
            }
            nodes.push(self.expression()?);
        }
        Ok(nodes)
    }

    fn primary(&mut self) -> Parse {
        let (column, place) = (self.column(), self.at);
        let node = |kind| Ok(Node { kind, column });
        match self.advance() {
            Token::Int(value) => match i64::try_from(value) {
                Ok(value) => node(Kind::Literal(Value::Int(value))),
                Err(_) => Err(Problem::new(column, "invalid int literal")),
            },
            Token::Uint(value) => node(Kind::Literal(Value::Uint(value))),
            Token::Double(value) => node(Kind::Literal(Value::Double(value))),
            Token::String(text) => node(Kind::Literal(Value::String(text.into()))),
            Token::Bytes(bytes) => node(Kind::Literal(Value::Bytes(bytes.into()))),
            Token::Ident(word) => self.word(word, column),
            Token::Symbol("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("[") => {
                let items = self.arguments("]")?;
                node(Kind::List(items))
            }
            Token::Symbol("{") => {
                let mut entries = Vec::new();
                while !self.eat("}") {
                    if !entries.is_empty() {
                        self.expect(",")?;
                        if self.eat("}") {
                            break;
                        }
                    }
                    let key = self.expression()?;
                    self.expect(":")?;
                    entries.push((key, self.expression()?));
                }
                node(Kind::Map(entries))
            }
            _ => {
                self.at = place;
                Err(self.unexpected())
            }
        }
    }

    fn word(&mut self, word: String, column: usize) -> Parse {
        let literal = match word.as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "null" => Some(Value::Null),
            "in" => return Err(Problem::new(column, "Syntax error: extraneous input 'in'")),
            word if RESERVED.contains(&word) => {
                return Err(Problem::new(column, format!("reserved identifier: {word}")));
            }
            _ => None,
        };
        if let Some(value) = literal {
            return Ok(Node { kind: Kind::Literal(value), column });
        }
        if !self.eat("(") {
            let path = Path { root: word, fields: Vec::new() };
            return Ok(Node { kind: Kind::Chain { path, tracked: false }, column });
        }
        let args = self.arguments(")")?;
        if word != "has" {
            return Ok(Node { kind: Kind::Call { name: word, method: false, args }, column });
        }
        let problem = || Problem::new(column + 3, "invalid argument to has() macro");
        let [arg] = <[Node; 1]>::try_from(args).map_err(|_| problem())?;
        match arg.kind {
            Kind::Chain { mut path, .. } if !path.fields.is_empty() => {
                let field = path.fields.pop().expect("there is one");
                let operand = Node { kind: Kind::Chain { path, tracked: false }, column: arg.column };
                Ok(Node { kind: Kind::Has(operand.into(), field), column })
            }
            Kind::Select(operand, field) => Ok(Node { kind: Kind::Has(operand, field), column }),
            _ => Err(problem()),
        }
    }
}

fn operator(name: &str, column: usize, args: Vec<Node>) -> Node {
    Node { kind: Kind::Call { name: name.to_owned(), method: false, args }, column }
}

fn select(node: Node, field: String, column: usize) -> Node {
    match node.kind {
        Kind::Chain { mut path, tracked } => {
            path.fields.push(field);
            Node { kind: Kind::Chain { path, tracked }, column: node.column }
        }
        kind => Node { kind: Kind::Select(Node { kind, column: node.column }.into(), field), column },
    }
}

fn negative(value: u64) -> Option<Value<'static>> {
    const MIN: u64 = i64::MIN.unsigned_abs();
    match value {
        MIN => Some(Value::Int(i64::MIN)),
        value => i64::try_from(value).ok().map(|value| Value::Int(-value)),
    }
}

/// Marks the chains that are tolerated when they are missing: those at the top, arguments of calls and operators,
/// and ranges of macros; not receivers of methods, items of lists and maps, or anything within a macro.
fn track(node: &mut Node, here: bool, variables: &mut Vec<Arc<str>>, found: &mut Vec<Path>) {
    match &mut node.kind {
        Kind::Literal(_) => {}
        Kind::Chain { path, tracked } => {
            *tracked = here && !variables.iter().any(|variable| **variable == *path.root);
            if *tracked && !found.contains(path) {
                found.push(path.clone());
            }
        }
        Kind::Select(operand, _) => track(operand, false, variables, found),
        Kind::Has(operand, _) => track(operand, here && variables.is_empty(), variables, found),
        Kind::And(a, b) | Kind::Or(a, b) => {
            let here = variables.is_empty();
            track(a, here, variables, found);
            track(b, here, variables, found);
        }
        Kind::Choice(a, b, c) => {
            let here = variables.is_empty();
            for part in [a, b, c] {
                track(part, here, variables, found);
            }
        }
        Kind::Call { method, args, .. } => {
            for (index, arg) in args.iter_mut().enumerate() {
                let receiver = *method && index == 0;
                track(arg, variables.is_empty() && !receiver, variables, found);
            }
        }
        Kind::List(items) => items.iter_mut().for_each(|item| track(item, false, variables, found)),
        Kind::Map(entries) => {
            for (key, value) in entries {
                track(key, false, variables, found);
                track(value, false, variables, found);
            }
        }
        Kind::Macro { over, variable, bodies, .. } => {
            track(over, variables.is_empty(), variables, found);
            variables.push(Arc::clone(variable));
            bodies.iter_mut().for_each(|body| track(body, false, variables, found));
            variables.pop();
        }
    }
}
