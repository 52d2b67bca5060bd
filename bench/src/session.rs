//! One workload under way: its slots, what is in flight, and the figures gathered.
//!
//! A slot is one connection that sends events. In the closed loop it sends the next event when the last one is
//! acknowledged and all its runs have ended; at a fixed rate, as soon as the last one is acknowledged.

use crate::driver::Keys;
use crate::http;
use crate::ledger::{Ledger, Totals};
use crate::net::{Connection, Target};
use crate::pace::{Pace, Plan};
use crate::process::{Observed, own_cpu};
use crate::stats::Samples;
use crate::stub::SEQUENCE_KEY;
use crate::workload::{TENANTS, Workload};
use anyhow::Result;
use mio::{Registry, Token};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Token of the first slot's connection.
pub(crate) const FIRST_CLIENT: usize = 16;
const ERROR_SAMPLES_MAX: usize = 5;

/// One workload to run.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) workload: Workload,
    /// Events in flight in the closed loop; connections available at a fixed rate.
    pub(crate) concurrency: u32,
    pub(crate) plan: Plan,
    /// Extra bytes in each event's data.
    pub(crate) padding: usize,
    pub(crate) observed: Option<Observed>,
    /// Read the server's memory each time this many runs have ended.
    pub(crate) sample_every: Option<u64>,
}

/// Raw outcome of a workload.
pub(crate) struct Outcome {
    pub(crate) opened: Snapshot,
    pub(crate) closed: Snapshot,
    /// Counters at the very end, after draining.
    pub(crate) totals: Totals,
    pub(crate) sent_measured: u64,
    pub(crate) lost_runs: u64,
    pub(crate) unsent: u64,
    pub(crate) failures: Failures,
    pub(crate) accept: Samples,
    pub(crate) first_call: Samples,
    pub(crate) end: Samples,
    /// How late starts were that come at even distances.
    pub(crate) late: Samples,
    /// Runs ended, and resident memory in KiB then.
    pub(crate) memory_samples: Vec<(u64, u64)>,
}

/// Counters at one edge of the measured window.
#[derive(Clone, Copy)]
pub(crate) struct Snapshot {
    pub(crate) at: Instant,
    pub(crate) totals: Totals,
    pub(crate) server_cpu: Option<Duration>,
    pub(crate) own_cpu: Duration,
}

/// What went wrong, counted, with the first few in words.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    pub(crate) count: u64,
    pub(crate) samples: Vec<String>,
}

/// A workload under way.
pub(crate) struct Session<'a> {
    job: &'a Job,
    pub(crate) pace: Pace,
    pub(crate) ledger: Ledger,
    pub(crate) clients: Vec<Client>,
    /// Slots that may send.
    pub(crate) idle: Vec<u32>,
    template: Template,
    opened: u64,
    abandoned: u64,
    accept: Samples,
    pub(crate) failures: Failures,
    memory_samples: Vec<(u64, u64)>,
}

/// A slot of the generator with its connection.
#[derive(Default)]
pub(crate) struct Client {
    connection: Option<Connection>,
    /// Sequence number of the event whose acknowledgement is awaited.
    reply_to: Option<u64>,
    /// Closed loop: the runs of the slot's event have not all ended.
    runs_open: bool,
}

/// The bytes of an event request, in which only digits change.
struct Template {
    bytes: Vec<u8>,
    /// Those of the sequence number.
    digits: Range<usize>,
    /// Those of the tenant, if there are tenants.
    tenant: Range<usize>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(job: &'a Job, first_sequence: u64, target: &Target, keys: &Keys) -> Self {
        Session {
            job,
            pace: Pace::new(job.plan, Instant::now()),
            ledger: Ledger::new(first_sequence, job.workload.runs_per_event(), job.workload.spacing()),
            clients: (0..job.concurrency).map(|_| Client::default()).collect(),
            idle: (0..job.concurrency).rev().collect(),
            template: Template::new(job, first_sequence, target, keys),
            opened: 0,
            abandoned: 0,
            accept: Samples::default(),
            failures: Failures::default(),
            memory_samples: Vec::new(),
        }
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.opened - self.abandoned - self.ledger.totals.events_ended
    }

