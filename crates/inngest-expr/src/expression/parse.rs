//! From words to a tree.

use std::sync::Arc;

use super::lexer::{Token, tokens};
use super::{Problem, Roots, TEXT_BYTES_MAX, Value, bind};

/// Deeper nesting is refused, of the text as of the tree: whatever walks a tree recursively, down to dropping it,
/// then fits any stack.
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
    /// Boxed, so that nodes are cheap to move and the parser's frames are small.
    pub(super) kind: Box<Kind>,
    pub(super) column: usize,
    /// Levels from here to the deepest part, this one included.
    depth: usize,
}

impl Node {
    fn new(kind: Kind, column: usize) -> Parse {
        let depth = 1 + kind.parts().map(|part| part.depth).max().unwrap_or(0);
        if depth > DEPTH_MAX { Err(too_deep(column)) } else { Ok(Self { kind: Box::new(kind), column, depth }) }
    }
}

fn too_deep(column: usize) -> Problem {
    Problem::new(column, format!("the expression is nested deeper than {DEPTH_MAX}"))
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
    Select(Node, String),
    Has(Node, String),
    /// Of any number, so that a long list of alternatives is not deep.
    And(Vec<Node>),
    Or(Vec<Node>),
    Choice(Node, Node, Node),
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
        over: Node,
        variable: Arc<str>,
        bodies: Vec<Node>,
    },
}

impl Kind {
    /// The nodes directly below, in the order of the text.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Node> {
        let (boxed, listed, entries): (Vec<&Node>, &[Node], &[(Node, Node)]) = match self {
            Self::Literal(_) | Self::Chain { .. } => (Vec::new(), &[], &[]),
            Self::Select(operand, _) | Self::Has(operand, _) => (vec![operand], &[], &[]),
            Self::Choice(a, b, c) => (vec![a, b, c], &[], &[]),
            Self::And(parts) | Self::Or(parts) | Self::List(parts) => (Vec::new(), parts, &[]),
            Self::Call { args, .. } => (Vec::new(), args, &[]),
            Self::Map(entries) => (Vec::new(), &[], entries),
            Self::Macro { over, bodies, .. } => (vec![over], bodies, &[]),
        };
        boxed.into_iter().chain(listed).chain(entries.iter().flat_map(|(key, value)| [key, value]))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
}

/// How tightly an operator binds, its symbol, its name in CEL.
type Infix = (u8, &'static str, &'static str);

const INFIX: [Infix; 14] = [
    (0, "||", OR),
    (1, "&&", AND),
    (2, "==", "_==_"),
    (2, "!=", "_!=_"),
    (2, "<", "_<_"),
    (2, "<=", "_<=_"),
    (2, ">", "_>_"),
    (2, ">=", "_>=_"),
    (2, "in", "@in"),
    (3, "+", "_+_"),
    (3, "-", "_-_"),
    (4, "*", "_*_"),
    (4, "/", "_/_"),
    (4, "%", "_%_"),
];
const OR: &str = "_||_";
const AND: &str = "_&&_";

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

