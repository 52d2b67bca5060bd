//! Applying one transition inside the writer's open database transaction.
//!
//! Requirements are checked before anything is written, so a rejected transition leaves no trace and needs
//! no savepoint. Whatever fails after that is a fault of the database and undoes the whole batch.

use inngest_core::event::EventBody;
use inngest_core::{App, AppId, Event, Function, FunctionId, Millis, RunId, RunStatus, StepId, limits};
use inngest_queue::flow::Skip;
use inngest_queue::{JobId, JobKind, QueueItem, Resolution};
use rusqlite::{Connection, OptionalExtension as _, Statement, params};

use super::codec;
use super::waits::Waits;
use crate::run_state::{Defer, DeferStatus};
use crate::transition::{
    Admit, AttemptRecord, Await, Awaited, Cancellation, Change, Committed, Effect, FinishRun, Metadata, Rejected,
    Requirement, Rerun, StepRecord, Tick, Transition, When,
};

/// Kinds of jobs that never carry a run on.
const DEADLINES: &str = "9, 10";

/// A job made for a time further away than this is indexed by time and may stay on disk until then.
const NEAR_MS: i64 = 2_000;

/// The writer's prepared statements.
pub(super) struct Statements<'c> {
    connection: &'c Connection,
    job_generation: Statement<'c>,
    run_status: Statement<'c>,
    event_exists: Statement<'c>,
    put_event: Statement<'c>,
    idempotency: Statement<'c>,
    put_run: Statement<'c>,
    start_run: Statement<'c>,
    step_exists: Statement<'c>,
    record_step: Statement<'c>,
    record_attempt: Statement<'c>,
    put_job: Statement<'c>,
    group_job: Statement<'c>,
    remove_job: Statement<'c>,
    remove_jobs: Statement<'c>,
    other_job: Statement<'c>,
    resume: Statement<'c>,
    finish_run: Statement<'c>,
    waits: Waits<'c>,
}

/// What a transition has done so far, for the jobs that depend on it.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// It added the result of a step.
    recorded: bool,
    /// It ended a job.
    removed: bool,
}

/// What a transition did, or why it may not happen.
pub(super) type Applied = Result<Committed, Rejected>;

