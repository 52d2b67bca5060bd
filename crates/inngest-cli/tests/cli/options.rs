//! Where options come from.

use inngest_testkit::server::free_port;
use inngest_testkit::wait_until;
use serde_json::{Value, json};

use crate::place::{Place, SOON};

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
