//! What expressions are about.

use std::cell::OnceCell;
use std::fmt;

use inngest_core::{Millis, Payload};
use inngest_expr::event;
use inngest_expr::expression::{Expression, Value};
use serde_json::Value as Json;

/// The event that starts runs, as expressions see it: read when the first of them asks for it, and then once.
pub struct Subject<'b> {
    body: Body<'b>,
    now: Millis,
    read: OnceCell<Result<Json, String>>,
}

enum Body<'b> {
    Stored(&'b [u8]),
    Rendered(&'b dyn Fn() -> Payload),
}

impl<'b> Subject<'b> {
    /// An event with this content.
    #[must_use]
    pub fn stored(body: &'b [u8], now: Millis) -> Self {
        Self { body: Body::Stored(body), now, read: OnceCell::new() }
    }

    /// An event whose content is rendered if an expression asks for it.
    #[must_use]
    pub fn rendered(body: &'b dyn Fn() -> Payload, now: Millis) -> Self {
        Self { body: Body::Rendered(body), now, read: OnceCell::new() }
    }

    /// Its content. An error says that it is no JSON: nothing is known of it.
    pub fn event(&self) -> Result<&Json, String> {
        let read = || match self.body {
            Body::Stored(body) => event::parse(body),
            Body::Rendered(body) => event::parse(&body()),
        };
        let event = self.read.get_or_init(|| read().map_err(|error| error.to_string()));
        event.as_ref().map_err(Clone::clone)
    }

    /// The value of an expression.
    pub fn value<'v>(&'v self, expression: &'v Expression) -> Result<Value<'v>, String> {
        expression.evaluate(self.event()?, None, self.now).map_err(|error| error.to_string())
    }

    /// Whether a condition is true of it.
    pub fn holds(&self, condition: &Expression) -> Result<bool, String> {
        condition.matches(self.event()?, self.now).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("now", &self.now).finish_non_exhaustive()
    }
}
