//! Events, and the runs that begin with them.

use inngest_core::event::EventBody;
use inngest_core::{Event, EventId, FunctionId, Millis, RunId, RunStatus};
use inngest_queue::admission::{AFTER_ANOTHER, Start};
use inngest_queue::flow::Skip;
use inngest_queue::{Gathering, JobId, JobKind, QueueItem, Resolution};
use rusqlite::params;

use super::apply::{Progress, Statements};
use super::codec;
use super::counters::CountedRun;
use crate::transition::{Admit, Await, Awaited, Committed, Effect, Invoke, Rerun, When};

/// What begins with an event.
pub(super) enum Begins {
    /// A run, when the other one has ended if there is one.
    Run(Option<RunId>),
    /// The run of a batch that is full now.
    Batch(JobId),
}

impl Statements<'_> {
    /// Adds an event and what begins with it; false when its id is stored already.
    pub(super) fn put_event(
        &mut self,
        event: &Event,
        admits: &[Admit],
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<bool> {
        // The order matters when rows decide: a repeated event must not touch them.
        let decides = |admit: &Admit| admit.idempotency.is_some() || admit.flow.is_some();
        if admits.iter().any(decides) && self.event_exists.exists([event.id.to_bytes()])? {
            return Ok(false);
        }
        let mut begins = Vec::with_capacity(admits.len());
        for admit in admits {
            begins.extend(self.admit(admit, event, now, committed)?.map(|what| (admit, what)));
        }
        let is_run = |(_, what): &&(&Admit, Begins)| matches!(what, Begins::Run(_));
        let runs: Vec<u8> = begins.iter().filter(is_run).flat_map(|(admit, _)| admit.run.to_bytes()).collect();
        let (about, body) = match &event.body {
            EventBody::Stored(body) => (None, Some(&body[..])),
            EventBody::Lifecycle(run) => (Some(run.to_bytes()), None),
        };
        let runs = (!runs.is_empty()).then_some(runs);
        let added = self.put_event.execute(params![
            event.id.to_bytes(),
            &*event.name,
            event.external_id.as_deref(),
            event.ts.0,
            runs,
            about,
            body
        ])?;
        if added == 0 {
            return Ok(false);
        }
        self.counters.add_event(event);
        self.waits.received(event, now);
        // Before the runs it starts begin to wait for others of its kind.
        for matched in self.waits.matching(event, now)? {
            match matched.effect {
                Effect::Resume => self.resume(matched.job, &Resolution::Event(event.id), now, committed)?,
                Effect::Cancel => self.cancel(matched.job.run, matched.function, now, committed)?,
            }
        }
        for (admit, what) in begins {
            match what {
                Begins::Run(after) => {
                    self.start(admit, after, &event.id.to_bytes(), &event.name, now, committed)?;
                    committed.admitted.push((event.id, admit.run));
                }
                Begins::Batch(job) => self.start_full_batch(job, admit, now, committed)?,
            }
        }
        Ok(true)
    }

    /// Adds a run that was admitted. One that takes the place of another is there already, but waits for its end.
    pub(super) fn start(
        &mut self,
        admit: &Admit,
        after: Option<RunId>,
        events: &[u8],
        event_name: &str,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        if let Some(singleton) = admit.flow.as_ref().and_then(|flow| flow.singleton) {
            self.singletons.lock(admit.function, singleton.key, admit.run)?;
        }
        let Some(after) = after else { return self.put_run(admit, events, event_name, now, committed) };
        self.cancel(after, admit.function, now, committed)?;
        self.singletons.follow(&admit.job, after)?;
        let job = QueueItem { due: AFTER_ANOTHER, ..admit.job.clone() };
        self.put_run(&Admit { job, ..admit.clone() }, events, event_name, now, committed)
    }

    /// Adds a run, its first job, and what may end it from outside.
    fn put_run(
        &mut self,
        admit: &Admit,
        events: &[u8],
        event_name: &str,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        self.put_run.execute(params![
            admit.run.to_bytes(),
            admit.function.0.as_bytes(),
            RunStatus::Scheduled as u8,
            events,
            event_name,
            admit.correlation_id.as_deref()
        ])?;
        self.counters.add_run(admit.run, CountedRun::new(admit.function, event_name));
        for job in std::iter::once(&admit.job).chain(&admit.deadline) {
            self.put_job(job, now)?;
            committed.jobs.push(job.clone());
        }
        for wait in &admit.cancel_on {
            self.waits.put(wait)?;
        }
        Ok(())
    }

    /// Has a run cancelled by a job of its own.
    fn cancel(
        &mut self,
        run: RunId,
        function: FunctionId,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let job = QueueItem::new(JobId::cancel(run), function, JobKind::Cancel, now);
        if self.put_job(&job, now)? {
            committed.jobs.push(job);
        }
        Ok(())
    }

    /// Notes that a stored event has started a run.
    pub(super) fn add_run_of_event(&mut self, event: EventId, run: RunId) -> rusqlite::Result<()> {
        // Of two BLOBs, `||` makes a TEXT of the same bytes.
        let sql = "UPDATE events SET runs = CAST(coalesce(runs, x'') || ?2 AS BLOB) WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute(params![event.to_bytes(), run.to_bytes()])?;
        Ok(())
    }

    pub(super) fn rerun(
        &mut self,
        rerun: &Rerun,
        now: Millis,
        seq: &mut i64,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let Rerun { admit, events, event_name, .. } = rerun;
        let run = admit.run;
        // Its events were admitted once; what is left to ask is whether the function may have this run now.
        let after = match self.admit_gathered(Gathering::Batch, admit)? {
            Start::Now => None,
            Start::After(run) => Some(run),
            // The events have started a run before, so only this one is skipped.
            Start::Never(reason) => {
                self.admissions.skip_run(admit, (events, event_name), reason, now, &mut self.counters)?;
                return self.note_original(run, rerun.original);
            }
        };
        self.start(admit, after, &codec::event_id_bytes(events), event_name, now, committed)?;
        self.note_original(run, rerun.original)?;
        let (step, input) = rerun.input.as_ref().map(|(step, input)| (step.as_str(), &input[..])).unzip();
        self.connection.execute(
            "UPDATE runs SET input_step = ?2, input = ?3 WHERE id = ?1",
            params![run.to_bytes(), step, input],
        )?;
        for event in events {
            self.add_run_of_event(*event, run)?;
        }
        for step in &rerun.steps {
            self.record_step(step, seq)?;
        }
        Ok(())
    }

    fn note_original(&self, run: RunId, original: RunId) -> rusqlite::Result<()> {
        let sql = "UPDATE runs SET original_run = ?2 WHERE id = ?1";
        self.connection.execute(sql, params![run.to_bytes(), original.to_bytes()])?;
        Ok(())
    }

    pub(super) fn begin_to_wait(
        &mut self,
        waiting: &Await,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let job = &waiting.job;
        if !self.holds(When::Unrecorded, job, Progress::default())? || !self.put_job(job, now)? {
            return Ok(());
        }
        committed.jobs.push(job.clone());
        match &waiting.awaited {
            Awaited::Nothing => {}
            Awaited::Event { wait, since, own } => {
                self.waits.put(wait)?;
                if let Some(event) = self.waits.missed(wait, *since, own, now)? {
                    self.resume(job.id, &Resolution::Event(event), now, committed)?;
                }
            }
            Awaited::Signal(name) => self.waits.put_signal(name, job.id)?,
            Awaited::Run(invoke) => {
                let is_new = self.put_event(&invoke.event, &invoke.admits, now, committed)?;
                if let Some(skip) = refused(invoke, is_new, committed) {
                    self.resume(job.id, &Resolution::Value((invoke.refusal)(skip)), now, committed)?;
                }
            }
        }
        Ok(())
    }
}

/// Why there is no run that the invoker could wait for, and will be none. Its event may wait for others of its kind,
/// or have lost to one of them: then there will be.
fn refused(invoke: &Invoke, is_new: bool, committed: &Committed) -> Option<Skip> {
    let admit = invoke.admits.iter().find(|admit| admit.run == invoke.run).filter(|_| is_new);
    let Some(admit) = admit else { return Some(Skip::Duplicate) };
    let own =
        |(event, function, _): &&(EventId, FunctionId, Skip)| *event == invoke.event.id && *function == admit.function;
    let skip = committed.skipped.iter().rfind(own).map(|(_, _, skip)| *skip);
    skip.filter(|skip| *skip != Skip::Debounced)
}