/// `roots` tells which variables there are, as far as that is known.
pub(super) fn parse(text: &str, roots: Option<Roots>) -> Result<Parsed, Problem> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(Problem::new(1, format!("the expression is longer than {TEXT_BYTES_MAX} bytes")));
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, roots };
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
    roots: Option<Roots>,
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
            return Err(too_deep(self.column()));
        }
        let condition = self.operators()?;
        let node = if self.eat("?") { self.choice(condition)? } else { condition };
        self.depth -= 1;
        Ok(node)
    }

    fn choice(&mut self, condition: Node) -> Parse {
        let column = condition.column;
        let then = self.operators()?;
        self.expect(":")?;
        let otherwise = self.expression()?;
        Node::new(Kind::Choice(condition, then, otherwise), column)
    }

    /// Operands with operators between them. By a list of what is unfinished instead of by recursion, of which
    /// each pair of parentheses would need one for every level of operators.
    fn operators(&mut self) -> Parse {
        let mut left: Vec<(Node, Infix)> = Vec::new();
        let mut operand = self.unary()?;
        loop {
            let next = self.infix();
            // What binds as tightly as the next operator is complete.
            while let Some((before, operator)) = left.pop_if(|(_, before)| next.is_none_or(|next| next.0 <= before.0)) {
                operand = joined(before, operator, operand)?;
            }
            let Some(next) = next else { return Ok(operand) };
            self.advance();
            left.push((operand, next));
            operand = self.unary()?;
        }
    }

    fn infix(&self) -> Option<Infix> {
        let symbol = match self.peek() {
            Token::Symbol(symbol) => symbol,
            Token::Ident(word) => word.as_str(),
            _ => return None,
        };
        INFIX.iter().find(|(_, known, _)| *known == symbol).copied()
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
        }
        let inner = match self.number_below_zero(symbol, column)? {
            Some(literal) => {
                count -= 1;
                self.suffixes(literal)?
            }
            None => self.member()?,
        };
        (0..count).try_fold(inner, |inner, _| operator(name, column, vec![inner]))
    }

    /// A number after a minus is a literal with it.
    fn number_below_zero(&mut self, symbol: &str, column: usize) -> Result<Option<Node>, Problem> {
        let value = match self.peek() {
            Token::Int(value) if symbol == "-" => {
                negative(*value).ok_or_else(|| Problem::new(column, "invalid int literal"))?
            }
            Token::Double(value) if symbol == "-" => Value::Double(-value),
            _ => return Ok(None),
        };
        self.advance();
        Node::new(Kind::Literal(value), column).map(Some)
    }

    fn member(&mut self) -> Parse {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    fn suffixes(&mut self, mut node: Node) -> Parse {
        loop {
            let column = self.column();
            node = if self.eat(".") {
                let name = self.field(column)?;
                if self.eat("(") { self.method(node, name, column)? } else { select(node, name, column)? }
            } else if self.eat("[") {
                self.index(node, column)?
            } else {
                return Ok(node);
            };
        }
    }

    fn field(&mut self, column: usize) -> Result<String, Problem> {
        let name = match self.peek() {
            Token::Symbol("?") => return Err(Problem::new(column, "unsupported syntax '.?'")),
            Token::Ident(name) if !LITERAL_WORDS.contains(&name.as_str()) => name.clone(),
            _ => return Err(self.unexpected()),
        };
        self.advance();
        Ok(name)
    }

    fn index(&mut self, of: Node, column: usize) -> Parse {
        if *self.peek() == Token::Symbol("?") {
            return Err(Problem::new(column, "unsupported syntax '[?'"));
        }
        let index = self.expression()?;
        self.expect("]")?;
        operator("_[_]", column, vec![of, index])
    }

    fn method(&mut self, receiver: Node, name: String, column: usize) -> Parse {
        let mut args = self.arguments(")")?;
        let kind = match (name.as_str(), args.len()) {
            ("all", 2) => Macro::All,
            ("exists", 2) => Macro::Exists,
            ("exists_one", 2) => Macro::ExistsOne,
            ("map", 2 | 3) => Macro::Map,
            ("filter", 2) => Macro::Filter,
            _ => {
                args.insert(0, receiver);
                return Node::new(Kind::Call { name, method: true, args }, column);
            }
        };
        macro_of(kind, receiver, args, column)
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
        let column = self.column();
        match self.peek() {
            Token::Ident(_) => self.word(column),
            Token::Symbol("(") => {
                self.advance();
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("[") => {
                self.advance();
                let items = self.arguments("]")?;
                Node::new(Kind::List(items), column)
            }
            Token::Symbol("{") => {
                self.advance();
                self.map(column)
            }
            _ => self.literal(column),
        }
    }

    fn literal(&mut self, column: usize) -> Parse {
        let value = match self.peek().clone() {
            Token::Int(value) => match i64::try_from(value) {
                Ok(value) => Value::Int(value),
                Err(_) => return Err(Problem::new(column, "invalid int literal")),
            },
            Token::Uint(value) => Value::Uint(value),
            Token::Double(value) => Value::Double(value),
            Token::String(text) => Value::String(text.into()),
            Token::Bytes(bytes) => Value::Bytes(bytes.into()),
            Token::Ident(_) | Token::Symbol(_) | Token::End => return Err(self.unexpected()),
        };
        self.advance();
        Node::new(Kind::Literal(value), column)
    }

    fn map(&mut self, column: usize) -> Parse {
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
        Node::new(Kind::Map(entries), column)
    }

    fn word(&mut self, column: usize) -> Parse {
        let Token::Ident(word) = self.advance() else { return Err(self.unexpected()) };
        // A reserved word, but where runs are searched it is a variable.
        let is_root = word == "function" && self.roots == Some(Roots::Run);
        if !is_root && let Some(value) = constant(&word, column)? {
            return Node::new(Kind::Literal(value), column);
        }
        if !self.eat("(") {
            let path = Path { root: word, fields: Vec::new() };
            return Node::new(Kind::Chain { path, tracked: false }, column);
        }
        let args = self.arguments(")")?;
        if word == "has" {
            has(args, column)
        } else {
            Node::new(Kind::Call { name: word, method: false, args }, column)
        }
    }
}

/// The value of a word that has one; not every other word is a name.
fn constant(word: &str, column: usize) -> Result<Option<Value<'static>>, Problem> {
    match word {
        "true" => Ok(Some(Value::Bool(true))),
        "false" => Ok(Some(Value::Bool(false))),
        "null" => Ok(Some(Value::Null)),
        "in" => Err(Problem::new(column, "Syntax error: extraneous input 'in'")),
        word if RESERVED.contains(&word) => Err(Problem::new(column, format!("reserved identifier: {word}"))),
        _ => Ok(None),
    }
}

