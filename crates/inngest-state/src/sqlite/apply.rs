//! Applying one transition inside the writer's open database transaction.
//!
//! Requirements are checked before anything is written, so a rejected transition leaves no trace and needs
//! no savepoint. Whatever fails after that is a fault of the database and undoes the whole batch.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use inngest_core::{EventId, Millis, RunId, RunStatus};
use inngest_queue::{JobId, QueueItem, Resolution};
use rusqlite::{Connection, OptionalExtension as _, Statement, params};

use super::admission::{Admissions, Counts};
use super::counters::{CountedRun, Counters};
use super::gathering::Gatherings;
use super::singletons::Singletons;
use super::waits::Waits;
use super::{codec, records};
use crate::trace::ResponseHead;
use crate::transition::{
    AttemptRecord, Change, Committed, FinishRun, Rejected, Requirement, StepRecord, Transition, When,
};

/// Kinds of jobs that never carry a run on.
const DEADLINES: &str = "9, 10";

/// A job made for a time further away than this is indexed by time and may stay on disk until then.
const NEAR_MS: i64 = 2_000;

/// Headers that are known to be stored; when there are more, all are asked for again.
const KNOWN_HEADERS_MAX: usize = 1_024;

/// The writer's prepared statements.
pub(super) struct Statements<'c> {
    pub(super) connection: &'c Connection,
    job_generation: Statement<'c>,
    run_status: Statement<'c>,
    pub(super) event_exists: Statement<'c>,
    pub(super) put_event: Statement<'c>,
    pub(super) put_run: Statement<'c>,
    start_run: Statement<'c>,
    step_exists: Statement<'c>,
    record_step: Statement<'c>,
    record_attempt: Statement<'c>,
    put_job: Statement<'c>,
    group_job: Statement<'c>,
    remove_job: Statement<'c>,
    jobs_of_run: Statement<'c>,
    put_cut_off: Statement<'c>,
    other_job: Statement<'c>,
    job: Statement<'c>,
    resume: Statement<'c>,
    move_job: Statement<'c>,
    finish_run: Statement<'c>,
    put_headers: Statement<'c>,
    /// How many jobs there are; and how many the open database transaction has added, less those it has removed.
    jobs: Arc<AtomicI64>,
    jobs_added: i64,
    /// Hashes of headers that are on disk, and of those that the open database transaction has stored.
    known_headers: HashSet<i64>,
    new_headers: Vec<i64>,
    pub(super) waits: Waits<'c>,
    pub(super) admissions: Admissions<'c>,
    pub(super) gatherings: Gatherings<'c>,
    pub(super) singletons: Singletons<'c>,
    pub(super) counters: Counters<'c>,
}

/// What a transition has done so far, for the jobs that depend on it.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    /// It added the result of a step.
    recorded: bool,
    /// It ended a job.
    removed: bool,
}

/// What a transition did, or why it may not happen.
pub(super) type Applied = Result<Committed, Rejected>;