    pub(crate) fn send(&mut self, slot: u32, due: Instant, target: &Target, registry: &Registry) -> Result<()> {
        let at = slot as usize;
        if self.clients[at].connection.is_none() {
            let token = Token(FIRST_CLIENT + at);
            self.clients[at].connection = Some(target.open(registry, token)?);
        }
        let sequence = self.ledger.next_sequence();
        let measured = self.pace.send(due);
        self.ledger.open(due, slot, measured);
        self.opened += 1;
        let bytes = self.template.with(sequence);
        let client = &mut self.clients[at];
        client.reply_to = Some(sequence);
        client.runs_open = self.job.plan.rate.is_none() && self.job.workload.runs_per_event() > 0;
        let sent = client.connection.as_mut().map(|connection| connection.send(bytes));
        if let Some(Err(error)) = sent {
            self.refused(at, || format!("cannot send an event: {error}"));
        }
        Ok(())
    }

    /// A client's socket has something: normally the acknowledgement of its event.
    pub(crate) fn reply_arrived(&mut self, at: usize, ending: bool) {
        let Some(client) = self.clients.get_mut(at) else { return };
        let Some(connection) = client.connection.as_mut() else { return };
        if let Err(error) = connection.flush() {
            return self.refused(at, || format!("cannot send an event: {error}"));
        }
        connection.receive(ending);
        let (status, body, len, close) = match connection.response() {
            Ok(Some(reply)) => {
                let status = http::status(reply.start_line).unwrap_or(0);
                let text = |body: &[u8]| String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
                let body = if status == 200 { String::new() } else { text(&reply.body) };
                (status, body, reply.len, reply.close)
            }
            Ok(None) if connection.ended => {
                let awaited = client.reply_to.is_some() || !connection.is_drained();
                client.connection = None;
                if awaited {
                    self.refused(at, || "the server closed the connection without a reply".to_owned());
                }
                return;
            }
            Ok(None) => return,
            Err(error) => return self.refused(at, || format!("unreadable reply: {}", error.0)),
        };
        connection.consume(len);
        if close || connection.ended {
            client.connection = None;
        }
        let Some(sequence) = client.reply_to.filter(|_| status == 200) else {
            return self.refused(at, || format!("status {status}: {body}"));
        };
        client.reply_to = None;
        if let Some((due, true)) = self.ledger.due(sequence) {
            self.accept.record(due.elapsed());
        }
        if self.job.workload.runs_per_event() == 0 {
            self.ledger.accepted_without_runs();
        }
        Client::release(&self.clients[at], at as u32, &mut self.idle);
    }

    /// The slot's event was not acknowledged: its runs are not waited for, and the slot goes on with a new connection.
    fn refused(&mut self, at: usize, why: impl FnOnce() -> String) {
        self.failures.note(why);
        let client = &mut self.clients[at];
        client.connection = None;
        let Some(sequence) = client.reply_to.take() else { return };
        client.runs_open = false;
        self.abandoned += u64::from(self.ledger.abandon(sequence));
        Client::release(&self.clients[at], at as u32, &mut self.idle);
    }

    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let server_cpu = self.job.observed.map(Observed::cpu).transpose()?;
        Ok(Snapshot { at: Instant::now(), totals: self.ledger.totals, server_cpu, own_cpu: own_cpu() })
    }

    pub(crate) fn sample_memory(&mut self) -> Result<()> {
        let Some((every, observed)) = self.job.sample_every.zip(self.job.observed) else { return Ok(()) };
        let ended = self.ledger.totals.runs_ended;
        if ended >= every * (self.memory_samples.len() as u64 + 1) {
            self.memory_samples.push((ended, observed.memory()?.rss_kib));
        }
        Ok(())
    }

    pub(crate) fn finish(self, (opened, closed): (Snapshot, Snapshot)) -> Outcome {
        Outcome {
            opened,
            closed,
            totals: self.ledger.totals,
            sent_measured: self.pace.sent_measured(),
            lost_runs: self.ledger.lost_runs(),
            unsent: self.pace.unsent(),
            failures: self.failures,
            accept: self.accept,
            late: self.ledger.late(),
            first_call: self.ledger.first_call,
            end: self.ledger.end,
            memory_samples: self.memory_samples,
        }
    }
}

