//! A query whose conditions depend on a filter.

use rusqlite::types::Value;

/// A `WHERE` that grows.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

impl Query {
    pub(super) fn new(text: String) -> Self {
        Self { text, values: Vec::new() }
    }

    pub(super) fn and(&mut self, condition: &str, value: Value) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.values.push(value);
    }

    /// `column` is one of `values`.
    pub(super) fn any(&mut self, column: &str, values: Vec<Value>) {
        if values.is_empty() {
            self.text.push_str(" AND 0");
            return;
        }
        self.text.push_str(" AND ");
        self.text.push_str(column);
        self.text.push_str(" IN (?");
        self.text.push_str(&",?".repeat(values.len() - 1));
        self.text.push(')');
        self.values.extend(values);
    }

    /// `column` is between these two, or one of them.
    pub(super) fn range(&mut self, column: &str, low: Value, high: Value) {
        self.and(&format!("{column} BETWEEN ? AND ?"), low);
        self.values.push(high);
    }

    pub(super) fn limit(&mut self, limit: usize) {
        self.text.push_str(" LIMIT ?");
        self.values.push(Value::Integer(limit_of(limit)));
    }
}

pub(super) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
