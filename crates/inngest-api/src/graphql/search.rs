//! Searches by expressions over runs and events.
//!
//! What an expression asks of names is looked up; the rest is evaluated on what is left, newest first, page by page,
//! until there is enough or the budget is used up. Then the response says so (`extensions.truncated`).

use std::time::Duration;

use inngest_core::{Payload, RunStatus};
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

    /// The first runs that fit.
    pub(super) async fn runs(&self, session: &Session, filter: RunFilter) -> Result<Vec<RunRecord>> {
        let wanted = filter.limit;
        let mut found = Vec::new();
        self.each_run(session, filter, |run| {
            found.push(run);
            found.len() < wanted
        })
        .await?;
        Ok(found)
    }

    /// How many runs fit, as far as the budget goes.
    pub(super) async fn count_runs(&self, session: &Session, filter: RunFilter) -> Result<u64> {
        let mut count = 0;
        self.each_run(session, filter, |_| {
            count += 1;
            true
        })
        .await?;
        Ok(count)
    }

    async fn each_run(
        &self,
        session: &Session,
        mut filter: RunFilter,
        mut take: impl FnMut(RunRecord) -> bool,
    ) -> Result<()> {
        filter.limit = PAGE;
        let mut looked_at = 0;
        loop {
            let page = session.history().runs(filter.clone()).await?;
            let is_last = page.len() < PAGE;
            let Some(last) = page.last() else { return Ok(()) };
            filter.cursor = last.time(filter.order).map(|at| (at, last.id));
            looked_at += page.len();
            let first_events: Vec<_> = page.iter().filter_map(|run| run.event_ids.first().copied()).collect();
            let mut events = session.history().event_records(first_events).await?;
            events.sort_by_key(|record| record.event.id);
            for run in page {
                let event = run.event_ids.first().and_then(|id| {
                    events.binary_search_by_key(id, |record| record.event.id).ok().map(|index| &events[index])
                });
                if self.fits_run(session, &run, event).await? && !take(run) {
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

    async fn fits_run(&self, session: &Session, run: &RunRecord, event: Option<&EventRecord>) -> Result<bool> {
        let function = session.function(run.function).await.ok();
        let app = match &function {
            Some(function) => session.app(function.app).await.ok(),
            None => None,
        };
        let output = output(run);
        let failed = run.status == RunStatus::Failed;
        let ended = run.ended_at.unwrap_or_else(|| session.now());
        let duration = run.started_at.map(|started| ended.0 - started.0);
        let roots = json!({
            "event": event.map(of_event),
            "output": if failed { Value::Null } else { output.as_ref().map(of_output).unwrap_or_default() },
            "error": if failed { output.as_ref().map(of_output).unwrap_or_default() } else { Value::Null },
            "run": { "id": run.id.to_string(), "status": FunctionRunStatus::text(run.status) },
            "function": { "slug": function.as_ref().map(|function| &*function.slug), "name": function.as_ref().map(|function| &*function.name) },
            "app": { "name": app.as_ref().map(|app| &*app.name) },
            "duration_ms": duration,
        });
        Ok(self.fits(session, &roots))
    }

    /// The first events that fit.
    pub(super) async fn events(&self, session: &Session, filter: EventFilter) -> Result<Vec<EventRecord>> {
        let wanted = filter.limit;
        let mut found = Vec::new();
        self.each_event(session, filter, |event| {
            found.push(event);
            found.len() < wanted
        })
        .await?;
        Ok(found)
    }

    /// How many events fit, as far as the budget goes.
    pub(super) async fn count_events(&self, session: &Session, filter: EventFilter) -> Result<u64> {
        let mut count = 0;
        self.each_event(session, filter, |_| {
            count += 1;
            true
        })
        .await?;
        Ok(count)
    }

    async fn each_event(
        &self,
        session: &Session,
        mut filter: EventFilter,
        mut take: impl FnMut(EventRecord) -> bool,
    ) -> Result<()> {
        if filter.limit == 0 {
            return Ok(());
        }
        filter.limit = PAGE;
        let mut looked_at = 0;
        loop {
            let page = session.history().events(filter.clone()).await?;
            let is_last = page.len() < PAGE;
            filter.cursor = page.last().map(|record| record.event.id);
            looked_at += page.len();
            for record in page {
                let fits = self.fits(session, &json!({ "event": of_event(&record) }));
                if fits && !take(record) {
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

fn of_event(record: &EventRecord) -> Value {
    content::parse(&record.body).unwrap_or_default()
}

fn of_output(output: &Payload) -> Value {
    content::parse(output).unwrap_or_default()
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
