//! What a server's operator adds to the flow control of functions, in one document: limits that several functions
//! share, and functions that slow down by themselves.

use std::time::Duration;

use inngest_expr::expression::{Expression, Roots};
use inngest_queue::gcra::Rate;
use serde_json::{Map, Value};

use super::{Flow, Key, Limit};
use crate::config::{duration_of, nanos};

/// Bytes of a document as JSON, wherever it comes from.
pub const BYTES_MAX: usize = 256 * 1024;
/// Throttles and rate limits together; each run of a function that they all name carries as many keys.
pub const LIMITS_MAX: usize = 32;
/// Functions, or patterns of them, of one limit.
pub const PATTERNS_MAX: usize = 1_000;
/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 100;

/// The name under which a store keeps the document.
pub const NAME: &str = "flow-control";

/// The document, read and checked.
#[derive(Clone, Debug)]
pub struct Document {
    source: Value,
    throttles: Vec<Shared>,
    rates: Vec<Shared>,
    adaptive: Vec<Pattern>,
}

/// Why a document cannot be used: each problem with the entry, the member, its value and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct DocumentError(pub Vec<String>);

/// A limit, and the functions that share it.
#[derive(Clone, Debug)]
struct Shared {
    limit: Limit,
    functions: Vec<Pattern>,
}

/// Slugs of functions: one, or all that begin alike.
#[derive(Clone, Debug)]
struct Pattern {
    text: Box<str>,
    /// Written with a `*` at the end.
    is_prefix: bool,
}

impl Default for Document {
    fn default() -> Self {
        Self { source: Value::Object(Map::new()), throttles: Vec::new(), rates: Vec::new(), adaptive: Vec::new() }
    }
}

impl Document {
    /// Reads a document. Nothing of it counts if anything is wrong in it.
    pub fn parse(document: &Value) -> Result<Self, DocumentError> {
        let bytes = document.to_string().len();
        if bytes > BYTES_MAX {
            return Err(DocumentError(vec![format!("the document has {bytes} bytes, more than {BYTES_MAX}")]));
        }
        let mut reader = Reader::default();
        let read = reader.document(document);
        match read {
            Some(document) if reader.problems.is_empty() => Ok(document),
            _ => Err(DocumentError(reader.problems)),
        }
    }

    /// As [`Document::parse`], from text.
    pub fn from_json(text: &[u8]) -> Result<Self, DocumentError> {
        let document = serde_json::from_slice(text);
        Self::parse(&document.map_err(|error| DocumentError(vec![format!("it is no JSON: {error}")]))?)
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Adds to the flow control of a function what it says about it.
    pub(crate) fn add_to(&self, flow: &mut Flow, slug: &str) {
        let of = |limits: &[Shared]| -> Vec<Limit> {
            limits.iter().filter(|shared| any(&shared.functions, slug)).map(|shared| shared.limit.clone()).collect()
        };
        flow.throttles.extend(of(&self.throttles));
        flow.rates.extend(of(&self.rates));
        flow.adaptive |= any(&self.adaptive, slug);
    }
}

fn any(patterns: &[Pattern], slug: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| if pattern.is_prefix { slug.starts_with(&*pattern.text) } else { slug == &*pattern.text })
}

/// Reads the parts of a document, and notes what is wrong with them.
#[derive(Default)]
struct Reader {
    problems: Vec<String>,
}

impl Reader {
    fn refuse<T>(&mut self, at: &str, value: &Value, rule: &str) -> Option<T> {
        const SHOWN_MAX: usize = 100;
        let shown: String = value.to_string().chars().take(SHOWN_MAX).collect();
        self.problems.push(format!("{at} {shown}: {rule}"));
        None
    }

