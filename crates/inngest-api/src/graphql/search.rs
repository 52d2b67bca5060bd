//! Searches by expressions over runs and events.
//!
//! What an expression asks of names is looked up; the rest is evaluated on what is left, newest first, page by page,
//! until there is enough or the budget is used up. Then the response says so (`extensions.truncated`).

use std::collections::HashMap;
use std::time::Duration;

use inngest_core::{EventId, RunStatus};
use inngest_expr::event as content;
use inngest_expr::expression::{Expression, Roots};
use inngest_state::history::{EventFilter, EventRecord, RunFilter, RunRecord, RunTime};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::problem::{Problem, Result};
use super::runs::{FunctionRunStatus, output};
use super::session::Session;

/// How long one search may take.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(2);
/// Rows that a page or a count may look at.
const SEARCH_ROWS_MAX: usize = 100_000;
/// Rows read at a time.
const PAGE: usize = 100;
/// Expressions of one search.
const EXPRESSIONS_MAX: usize = 20;

/// Expressions, all of which must hold.
#[derive(Debug)]
pub(super) struct Search {
    expressions: Vec<Expression>,
    /// Page and count share the time.
    until: Instant,
}

impl Search {
    /// One expression a line; `None` when there is none.
    pub(super) fn of(text: &str) -> Result<Option<Self>> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let compile = |line| {
            Expression::compile(line, Roots::Run)
                .map_err(|error| Problem::Expression(format!("expression_invalid: {error}")))
        };
        let expressions = lines.map(compile).collect::<Result<Vec<_>>>()?;
        if expressions.len() > EXPRESSIONS_MAX {
            return Err(Problem::Expression(format!("expression_invalid: more than {EXPRESSIONS_MAX} expressions")));
        }
        let until = Instant::now() + SEARCH_TIME_MAX;
        Ok((!expressions.is_empty()).then_some(Self { expressions, until }))
    }

    /// The texts of which the value at this path must be one.
    fn texts_at(&self, root: &str, field: &str) -> Option<Vec<&str>> {
        self.expressions.iter().find_map(|expression| expression.texts_at(root, field))
    }

    /// Leaves out, as far as names tell, what no run that is searched for can be.
    pub(super) async fn narrow_runs(&self, session: &Session, filter: &mut RunFilter) -> Result<()> {
        if let Some(statuses) = self.texts_at("run", "status") {
            let named =
                RunStatus::ALL.into_iter().filter(|status| statuses.contains(&FunctionRunStatus::text(*status)));
            let asked = |status: &RunStatus| match &filter.statuses[..] {
                [] => *status != RunStatus::Skipped,
                asked => asked.contains(status),
            };
            let left: Vec<RunStatus> = named.filter(asked).collect();
            // No status at all would mean every one.
            match &left[..] {
                [] => filter.functions = Some(Vec::new()),
                _ => filter.statuses = left,
            }
        }
        let (slugs, apps) = (self.texts_at("function", "slug"), self.texts_at("app", "name"));
        if slugs.is_some() || apps.is_some() {
            let asked = filter.functions.take();
            let left = session.functions().await?.filter(|(function, app)| {
                asked.as_ref().is_none_or(|asked| asked.contains(&function.id))
                    && slugs.as_ref().is_none_or(|slugs| slugs.contains(&&*function.slug))
                    && apps.as_ref().is_none_or(|apps| apps.contains(app))
            });
            filter.functions = Some(left.map(|(function, _)| function.id).collect());
        }
        // (Runs of an event come in the order of their ids.)
        if let Some([id]) = self.texts_at("event", "id").as_deref().filter(|_| filter.order == RunTime::Queued) {
            // The id that a sender gave is compared, and it is ours if it gave none.
            if let Ok(id) = id.parse()
                && session.event(id).await?.is_some_and(|record| record.event.external_id.is_none())
            {
                filter.event = Some(id);
            }
        }
        Ok(())
    }

    /// As [`Search::narrow_runs`], of events.
    pub(super) fn narrow_events(&self, filter: &mut EventFilter) {
        let Some(names) = self.texts_at("event", "name") else { return };
        let asked = |name: &&str| filter.names.is_empty() || filter.names.iter().any(|asked| asked == name);
        let left: Vec<String> = names.into_iter().filter(asked).map(str::to_owned).collect();
        match &left[..] {
            // No name at all would mean every one.
            [] => filter.limit = 0,
            _ => filter.names = left,
        }
    }

    /// The first rows that fit, as many as are wanted.
    pub(super) async fn find<R: Rows>(&self, session: &Session, rows: R, wanted: usize) -> Result<Vec<R::Row>> {
        let mut found = Vec::new();
        self.each(session, rows, |row| {
            found.push(row);
            found.len() < wanted
        })
        .await?;
        Ok(found)
    }

    /// How many rows fit, as far as the budget goes.
    pub(super) async fn count<R: Rows>(&self, session: &Session, rows: R) -> Result<u64> {
        let mut count = 0;
        self.each(session, rows, |_| {
            count += 1;
            true
        })
        .await?;
        Ok(count)
    }

    async fn each<R: Rows>(
        &self,
        session: &Session,
        mut rows: R,
        mut take: impl FnMut(R::Row) -> bool + Send,
    ) -> Result<()> {
        let mut looked_at = 0;
        loop {
            let page = rows.next(session).await?;
            let is_last = page.len() < PAGE;
            looked_at += page.len();
            for row in page {
                if self.fits(session, &R::roots(session, &row).await) && !take(row) {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
            if looked_at >= SEARCH_ROWS_MAX || Instant::now() >= self.until {
                session.truncate();
                return Ok(());
            }
        }
    }

    /// An expression that has no answer does not hold.
    fn fits(&self, session: &Session, roots: &Value) -> bool {
        let now = session.now();
        self.expressions.iter().all(|expression| expression.matches_roots(roots, now).unwrap_or(false))
    }
}

/// Rows that are searched, as a filter describes them.
pub(super) trait Rows: Send {
    /// One of them, with what is needed to look at it.
    type Row: Send + Sync;

    /// The next page.
    fn next(&mut self, session: &Session) -> impl Future<Output = Result<Vec<Self::Row>>> + Send;

    /// What expressions see of a row.
    fn roots(session: &Session, row: &Self::Row) -> impl Future<Output = Value> + Send;
}

impl Rows for RunFilter {
    /// A run, and the first of its events.
    type Row = (RunRecord, Option<EventRecord>);

    async fn next(&mut self, session: &Session) -> Result<Vec<Self::Row>> {
        self.limit = PAGE;
        let page = session.history().runs(self.clone()).await?;
        self.cursor = page.last().and_then(|last| Some((last.time(self.order)?, last.id)));
        let first_events = page.iter().filter_map(|run| run.event_ids.first().copied()).collect();
        let events = session.history().event_records(first_events).await?;
        let events: HashMap<EventId, EventRecord> =
            events.into_iter().map(|record| (record.event.id, record)).collect();
        let with_event = |run: RunRecord| {
            let event = run.event_ids.first().and_then(|id| events.get(id)).cloned();
            (run, event)
        };
        Ok(page.into_iter().map(with_event).collect())
    }

    async fn roots(session: &Session, (run, event): &Self::Row) -> Value {
        let function = session.function(run.function).await.ok();
        let app = match &function {
            Some(function) => session.app(function.app).await.ok(),
            None => None,
        };
        let gave = output(run).as_deref().map(parsed).unwrap_or_default();
        let (output, error) = if run.status == RunStatus::Failed { (Value::Null, gave) } else { (gave, Value::Null) };
        let ended = run.ended_at.unwrap_or_else(|| session.now());
        json!({
            "event": event.as_ref().map(|record| parsed(&record.body)),
            "output": output,
            "error": error,
            "run": { "id": run.id.to_string(), "status": FunctionRunStatus::text(run.status) },
            "function": { "slug": function.as_ref().map(|function| &*function.slug), "name": function.as_ref().map(|function| &*function.name) },
            "app": { "name": app.as_ref().map(|app| &*app.name) },
            "duration_ms": run.started_at.map(|started| ended.0 - started.0),
        })
    }
}

impl Rows for EventFilter {
    type Row = EventRecord;

    async fn next(&mut self, session: &Session) -> Result<Vec<EventRecord>> {
        // See `narrow_events`.
        if self.limit == 0 {
            return Ok(Vec::new());
        }
        self.limit = PAGE;
        let page = session.history().events(self.clone()).await?;
        self.cursor = page.last().map(|record| record.event.id);
        Ok(page)
    }

    async fn roots(_: &Session, record: &EventRecord) -> Value {
        json!({ "event": parsed(&record.body) })
    }
}

fn parsed(json: &[u8]) -> Value {
    content::parse(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_do_no_harm() {
        for text in ["", "\n", " \n\t\n"] {
            assert!(Search::of(text).unwrap().is_none(), "{text:?}");
        }
        let search = Search::of("event.name == 'a'\n\n  output.n > 1  \n").unwrap().expect("two expressions");
        assert_eq!(search.expressions.len(), 2);
        assert_eq!(search.texts_at("event", "name"), Some(vec!["a"]));
    }

    #[test]
    fn what_is_no_expression_is_told_by_code_and_text() {
        let long = "event.name == 'a'\n".repeat(EXPRESSIONS_MAX + 1);
        for text in ["event.name ==", "bare", "event.name == 'a'\n)", &long] {
            let problem = Search::of(text).unwrap_err();
            assert_eq!(problem.code(), "expression_invalid", "{text}");
            assert!(problem.to_string().starts_with("expression_invalid: "), "{problem}");
        }
    }
}