impl<'c> Statements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let sql = |text: &str| connection.prepare(text);
        let put_job = format!(
            "INSERT INTO jobs ({}, timer) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17) \
             ON CONFLICT (run_id, key) DO UPDATE SET function_id = ?3, kind = ?4, step_id = ?5, step_name = ?6, due = ?7, \
             attempt = ?8, generation = ?9, version = ?10, plan_only = ?11, stack_current = ?12, plan_group = ?13, queued_at = ?14, priority = ?15, resolution = ?16, timer = ?17 \
             WHERE ?9 > generation",
            codec::JOB_COLUMNS
        );
        Ok(Self {
            connection,
            job_generation: sql("SELECT generation FROM jobs WHERE run_id = ?1 AND key = ?2")?,
            run_status: sql("SELECT status FROM runs WHERE id = ?1")?,
            event_exists: sql("SELECT 1 FROM events WHERE id = ?1")?,
            put_event: sql("INSERT OR IGNORE INTO events (id, name, external_id, ts, runs, about_run, body) \
                 VALUES (?1,?2,?3,?4,?5,?6,?7)")?,
            idempotency: sql("INSERT INTO idempotency (function_id, key, expires_at) VALUES (?1,?2,?3) \
                 ON CONFLICT (function_id, key) DO UPDATE SET expires_at = ?3 WHERE expires_at <= ?4")?,
            put_run: sql("INSERT INTO runs (id, function_id, status, event_ids, event_name, correlation_id) \
                 VALUES (?1,?2,?3,?4,?5,?6)")?,
            start_run: sql("UPDATE runs SET status = ?2, started_at = ?3 WHERE id = ?1 AND started_at IS NULL")?,
            step_exists: sql("SELECT 1 FROM steps WHERE run_id = ?1 AND step_id = ?2")?,
            record_step: sql(
                "INSERT OR IGNORE INTO steps (run_id, step_id, seq, op, name, failed, attempt, queued_at, \
                 started_at, ended_at, input, value) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
            )?,
            record_attempt: sql(
                "INSERT OR IGNORE INTO attempts (run_id, job_key, generation, step_id, step_name, attempt, \
                 started_at, ended_at, status, error, retry_at) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
            )?,
            put_job: sql(&put_job)?,
            group_job: sql("SELECT 1 FROM jobs WHERE run_id = ?1 AND plan_group = ?2 LIMIT 1")?,
            remove_job: sql("DELETE FROM jobs WHERE run_id = ?1 AND key = ?2")?,
            remove_jobs: sql("DELETE FROM jobs WHERE run_id = ?1 RETURNING key")?,
            other_job: sql(&format!(
                "SELECT 1 FROM jobs WHERE run_id = ?1 AND key <> ?2 AND kind NOT IN ({DEADLINES}) LIMIT 1"
            ))?,
            resume: sql(&format!(
                "UPDATE jobs SET resolution = ?3, due = ?4, timer = NULL, generation = generation + 1 \
                 WHERE run_id = ?1 AND key = ?2 AND resolution IS NULL RETURNING {}",
                codec::JOB_COLUMNS
            ))?,
            waits: Waits::prepare(connection)?,
            finish_run: sql("UPDATE runs SET status = ?2, output = ?3, error = ?4, \
                 started_at = coalesce(started_at, ?5), ended_at = ?6 WHERE id = ?1")?,
        })
    }

    /// Applies `transition`. `seq` numbers recorded steps.
    pub(super) fn apply(&mut self, transition: &Transition, now: Millis, seq: &mut i64) -> rusqlite::Result<Applied> {
        for requirement in &transition.require {
            if let Some(rejected) = self.violated(requirement)? {
                return Ok(Err(rejected));
            }
        }
        let mut committed = Committed::default();
        let mut progress = Progress::default();
        for change in &transition.changes {
            match change {
                Change::PutEvent(event, admits) => self.put_event(event, admits, now, &mut committed)?,
                Change::StartRun { run, at } => self.start_run(*run, *at)?,
                Change::RecordStep(step) => progress.recorded |= self.record_step(step, seq)?,
                Change::RecordAttempt(attempt) => self.record_attempt(attempt)?,
                Change::PutJob(item, when) => {
                    if self.holds(*when, item, progress)? && self.put_job(item, now)? {
                        committed.jobs.push(item.clone());
                    }
                }
                Change::RemoveJob(job) => progress.removed |= self.remove_job(*job)?,
                Change::RestartAttempts(job, stack) => {
                    let sql = "UPDATE jobs SET attempt = 0, stack_current = ?3 WHERE run_id = ?1 AND key = ?2";
                    let parameters = params![job.run.to_bytes(), job.key.cast_signed(), stack];
                    self.connection.prepare_cached(sql)?.execute(parameters)?;
                }
                Change::Rerun(rerun) => self.rerun(rerun, now, seq, &mut committed)?,
                Change::Await(waiting) => self.begin_to_wait(waiting, now, &mut committed)?,
                Change::Resume(job, resolution) => self.resume(*job, resolution, now, &mut committed)?,
                Change::RemoveWait(job) => self.waits.remove(*job)?,
                Change::Signal(name, value) => {
                    if let Some(job) = self.waits.signal(name)? {
                        self.waits.remove(job)?;
                        self.resume(job, &Resolution::Value(value.clone()), now, &mut committed)?;
                    }
                }
                Change::PutDefer(run, defer) => put_defer(self.connection, *run, defer, seq)?,
                Change::AbortDefer(run, id) => abort_defer(self.connection, *run, id)?,
                Change::PutMetadata(metadata) => put_metadata(self.connection, metadata, seq)?,
                Change::PutTick(tick) => put_tick(self.connection, tick)?,
                Change::RemoveTick(function, schedule) => {
                    let sql = "DELETE FROM ticks WHERE function_id = ?1 AND schedule = ?2";
                    self.connection.execute(sql, params![function.0.as_bytes(), &**schedule])?;
                }
                Change::PutCancellation(cancellation) => put_cancellation(self.connection, cancellation)?,
                Change::RemoveCancellation(id) => {
                    self.connection.execute("DELETE FROM cancellations WHERE id = ?1", [id])?;
                }
                Change::FinishRun(finish) => self.finish_run(finish, &transition.require, &mut committed)?,
                Change::PutApp(app) => put_app(self.connection, app)?,
                Change::ArchiveApp(app, at) => archive_app(self.connection, *app, *at)?,
                Change::PutFunction(function) => put_function(self.connection, function)?,
                Change::ArchiveFunction(function, at) => archive_function(self.connection, *function, *at)?,
                Change::StartGathered(..)
                | Change::DropGathered(_)
                | Change::PutTokens(_)
                | Change::PutHold(..)
                | Change::PutDocument(..) => {}
            }
        }
        Ok(Ok(committed))
    }

    /// The open database transaction was undone: what is known in memory of its content may be wrong.
    pub(super) fn undone(&mut self) {
        self.waits.reload();
    }

    fn violated(&mut self, requirement: &Requirement) -> rusqlite::Result<Option<Rejected>> {
        match requirement {
            &Requirement::Generation(job, generation) => {
                let found: Option<u32> = self
                    .job_generation
                    .query_row(params![job.run.to_bytes(), job.key.cast_signed()], |row| row.get(0))
                    .optional()?;
                Ok((found != Some(generation)).then_some(Rejected::StaleJob(job, found)))
            }
            &Requirement::Unplanned(job) => {
                let found = self.job_generation.exists(params![job.run.to_bytes(), job.key.cast_signed()])?;
                Ok(found.then_some(Rejected::Planned(job)))
            }
            &Requirement::Siblings(job) => {
                let found = self.other_job.exists(params![job.run.to_bytes(), job.key.cast_signed()])?;
                Ok((!found).then_some(Rejected::NoSiblings(job)))
            }
            Requirement::SignalFree(name, job) => {
                let taken = self.waits.signal(name)?.is_some_and(|other| other != *job);
                let mut known = || self.job_generation.exists(params![job.run.to_bytes(), job.key.cast_signed()]);
                Ok((taken && !known()?).then(|| Rejected::SignalTaken(name.clone())))
            }
            &Requirement::Active(function, version) => {
                let sql = "SELECT 1 FROM functions WHERE id = ?1 AND version = ?2 AND archived_at IS NULL";
                let found = self.connection.prepare_cached(sql)?.exists(params![function.0.as_bytes(), version])?;
                Ok((!found).then_some(Rejected::Inactive(function)))
            }
            &Requirement::RunOpen(run) => {
                let status = self.run_status.query_row([run.to_bytes()], |row| codec::status(row, 0)).optional()?;
                Ok(status.is_none_or(RunStatus::is_final).then_some(Rejected::RunEnded(run)))
            }
        }
    }

    fn put_event(
        &mut self,
        event: &Event,
        admits: &[Admit],
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        // The order matters when keys are at stake: a repeated event must not touch them.
        let keyed = admits.iter().any(|admit| admit.idempotency.is_some());
        if keyed && self.event_exists.exists([event.id.to_bytes()])? {
            return Ok(());
        }
        let mut allowed = Vec::with_capacity(admits.len());
        for admit in admits {
            if self.first_of_its_key(admit)? {
                allowed.push(admit);
            }
        }
        let runs: Vec<u8> = allowed.iter().flat_map(|admit| admit.run.to_bytes()).collect();
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
            return Ok(());
        }
        self.waits.received(event, now);
        // Before the runs it starts begin to wait for others of its kind.
        for matched in self.waits.matching(event, now)? {
            match matched.effect {
                Effect::Resume => self.resume(matched.job, &Resolution::Event(event.id), now, committed)?,
                Effect::Cancel => {
                    let id = JobId::cancel(matched.job.run);
                    let job = QueueItem::new(id, matched.function, JobKind::Cancel, now);
                    if self.put_job(&job, now)? {
                        committed.jobs.push(job);
                    }
                }
            }
        }
        for admit in allowed {
            self.put_run(admit, &event.id.to_bytes(), &event.name, now, committed)?;
            committed.admitted.push((event.id, admit.run));
        }
        Ok(())
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
        for job in std::iter::once(&admit.job).chain(&admit.deadline) {
            self.put_job(job, now)?;
            committed.jobs.push(job.clone());
        }
        for wait in &admit.cancel_on {
            self.waits.put(wait)?;
        }
        Ok(())
    }

    fn rerun(&mut self, rerun: &Rerun, now: Millis, seq: &mut i64, committed: &mut Committed) -> rusqlite::Result<()> {
        let events: Vec<u8> = rerun.events.iter().flat_map(|event| event.to_bytes()).collect();
        self.put_run(&rerun.admit, &events, &rerun.event_name, now, committed)?;
        let run = rerun.admit.run.to_bytes();
        let (step, input) = rerun.input.as_ref().map(|(step, input)| (step.as_str(), &input[..])).unzip();
        self.connection.execute(
            "UPDATE runs SET original_run = ?2, input_step = ?3, input = ?4 WHERE id = ?1",
            params![run, rerun.original.to_bytes(), step, input],
        )?;
        for event in &rerun.events {
            let sql = "SELECT coalesce(runs, x'') FROM events WHERE id = ?1";
            let known =
                self.connection.query_row(sql, [event.to_bytes()], |row| row.get::<_, Vec<u8>>(0)).optional()?;
            if let Some(mut runs) = known {
                runs.extend_from_slice(&run);
                let sql = "UPDATE events SET runs = ?2 WHERE id = ?1";
                self.connection.execute(sql, params![event.to_bytes(), runs])?;
            }
        }
        for step in &rerun.steps {
            self.record_step(step, seq)?;
        }
        Ok(())
    }

    fn begin_to_wait(&mut self, waiting: &Await, now: Millis, committed: &mut Committed) -> rusqlite::Result<()> {
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
                self.put_event(&invoke.event, &invoke.admits, now, committed)?;
                if !committed.admitted.iter().any(|(_, run)| *run == invoke.run) {
                    self.resume(job.id, &Resolution::Value((invoke.refusal)(Skip::Duplicate)), now, committed)?;
                }
            }
        }
        Ok(())
    }

    /// Makes a waiting job due with what it waits for.
    fn resume(
        &mut self,
        job: JobId,
        resolution: &Resolution,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let resolution = codec::resolution_bytes(resolution);
        let parameters = params![job.run.to_bytes(), job.key.cast_signed(), resolution, now.0];
        committed.jobs.extend(self.resume.query_row(parameters, codec::job).optional()?);
        Ok(())
    }

    fn first_of_its_key(&mut self, admit: &Admit) -> rusqlite::Result<bool> {
        let Some((key, until)) = &admit.idempotency else { return Ok(true) };
        let now = admit.run.timestamp();
        let added = self.idempotency.execute(params![admit.function.0.as_bytes(), &**key, until.0, now.0])?;
        Ok(added == 1)
    }

    fn start_run(&mut self, run: RunId, at: Millis) -> rusqlite::Result<()> {
        self.start_run.execute(params![run.to_bytes(), RunStatus::Running as u8, at.0])?;
        Ok(())
    }

    fn record_step(&mut self, record: &StepRecord, seq: &mut i64) -> rusqlite::Result<bool> {
        *seq += 1;
        let added = self.record_step.execute(params![
            record.run.to_bytes(),
            record.step.id.as_str(),
            *seq,
            record.op as u8,
            &*record.step.name,
            record.failed,
            record.attempt,
            record.queued_at.0,
            record.started_at.0,
            record.ended_at.0,
            record.input.as_deref(),
            &record.value[..]
        ])?;
        Ok(added == 1)
    }

    fn record_attempt(&mut self, record: &AttemptRecord) -> rusqlite::Result<()> {
        self.record_attempt.execute(params![
            record.job.run.to_bytes(),
            record.job.key.cast_signed(),
            record.generation,
            record.step.as_ref().map(|step| step.id.as_str()),
            record.step.as_ref().map(|step| &*step.name),
            record.attempt,
            record.started_at.0,
            record.ended_at.0,
            record.status,
            &record.error[..],
            record.retry_at.map(|at| at.0)
        ])?;
        Ok(())
    }

    fn holds(&mut self, when: When, item: &QueueItem, progress: Progress) -> rusqlite::Result<bool> {
        Ok(match when {
            When::Always => true,
            When::Recorded => progress.recorded,
            When::Unrecorded => match item.step() {
                Some(step) => !self.step_exists.exists(params![item.id.run.to_bytes(), step.id.as_str()])?,
                None => true,
            },
            When::Last => {
                (progress.recorded || progress.removed)
                    && !self.other_job.exists(params![item.id.run.to_bytes(), item.id.key.cast_signed()])?
            }
            When::GroupDone(group) => {
                (progress.recorded || progress.removed)
                    && !self.group_job.exists(params![item.id.run.to_bytes(), group.cast_signed()])?
            }
        })
    }

    fn put_job(&mut self, item: &QueueItem, now: Millis) -> rusqlite::Result<bool> {
        let step = item.step();
        let timer = (item.due.0 > now.0 + NEAR_MS).then_some(item.due.0);
        let written = self.put_job.execute(params![
            item.id.run.to_bytes(),
            item.id.key.cast_signed(),
            item.function.0.as_bytes(),
            codec::kind_code(&item.kind),
            step.map(|step| step.id.as_str()),
            step.map(|step| &*step.name),
            item.due.0,
            item.attempt,
            item.generation,
            item.version,
            item.plan_only,
            item.stack_current,
            item.group.map(u64::cast_signed),
            item.queued_at.0,
            item.priority,
            item.resolution.as_deref().map(codec::resolution_bytes),
            timer
        ])?;
        Ok(written == 1)
    }

    fn remove_job(&mut self, job: JobId) -> rusqlite::Result<bool> {
        Ok(self.remove_job.execute(params![job.run.to_bytes(), job.key.cast_signed()])? == 1)
    }

    fn finish_run(
        &mut self,
        finish: &FinishRun,
        require: &[Requirement],
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let run = finish.run;
        self.finish_run.execute(params![
            run.to_bytes(),
            finish.status as u8,
            finish.output.as_deref(),
            finish.error.as_deref(),
            finish.started_at.map(|at| at.0),
            finish.ended_at.0
        ])?;
        self.waits.remove_run(run)?;
        let mut rows = self.remove_jobs.query([run.to_bytes()])?;
        while let Some(row) = rows.next()? {
            let job = JobId { run, key: row.get::<_, i64>(0)?.cast_unsigned() };
            // The caller's own job is settled by the caller.
            if !require.iter().any(|requirement| matches!(requirement, Requirement::Generation(own, _) if *own == job))
            {
                committed.removed.push(job);
            }
        }
        Ok(())
    }
}

