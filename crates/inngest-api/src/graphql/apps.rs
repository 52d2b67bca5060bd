//! Apps.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use serde_json::Value;

use super::functions::Function;
use super::session::Session;

/// How an app is called.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
pub(super) enum AppMethod {
    Serve,
    Connect,
    Api,
}

impl AppMethod {
    fn of(app: &inngest_core::App) -> Self {
        if app.url.starts_with("ws") { Self::Connect } else { Self::Serve }
    }
}

/// Which apps.
#[derive(InputObject)]
#[graphql(name = "AppsFilterV1")]
pub(super) struct AppsFilter {
    method: Option<AppMethod>,
}

/// What an SDK told about its features.
#[derive(SimpleObject)]
#[graphql(name = "SDKFeatureReadiness")]
struct SdkFeatureReadiness {
    ai_metadata_extraction: Option<SdkFeatureStatus>,
    extended_traces: Option<SdkFeatureStatus>,
}

impl SdkFeatureReadiness {
    fn of(app: &inngest_core::App) -> Self {
        let told: Value =
            app.feature_observations.as_deref().and_then(|told| serde_json::from_str(told).ok()).unwrap_or_default();
        Self {
            ai_metadata_extraction: SdkFeatureStatus::of(&told["aiMetadataExtraction"], &AI_METADATA_REASONS),
            extended_traces: SdkFeatureStatus::of(&told["extendedTraces"], &EXTENDED_TRACES_REASONS),
        }
    }
}

/// Whether a feature of an SDK can be used.
#[derive(SimpleObject)]
#[graphql(name = "SDKFeatureStatus")]
struct SdkFeatureStatus {
    ready: bool,
    reason: Option<i64>,
}

/// Why a feature can be used, or cannot, as SDKs name it; clients know the places in these lists.
const AI_METADATA_REASONS: [&str; 5] =
    ["UNSPECIFIED", "READY", "DISABLED_BY_USER", "OTEL_PROVIDER_MISSING", "OTEL_SPAN_PROCESSOR_NOT_ADDED"];
const EXTENDED_TRACES_REASONS: [&str; 7] = [
    "UNSPECIFIED",
    "READY",
    "NOT_ENABLED_BY_USER",
    "DISABLED_BY_USER",
    "OTEL_PROVIDER_MISSING",
    "OTEL_SPAN_PROCESSOR_NOT_ADDED",
    "OTEL_PROVIDER_CREATION_FAILED",
];

impl SdkFeatureStatus {
    /// What an SDK told; `None` if it told nothing. A reason that is not known is none.
    fn of(told: &Value, reasons: &[&str]) -> Option<Self> {
        let name = told["readinessReason"].as_str()?.rsplit("_READINESS_REASON_").next();
        let reason = reasons.iter().position(|reason| Some(*reason) == name).unwrap_or_default();
        Some(Self { ready: reasons.get(reason) == Some(&"READY"), reason: i64::try_from(reason).ok() })
    }
}

/// An app, or a placeholder for a URL that has not answered yet.
pub(super) struct App(pub(super) Arc<inngest_core::App>);

/// An app, or a placeholder for a URL that has not answered yet.
#[Object]
impl App {
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    #[graphql(name = "externalID")]
    async fn external_id(&self) -> &str {
        &self.0.name
    }

    async fn name(&self) -> &str {
        &self.0.name
    }

    async fn sdk_language(&self) -> &str {
        &self.0.sdk_language
    }

    async fn sdk_version(&self) -> &str {
        &self.0.sdk_version
    }

    async fn framework(&self) -> Option<&str> {
        Some(&*self.0.framework).filter(|framework| !framework.is_empty())
    }

    async fn url(&self) -> Option<&str> {
        Some(&self.0.url)
    }

    async fn checksum(&self) -> Option<&str> {
        Some(&self.0.checksum)
    }

    async fn error(&self) -> Option<&str> {
        self.0.error.as_deref()
    }

    async fn functions(&self, ctx: &Context<'_>) -> Vec<Function> {
        Function::live(&Session::of(ctx).registry(), |function| function.app == self.0.id)
    }

    async fn method(&self) -> AppMethod {
        AppMethod::of(&self.0)
    }

    async fn app_version(&self) -> Option<&str> {
        Some(self.0.app_version.as_deref().unwrap_or_default())
    }

    async fn sdk_feature_readiness(&self) -> SdkFeatureReadiness {
        SdkFeatureReadiness::of(&self.0)
    }

    async fn connected(&self) -> bool {
        self.0.error.is_none()
    }

    async fn function_count(&self, ctx: &Context<'_>) -> i64 {
        let registry = Session::of(ctx).registry();
        let active = registry.active().filter(|(function, _)| function.app == self.0.id);
        i64::try_from(active.count()).unwrap_or(i64::MAX)
    }

    async fn autodiscovered(&self, ctx: &Context<'_>) -> bool {
        Session::of(ctx).api.apps.is_discovered(&self.0.url)
    }
}

/// Every app that is not archived, by id.
pub(super) fn list(session: &Session, filter: Option<&AppsFilter>) -> Vec<App> {
    let wanted = filter.and_then(|filter| filter.method);
    let registry = session.registry();
    let apps = registry.apps().filter(|app| app.archived_at.is_none());
    let mut apps: Vec<App> = apps
        .filter(|app| wanted.is_none_or(|wanted| wanted == AppMethod::of(app)))
        .map(|app| App(Arc::clone(app)))
        .collect();
    apps.sort_by_key(|app| app.0.id);
    apps
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn features_are_ready_or_tell_why_not() {
        for (told, reasons, expected) in [
            (
                json!("AI_METADATA_EXTRACTION_READINESS_REASON_OTEL_PROVIDER_MISSING"),
                &AI_METADATA_REASONS[..],
                (false, 3),
            ),
            (json!("AI_METADATA_EXTRACTION_READINESS_REASON_READY"), &AI_METADATA_REASONS[..], (true, 1)),
            (json!("EXTENDED_TRACES_READINESS_REASON_NOT_ENABLED_BY_USER"), &EXTENDED_TRACES_REASONS[..], (false, 2)),
            (json!("EXTENDED_TRACES_READINESS_REASON_OF_ANOTHER_YEAR"), &EXTENDED_TRACES_REASONS[..], (false, 0)),
        ] {
            let status = SdkFeatureStatus::of(&json!({ "readinessReason": told }), reasons).expect("it was told");
            assert_eq!((status.ready, status.reason), (expected.0, Some(expected.1)), "{told}");
        }
        for told in [Value::Null, json!({}), json!({ "readinessReason": 7 }), json!([])] {
            assert!(SdkFeatureStatus::of(&told, &AI_METADATA_REASONS).is_none(), "{told}");
        }
    }
}
