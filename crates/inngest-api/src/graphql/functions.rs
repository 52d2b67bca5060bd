//! Functions.

use std::sync::Arc;

use async_graphql::{Context, Enum, Object, SimpleObject};
use inngest_core::function::Trigger;
use inngest_executor::registry::Registry;

use super::apps::App;
use super::configuration::{self, FunctionConfiguration};
use super::problem::Result;
use super::session::Session;

/// What starts a function.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
enum FunctionTriggerTypes {
    Event,
    Cron,
}

/// What starts a function.
#[derive(SimpleObject)]
struct FunctionTrigger {
    r#type: FunctionTriggerTypes,
    value: String,
    condition: Option<String>,
}

/// A function.
pub(super) struct Function(pub(super) Arc<inngest_core::Function>);

impl Function {
    /// Those that may start runs, by app and slug.
    pub(super) fn live(registry: &Registry, wanted: impl Fn(&inngest_core::Function) -> bool) -> Vec<Self> {
        let active = registry.active().filter(|(function, _)| wanted(function));
        let mut functions: Vec<Self> = active.map(|(function, _)| Self(Arc::clone(function))).collect();
        let app = |function: &Self| registry.app(&function.0.app).map(|app| Arc::clone(&app.name));
        functions.sort_by_cached_key(|function| (app(function), Arc::clone(&function.0.slug)));
        functions
    }
}

/// A function.
#[Object]
impl Function {
    async fn id(&self) -> String {
        self.0.id.to_string()
    }

    async fn name(&self) -> &str {
        &self.0.name
    }

    async fn slug(&self) -> &str {
        &self.0.slug
    }

    async fn failure_handler(&self, ctx: &Context<'_>) -> Option<Function> {
        let registry = Session::of(ctx).registry();
        let handler = registry.by_slug(&format!("{}-failure", self.0.slug));
        handler.filter(|handler| registry.is_active(handler)).map(|handler| Self(Arc::clone(handler)))
    }

    async fn config(&self) -> String {
        configuration::as_text(&self.0)
    }

    async fn configuration(&self) -> FunctionConfiguration {
        FunctionConfiguration::of(&self.0)
    }

    async fn concurrency(&self) -> i64 {
        configuration::concurrency(&self.0)
    }

    async fn triggers(&self) -> Option<Vec<FunctionTrigger>> {
        let shown = |trigger: &Trigger| match trigger {
            Trigger::Event { name, expression } => FunctionTrigger {
                r#type: FunctionTriggerTypes::Event,
                value: name.to_string(),
                condition: expression.as_deref().map(str::to_owned),
            },
            Trigger::Cron { schedule, .. } => {
                FunctionTrigger { r#type: FunctionTriggerTypes::Cron, value: schedule.to_string(), condition: None }
            }
        };
        Some(self.0.triggers.iter().map(shown).collect())
    }

    async fn url(&self) -> &str {
        &self.0.url
    }

    #[graphql(name = "appID")]
    async fn app_id(&self) -> String {
        self.0.app.to_string()
    }

    async fn app(&self, ctx: &Context<'_>) -> Result<App> {
        Ok(App(Session::of(ctx).app(self.0.app).await?))
    }
}
