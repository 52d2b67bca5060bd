//! The functions that runs are of, also those that were removed.

use std::collections::HashMap;
use std::sync::Arc;

use inngest_core::{App, AppId, Function, FunctionId};
use inngest_executor::registry::Registry;
use inngest_state::StoreError;

use crate::Api;

/// The functions of some runs, with their apps.
pub(crate) struct Definitions {
    registry: Arc<Registry>,
    functions: HashMap<FunctionId, Arc<Function>>,
    apps: HashMap<AppId, App>,
}

impl Definitions {
    /// Reads the store only if the registry does not know all of these functions and their apps.
    pub(crate) async fn of(api: &Api, mut ids: impl Iterator<Item = FunctionId>) -> Result<Self, StoreError> {
        let registry = api.engine.registry();
        let mut known = Self { functions: HashMap::new(), apps: HashMap::new(), registry };
        let is_known = |app: &AppId| known.registry.app(app).is_some();
        if !ids.all(|id| known.registry.function(&id).is_some_and(|function| is_known(&function.app))) {
            let (functions, apps) = (api.engine.history().functions().await?, api.engine.history().apps().await?);
            known.functions = functions.into_iter().map(|function| (function.id, Arc::new(function))).collect();
            known.apps = apps.into_iter().map(|app| (app.id, app)).collect();
        }
        Ok(known)
    }

    pub(crate) fn function(&self, id: FunctionId) -> Option<&Arc<Function>> {
        self.registry.function(&id).or_else(|| self.functions.get(&id))
    }

    pub(crate) fn app(&self, id: AppId) -> Option<&App> {
        self.registry.app(&id).map(|app| &**app).or_else(|| self.apps.get(&id))
    }
}
