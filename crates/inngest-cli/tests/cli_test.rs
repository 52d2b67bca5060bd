//! The command line: what the binary prints, where options come from, how it exits.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which lints do not know as such")]

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use inngest_testkit::server::free_port;
use inngest_testkit::{Answer, Client, StubApp, StubFunction, wait_until};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Generous for a loaded CI machine; every wait ends as soon as its condition holds.
const SOON: Duration = Duration::from_secs(20);

/// A home, a working directory and a place for temporary files, all of this test alone.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["home", "tmp", "a/b/c"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).canonicalize().unwrap().display().to_string()
    }

    /// The binary, with nothing of this machine's environment but the place of its programs.
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inngest"));
        command.env_clear().env("HOME", self.path("home")).env("TMPDIR", self.path("tmp"));
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
        command.current_dir(self.path("a/b/c")).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command that ends by itself.
    async fn run<A: Into<OsString>>(&self, arguments: impl IntoIterator<Item = A>, env: &[(&str, &str)]) -> Ended {
        let arguments = arguments.into_iter().map(Into::into);
        let output = self.command().args(arguments).envs(env.iter().copied()).output();
        let output = tokio::time::timeout(SOON, output).await.expect("ends by itself").unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The same, from one text.
    async fn line(&self, line: &str) -> Ended {
        self.run(line.split_whitespace(), &[]).await
    }

    /// Starts `inngest dev` and waits until it is healthy on the port that its log names.
    async fn dev(&self, line: &str, env: &[(&str, &str)]) -> Dev {
        let mut dev = self.spawn(line, env);
        let address = wait_until("listening", SOON, async || {
            assert!(dev.child.try_wait().unwrap().is_none(), "it ended: {:?}", dev.records());
            dev.records().into_iter().find_map(|record| Some(record["addr"].as_str()?.to_owned()))
        });
        dev.port = address.await.unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
        dev.until_healthy().await
    }

    /// The same for one whose log may be silent, or is no JSON.
    async fn quiet_dev(&self, line: &str, env: &[(&str, &str)]) -> Dev {
        let port = free_port().unwrap();
        let dev = self.spawn(&format!("{line} --strict-port --port {port}"), env);
        Dev { port, ..dev }.until_healthy().await
    }

    fn spawn(&self, line: &str, env: &[(&str, &str)]) -> Dev {
        let log = self.path("stderr");
        let mut command = self.command();
        command.arg("dev").args(["--host", "127.0.0.1"]).args(line.split_whitespace()).envs(env.iter().copied());
        command.stdout(std::fs::File::create(self.path("stdout")).unwrap());
        command.stderr(std::fs::File::create(&log).unwrap());
        Dev { child: command.spawn().unwrap(), port: 0, log }
    }
}

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A running server.
struct Dev {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Dev {
    async fn until_healthy(self) -> Self {
        wait_until("healthy", SOON, async || self.client().get("/health").await.ok()).await.unwrap();
        self
    }

    fn client(&self) -> Client {
        Client::new(format!("http://127.0.0.1:{}", self.port))
    }

    /// All records so far; each line must be one. The last line may be on its way.
    fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no record: {line}"))).collect()
    }

    async fn record(&self, message: &str) -> Value {
        let found = wait_until(message, SOON, async || self.records().into_iter().find(|one| one["msg"] == message));
        found.await.unwrap()
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap().success());
    }

    async fn exited(&mut self) -> Option<i32> {
        tokio::time::timeout(SOON, self.child.wait()).await.expect("ends").unwrap().code()
    }

    async fn stop(mut self) {
        self.signal("TERM").await;
        assert_eq!(self.exited().await, Some(0));
    }
}

