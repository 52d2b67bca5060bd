//! `inngest doctor` and `inngest ping`.

use inngest_testkit::server::free_port;
use serde_json::Value;

use crate::place::Place;

#[tokio::test]
async fn a_health_check_is_silent_or_names_what_failed() {
    let place = Place::new();
    let dev = place.dev(&format!("--no-discovery --port {}", free_port().unwrap()), &[]).await;
    let (port, closed) = (dev.port.to_string(), free_port().unwrap());
    for command in ["doctor", "alpha doctor", "alpha dr"] {
        // The gateway does not exist, and a server without one is healthy.
        let line = format!("{command} healthcheck --port {port} --connect-gateway-port {closed}");
        let ended = place.line(&line).await;
        assert_eq!((ended.code, &*ended.out, &*ended.err), (Some(0), "", ""), "{line}");
    }
    let variables = [("INNGEST_PORT", &*port), ("INNGEST_HOST", "0.0.0.0")];
    let ended = place.run(["doctor", "healthcheck"], &variables).await;
    assert_eq!((ended.code, &*ended.err), (Some(0), ""));
    let line = format!("doctor healthcheck --port {closed} --connect-gateway-port {closed} --timeout 2s");
    let ended = place.line(&line).await;
    let lines: Vec<&str> = ended.err.lines().collect();
    assert_eq!((ended.code, &*ended.out, lines.len()), (Some(1), "", 2), "{}", ended.err);
    assert!(lines[0].starts_with(&format!("healthcheck: api http://127.0.0.1:{closed}/health: ")), "{}", ended.err);
    let gateway = format!("healthcheck: connect-gateway http://127.0.0.1:{closed}/ready: ");
    assert!(lines[1].starts_with(&gateway), "{}", ended.err);
    let ended = place.line(&format!("{line} --skip-connect-gateway")).await;
    assert_eq!((ended.code, ended.err.lines().count()), (Some(1), 1), "{}", ended.err);
    dev.stop().await;
}

#[tokio::test]
async fn a_doctor_names_each_check_and_what_is_wrong() {
    let place = Place::new();
    let dev = place.dev(&format!("--no-discovery --port {}", free_port().unwrap()), &[]).await;
    let line = format!("doctor --port {}", dev.port);
    let ended = place.line(&line).await;
    assert_eq!((ended.code, &*ended.err), (Some(0), ""), "{}", ended.out);
    assert!(ended.out.starts_with("• healthcheck ... OK\n• config ... OK\n"), "{}", ended.out);
    assert!(ended.out.lines().all(|line| line.ends_with(" ... OK")), "{}", ended.out);
    let file = place.write("a/b/c/inngest.yaml", "poort: 1\n");
    let key = [("INNGEST_SIGNING_KEY", "abc")];
    let ended = place.run(line.split(' '), &key).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.contains("• config ... FAIL\n"), "{}", ended.out);
    for text in [
        &*format!("config: {file}: unknown key \"poort\" is ignored; did you mean port?\n"),
        "config: signing-key must be hex string with even number of chars, as ",
        "1 check(s) failed: config\n",
    ] {
        assert!(ended.err.contains(text), "{text}: {}", ended.err);
    }
    dev.stop().await;
    let ended = place.line(&line).await;
    assert!(ended.out.contains("• store ... FAIL\n• clock ... FAIL\n"), "{}", ended.out);
    assert!(ended.err.contains("healthcheck: api http://127.0.0.1:"), "{}", ended.err);
    // Its server is named by other flags than that of the other commands.
    assert!(ended.err.contains("apps: the server at ") && !ended.err.contains("--url"), "{}", ended.err);
}

#[tokio::test]
async fn a_ping_tells_what_answers() {
    let place = Place::new();
    let dev = place.dev(&format!("--no-discovery --port {}", free_port().unwrap()), &[]).await;
    let url = dev.client().base().to_owned();
    let ended = place.line(&format!("ping --url {url}")).await;
    assert!(ended.out.starts_with(&format!("{url} is an Inngest server (dev); it answered in ")), "{}", ended.out);
    let bare = url.strip_prefix("http://").unwrap();
    assert_eq!(place.line(&format!("ping --url {bare}/")).await.code, Some(0), "without its scheme");
    let ended = place.run(["ping", "--json"], &[("INNGEST_BASE_URL", &url)]).await;
    let told: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&told["url"], &told["kind"]), (&url.as_str().into(), &"dev".into()));
    dev.stop().await;
    let ended = place.line(&format!("ping --url {url}")).await;
    assert_eq!((ended.code, &*ended.out), (Some(1), ""));
    assert!(ended.err.starts_with(&format!("Error: the server at {url} cannot be reached: ")), "{}", ended.err);
}
