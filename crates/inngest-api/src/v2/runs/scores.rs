//! Scores: how well a run or one of its steps did, as somebody outside judges.

use http::Method;
use inngest_core::{Payload, StepId, canonical, limits};
use inngest_executor::response::MetadataReport;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::change::OfRun;
use super::{parse_id, unknown};
use crate::v2::endpoint::{Call, Endpoint};
use crate::v2::error::Error;
use crate::v2::wire::{Object, One};

/// Scores of one request; more are refused (400).
const SCORES_MAX: usize = 100;

/// Name of a score in bytes; a longer one is refused (400).
const NAME_BYTES_MAX: usize = 128;

pub(super) fn endpoint() -> Endpoint {
    Endpoint::send("CreateScore", Method::POST, "/runs/{runId}/scores", "Scores a run or its steps", create)
        .error(404, "There is no such run.")
        .cli("create-score")
}

/// How well a run or a step did.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Score {
    /// What is judged.
    #[schemars(required, length(min = 1, max = 128))]
    name: String,
    /// The judgement.
    #[schemars(required, with = "NumberOrBoolean")]
    value: Option<Value>,
    /// The step that is judged; the run if there is none.
    #[serde(alias = "step_id")]
    step_id: Option<String>,
    /// The experiment that it counts for; of scores of runs only.
    experiment: Option<Object<Experiment>>,
}

/// A judgement.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is looked at")]
enum NumberOrBoolean {
    Number(f64),
    Boolean(bool),
}

/// An experiment, and the variant of it that ran.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Experiment {
    /// Which experiment.
    id: String,
    /// Which variant.
    variant: String,
}

/// A score that was taken.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RunScore {
    /// ULID of the run.
    run_id: String,
    /// What was judged.
    name: String,
    /// The judgement.
    #[schemars(with = "NumberOrBoolean")]
    value: Value,
    /// The step that was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    step_id: Option<String>,
    /// The experiment that it counts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    experiment: Option<Experiment>,
}

async fn create(
    Call { api, parameters, body, .. }: Call<OfRun, Vec<Object<Score>>>,
) -> Result<One<Vec<RunScore>>, Error> {
    let id = parse_id(&parameters.run_id)?;
    if body.is_empty() {
        return Err(Error::missing("At least one score is required"));
    }
    if body.len() > SCORES_MAX {
        return Err(Error::bad_field(format!("Scores cannot exceed {SCORES_MAX} items")));
    }
    let scores =
        body.into_iter().enumerate().map(|(index, Object(score))| score.check(index)).collect::<Result<Vec<_>, _>>()?;
    if api.engine.history().run_record(id).await?.is_none() {
        return Err(unknown());
    }
    let added: usize = scores.iter().map(|(score, _)| score.name.len() + 64).sum();
    if api.engine.noted_bytes(id).await? + added > limits::METADATA_OF_RUN_BYTES_MAX {
        return Err(Error::new(413, "invalid_request", "Cumulative metadata size exceeds limit"));
    }
    let mut taken = Vec::with_capacity(scores.len());
    for (score, value) in scores {
        let step = score.step_id.as_deref().map(|name| StepId::hashed(name, 0));
        api.engine.note(id, step, vec![score.note(&value)]).await?;
        let Score { name, step_id, experiment, .. } = score;
        let experiment = experiment.map(|Object(experiment)| experiment);
        taken.push(RunScore { run_id: id.to_string(), name, value, step_id, experiment });
    }
    Ok(One::of(&api, taken))
}

impl Score {
    /// The score with its value, if it can be one.
    fn check(mut self, index: usize) -> Result<(Self, Value), Error> {
        let at = |text: &str| format!("scores[{index}]: {text}");
        if self.name.is_empty() {
            return Err(Error::missing(at("Score name is required")));
        }
        if self.name.len() > NAME_BYTES_MAX {
            return Err(Error::bad_field(at(&format!("Score name cannot exceed {NAME_BYTES_MAX} bytes"))));
        }
        if self.name.contains(|letter: char| letter.is_control() || letter == '\'') {
            return Err(Error::bad_field(at("Score name cannot contain control characters or quotes")));
        }
        let value = match self.value.take() {
            None | Some(Value::Null) => return Err(Error::missing(at("Score value is required"))),
            Some(value @ Value::Bool(_)) => value,
            Some(Value::Number(number)) if number.as_f64().is_some_and(f64::is_finite) => Value::Number(number),
            Some(_) => return Err(Error::bad_field(at("Score value must be a finite number or boolean"))),
        };
        self.step_id.take_if(|step| step.is_empty());
        if self.experiment.is_some() && self.step_id.is_some() {
            return Err(Error::bad_field(at("Experiment scores must be run-scoped")));
        }
        Ok((self, value))
    }

    /// As it is kept: a note about the run or the step.
    fn note(&self, value: &Value) -> MetadataReport {
        let mut values = json!({ (&*self.name): value });
        if let Some(Object(experiment)) = &self.experiment {
            values = json!({ (&*self.name): { "value": value, "experiment": experiment } });
        }
        MetadataReport {
            scope: if self.step_id.is_some() { "step" } else { "run" }.into(),
            kind: "inngest.score".into(),
            op: "merge".into(),
            values: sorted(&values),
        }
    }
}

/// Canonical JSON, as notes are kept.
fn sorted(value: &Value) -> Payload {
    let json = value.to_string();
    Payload::from(canonical::canonicalise(json.as_bytes(), canonical::Numbers::Exact).unwrap_or_default())
}
