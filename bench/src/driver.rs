//! The event loop: one thread, one poll, both sides of every exchange.
//!
//! The same loop sends events (clients) and answers the server's calls (the stub app), because two processes or threads
//! would cost wake-ups that the server under test needs on a two-core machine. Everything a workload decides lies in
//! pure parts beside this one: [`Pace`] when to send, [`Ledger`] what has ended, [`Stub`] what to answer.

use crate::http;
use crate::ledger::{Ledger, Progress, Totals, first_sequence};
use crate::net::{Connection, Target};
use crate::pace::{Pace, Plan, Turn};
use crate::process::{Observed, own_cpu};
use crate::stats::Samples;
use crate::stub::{Call, SEQUENCE_KEY, Stub};
use crate::workload::Workload;
use anyhow::{Context, Result, bail};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

const TIMER: Token = Token(2);
const FIRST_CLIENT: usize = 16;
const FIRST_CALLER: usize = 1 << 32;
/// Ends of phases are noticed at least this often.
const TICK: Duration = Duration::from_millis(10);
const REGISTER_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that refuses this many events is not worth measuring further.
const ERRORS_MAX: u64 = 1_000;
const ERROR_SAMPLES_MAX: usize = 5;

/// Load generator and stub app, registered with one server.
pub(crate) struct Generator {
    poll: Poll,
    /// Fires at the next due time of a fixed rate; `epoll` alone would round to whole milliseconds.
    timer: OwnedFd,
    listeners: Vec<TcpListener>,
    port: u16,
    target: Target,
    keys: Keys,
    stub: Stub,
    callers: Vec<Option<Connection>>,
    free_callers: Vec<usize>,
    answers: Vec<u8>,
    next_sequence: u64,
}

/// Keys for servers that ask for them.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) event: String,
    pub(crate) signing: Option<String>,
}

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
struct Session<'a> {
    job: &'a Job,
    pace: Pace,
    ledger: Ledger,
    clients: Vec<Client>,
    /// Slots that may send.
    idle: Vec<u32>,
    template: Template,
    opened: u64,
    abandoned: u64,
    accept: Samples,
    failures: Failures,
    memory_samples: Vec<(u64, u64)>,
}

/// A slot of the generator with its connection.
#[derive(Default)]
struct Client {
    connection: Option<Connection>,
    /// Sequence number of the event whose acknowledgement is awaited.
    reply_to: Option<u64>,
    /// Closed loop: the runs of the slot's event have not all ended.
    runs_open: bool,
}

/// The bytes of an event request, in which only the digits of the sequence number change.
struct Template {
    bytes: Vec<u8>,
    digits: std::ops::Range<usize>,
}