fn entries(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn the_version_is_one_line_and_nothing_is_written() {
    let place = Place::new();
    let ended = place.line("version").await;
    let (version, rest) = ended.out.split_once('-').unwrap();
    assert_eq!((ended.code, version, ended.err.as_str()), (Some(0), env!("CARGO_PKG_VERSION"), ""));
    assert!(rest.ends_with('\n') && !rest.trim_end_matches('\n').contains(char::is_whitespace), "{rest:?}");
    for flag in ["--version", "-v", "-version"] {
        let ended = place.line(flag).await;
        assert_eq!((ended.code, ended.out.contains(version)), (Some(0), true), "{flag}");
    }
    assert_eq!(entries(&place.path("home")), [""; 0]);
}

#[tokio::test]
async fn help_is_on_stdout_and_lists_every_flag() {
    let place = Place::new();
    for line in ["", "--help", "-h", "help", "h", "-help"] {
        let ended = place.line(line).await;
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{line}");
        assert!(ended.out.contains("dev ") && ended.out.contains("version "), "{line}: {}", ended.out);
    }
    let flags = [
        "--sdk-url",
        "-u,",
        "--no-discovery",
        "--no-poll",
        "--config",
        "--host",
        "--port",
        "-p,",
        "--persist",
        "--poll-interval",
        "--retry-interval",
        "--queue-workers",
        "--tick",
        "--json",
        "--verbose",
        "--log-level",
        "-l,",
        "--strict-port",
        "--discovery-port",
        "--demo",
        "--data-dir",
        "--shutdown-timeout",
    ];
    for line in ["dev --help", "dev -h", "help dev", "h dev"] {
        let ended = place.line(line).await;
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{line}");
        for flag in flags {
            assert!(ended.out.contains(flag), "{flag} in {line}: {}", ended.out);
        }
    }
}

#[tokio::test]
async fn mistakes_are_explained_with_the_exit_code_of_their_kind() {
    let place = Place::new();
    let table = [
        ("bogus", 3, "No help topic for 'bogus'", ""),
        ("help bogus", 3, "No help topic for 'bogus'", ""),
        ("start", 3, "No help topic for 'start'", ""),
        ("dev --bogus", 1, "Incorrect Usage: flag provided but not defined: -bogus", "not defined: -bogus"),
        ("dev -bogus", 1, "Incorrect Usage: flag provided but not defined: -bogus", "not defined: -bogus"),
        ("dev --prot 1", 1, "a similar argument exists: '--port'", "not defined: -prot"),
        ("--bogus", 1, "Incorrect Usage: flag provided but not defined: -bogus", "not defined: -bogus"),
        ("dev --signing-key abcd", 1, "flag provided but not defined: -signing-key", "-signing-key"),
        ("dev extra", 1, "Incorrect Usage: unexpected argument \"extra\"", "unexpected argument"),
        ("dev --port", 1, "Incorrect Usage: error: a value is required for '--port <N>'", ""),
        ("dev --json=maybe", 1, "Incorrect Usage: error: invalid value 'maybe' for '--json", ""),
        ("dev --port abc", 1, "Error: invalid value \"abc\" for port (--port): must be an integer", ""),
        ("dev --port 99999", 1, "must be a port between 1 and 65535", ""),
        ("dev --persist=maybe", 1, "Error: invalid value \"maybe\" for persist (--persist): must be true or false", ""),
        (
            "dev --config missing.yaml",
            1,
            "Error: error reading config file missing.yaml: error parsing config file",
            "",
        ),
        ("dev --host 192.0.2.1", 1, "--host must be an address of this machine", ""),
        ("dev --host no.such.host.invalid", 1, "--host must be an address of this machine", ""),
    ];
    for (line, code, err, out) in table {
        let ended = place.line(line).await;
        assert_eq!(ended.code, Some(code), "{line}: {}", ended.err);
        assert!(ended.err.contains(err), "{line}: {}", ended.err);
        assert!(ended.out.contains(out) && ended.out.is_empty() == out.is_empty(), "{line}: {}", ended.out);
    }
    let ended = place.run(["dev"], &[("INNGEST_PORT", "abc")]).await;
    let expected = "Error: invalid value \"abc\" for port (INNGEST_PORT): must be an integer\n";
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), expected));
    assert_eq!(entries(&place.path("tmp")), [""; 0], "a start that fails leaves nothing");
}