impl<'c> Statements<'c> {
    pub(super) fn prepare(connection: &'c Connection, jobs: Arc<AtomicI64>) -> rusqlite::Result<Self> {
        let sql = |text: &str| connection.prepare(text);
        let put_job = format!(
            "INSERT INTO jobs ({}, timer) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19) \
             ON CONFLICT (run_id, key) DO UPDATE SET function_id = ?3, kind = ?4, step_id = ?5, step_name = ?6, due = ?7, \
             attempt = ?8, generation = ?9, version = ?10, plan_only = ?11, stack_current = ?12, plan_group = ?13, queued_at = ?14, priority = ?15, resolution = ?16, keys = ?17, starts = ?18, timer = ?19 \
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
            put_run: sql("INSERT INTO runs (id, function_id, status, event_ids, event_name, correlation_id) \
                 VALUES (?1,?2,?3,?4,?5,?6)")?,
            start_run: sql(
                "UPDATE runs SET status = ?2, started_at = ?3 WHERE id = ?1 AND started_at IS NULL AND status = ?4",
            )?,
            step_exists: sql("SELECT 1 FROM steps WHERE run_id = ?1 AND step_id = ?2")?,
            record_step: sql(
                "INSERT OR IGNORE INTO steps (run_id, step_id, seq, op, name, failed, attempt, queued_at, \
                 started_at, ended_at, input, value, job_key, resolution, status, headers) \
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)",
            )?,
            record_attempt: sql(
                "INSERT OR IGNORE INTO attempts (run_id, job_key, generation, step_id, step_name, attempt, \
                 started_at, ended_at, status, error, retry_at, queued_at, headers) \
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)",
            )?,
            put_job: sql(&put_job)?,
            group_job: sql("SELECT 1 FROM jobs WHERE run_id = ?1 AND plan_group = ?2 LIMIT 1")?,
            remove_job: sql("DELETE FROM jobs WHERE run_id = ?1 AND key = ?2")?,
            jobs_of_run: sql("SELECT key, step_id IS NOT NULL FROM jobs WHERE run_id = ?1")?,
            put_cut_off: sql("INSERT OR IGNORE INTO cut_off (run_id, job_key, kind, step_id, step_name, queued_at, \
                 attempt, called_at) SELECT run_id, key, kind, step_id, step_name, queued_at, attempt, ?3 FROM jobs \
                 WHERE run_id = ?1 AND key = ?2")?,
            other_job: sql(&format!(
                "SELECT 1 FROM jobs WHERE run_id = ?1 AND key <> ?2 AND kind NOT IN ({DEADLINES}) LIMIT 1"
            ))?,
            job: sql(&format!("SELECT {} FROM jobs WHERE run_id = ?1 AND key = ?2", codec::JOB_COLUMNS))?,
            resume: sql("UPDATE jobs SET resolution = ?3, due = ?4, timer = NULL, generation = generation + 1 \
                 WHERE run_id = ?1 AND key = ?2 AND resolution IS NULL")?,
            move_job: sql(
                "UPDATE jobs SET due = ?3, timer = ?4, generation = generation + 1 WHERE run_id = ?1 AND key = ?2",
            )?,
            waits: Waits::prepare(connection)?,
            admissions: Admissions::prepare(connection)?,
            gatherings: Gatherings::prepare(connection)?,
            singletons: Singletons::prepare(connection)?,
            counters: Counters::prepare(connection)?,
            finish_run: sql("UPDATE runs SET status = ?2, output = ?3, error = ?4, \
                 started_at = ?5, ended_at = ?6, last_job = ?7, last_queued_at = ?8, \
                 last_started_at = ?9, last_attempt = ?10, last_status = ?11, last_headers = ?12, \
                 finished_event = ?13 WHERE id = ?1")?,
            put_headers: sql("INSERT OR IGNORE INTO headers (hash, json) VALUES (?1,?2)")?,
            jobs,
            jobs_added: 0,
            known_headers: HashSet::new(),
            new_headers: Vec::new(),
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
                Change::PutEvent(event, admits) => {
                    self.put_event(event, admits, now, &mut committed)?;
                }
                Change::StartRun { run, at, job } => self.start_run(*run, *at, *job)?,
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
                Change::PutDefer(run, defer) => records::put_defer(self.connection, *run, defer, seq)?,
                Change::AbortDefer(run, id) => records::abort_defer(self.connection, *run, id)?,
                Change::StartDefer(run, id, event) => records::start_defer(self.connection, *run, id, *event)?,
                Change::PutDetail(run, step, detail) => records::put_detail(self.connection, *run, step, detail)?,
                Change::PutSpans(spans) => records::put_spans(self.connection, spans)?,
                Change::PutMetadata(metadata) => records::put_metadata(self.connection, metadata, seq)?,
                Change::PutTick(tick) => records::put_tick(self.connection, tick)?,
                Change::RemoveTick(function, schedule) => {
                    records::remove_tick(self.connection, *function, schedule)?;
                }
                Change::PutCancellation(cancellation) => records::put_cancellation(self.connection, cancellation)?,
                Change::RemoveCancellation(id) => {
                    self.connection.execute("DELETE FROM cancellations WHERE id = ?1", [id])?;
                }
                Change::FinishRun(finish) => self.finish_run(finish, &transition.require, now, &mut committed)?,
                Change::PutApp(app) => records::put_app(self.connection, app)?,
                Change::ArchiveApp(app, at) => records::archive_app(self.connection, *app, *at)?,
                Change::PutFunction(function) => records::put_function(self.connection, function)?,
                Change::ArchiveFunction(function, at) => records::archive_function(self.connection, *function, *at)?,
                Change::StartGathered(job, admit, refusal) => {
                    self.start_gathered(*job, admit, *refusal, now, &mut committed)?;
                }
                Change::DropGathered(job) => self.drop_gathered(*job)?,
                Change::PutTokens(tokens) => {
                    for token in tokens {
                        self.admissions.put_tat(Counts::Throttles, *token)?;
                    }
                }
                Change::PutHold(function, hold) => records::put_hold(self.connection, *function, *hold)?,
                Change::PutDocument(name, body) => records::put_document(self.connection, name, body.as_ref())?,
            }
        }
        Ok(Ok(committed))
    }

    /// The database transaction is on disk.
    pub(super) fn committed(&mut self) {
        if self.known_headers.len() + self.new_headers.len() > KNOWN_HEADERS_MAX {
            self.known_headers.clear();
        }
        self.known_headers.extend(self.new_headers.drain(..));
        self.jobs.fetch_add(std::mem::take(&mut self.jobs_added), Ordering::Release);
    }

    /// The open database transaction was undone: what is known in memory of its content may be wrong.
    pub(super) fn undone(&mut self) {
        self.waits.reload();
        self.singletons.reload();
        self.counters.forget();
        self.new_headers.clear();
        self.jobs_added = 0;
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

    fn start_run(&mut self, run: RunId, at: Millis, job: Option<JobId>) -> rusqlite::Result<()> {
        let (before, after) = (RunStatus::Scheduled, RunStatus::Running);
        let parameters = params![run.to_bytes(), after as u8, at.0, before as u8];
        if let Some(scheduled) = self.counters.run(run)?
            && self.start_run.execute(parameters)? == 1
        {
            let running = CountedRun { status: after, started_at: Some(at), ..scheduled };
            self.counters.change_run(run, scheduled, running);
        }
        if let Some(job) = job {
            let sql = "UPDATE jobs SET starts = 0 WHERE run_id = ?1 AND key = ?2";
            let parameters = params![job.run.to_bytes(), job.key.cast_signed()];
            self.connection.prepare_cached(sql)?.execute(parameters)?;
        }
        Ok(())
    }

    pub(super) fn record_step(&mut self, record: &StepRecord, seq: &mut i64) -> rusqlite::Result<bool> {
        *seq += 1;
        let (status, headers) = self.response(record.response.as_ref())?;
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
            &record.value[..],
            record.job.cast_signed(),
            record.resolution.as_ref().map(codec::resolution_bytes),
            status,
            headers
        ])?;
        Ok(added == 1)
    }

    /// The columns of a reply; its headers are stored unless they are already.
    fn response(&mut self, response: Option<&ResponseHead>) -> rusqlite::Result<(Option<u16>, Option<i64>)> {
        let Some(ResponseHead { status, headers }) = response else { return Ok((None, None)) };
        let hash = headers.hash.cast_signed();
        if !self.known_headers.contains(&hash) {
            self.put_headers.execute(params![hash, &headers.json[..]])?;
            self.new_headers.push(hash);
        }
        Ok((Some(*status), Some(hash)))
    }

    fn record_attempt(&mut self, record: &AttemptRecord) -> rusqlite::Result<()> {
        let (status, headers) = self.response(record.response.as_ref())?;
        self.record_attempt.execute(params![
            record.job.run.to_bytes(),
            record.job.key.cast_signed(),
            record.generation,
            record.step.as_ref().map(|step| step.id.as_str()),
            record.step.as_ref().map(|step| &*step.name),
            record.attempt,
            record.started_at.0,
            record.ended_at.0,
            status,
            &record.error[..],
            record.retry_at.map(|at| at.0),
            record.queued_at.0,
            headers
        ])?;
        Ok(())
    }

    pub(super) fn holds(&mut self, when: When, item: &QueueItem, progress: Progress) -> rusqlite::Result<bool> {
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

    pub(super) fn put_job(&mut self, item: &QueueItem, now: Millis) -> rusqlite::Result<bool> {
        let step = item.step();
        let timer = timer(item.due, now);
        // A first generation replaces nothing.
        let replaces = item.generation > 1
            && self.job_generation.exists(params![item.id.run.to_bytes(), item.id.key.cast_signed()])?;
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
            item.keys.to_bytes(),
            item.starts,
            timer
        ])?;
        self.jobs_added += i64::from(written == 1 && !replaces);
        Ok(written == 1)
    }

    /// Makes a job due at another time.
    pub(super) fn move_job(
        &mut self,
        job: JobId,
        due: Millis,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let parameters = params![job.run.to_bytes(), job.key.cast_signed(), due.0, timer(due, now)];
        if self.move_job.execute(parameters)? == 1 {
            committed.jobs.push(self.job(job)?);
        }
        Ok(())
    }

    /// Ends the wait of a job, unless it has ended already.
    pub(super) fn resume(
        &mut self,
        job: JobId,
        resolution: &Resolution,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let resolution = codec::resolution_bytes(resolution);
        if self.resume.execute(params![job.run.to_bytes(), job.key.cast_signed(), resolution, now.0])? == 1 {
            committed.jobs.push(self.job(job)?);
        }
        Ok(())
    }

    /// A job that is there. (`UPDATE .. RETURNING` would make a table of its own for what it returns, which costs
    /// several times this.)
    fn job(&mut self, job: JobId) -> rusqlite::Result<QueueItem> {
        self.job.query_row(params![job.run.to_bytes(), job.key.cast_signed()], codec::job)
    }

    pub(super) fn remove_job(&mut self, job: JobId) -> rusqlite::Result<bool> {
        let removed = self.remove_job.execute(params![job.run.to_bytes(), job.key.cast_signed()])? == 1;
        self.jobs_added -= i64::from(removed);
        Ok(removed)
    }

    fn finish_run(
        &mut self,
        finish: &FinishRun,
        require: &[Requirement],
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let run = finish.run;
        let Some(before) = self.counters.run(run)? else { return Ok(()) };
        let started_at = before.started_at.or(finish.started_at);
        let after = CountedRun { status: finish.status, started_at, ended_at: Some(finish.ended_at), ..before };
        self.counters.change_run(run, before, after);
        let last = finish.last_call.as_ref();
        let (status, headers) = self.response(last.and_then(|call| call.response.as_ref()))?;
        self.finish_run.execute(params![
            run.to_bytes(),
            finish.status as u8,
            finish.output.as_deref(),
            finish.error.as_deref(),
            started_at.map(|at| at.0),
            finish.ended_at.0,
            last.map(|call| call.job.key.cast_signed()),
            last.map(|call| call.queued_at.0),
            last.map(|call| call.started_at.0),
            last.map(|call| call.attempt),
            status,
            headers,
            finish.finished.map(EventId::to_bytes)
        ])?;
        committed.ended.push(run);
        self.waits.remove_run(run)?;
        if let Some((job, due)) = self.singletons.ended(run)? {
            self.move_job(job, due, now, committed)?;
        }
        let jobs = self.jobs_of_run.query_map([run.to_bytes()], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
        for (key, has_step) in jobs.collect::<rusqlite::Result<Vec<(i64, bool)>>>()? {
            let job = JobId { run, key: key.cast_unsigned() };
            if has_step && last.is_none_or(|call| call.job != job) {
                let called_at = finish.in_flight.iter().find(|(call, _)| *call == job).map(|(_, at)| at.0);
                self.put_cut_off.execute(params![run.to_bytes(), key, called_at])?;
            }
            self.remove_job(job)?;
            // The caller's own job is settled by the caller.
            if !require.iter().any(|requirement| matches!(requirement, Requirement::Generation(own, _) if *own == job))
            {
                committed.removed.push(job);
            }
        }
        Ok(())
    }
}

/// How the due time of a job is indexed.
fn timer(due: Millis, now: Millis) -> Option<i64> {
    (due.0 > now.0 + NEAR_MS).then_some(due.0)
}
