//! Types that no field of a query leads to. Generators of clients expect them in the schema.

use async_graphql::{Enum, ID, InputObject, SimpleObject, Union};

use super::runs_v1::{FunctionRun, StepEventWait};
use super::scalars::{Time, Uint};
use super::spans::StepOp;
use super::stream::Workspace;

/// A version of a function.
#[derive(SimpleObject)]
pub(super) struct FunctionVersion {
    function_id: ID,
    version: Uint,
    config: String,
    valid_from: Option<Time>,
    valid_to: Option<Time>,
    created_at: Time,
    updated_at: Time,
}

/// Something that happened in a run.
#[derive(Union)]
pub(super) enum FunctionRunEvent {
    /// To the run.
    Function(FunctionEvent),
    /// To a step of it.
    Step(StepEvent),
}

/// Something that happened to a run.
#[derive(SimpleObject)]
pub(super) struct FunctionEvent {
    workspace: Option<Workspace>,
    function_run: Option<FunctionRun>,
    r#type: Option<FunctionEventType>,
    output: Option<String>,
    created_at: Option<Time>,
}

/// Something that happened to a step.
#[derive(SimpleObject)]
pub(super) struct StepEvent {
    workspace: Option<Workspace>,
    function_run: Option<FunctionRun>,
    #[graphql(name = "stepID")]
    step_id: Option<String>,
    name: Option<String>,
    r#type: Option<StepEventType>,
    output: Option<String>,
    created_at: Option<Time>,
    waiting_for: Option<StepEventWait>,
}

/// What happened to a run.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
pub(super) enum FunctionEventType {
    Started,
    Completed,
    Failed,
    Cancelled,
}

/// What happened to a step.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
pub(super) enum StepEventType {
    Scheduled,
    Started,
    Completed,
    Errored,
    Failed,
    Waiting,
}

/// Where a run stands.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
pub(super) enum FunctionStatus {
    Running,
    Completed,
    Failed,
    Cancelled,
}

/// A step.
#[derive(SimpleObject)]
pub(super) struct RunStep {
    #[graphql(name = "stepID")]
    step_id: String,
    name: String,
    step_op: Option<StepOp>,
}

/// Names an action.
#[derive(InputObject)]
pub(super) struct ActionVersionQuery {
    dsn: String,
    version_major: Option<i64>,
    version_minor: Option<i64>,
}

/// Names an environment.
#[derive(InputObject)]
pub(super) struct FunctionRunsQuery {
    #[graphql(default_with = "super::query::local()")]
    workspace_id: ID,
}