impl Generator {
    /// Listens for calls and registers the app.
    pub(crate) fn start(target: Target, keys: Keys) -> Result<Self> {
        let poll = Poll::new()?;
        let mut listeners = vec![TcpListener::bind("127.0.0.1:0".parse()?)?];
        let port = listeners[0].local_addr()?.port();
        // Servers rewrite 127.0.0.1 to localhost, which some resolve to ::1 first. IPv6 may be missing here.
        listeners.extend(TcpListener::bind(format!("[::1]:{port}").parse()?));
        for (number, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener, Token(number), Interest::READABLE)?;
        }
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut mio::unix::SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let mut generator = Generator {
            poll,
            timer,
            listeners,
            port,
            target,
            keys,
            stub: Stub::new(),
            callers: Vec::new(),
            free_callers: Vec::new(),
            answers: Vec::new(),
            next_sequence: first_sequence(),
        };
        generator.register()?;
        Ok(generator)
    }

    /// Registers while answering calls, since a server may look at the app before it replies.
    fn register(&mut self) -> Result<()> {
        let body = self.stub.registration(self.port);
        let authorization = self.keys.signing.as_ref().map(|key| format!("authorization: Bearer {key}\r\n"));
        let request = format!(
            "POST /fn/register HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             x-inngest-sdk: inngest-js:v4.24.0\r\nx-inngest-framework: nodejs\r\n{}content-length: {}\r\n\r\n{body}",
            self.target.host,
            authorization.unwrap_or_default(),
            body.len(),
        );
        let mut connection = self.target.open(self.poll.registry(), Token(FIRST_CLIENT))?;
        connection.send(request.as_bytes())?;
        let started = Instant::now();
        let mut events = Events::with_capacity(64);
        let mut books = Ledger::new(self.next_sequence, 0);
        while started.elapsed() < REGISTER_TIMEOUT {
            self.wait(&mut events)?;
            for event in &events {
                match event.token().0 {
                    FIRST_CLIENT => {
                        connection.flush()?;
                        connection.receive(event.is_read_closed());
                    }
                    token => {
                        self.serve(token, event.is_read_closed(), &mut books, |_, _| {}, &mut Failures::default())?
                    }
                }
            }
            if let Some(reply) = connection.response().map_err(|error| anyhow::anyhow!(error.0))? {
                let body = String::from_utf8_lossy(&reply.body);
                return match http::status(reply.start_line) {
                    Some(200) => Ok(()),
                    status => bail!("registration was refused with status {status:?}: {body}"),
                };
            }
            if connection.ended {
                bail!("the server closed the connection without answering the registration");
            }
        }
        bail!("no answer to the registration within {REGISTER_TIMEOUT:?}")
    }

    /// Runs one workload to its end.
    pub(crate) fn run(&mut self, job: &Job) -> Result<Outcome> {
        let mut session = Session::new(job, self.next_sequence, &self.target, &self.keys);
        let mut events = Events::with_capacity(1024);
        let (mut opened, mut closed) = (None, None);
        loop {
            let now = Instant::now();
            while let Some(turn) = session.pace.advance(now, session.ledger.totals.events_ended, session.in_flight()) {
                match turn {
                    Turn::WindowOpens => opened = Some(session.snapshot()?),
                    Turn::WindowCloses => closed = Some(session.snapshot()?),
                    Turn::Finished => {
                        self.next_sequence = session.ledger.next_sequence();
                        let edges = opened.zip(closed).context("a workload finishes after its window")?;
                        return Ok(session.finish(edges));
                    }
                }
            }
            self.send_due(&mut session)?;
            self.wait(&mut events)?;
            for event in &events {
                let (token, ending) = (event.token().0, event.is_read_closed());
                if (FIRST_CLIENT..FIRST_CALLER).contains(&token) {
                    session.reply_arrived(token - FIRST_CLIENT, ending);
                } else {
                    let Session { ledger, failures, clients, idle, .. } = &mut session;
                    let on_end = |slot: u32, _| Client::runs_ended(clients, slot, idle);
                    self.serve(token, ending, ledger, on_end, failures)?;
                }
            }
            session.sample_memory()?;
            if session.failures.count >= ERRORS_MAX {
                bail!(
                    "{}: {ERRORS_MAX} errors, for example: {}",
                    job.workload.name(),
                    session.failures.samples.join("; ")
                );
            }
        }
    }

    /// Sends every event that is due and has a free slot; arms the timer for the next one.
    fn send_due(&self, session: &mut Session<'_>) -> Result<()> {
        while let Some(&slot) = session.idle.last() {
            let now = Instant::now();
            let Some(due) = session.pace.due(now) else { return Ok(()) };
            if let Some(wait) = due.checked_duration_since(now).filter(|wait| !wait.is_zero()) {
                return self.arm_timer(wait);
            }
            session.idle.pop();
            session.send(slot, due, &self.target, &self.poll)?;
        }
        Ok(())
    }

    fn arm_timer(&self, wait: Duration) -> Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec { tv_sec: wait.as_secs().try_into()?, tv_nsec: wait.subsec_nanos().into() };
        let once = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    fn wait(&mut self, events: &mut Events) -> Result<()> {
        match self.poll.poll(events, Some(TICK)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Handles an event on the app's side: a new connection, or calls on an open one.
    fn serve(
        &mut self,
        token: usize,
        ending: bool,
        ledger: &mut Ledger,
        mut on_end: impl FnMut(u32, Instant),
        failures: &mut Failures,
    ) -> Result<()> {
        if token < self.listeners.len() {
            return self.accept(token);
        }
        let Some(at) = token.checked_sub(FIRST_CALLER) else { return Ok(()) };
        let Some(connection) = self.callers.get_mut(at).and_then(Option::as_mut) else { return Ok(()) };
        let mut close = connection.flush().is_err();
        connection.receive(ending);
        loop {
            let (call, len) = match connection.request() {
                Ok(Some(request)) => {
                    close |= request.close;
                    self.answers.clear();
                    (self.stub.answer(&request, &mut self.answers), request.len)
                }
                Ok(None) => break,
                Err(error) => {
                    failures.note(|| format!("unreadable call: {}", error.0));
                    close = true;
                    break;
                }
            };
            connection.consume(len);
            match call {
                Call::Sync => close |= connection.send(&self.answers).is_err(),
                Call::Unknown(why) => {
                    failures.note(|| format!("call not understood: {why}"));
                    close |= connection.send(&self.answers).is_err();
                }
                Call::Function { function, sequence, answer } => {
                    ledger.called(sequence, Instant::now());
                    if connection.send(&self.answers).is_err() {
                        failures.note(|| "the server closed a call before it was answered".to_owned());
                        close = true;
                        break;
                    }
                    let now = Instant::now();
                    let index = self.stub.function(function).index;
                    if let Progress::Event { slot } = ledger.answered(sequence, index, answer, now) {
                        on_end(slot, now);
                    }
                }
            }
        }
        if close || connection.ended {
            self.callers[at] = None;
            self.free_callers.push(at);
        }
        Ok(())
    }

    fn accept(&mut self, listener: usize) -> Result<()> {
        loop {
            match self.listeners[listener].accept() {
                Ok((stream, _)) => {
                    // Without it the kernel may hold back a small answer for 40 ms.
                    stream.set_nodelay(true)?;
                    let at = self.free_callers.pop().unwrap_or_else(|| {
                        self.callers.push(None);
                        self.callers.len() - 1
                    });
                    let token = Token(FIRST_CALLER + at);
                    self.callers[at] = Some(Connection::new(stream, self.poll.registry(), token)?);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error).context("cannot accept calls from the server"),
            }
        }
    }
}

impl<'a> Session<'a> {
    fn new(job: &'a Job, first_sequence: u64, target: &Target, keys: &Keys) -> Self {
        Session {
            job,
            pace: Pace::new(job.plan, Instant::now()),
            ledger: Ledger::new(first_sequence, job.workload.runs_per_event()),
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

    fn in_flight(&self) -> u64 {
        self.opened - self.abandoned - self.ledger.totals.events_ended
    }

    fn send(&mut self, slot: u32, due: Instant, target: &Target, poll: &Poll) -> Result<()> {
        let at = slot as usize;
        if self.clients[at].connection.is_none() {
            let token = Token(FIRST_CLIENT + at);
            self.clients[at].connection = Some(target.open(poll.registry(), token)?);
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
    fn reply_arrived(&mut self, at: usize, ending: bool) {
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

    fn snapshot(&self) -> Result<Snapshot> {
        let server_cpu = self.job.observed.map(Observed::cpu).transpose()?;
        Ok(Snapshot { at: Instant::now(), totals: self.ledger.totals, server_cpu, own_cpu: own_cpu() })
    }

    fn sample_memory(&mut self) -> Result<()> {
        let Some((every, observed)) = self.job.sample_every.zip(self.job.observed) else { return Ok(()) };
        let ended = self.ledger.totals.runs_ended;
        if ended >= every * (self.memory_samples.len() as u64 + 1) {
            self.memory_samples.push((ended, observed.memory()?.rss_kib));
        }
        Ok(())
    }

    fn finish(self, (opened, closed): (Snapshot, Snapshot)) -> Outcome {
        Outcome {
            opened,
            closed,
            totals: self.ledger.totals,
            sent_measured: self.pace.sent_measured(),
            lost_runs: self.ledger.lost_runs(),
            unsent: self.pace.unsent(),
            failures: self.failures,
            accept: self.accept,
            first_call: self.ledger.first_call,
            end: self.ledger.end,
            memory_samples: self.memory_samples,
        }
    }
}

impl Client {
    fn runs_ended(clients: &mut [Client], slot: u32, idle: &mut Vec<u32>) {
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
    fn note(&mut self, why: impl FnOnce() -> String) {
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
        let after = format!("{padding}}}}}");
        let digits = sequence.to_string();
        let head = format!(
            "POST /e/{} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{before}",
            keys.event,
            target.host,
            before.len() + digits.len() + after.len()
        );
        let digits_at = head.len()..head.len() + digits.len();
        Template { bytes: format!("{head}{digits}{after}").into_bytes(), digits: digits_at }
    }

    fn with(&mut self, sequence: u64) -> &[u8] {
        let mut rest = sequence;
        for digit in self.bytes[self.digits.clone()].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        &self.bytes
    }
}