    fn document(&mut self, document: &Value) -> Option<Document> {
        let Value::Object(members) = document else {
            return self.refuse("the document", document, "must be an object");
        };
        self.members("the document", members, &["throttles", "rateLimits", "adaptive"]);
        let document = Document {
            source: document.clone(),
            throttles: self.limits(members, "throttles", Kind::Throttle),
            rates: self.limits(members, "rateLimits", Kind::RateLimit),
            adaptive: self.patterns(members.get("adaptive"), "adaptive"),
        };
        let mut names: Vec<&str> = document.throttles.iter().chain(&document.rates).map(Shared::name).collect();
        if names.len() > LIMITS_MAX {
            self.problems.push(format!("throttles and rateLimits: {} entries are more than {LIMITS_MAX}", names.len()));
        }
        names.sort_unstable();
        for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            self.problems.push(format!("name {:?}: two limits have it, and each must have its own", pair[0]));
        }
        Some(document)
    }

    /// Refuses members that mean nothing: who wrote one meant something.
    fn members(&mut self, at: &str, members: &Map<String, Value>, known: &[&str]) {
        for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
            self.problems.push(format!("{at}: member {name:?} is unknown: {} are expected", known.join(", ")));
        }
    }

    fn list<'v>(&mut self, value: Option<&'v Value>, at: &str) -> &'v [Value] {
        match value {
            None | Some(Value::Null) => &[],
            Some(Value::Array(items)) => items,
            Some(value) => self.refuse(at, value, "must be an array").unwrap_or_default(),
        }
    }

    fn limits(&mut self, members: &Map<String, Value>, list: &str, kind: Kind) -> Vec<Shared> {
        let entries = self.list(members.get(list), list).iter().enumerate();
        entries.filter_map(|(index, entry)| self.limit(entry, &format!("{list}[{index}]"), kind)).collect()
    }

    fn limit(&mut self, entry: &Value, at: &str, kind: Kind) -> Option<Shared> {
        let Value::Object(members) = entry else { return self.refuse(at, entry, "must be an object") };
        let name = self.name(members, at);
        let at = name.map_or_else(|| at.to_owned(), |name| format!("{at} {name:?}"));
        self.members(&at, members, kind.members());
        let limit = self.number(members, &at, "limit", 1);
        let burst = if members.contains_key("burst") { self.number(members, &at, "burst", 0) } else { Some(0) };
        let period = self.period(members, &at);
        let key = self.key(members, &at);
        let functions = self.patterns(members.get("functions"), &format!("{at}: functions"));
        if members.get("functions").is_none_or(|value| value.is_null() || *value == Value::Array(Vec::new())) {
            self.problems.push(format!("{at}: functions: at least one function is expected"));
        }
        let rate = match kind {
            Kind::Throttle => Rate::lossless(limit?, period?, burst?),
            Kind::RateLimit => Rate::lossy(limit?, period?),
        };
        Some(Shared { limit: Limit { shared: Some(name?.into()), key: key?, rate }, functions })
    }

    fn name<'v>(&mut self, members: &'v Map<String, Value>, at: &str) -> Option<&'v str> {
        let value = members.get("name").unwrap_or(&Value::Null);
        match value.as_str() {
            Some(name) if (1..=NAME_BYTES_MAX).contains(&name.len()) => Some(name),
            _ => self.refuse(&format!("{at}: name"), value, &format!("must be a text of 1 to {NAME_BYTES_MAX} bytes")),
        }
    }

    fn number(&mut self, members: &Map<String, Value>, at: &str, member: &str, min: u32) -> Option<u32> {
        let value = members.get(member).unwrap_or(&Value::Null);
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number >= min);
        let rule = || format!("must be a whole number from {min} to {}", u32::MAX);
        number.or_else(|| self.refuse(&format!("{at}: {member}"), value, &rule()))
    }

    fn period(&mut self, members: &Map<String, Value>, at: &str) -> Option<Duration> {
        let value = members.get("period").unwrap_or(&Value::Null);
        let length = value.as_str().and_then(|text| nanos(text).ok()).filter(|length| *length > 0);
        let rule = "must be a duration longer than 0s, such as 500ms, 1m or 1d12h";
        length.map(duration_of).or_else(|| self.refuse(&format!("{at}: period"), value, rule))
    }

    /// An expression that may be absent; `None` when it is wrong.
    fn key(&mut self, members: &Map<String, Value>, at: &str) -> Option<Option<Key>> {
        let value = match members.get("key") {
            None | Some(Value::Null) => return Some(None),
            Some(value) => value,
        };
        let at = format!("{at}: key");
        let Some(text) = value.as_str() else {
            return self.refuse(&at, value, "must be a text: an expression over event");
        };
        match Expression::compile(text, Roots::Event) {
            Ok(expression) => Some(Some(Key::of(expression))),
            Err(error) => self.refuse(&at, value, &error.to_string()),
        }
    }

    fn patterns(&mut self, value: Option<&Value>, at: &str) -> Vec<Pattern> {
        let items = self.list(value, at);
        if items.len() > PATTERNS_MAX {
            self.problems.push(format!("{at}: {} functions are more than {PATTERNS_MAX}", items.len()));
        }
        items.iter().filter_map(|item| self.pattern(item, at)).collect()
    }

    fn pattern(&mut self, item: &Value, at: &str) -> Option<Pattern> {
        let text = item.as_str().filter(|text| !text.is_empty());
        let (text, is_prefix) = match text.map(|text| (text, text.strip_suffix('*'))) {
            Some((_, Some(prefix))) => (Some(prefix), true),
            Some((text, None)) => (Some(text), false),
            None => (None, false),
        };
        match text {
            Some(text) if !text.contains('*') => Some(Pattern { text: text.into(), is_prefix }),
            _ => self.refuse(at, item, "must be the id of a function, such as shop-order, or end with the only *"),
        }
    }
}

