//! Requests that nobody thought of: schemathesis makes them from the OpenAPI documents that a server serves, and holds
//! the replies against them. A 5xx, a status or a body that is not described fails.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use crate::process::{self, Running, command, free_port, get, post, wait_for};
use crate::sdk::install;
use crate::test::Totals;

/// The documents of the server.
const DOCUMENTS: [&str; 2] = ["/v1/openapi.json", "/v2/openapi.json"];

/// What a reply must be, whatever was asked.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// Requests made up for each operation, at most.
const EXAMPLES_MAX: &str = "40";

/// All requests of one document together, in seconds.
const SECONDS_MAX: &str = "50";

/// Asks a server whatever its documents allow.
pub(crate) fn run() -> anyhow::Result<Totals> {
    anyhow::ensure!(process::succeeds(&mut command("cargo", ["build", "-p", "inngest-cli"]))?, "no server");
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let directory = Path::new("sdk-tests/openapi");
    let schemathesis = install::schemathesis(directory)?;
    let config = directory.join("schemathesis.toml").canonicalize()?.display().to_string();
    let (dir, port) = (tempfile::tempdir()?, free_port()?);
    let root = format!("http://127.0.0.1:{port}");
    let mut server = Command::new(format!("{target}/debug/inngest"));
    server.args(["dev", "--no-discovery", "--host", "127.0.0.1", "--strict-port", "--port", &port.to_string()]);
    let _server = Running::start(server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
    wait_for("the server is healthy", Duration::from_secs(20), || get(&format!("{root}/health")))?;
    register(&root).context("an app is registered")?;
    let mut totals = Totals::default();
    for document in DOCUMENTS.iter().map(|path| format!("{root}{path}")).filter(|url| get(url).is_some()) {
        let arguments = [
            "--config-file",
            &config,
            "run",
            &document,
            "--checks",
            CHECKS,
            "--max-examples",
            EXAMPLES_MAX,
            "--phases",
            "examples,coverage,fuzzing",
            "--seed",
            "6",
            "--max-time",
            SECONDS_MAX,
            "--suppress-health-check",
            "all",
            "--no-color",
        ];
        let passed = process::succeeds(command(&schemathesis, arguments).current_dir(dir.path()))?;
        println!("test openapi::{document} ... {}", if passed { "ok" } else { "FAILED" });
        totals.add(Totals::of(passed));
    }
    anyhow::ensure!(totals.passed + totals.failed > 0, "the server describes nothing");
    Ok(totals)
}

/// An app whose function can be asked for; nobody serves it.
fn register(root: &str) -> anyhow::Result<()> {
    let step = json!({
        "id": "step", "name": "step", "runtime": { "type": "http", "url": "http://localhost:1/api/inngest?fnId=shop-hello&stepId=step" },
    });
    let function = json!({ "id": "shop-hello", "name": "hello", "triggers": [{ "event": "shop/hello" }], "steps": { "step": step } });
    let app = json!({
        "url": "http://localhost:1/api/inngest", "deployType": "ping", "framework": "none", "appName": "shop",
        "functions": [function], "sdk": "js:v4.0.0", "v": "0.1",
    });
    post(&format!("{root}/fn/register"), &app)?;
    post(&format!("{root}/e/test"), &json!({ "name": "shop/hello", "data": {} }))?;
    Ok(())
}
