//! Tools that are no operations of REST v2.

use std::pin::Pin;
use std::sync::LazyLock;

use http::HeaderMap;
use inngest_state::StoreError;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::wait::Waits;
use super::{docs, invoke, operate, send, status};
use crate::operation::{Tool, inline};
use crate::{Api, body};

/// A call of a tool.
pub(super) struct Call<A> {
    pub(super) api: Api,
    /// Of the request: they tell who calls.
    pub(super) headers: HeaderMap,
    pub(super) waits: Waits,
    pub(super) arguments: A,
}

/// What a tool has done.
#[derive(Debug)]
pub(super) struct Done {
    /// For models.
    pub(super) text: String,
    /// For programs.
    pub(super) json: Box<RawValue>,
}

impl Done {
    pub(super) fn of<T: Serialize>(result: &T) -> Result<Self, Problem> {
        let json = to_raw_value(result).map_err(|error| Problem::new(error.to_string()))?;
        Ok(Self { text: json.get().to_owned(), json })
    }

    pub(super) fn of_json(text: String) -> Result<Self, Problem> {
        let json = RawValue::from_string(text.clone()).map_err(|error| Problem::new(error.to_string()))?;
        Ok(Self { text, json })
    }
}

/// Why a tool did nothing, in words for models.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Problem(String);

impl Problem {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a tool of MCP failed in the store");
        Self(error.to_string())
    }
}

type Calling = Pin<Box<dyn Future<Output = Result<Done, Problem>> + Send>>;

/// A tool, and what does it.
pub(crate) struct Native {
    tool: Tool,
    description: &'static str,
    input_schema: Value,
    call: Box<dyn Fn(Call<Box<RawValue>>) -> Calling + Send + Sync>,
}

impl Native {
    /// A tool that changes nothing.
    pub(super) fn read<A, F>(
        name: &'static str,
        title: &'static str,
        description: &'static str,
        handler: fn(Call<A>) -> F,
    ) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        F: Future<Output = Result<Done, Problem>> + Send + 'static,
    {
        Self::new(Tool { name, title, is_read_only: true, is_destructive: false }, description, handler)
    }

    /// A tool that makes functions run.
    pub(super) fn write<A, F>(
        name: &'static str,
        title: &'static str,
        description: &'static str,
        handler: fn(Call<A>) -> F,
    ) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        F: Future<Output = Result<Done, Problem>> + Send + 'static,
    {
        Self::new(Tool { name, title, is_read_only: false, is_destructive: true }, description, handler)
    }

    fn new<A, F>(tool: Tool, description: &'static str, handler: fn(Call<A>) -> F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        F: Future<Output = Result<Done, Problem>> + Send + 'static,
    {
        let call = move |Call { api, headers, waits, arguments }: Call<Box<RawValue>>| -> Calling {
            Box::pin(async move {
                let arguments = body::object(arguments.get().as_bytes())
                    .map_err(|error| Problem(format!("invalid arguments: {error}")))?;
                handler(Call { api, headers, waits, arguments }).await
            })
        };
        Self { tool, description, input_schema: input_schema::<A>(), call: Box::new(call) }
    }

    pub(super) fn name(&self) -> &'static str {
        self.tool.name
    }

    /// As `tools/list` has it.
    pub(crate) fn describe(&self) -> Value {
        self.tool.describe(self.description, &self.input_schema)
    }

    /// As the catalogue of operations names it.
    pub(crate) fn id(&self) -> String {
        format!("mcp.{}", self.tool.name)
    }

    pub(super) async fn call(&self, call: Call<Box<RawValue>>) -> Result<Done, Problem> {
        (self.call)(call).await
    }
}

/// Some clients expect the members to be told even when there are none.
fn input_schema<A: JsonSchema>() -> Value {
    let mut schema = inline::<A>();
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("description");
        schema.entry("properties").or_insert_with(|| json!({}));
    }
    schema
}

/// Every tool that is no operation of REST v2.
pub(crate) fn natives() -> impl Iterator<Item = &'static Native> {
    static NATIVES: LazyLock<Vec<Native>> = LazyLock::new(|| {
        let parts = [send::tools(), invoke::tools(), status::tools(), docs::tools(), operate::tools()];
        parts.into_iter().flatten().collect()
    });
    NATIVES.iter()
}
