//! Measurements of a server at rest: what it costs while idle, and how soon it is healthy after its start.

use crate::http::{self, Kind};
use crate::net::Target;
use crate::process::Observed;
use crate::report::{Idle, Startup};
use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at `/health`; far below the times measured.
const PROBE_PAUSE: Duration = Duration::from_millis(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Watches a process that is left alone.
pub(crate) fn idle(observed: Observed, length: Duration) -> Result<Idle> {
    let (cpu, wakeups, started) = (observed.cpu()?, observed.wakeups()?, Instant::now());
    while let Some(left) = length.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = observed.cpu()?.saturating_sub(cpu);
    Ok(Idle {
        seconds,
        cpu_ms_per_second: cpu.as_secs_f64() * 1e3 / seconds,
        wakeups_per_second: observed.wakeups()?.saturating_sub(wakeups) as f64 / seconds,
        memory: observed.memory()?,
    })
}

/// Starts the command `times` times and measures until `GET /health` answers 200; each process is killed afterwards.
pub(crate) fn startup(target: &Target, command: &str, times: u64, deadline: Duration) -> Result<Startup> {
    ensure!(target.connect().is_err(), "{} already answers; stop that server first", target.url);
    let mut figures = Startup { command: command.to_owned(), ..Startup::default() };
    for _ in 0..times.max(1) {
        let started = Instant::now();
        // `exec` makes the shell become the server, so that the process we kill and observe is the server itself.
        let child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start a shell")?;
        let mut child = Killed(child);
        while !is_healthy(target) {
            if let Some(status) = child.0.try_wait()? {
                bail!("`{command}` ended ({status}) before it was healthy at {}", target.url);
            }
            ensure!(started.elapsed() < deadline, "`{command}` was not healthy at {} within {deadline:?}", target.url);
            std::thread::park_timeout(PROBE_PAUSE);
        }
        figures.healthy_ms.push(started.elapsed().as_secs_f64() * 1e3);
        figures.memory = Observed::new(child.0.id())?.memory()?;
    }
    let mut sorted = figures.healthy_ms.clone();
    sorted.sort_by(f64::total_cmp);
    figures.median_ms = sorted[sorted.len() / 2];
    Ok(figures)
}

/// A child that does not outlive its measurement.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_healthy(target: &Target) -> bool {
    let probe = || -> std::io::Result<bool> {
        let mut stream = target.connect()?;
        stream.set_read_timeout(Some(PROBE_TIMEOUT))?;
        let request = format!("GET /health HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", target.host);
        stream.write_all(request.as_bytes())?;
        let mut reply = Vec::new();
        let mut chunk = [0; 1024];
        loop {
            let read = stream.read(&mut chunk)?;
            reply.extend_from_slice(&chunk[..read]);
            match http::parse(&reply, Kind::Response { at_end: read == 0 }) {
                Ok(Some(message)) => return Ok(http::status(message.start_line) == Some(200)),
                Ok(None) if read > 0 => {}
                _ => return Ok(false),
            }
        }
    };
    probe().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_server::{FakeServer, Manner};
    use std::net::TcpListener;

    #[test]
    fn a_healthy_server_is_seen_and_not_started_again() {
        let target = FakeServer::start(Manner::Chunked);
        assert!(is_healthy(&target));
        let error = startup(&target, "true", 1, PROBE_TIMEOUT).expect_err("something answers already");
        assert!(error.to_string().contains("already answers"), "{error}");
    }

    #[test]
    fn a_command_that_ends_or_never_answers_is_named() {
        // A port that was just free and that nobody listens on.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("address").port();
        let target = Target::parse(&format!("http://127.0.0.1:{port}")).expect("target");
        assert!(!is_healthy(&target));
        for (command, why) in [("false", "before it was healthy"), ("cat /dev/zero", "was not healthy")] {
            let error = startup(&target, command, 1, Duration::from_millis(50)).expect_err(command);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn an_idle_process_is_watched_for_the_whole_time() {
        let own = Observed::new(std::process::id()).expect("own process");
        let idle = idle(own, Duration::from_millis(20)).expect("idle");
        assert!(idle.seconds >= 0.02 && idle.memory.rss_kib > 0);
    }
}
