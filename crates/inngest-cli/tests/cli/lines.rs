//! Command lines: help, versions and mistakes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Stdio;

use crate::place::{Place, entries};

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
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let running = place.command().arg("version").stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let ended = running.wait_with_output().await.unwrap();
    let problem = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && problem.starts_with("Error: stdout cannot be written: "), "{problem}");
}
