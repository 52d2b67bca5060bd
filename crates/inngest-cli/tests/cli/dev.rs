//! `inngest dev` from its start to its end.

use std::io::Read as _;
use std::time::Duration;

use inngest_testkit::server::free_port;
use inngest_testkit::{Answer, StubApp, StubFunction, wait_until};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::place::{Place, SOON, entries};

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