impl Shared {
    fn name(&self) -> &str {
        self.limit.shared.as_deref().unwrap_or_default()
    }
}

/// What a limit does to what is too much.
#[derive(Clone, Copy)]
enum Kind {
    Throttle,
    RateLimit,
}

impl Kind {
    const fn members(self) -> &'static [&'static str] {
        match self {
            Self::Throttle => &["name", "limit", "period", "burst", "key", "functions"],
            Self::RateLimit => &["name", "limit", "period", "key", "functions"],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flow_of(document: &Value, slug: &str) -> Flow {
        let mut flow = Flow::default();
        Document::parse(document).unwrap().add_to(&mut flow, slug);
        flow
    }

    #[test]
    fn functions_share_what_names_them() {
        let document = json!({
            "throttles": [
                { "name": "openai", "limit": 60, "period": "1m", "burst": 5, "key": "event.data.account", "functions": ["shop-summarise", "mail-*"] },
                { "name": "all", "limit": 1, "period": "500ms", "functions": ["*"] },
            ],
            "rateLimits": [{ "name": "mails", "limit": 100, "period": "1h", "functions": ["mail-send"] }],
            "adaptive": ["shop-*"],
        });
        let names = |limits: &[Limit]| limits.iter().map(|limit| limit.shared.clone().unwrap()).collect::<Vec<_>>();
        let table: [(&str, &[&str], &[&str], bool); 5] = [
            ("shop-summarise", &["openai", "all"], &[], true),
            ("shop-summarise-2", &["all"], &[], true),
            ("mail-send", &["openai", "all"], &["mails"], false),
            ("mail-", &["openai", "all"], &[], false),
            ("mail", &["all"], &[], false),
        ];
        for (slug, throttles, rates, adaptive) in table {
            let flow = flow_of(&document, slug);
            let found: (Vec<_>, Vec<_>) = (names(&flow.throttles), names(&flow.rates));
            assert_eq!(found.0.iter().map(|name| &**name).collect::<Vec<_>>(), throttles, "{slug}");
            assert_eq!(found.1.iter().map(|name| &**name).collect::<Vec<_>>(), rates, "{slug}");
            assert_eq!(flow.adaptive, adaptive, "{slug}");
        }
        let flow = flow_of(&document, "mail-send");
        assert_eq!(flow.throttles[0].rate, Rate::lossless(60, Duration::from_secs(60), 5));
        assert_eq!(&*flow.throttles[0].key.as_ref().unwrap().text, "event.data.account");
        assert_eq!(flow.rates[0].rate, Rate::lossy(100, Duration::from_secs(3_600)));
    }

    #[test]
    fn nothing_is_a_document_too() {
        for document in [json!({}), json!({ "throttles": [], "rateLimits": null, "adaptive": [] })] {
            let flow = flow_of(&document, "a");
            assert!(flow.throttles.is_empty() && flow.rates.is_empty() && !flow.adaptive);
        }
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        let throttle = |more: Value| {
            let mut entry = json!({ "name": "a", "limit": 1, "period": "1s", "functions": ["f"] });
            for (member, value) in more.as_object().unwrap() {
                entry[member] = value.clone();
            }
            json!({ "throttles": [entry] })
        };
        let table = [
            (json!([]), "the document []: must be an object"),
            (
                json!({ "throttle": [] }),
                "the document: member \"throttle\" is unknown: throttles, rateLimits, adaptive",
            ),
            (json!({ "throttles": {} }), "throttles {}: must be an array"),
            (json!({ "throttles": [1] }), "throttles[0] 1: must be an object"),
            (throttle(json!({ "name": "" })), "throttles[0]: name \"\": must be a text of 1 to 100 bytes"),
            (throttle(json!({ "limit": 0 })), "throttles[0] \"a\": limit 0: must be a whole number from 1 to"),
            (throttle(json!({ "limit": "5" })), "throttles[0] \"a\": limit \"5\": must be a whole number"),
            (throttle(json!({ "burst": -1 })), "throttles[0] \"a\": burst -1: must be a whole number from 0 to"),
            (
                throttle(json!({ "period": "0s" })),
                "throttles[0] \"a\": period \"0s\": must be a duration longer than 0s",
            ),
            (throttle(json!({ "period": "soon" })), "throttles[0] \"a\": period \"soon\": must be a duration"),
            (throttle(json!({ "period": null })), "throttles[0] \"a\": period null: must be a duration"),
            (throttle(json!({ "key": "" })), "throttles[0] \"a\": key \"\": error compiling expression"),
            (throttle(json!({ "key": "data.x" })), "throttles[0] \"a\": key \"data.x\": error compiling expression"),
            (throttle(json!({ "key": 5 })), "throttles[0] \"a\": key 5: must be a text"),
            (throttle(json!({ "functions": [] })), "throttles[0] \"a\": functions: at least one function is expected"),
            (throttle(json!({ "functions": "f" })), "throttles[0] \"a\": functions \"f\": must be an array"),
            (throttle(json!({ "functions": ["a*b"] })), "throttles[0] \"a\": functions \"a*b\": must be the id"),
            (throttle(json!({ "functions": ["a**"] })), "throttles[0] \"a\": functions \"a**\": must be the id"),
            (throttle(json!({ "functions": [1] })), "throttles[0] \"a\": functions 1: must be the id"),
            (
                throttle(json!({ "keys": 1 })),
                "throttles[0] \"a\": member \"keys\" is unknown: name, limit, period, burst",
            ),
            (
                json!({ "rateLimits": [{ "name": "a", "limit": 1, "period": "1s", "burst": 1, "functions": ["f"] }] }),
                "rateLimits[0] \"a\": member \"burst\" is unknown",
            ),
            (json!({ "adaptive": [""] }), "adaptive \"\": must be the id of a function"),
        ];
        for (document, text) in table {
            let error = Document::parse(&document).unwrap_err();
            assert!(error.0.len() == 1 && error.0[0].starts_with(text), "{document}: {error}");
        }
    }

    #[test]
    fn documents_are_not_too_large() {
        let document = json!({ "adaptive": ["x".repeat(BYTES_MAX)] });
        let error = Document::parse(&document).unwrap_err().to_string();
        assert!(error.starts_with("the document has 262161 bytes, more than 262144"), "{error}");
    }

    #[test]
    fn names_are_unique_and_limits_few() {
        let entry = |name: &str| json!({ "name": name, "limit": 1, "period": "1s", "functions": ["f"] });
        let twice = json!({ "throttles": [entry("a")], "rateLimits": [entry("a")] });
        assert_eq!(
            Document::parse(&twice).unwrap_err().to_string(),
            "name \"a\": two limits have it, and each must have its own"
        );
        let many = |count: usize| json!({ "throttles": (0..count).map(|n| entry(&n.to_string())).collect::<Vec<_>>() });
        assert!(Document::parse(&many(LIMITS_MAX)).is_ok());
        let error = Document::parse(&many(LIMITS_MAX + 1)).unwrap_err();
        assert_eq!(error.to_string(), "throttles and rateLimits: 33 entries are more than 32");
    }
}
