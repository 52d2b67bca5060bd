//! Workers that are connected, and debug sessions: both are in the schema, and there are none.

use async_graphql::{Enum, ID, InputObject, Object, SimpleObject};
use ulid::Ulid;

use super::apps::App;
use super::problem::{Nullable, Problem, Result};
use super::run_list::PageInfo;
use super::scalars::{Int64, Text, Time, UlidText, UuidText};
use super::session::Session;
use super::spans::{RunTraceSpan, RunTraceSpanStatus};

/// How a worker is connected.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
#[graphql(name = "ConnectV1ConnectionStatus")]
enum ConnectionStatus {
    Connected,
    Ready,
    Draining,
    Disconnecting,
    Disconnected,
}

/// A time of a connection.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
#[graphql(name = "ConnectV1WorkerConnectionsOrderByField")]
#[expect(clippy::enum_variant_names, reason = "the schema calls them so")]
enum OrderByField {
    ConnectedAt,
    LastHeartbeatAt,
    DisconnectedAt,
}

/// Oldest or newest first.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
#[graphql(name = "ConnectV1WorkerConnectionsOrderByDirection")]
enum Direction {
    Asc,
    Desc,
}

/// Which connections.
#[derive(InputObject)]
#[graphql(name = "ConnectV1WorkerConnectionsFilter")]
pub(super) struct Filter {
    from: Option<Time>,
    until: Option<Time>,
    #[graphql(default_with = "Some(OrderByField::ConnectedAt)")]
    time_field: Option<OrderByField>,
    status: Option<Vec<ConnectionStatus>>,
    #[graphql(name = "appIDs")]
    app_ids: Option<Vec<UuidText>>,
}

/// How connections are ordered.
#[derive(InputObject)]
#[graphql(name = "ConnectV1WorkerConnectionsOrderBy")]
pub(super) struct OrderBy {
    field: OrderByField,
    direction: Direction,
}

/// A connection of a worker.
#[derive(SimpleObject)]
#[graphql(name = "ConnectV1WorkerConnection")]
pub(super) struct WorkerConnection {
    id: UlidText,
    gateway_id: UlidText,
    instance_id: String,
    worker_ip: String,
    max_worker_concurrency: Int64,
    app_name: Option<String>,
    #[graphql(name = "appID")]
    app_id: Option<UuidText>,
    app: Option<App>,
    connected_at: Time,
    last_heartbeat_at: Option<Time>,
    disconnected_at: Option<Time>,
    disconnect_reason: Option<String>,
    status: ConnectionStatus,
    group_hash: String,
    sdk_lang: String,
    sdk_version: String,
    sdk_platform: String,
    #[graphql(deprecation = "buildId is deprecated. Use appVersion instead.")]
    sync_id: Option<UuidText>,
    build_id: Option<String>,
    app_version: Option<String>,
    function_count: i64,
    cpu_cores: i64,
    mem_bytes: i64,
    os: String,
}

/// A connection in its list.
#[derive(SimpleObject)]
#[graphql(name = "ConnectV1WorkerConnectionEdge")]
struct WorkerConnectionEdge {
    node: WorkerConnection,
    cursor: String,
}

/// A page of connections.
#[derive(SimpleObject)]
#[graphql(name = "ConnectV1WorkerConnectionsConnection")]
pub(super) struct WorkerConnections {
    edges: Vec<WorkerConnectionEdge>,
    page_info: PageInfo,
    total_count: i64,
}

impl WorkerConnections {
    /// A page of none.
    pub(super) fn none() -> Self {
        let page_info =
            PageInfo { has_next_page: false, has_previous_page: false, start_cursor: None, end_cursor: None };
        Self { edges: Vec::new(), page_info, total_count: 0 }
    }
}

pub(super) fn connection(id: Ulid) -> Nullable<WorkerConnection> {
    Some(Err(Problem::NotFound(format!("error retrieving worker connection: no such connection: {id}"))))
}

/// Which debug run.
#[derive(InputObject)]
pub(super) struct DebugRunQuery {
    #[graphql(default_with = "super::query::local()")]
    workspace_id: ID,
    function_slug: Text,
    #[graphql(name = "debugRunID")]
    debug_run_id: Option<Text>,
    #[graphql(name = "runID")]
    run_id: Option<Text>,
}

/// Which debug session.
#[derive(InputObject)]
pub(super) struct DebugSessionQuery {
    #[graphql(default_with = "super::query::local()")]
    workspace_id: ID,
    function_slug: Text,
    #[graphql(name = "debugSessionID")]
    debug_session_id: Option<Text>,
    #[graphql(name = "runID")]
    run_id: Option<Text>,
}

/// For whom a debug session is made.
#[derive(InputObject)]
pub(super) struct CreateDebugSessionInput {
    #[graphql(default_with = "super::query::local()")]
    workspace_id: ID,
    function_slug: Text,
    #[graphql(name = "runID")]
    run_id: Option<Text>,
}

/// The ids of a debug session.
#[derive(SimpleObject)]
pub(super) struct CreateDebugSessionResponse {
    #[graphql(name = "debugSessionID")]
    debug_session_id: UlidText,
    #[graphql(name = "debugRunID")]
    debug_run_id: UlidText,
}

impl CreateDebugSessionResponse {
    /// Two new ids; nothing is kept of them.
    pub(super) fn new(session: &Session) -> Self {
        let new = || UlidText(session.api.engine.ids().request(session.now()).0);
        Self { debug_session_id: new(), debug_run_id: new() }
    }
}

/// Traces of a debug run.
pub(super) struct DebugRun(Option<()>);

/// Traces of a debug run.
#[Object]
impl DebugRun {
    async fn debug_traces(&self) -> Option<Vec<RunTraceSpan>> {
        self.0.map(|()| Vec::new())
    }
}

pub(super) fn debug_run(query: &DebugRunQuery) -> DebugRun {
    DebugRun(query.debug_run_id.as_ref().filter(|id| !id.0.is_empty()).map(|_| ()))
}

/// A run of a debug session.
#[derive(SimpleObject)]
struct DebugSessionRun {
    status: RunTraceSpanStatus,
    queued_at: Time,
    started_at: Option<Time>,
    ended_at: Option<Time>,
    #[graphql(name = "debugRunID")]
    debug_run_id: Option<UlidText>,
    tags: Option<Vec<String>>,
    versions: Option<Vec<String>>,
}

/// A debug session.
#[derive(SimpleObject)]
pub(super) struct DebugSession {
    debug_runs: Option<Vec<DebugSessionRun>>,
}

pub(super) fn debug_session(query: &DebugSessionQuery) -> Result<DebugSession> {
    match &query.debug_session_id {
        Some(id) if !id.0.is_empty() => Ok(DebugSession { debug_runs: None }),
        _ => Err(Problem::NotFound("debug session not found".to_owned())),
    }
}