fn macro_of(kind: Macro, over: Node, mut bodies: Vec<Node>, column: usize) -> Parse {
    let variable = bodies.remove(0);
    match *variable.kind {
        Kind::Chain { path, .. } if path.fields.is_empty() => {
            Node::new(Kind::Macro { kind, over, variable: path.root.into(), bodies }, column)
        }
        _ => Err(Problem::new(column, "argument must be a simple name")),
    }
}

fn has(args: Vec<Node>, column: usize) -> Parse {
    let problem = || Problem::new(column + 3, "invalid argument to has() macro");
    let [mut arg] = <[Node; 1]>::try_from(args).map_err(|_| problem())?;
    if let Kind::Chain { path, .. } = &mut *arg.kind {
        let field = path.fields.pop().ok_or_else(problem)?;
        return Node::new(Kind::Has(arg, field), column);
    }
    match *arg.kind {
        Kind::Select(operand, field) => Node::new(Kind::Has(operand, field), column),
        _ => Err(problem()),
    }
}

fn operator(name: &str, column: usize, args: Vec<Node>) -> Parse {
    Node::new(Kind::Call { name: name.to_owned(), method: false, args }, column)
}

fn joined(left: Node, (_, _, name): Infix, right: Node) -> Parse {
    let column = left.column;
    match (name, *left.kind) {
        // One more of the same: the value of all is that of the first that decides, else that of the last.
        (OR, Kind::Or(mut parts)) => {
            parts.push(right);
            Node::new(Kind::Or(parts), column)
        }
        (AND, Kind::And(mut parts)) => {
            parts.push(right);
            Node::new(Kind::And(parts), column)
        }
        (name, kind) => {
            let parts = vec![Node { kind: Box::new(kind), ..left }, right];
            match name {
                OR => Node::new(Kind::Or(parts), column),
                AND => Node::new(Kind::And(parts), column),
                name => operator(name, column, parts),
            }
        }
    }
}

fn select(mut node: Node, field: String, column: usize) -> Parse {
    let Kind::Chain { path, .. } = &mut *node.kind else {
        return Node::new(Kind::Select(node, field), column);
    };
    path.fields.push(field);
    // A chain is one node, but what it selects is no deeper than an expression may be.
    if path.fields.len() > DEPTH_MAX { Err(too_deep(column)) } else { Ok(node) }
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
    match &mut *node.kind {
        Kind::Literal(_) => {}
        Kind::Chain { path, tracked } => {
            *tracked = here && !variables.iter().any(|variable| **variable == *path.root);
            if *tracked && !found.contains(path) {
                found.push(path.clone());
            }
        }
        Kind::Select(operand, _) => track(operand, false, variables, found),
        Kind::Has(operand, _) => track(operand, here && variables.is_empty(), variables, found),
        Kind::And(parts) | Kind::Or(parts) => {
            let here = variables.is_empty();
            parts.iter_mut().for_each(|part| track(part, here, variables, found));
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