fn put_app(connection: &Connection, app: &App) -> rusqlite::Result<()> {
    let sql =
        format!("INSERT OR REPLACE INTO apps ({}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)", codec::APP_COLUMNS);
    connection.execute(
        &sql,
        params![
            app.id.0.as_bytes(),
            &*app.name,
            &*app.url,
            app.sdk_language,
            app.sdk_version,
            app.framework,
            app.app_version,
            app.error,
            app.checksum,
            app.created_at.0,
            app.archived_at.map(|at| at.0)
        ],
    )?;
    Ok(())
}

fn archive_app(connection: &Connection, app: AppId, at: Millis) -> rusqlite::Result<()> {
    let id = app.0.as_bytes();
    connection.execute("DELETE FROM apps WHERE id = ?1 AND name = ''", [id])?;
    connection.execute("UPDATE apps SET archived_at = ?2 WHERE id = ?1 AND archived_at IS NULL", params![id, at.0])?;
    connection.execute(
        "UPDATE functions SET archived_at = ?2 WHERE app_id = ?1 AND archived_at IS NULL",
        params![id, at.0],
    )?;
    Ok(())
}

fn put_function(connection: &Connection, function: &Function) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT OR REPLACE INTO functions ({}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
        codec::FUNCTION_COLUMNS
    );
    connection.execute(
        &sql,
        params![
            function.id.0.as_bytes(),
            function.app.0.as_bytes(),
            &*function.slug,
            &*function.name,
            codec::triggers_text(&function.triggers),
            &*function.url,
            &*function.step_id,
            function.retries,
            function.version,
            &function.config[..],
            function.created_at.0,
            function.archived_at.map(|at| at.0)
        ],
    )?;
    Ok(())
}