impl Client {
    pub(crate) fn runs_ended(clients: &mut [Client], slot: u32, idle: &mut Vec<u32>) {
        // At a fixed rate a slot is free as soon as its event is acknowledged; nobody waits for the runs.
        if let Some(client) = clients.get_mut(slot as usize).filter(|client| client.runs_open) {
            client.runs_open = false;
            client.release(slot, idle);
        }
    }

    fn release(&self, slot: u32, idle: &mut Vec<u32>) {
        if self.reply_to.is_none() && !self.runs_open {
            idle.push(slot);
        }
    }
}

impl Failures {
    pub(crate) fn note(&mut self, why: impl FnOnce() -> String) {
        self.count += 1;
        if self.samples.len() < ERROR_SAMPLES_MAX {
            let why = why();
            if !self.samples.contains(&why) {
                self.samples.push(why);
            }
        }
    }
}

impl Template {
    fn new(job: &Job, sequence: u64, target: &Target, keys: &Keys) -> Self {
        let padding = if job.padding == 0 { String::new() } else { format!(r#","pad":"{}""#, "x".repeat(job.padding)) };
        let before = format!(r#"{{"name":"{}","data":{{"{SEQUENCE_KEY}":"#, job.workload.event());
        // As a text, so that a leading zero is no matter.
        let (tenant, width) = if job.workload == Workload::Tenants { (r#","tenant":"00""#, 2) } else { ("", 0) };
        let after = format!("{tenant}{padding}}}}}");
        let digits = sequence.to_string();
        let head = format!(
            "POST /e/{} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{before}",
            keys.event,
            target.host,
            before.len() + digits.len() + after.len()
        );
        let digits_end = head.len() + digits.len();
        let tenant_end = digits_end + tenant.len().saturating_sub(1);
        Template {
            bytes: format!("{head}{digits}{after}").into_bytes(),
            digits: head.len()..digits_end,
            tenant: tenant_end - width..tenant_end,
        }
    }

    fn with(&mut self, sequence: u64) -> &[u8] {
        write_digits(&mut self.bytes[self.digits.clone()], sequence);
        write_digits(&mut self.bytes[self.tenant.clone()], sequence % TENANTS);
        &self.bytes
    }
}

/// Writes a number over digits, the last of them last.
fn write_digits(digits: &mut [u8], number: u64) {
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pace::Limit;

    #[test]
    fn events_carry_their_number_and_tenants_take_turns() {
        let plan = Plan { rate: None, limit: Limit::Count(1), warm_up: Duration::ZERO, deadline: Duration::ZERO };
        let target = Target::parse("http://127.0.0.1:1").expect("target");
        let keys = Keys { event: "key".to_owned(), signing: None };
        for (workload, padding, tenants) in
            [(Workload::Tenants, 3, [Some("07"), Some("49"), Some("00")]), (Workload::Hello, 0, [None; 3])]
        {
            let job = Job { workload, concurrency: 1, plan, padding, observed: None, sample_every: None };
            let mut template = Template::new(&job, 1_000, &target, &keys);
            for (sequence, tenant) in [1_007, 1_049, 1_050].into_iter().zip(tenants) {
                let text = String::from_utf8(template.with(sequence).to_vec()).expect("text");
                let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
                assert!(head.ends_with(&format!("content-length: {}", body.len())), "{text}");
                let event: serde_json::Value = serde_json::from_str(body).expect("JSON");
                assert_eq!(event["data"][SEQUENCE_KEY], sequence);
                assert_eq!(event["data"]["tenant"].as_str(), tenant);
            }
        }
    }
}