#[tokio::test]
async fn text_that_is_no_utf8_and_closed_pipes_are_no_panics() {
    let place = Place::new();
    let bytes = || OsString::from_vec(vec![b'x', 0xff]);
    let ended = place.run(["dev".into(), "--host".into(), bytes()], &[]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(ended.err.starts_with("Incorrect Usage: error: invalid UTF-8"), "{}", ended.err);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = place.command().arg("--help").env("INNGEST_X", bytes()).stdout(writer).status().await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn flags_beat_variables_beat_the_nearest_file() {
    let place = Place::new();
    let ports: Vec<u16> = (0..4).map(|_| free_port().unwrap()).collect();
    let far = place.write("a/inngest.yaml", &format!("port: {}\nno-discovery: true\npoort: 1\n", ports[0]));
    let dev = place.dev("", &[]).await;
    assert_eq!((dev.port, &dev.record("using config").await["file"]), (ports[0], &json!(far)));
    let warning = format!("{far}: unknown key \"poort\" is ignored; did you mean port?");
    assert_eq!(dev.record(&warning).await["level"], "WARN");
    dev.stop().await;
    let near = place.write("a/b/inngest.json", &json!({ "port": ports[1], "no-discovery": true }).to_string());
    let dev = place.dev("", &[]).await;
    assert_eq!((dev.port, &dev.record("using config").await["file"]), (ports[1], &json!(near)));
    dev.stop().await;
    let variable = ports[2].to_string();
    let dev = place.dev("", &[("INNGEST_PORT", &variable), ("INNGEST_DEV", "1"), ("INNGEST_BASE_URL", "x")]).await;
    assert_eq!(dev.port, ports[2]);
    dev.stop().await;
    let dev = place.dev(&format!("-port {}", ports[3]), &[("INNGEST_PORT", &variable)]).await;
    assert_eq!(dev.port, ports[3]);
    dev.stop().await;
}

#[tokio::test]
async fn a_broken_file_is_skipped_unless_it_is_named() {
    let place = Place::new();
    let port = free_port().unwrap();
    let broken = place.write("a/b/c/inngest.json", "{");
    let good = place.write("a/inngest.toml", &format!("port = {port}\nno-discovery = true\n"));
    let dev = place.dev("", &[]).await;
    assert_eq!((dev.port, &dev.record("using config").await["file"]), (port, &json!(good)));
    let is_warned =
        |record: &Value| record["level"] == "WARN" && record["msg"].as_str().is_some_and(|text| text.contains(&broken));
    assert!(dev.records().iter().any(is_warned), "{:?}", dev.records());
    dev.stop().await;
    let ended = place.run(["dev", "--config", &broken], &[]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains(&format!("Error: error reading config file {broken}: error parsing config file: ")));
    let ended = place.run(["dev"], &[("INNGEST_CONFIG", "nowhere.yaml")]).await;
    assert!(ended.err.contains("Error: error reading config file nowhere.yaml: "), "{}", ended.err);
}

#[tokio::test]
async fn logs_are_json_on_stderr_and_stdout_is_silent() {
    let place = Place::new();
    let line = format!("--no-discovery --port {}", free_port().unwrap());
    let dev = place.dev(&line, &[]).await;
    let ready = dev.record("ready").await;
    let address = format!("127.0.0.1:{}", dev.port);
    assert_eq!(
        (&ready["addr"], &ready["addresses"], &ready["level"]),
        (&json!(address), &json!(address), &json!("INFO"))
    );
    assert_eq!(dev.record("starting server").await["addr"], address);
    let records = dev.records();
    dev.stop().await;
    for record in records {
        let time = record["time"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
        assert!(record["level"].is_string() && record["msg"].is_string(), "{record}");
    }
    let raw = std::fs::read_to_string(place.path("stderr")).unwrap();
    assert!(raw.starts_with("{\"time\":\""), "{raw}");
    assert_eq!(std::fs::read_to_string(place.path("stdout")).unwrap(), "");
    assert_eq!(entries(&place.path("home")), [""; 0]);
}

#[tokio::test]
async fn the_level_follows_its_rules() {
    let place = Place::new();
    // An app that is not there is worth a warning; that and the records of the start are what may be seen.
    let line = "--no-discovery -u http://localhost:1/api/inngest";
    let table = [
        ("-l debug", ("LOG_LEVEL", "error"), &[][..]),
        ("-l error --verbose", ("INNGEST_LOG_LEVEL", "debug"), &[]),
        ("-l warn", ("INNGEST_LOG_LEVEL", "debug"), &["WARN"]),
        ("", ("INNGEST_LOG_LEVEL", "warn"), &["WARN"]),
        ("--verbose", ("INNGEST_LOG_LEVEL", "warn"), &["INFO", "WARN"]),
        ("", ("LOG_LEVEL", "nonsense"), &["INFO", "WARN"]),
    ];
    for (flags, env, expected) in table {
        let dev = place.quiet_dev(&format!("{line} {flags}"), &[env]).await;
        let seen = || {
            let mut levels: Vec<String> =
                dev.records().iter().map(|record| record["level"].as_str().unwrap().to_owned()).collect();
            levels.sort();
            levels.dedup();
            levels
        };
        wait_until("the expected levels", SOON, async || (seen() == expected).then_some(())).await.unwrap();
        dev.signal("TERM").await;
        let mut ended = dev;
        assert_eq!(ended.exited().await, Some(0));
        let levels: Vec<Value> = ended.records().iter().map(|record| record["level"].clone()).collect();
        assert!(levels.iter().all(|level| expected.contains(&level.as_str().unwrap())), "{flags} {env:?}: {levels:?}");
    }
}

#[tokio::test]
async fn a_named_format_is_kept() {
    let place = Place::new();
    for env in [("LOG_HANDLER", "txt"), ("INNGEST_LOG_FORMAT", "text")] {
        let dev = place.quiet_dev("--no-discovery", &[env]).await;
        wait_until("text", SOON, async || {
            let log = std::fs::read_to_string(&dev.log).unwrap();
            let first = log.lines().next()?.to_owned();
            (first.starts_with('[') && first.contains("] INF starting server addr=127.0.0.1:")).then_some(())
        })
        .await
        .unwrap();
        dev.stop().await;
    }
}

#[tokio::test]
async fn a_taken_port_is_left_to_its_owner() {
    let place = Place::new();
    let first = place.dev(&format!("--no-discovery --port {}", free_port().unwrap()), &[]).await;
    let other = Place::new();
    let second = other.dev(&format!("--no-discovery --port {}", first.port), &[]).await;
    assert!(second.port > first.port);
    let conflict = second.record("Port conflict, using new port").await;
    let expected = (&json!("dev server api"), &json!(first.port), &json!(second.port));
    assert_eq!((&conflict["name"], &conflict["from"], &conflict["to"]), expected);
    let taken = first.port.to_string();
    let ended = other.run(["dev", "--host", "127.0.0.1", "--strict-port", "--port", &taken], &[]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains(&format!("Error: port {taken} is in use")), "{}", ended.err);
    second.stop().await;
    first.stop().await;
}

#[tokio::test]
async fn every_signal_ends_it_orderly_and_leaves_nothing() {
    let place = Place::new();
    for signal in ["TERM", "INT", "QUIT"] {
        let mut dev = place.dev(&format!("--no-discovery --port {}", free_port().unwrap()), &[]).await;
        assert_eq!(entries(&place.path("tmp")).len(), 1, "the database is in the temporary directory");
        dev.signal(signal).await;
        assert_eq!(dev.exited().await, Some(0), "{signal}");
        assert_eq!(entries(&place.path("tmp")), [""; 0], "{signal}");
    }
    assert_eq!(entries(&place.path("a/b/c")), [""; 0]);
    let persistent = format!("--no-discovery --persist --port {}", free_port().unwrap());
    place.dev(&persistent, &[]).await.stop().await;
    assert!(place.path("a/b/c/.inngest/main.db").is_file());
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let place = Place::new();
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let line = format!("--no-discovery --shutdown-timeout 600 --port {}", free_port().unwrap());
        let mut dev = place.dev(&line, &[]).await;
        let hang = StubFunction::new("hang", "s/hang", |_| {
            Answer::After(Duration::from_secs(600), Box::new(Answer::Return(json!(1))))
        });
        let app = StubApp::serve("app", vec![hang]).await.unwrap();
        app.register(&dev.client()).await.unwrap();
        dev.client().send(&json!({ "name": "s/hang" })).await.unwrap();
        wait_until("called", SOON, async || app.calls().pop()).await.unwrap();
        dev.signal(signal).await;
        dev.record("stopping: calls in flight may finish").await;
        dev.signal(signal).await;
        assert_eq!(dev.exited().await, Some(code), "{signal}");
    }
}

#[tokio::test]
async fn the_demo_shows_a_run_of_every_kind() {
    let place = Place::new();
    let dev = place.dev(&format!("--demo --no-discovery --port {}", free_port().unwrap()), &[]).await;
    let runs = wait_until("three orders", SOON, async || {
        let runs = dev.client().get("/api/v1/runs?include_output=true&limit=100").await.ok()?;
        let runs = runs["data"].as_array()?.clone();
        let ended = |slug: &str, status: &str| {
            let is_such = |run: &&Value| run["function_slug"] == slug && run["status"] == status;
            runs.iter().filter(is_such).count()
        };
        let all = ended("demo-store-process-order", "Completed") == 2
            && ended("demo-store-process-order", "Failed") == 1
            && ended("demo-store-process-order-failure", "Completed") == 1
            && ended("demo-store-send-receipt", "Completed") == 3;
        all.then_some(runs)
    });
    let runs = runs.await.unwrap();
    let order = runs.iter().find(|run| run["output"]["item"] == "tea").expect("its output is a summary");
    assert_eq!(order["output"], json!({ "item": "tea", "amount": 3, "paid": 15 }));
    let failed = runs.iter().find(|run| run["status"] == "Failed").unwrap();
    assert!(failed.to_string().contains("an order of nothing cannot be processed"), "{failed}");
    dev.stop().await;
}

#[tokio::test]
async fn a_terminal_gets_a_banner_at_once() {
    let place = Place::new();
    let port = free_port().unwrap();
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let terminal = || std::fs::OpenOptions::new().read(true).write(true).open(&name).unwrap();
    let mut command = place.command();
    command.args(["dev", "--no-discovery", "--host", "127.0.0.1", "--port", &port.to_string()]);
    command.env("TERM", "xterm").stdout(terminal()).stderr(terminal());
    let mut child = command.spawn().unwrap();
    // Nobody answers what the process might ask this terminal; it must not wait for it.
    let seen = tokio::task::spawn_blocking(move || {
        let (mut master, mut seen) = (std::fs::File::from(master), Vec::new());
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains("--persist keeps it") {
            let read = master.read(&mut buffer).unwrap();
            seen.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8(seen).unwrap()
    });
    let seen = tokio::time::timeout(Duration::from_secs(5), seen).await.expect("a banner at once").unwrap();
    let banner = format!("Inngest Dev Server online at 127.0.0.1:{port}, visible at the following URLs:");
    assert!(seen.contains(&banner) && seen.contains(&format!(" - http://127.0.0.1:{port}  (http://localhost:{port})")));
    assert!(seen.contains("] \u{1b}[32mINF\u{1b}[0m ready addr="), "{seen:?}");
    child.kill().await.unwrap();
}