fn archive_function(connection: &Connection, function: FunctionId, at: Millis) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE functions SET archived_at = ?2 WHERE id = ?1 AND archived_at IS NULL",
        params![function.0.as_bytes(), at.0],
    )?;
    Ok(())
}

fn put_defer(connection: &Connection, run: RunId, defer: &Defer, seq: &mut i64) -> rusqlite::Result<()> {
    *seq += 1;
    let sql =
        "INSERT OR IGNORE INTO defers (run_id, id, seq, function, input, meta, status) VALUES (?1,?2,?3,?4,?5,?6,?7)";
    connection.prepare_cached(sql)?.execute(params![
        run.to_bytes(),
        defer.id.as_str(),
        *seq,
        &*defer.function,
        &defer.input[..],
        defer.meta.as_deref(),
        defer.status as u8
    ])?;
    Ok(())
}

fn abort_defer(connection: &Connection, run: RunId, id: &StepId) -> rusqlite::Result<()> {
    let sql = "UPDATE defers SET status = ?3, input = x'' WHERE run_id = ?1 AND id = ?2 AND status = ?4";
    let (aborted, pending) = (DeferStatus::Aborted as u8, DeferStatus::AfterRun as u8);
    connection.prepare_cached(sql)?.execute(params![run.to_bytes(), id.as_str(), aborted, pending])?;
    Ok(())
}

