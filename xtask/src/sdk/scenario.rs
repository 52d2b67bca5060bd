//! One event, and what must come of its run.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::tested::Tested;
use crate::process::wait_for;

/// An event is sent, its run ends, and the run and the app's journal are compared.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    event: &'static str,
    data: Value,
    /// Posted to these paths of the server again and again until the run has ended: nobody outside knows when a run has
    /// begun to wait.
    meanwhile: Vec<(&'static str, Value)>,
    status: &'static str,
    /// The output, or the part of it that is the same for all SDKs.
    output: Value,
    /// How often each part of the function must have been executed.
    executed: &'static [(&'static str, usize)],
}

impl Scenario {
    /// A run that completes.
    pub(crate) fn new(name: &'static str, event: &'static str) -> Self {
        let (data, output) = (json!({}), json!({}));
        Self { name, event, data, meanwhile: Vec::new(), status: "Completed", output, executed: &[] }
    }

    pub(crate) fn data(self, data: Value) -> Self {
        Self { data, ..self }
    }

    pub(crate) fn meanwhile(mut self, path: &'static str, body: Value) -> Self {
        self.meanwhile.push((path, body));
        self
    }

    pub(crate) fn returns(self, output: Value) -> Self {
        Self { output, ..self }
    }

    pub(crate) fn fails(self, message: &str) -> Self {
        Self { status: "Failed", output: json!({ "message": message }), ..self }
    }

    pub(crate) fn cancelled(self) -> Self {
        Self { status: "Cancelled", ..self }
    }

    pub(crate) fn executes(self, executed: &'static [(&'static str, usize)]) -> Self {
        Self { executed, ..self }
    }

    /// Sends the event; its id.
    pub(crate) fn begin(&self, tested: &Tested) -> anyhow::Result<String> {
        tested.send(self.event, &self.data)
    }

    /// Waits for the run of the event, and compares.
    pub(crate) fn check(&self, tested: &Tested, event: &str) -> anyhow::Result<()> {
        let run = tested.ended_while(event, &self.meanwhile)?;
        anyhow::ensure!(run["status"] == self.status, "the run is {}: {}", run["status"], run["output"]);
        for (key, expected) in self.output.as_object().context("expected outputs are objects")? {
            let value = &run["output"][key];
            // Some SDKs put words before the message of an error that a function does not handle.
            let ends_so = |end: &str| value.as_str().is_some_and(|text| text.ends_with(end));
            let is_so = value == expected || self.status == "Failed" && expected.as_str().is_some_and(ends_so);
            anyhow::ensure!(is_so, "output {key} is {value}, not {expected}");
        }
        let id = run["run_id"].as_str().context("run_id")?;
        let is_known = |part: &str| tested.app.has_failure_handlers || !part.starts_with("onFailure");
        for (part, count) in self.executed.iter().filter(|(part, _)| is_known(part)) {
            // A failure handler runs after the run has ended.
            let what = format!("{part} is executed {count} times");
            wait_for(&what, Duration::from_secs(5), || {
                let executed = tested.executed(id).ok()?.get(*part).copied().unwrap_or(0);
                (executed == *count).then_some(())
            })
            .with_context(|| format!("executed: {:?}", tested.executed(id)))?;
        }
        self.details(tested, &run["output"], id)
    }

    /// What a table of outputs and counts cannot say.
    fn details(&self, tested: &Tested, output: &Value, run: &str) -> anyhow::Result<()> {
        match self.name {
            // Python names the moment of waking, some milliseconds before the server hears of it.
            "sleep" => tested.must_pass(run, "before", "after", 990..6_000),
            "wait_timeout" | "signal_timeout" => tested.must_pass(run, "before", "after", 1_000..6_000),
            // The server's own interval is 1 s. `Retry-After` is in whole seconds, hence less than 3 s.
            "retry_after" => tested.must_pass(run, "late", "late", 2_000..9_000),
            // The next step of the fast branch does not wait for the slow one, which takes 2 s.
            "parallel_race" => tested.must_pass(run, "fast next", "slow done", 100..6_000),
            "function_error" => {
                // A checkpoint makes attempts start anew; the Go server means to do so and does not.
                let attempt = i32::from(!tested.app.has_checkpoints || tested.binary.is_foreign);
                anyhow::ensure!(output["attempt"] == attempt, "attempt {} and not {attempt}", output["attempt"]);
                Ok(())
            }
            "error_cause" => {
                let cause = &output["cause"]["message"];
                anyhow::ensure!(!tested.app.has_causes || cause == "inner", "the cause is {cause}");
                Ok(())
            }
            "big_output" => {
                let text = output["text"].as_str().unwrap_or_default();
                anyhow::ensure!(text == "é".repeat(100_000), "{} other bytes came back", text.len());
                Ok(())
            }
            "invoke_unknown" => must_contain(&output["caught"], "could not find function with ID"),
            "invoke_timeout" => must_contain(&output["caught"], "Timed out waiting for invoked function to complete"),
            "checkpointed" | "checkpointed_batch" => {
                // Its five steps, one of them tried twice, and its sleep are eight calls without checkpoints.
                let executed = tested.executed(run)?;
                let times = |part: &str| executed.get(part).copied().unwrap_or(0);
                // JS v3 and Go lose the steps they have buffered when the next one fails.
                let is_kept = self.name == "checkpointed" || tested.app.has_checkpoints;
                anyhow::ensure!(!is_kept || times("c") == 1, "c is executed {} times", times("c"));
                let calls = times("call");
                anyhow::ensure!((1..=5).contains(&calls), "the function was called {calls} times");
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn must_contain(text: &Value, part: &str) -> anyhow::Result<()> {
    anyhow::ensure!(text.as_str().is_some_and(|text| text.contains(part)), "{text} does not contain {part:?}");
    Ok(())
}
