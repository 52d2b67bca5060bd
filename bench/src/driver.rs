//! The event loop: one thread, one poll, both sides of every exchange.
//!
//! The same loop sends events (clients) and answers the server's calls (the stub app), because two processes or threads
//! would cost wake-ups that the server under test needs on a two-core machine. Everything a workload decides lies in
//! pure parts beside this one: [`Pace`] when to send, [`Ledger`] what has ended, [`Stub`] what to answer.

use crate::http;
use crate::ledger::{Ledger, Progress, first_sequence};
use crate::net::{Connection, Target};
use crate::pace::Turn;
use crate::session::{Client, FIRST_CLIENT, Failures, Job, Outcome, Session};
use crate::stub::{Call, Stub};
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
const FIRST_CALLER: usize = 1 << 32;
/// Ends of phases are noticed at least this often.
const TICK: Duration = Duration::from_millis(10);
const REGISTER_TIMEOUT: Duration = Duration::from_secs(30);
/// A server that refuses this many events is not worth measuring further.
const ERRORS_MAX: u64 = 1_000;

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
    /// First sequence number of the runs that were parked last.
    parked: u64,
}

/// Keys for servers that ask for them.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) event: String,
    pub(crate) signing: Option<String>,
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
            parked: 0,
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
        let mut books = Ledger::new(self.next_sequence, 0, None);
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
        // An event that releases a run carries the number of the event that parked it.
        let first = if job.workload == Workload::Release { self.parked } else { self.next_sequence };
        let mut session = Session::new(job, first, &self.target, &self.keys);
        let mut events = Events::with_capacity(1024);
        let (mut opened, mut closed) = (None, None);
        loop {
            let now = Instant::now();
            while let Some(turn) = session.pace.advance(now, session.ledger.totals.events_ended, session.in_flight()) {
                match turn {
                    Turn::WindowOpens => opened = Some(session.snapshot()?),
                    Turn::WindowCloses => closed = Some(session.snapshot()?),
                    Turn::Finished => {
                        self.next_sequence = self.next_sequence.max(session.ledger.next_sequence());
                        if job.workload == Workload::Park {
                            self.parked = first;
                        }
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
            session.send(slot, due, &self.target, self.poll.registry())?;
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