/// A note that does not fit is dropped: notes never fail a run.
fn put_metadata(connection: &Connection, metadata: &Metadata, seq: &mut i64) -> rusqlite::Result<()> {
    *seq += 1;
    let sql = "INSERT INTO metadata (run_id, seq, step_id, scope, kind, op, \"values\", at) \
               SELECT ?1,?2,?3,?4,?5,?6,?7,?8 WHERE length(?7) + \
               (SELECT coalesce(sum(length(\"values\")), 0) FROM metadata WHERE run_id = ?1) <= ?9";
    let added = connection.prepare_cached(sql)?.execute(params![
        metadata.run.to_bytes(),
        *seq,
        metadata.step.as_ref().map(StepId::as_str),
        &*metadata.scope,
        &*metadata.kind,
        &*metadata.op,
        &metadata.values[..],
        metadata.at.0,
        i64::try_from(limits::METADATA_OF_RUN_BYTES_MAX).unwrap_or(i64::MAX)
    ])?;
    if added == 0 {
        tracing::warn!(run_id = %metadata.run, kind = %metadata.kind, "the run has all notes it may have; one is dropped");
    }
    Ok(())
}

fn put_tick(connection: &Connection, tick: &Tick) -> rusqlite::Result<()> {
    let sql = "INSERT INTO ticks (function_id, schedule, at) VALUES (?1,?2,?3) \
               ON CONFLICT (function_id, schedule) DO UPDATE SET at = max(at, ?3)";
    connection.prepare_cached(sql)?.execute(params![tick.function.0.as_bytes(), &*tick.schedule, tick.at.0])?;
    Ok(())
}

fn put_cancellation(connection: &Connection, cancellation: &Cancellation) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT OR REPLACE INTO cancellations ({}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8)",
        codec::CANCELLATION_COLUMNS
    );
    connection.execute(
        &sql,
        params![
            cancellation.id,
            cancellation.function.0.as_bytes(),
            cancellation.started_after.map(|at| at.0),
            cancellation.started_before.0,
            cancellation.condition,
            cancellation.created_at.0,
            cancellation.cursor.map(RunId::to_bytes),
            cancellation.done_at.map(|at| at.0)
        ],
    )?;
    Ok(())
}
