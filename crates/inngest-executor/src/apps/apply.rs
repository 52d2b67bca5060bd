//! A sync compared with what is known: which rows change.

use std::collections::HashSet;

use inngest_core::{App, AppId, Function, FunctionId, Millis};
use inngest_state::{Change, Transition};

use super::{FunctionDefinition, Registration};

/// The outcome of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Id of the app.
    pub app: AppId,
    /// Whether anything changed.
    pub modified: bool,
}

/// The changes that a sync makes, given everything that is stored.
///
/// Ids never change: an app keeps the one stored under its name, a function the one stored under its app and
/// slug, also when it was archived meanwhile. Only functions whose definition changed get a new version.
#[must_use]
pub fn plan_registration(
    registration: &Registration,
    apps: &[App],
    functions: &[Function],
    now: Millis,
) -> (Registered, Transition) {
    let known = apps.iter().find(|app| *app.name == *registration.app_name);
    let id = known.map_or_else(|| AppId::of_name(&registration.app_name), |app| app.id);
    let up_to_date = known
        .is_some_and(|app| app.archived_at.is_none() && app.error.is_none() && app.checksum == registration.checksum);
    if up_to_date {
        return (Registered { app: id, modified: false }, Transition::default());
    }
    let mut changes = vec![Change::PutApp(Box::new(app_of(registration, id, known, now)))];
    let placeholders = apps.iter().filter(|app| app.name.is_empty() && *app.url == *registration.url);
    changes.extend(placeholders.map(|app| Change::ArchiveApp(app.id, now)));
    let mut taken: HashSet<FunctionId> = functions.iter().map(|function| function.id).collect();
    for definition in &registration.functions {
        let known = functions.iter().find(|function| function.app == id && *function.slug == *definition.slug);
        let unchanged =
            known.is_some_and(|function| function.archived_at.is_none() && function.config == definition.config);
        if !unchanged {
            let function_id = known.map_or_else(|| new_id(definition, id, &taken), |known| known.id);
            taken.insert(function_id);
            changes.push(Change::PutFunction(Box::new(function_of(definition, id, function_id, known, now))));
        }
    }
    let gone = functions.iter().filter(|function| {
        function.app == id
            && function.archived_at.is_none()
            && !registration.functions.iter().any(|definition| *definition.slug == *function.slug)
    });
    changes.extend(gone.map(|function| Change::ArchiveFunction(function.id, now)));
    (Registered { app: id, modified: true }, Transition::of(changes))
}

fn app_of(registration: &Registration, id: AppId, known: Option<&App>, now: Millis) -> App {
    App {
        id,
        name: registration.app_name.clone(),
        url: registration.url.clone(),
        sdk_language: registration.sdk_language.clone(),
        sdk_version: registration.sdk_version.clone(),
        framework: registration.framework.clone(),
        app_version: registration.app_version.clone(),
        feature_observations: registration.feature_observations.clone(),
        error: None,
        checksum: registration.checksum.clone(),
        created_at: known.map_or(now, |app| app.created_at),
        archived_at: None,
    }
}

/// The id that the Go server gives, unless another function has it: two functions of one name may share a URL,
/// and neither may take the other's row.
fn new_id(definition: &FunctionDefinition, app: AppId, taken: &HashSet<FunctionId>) -> FunctionId {
    let id = FunctionId::of_definition(&definition.name, &definition.url);
    if !taken.contains(&id) {
        return id;
    }
    FunctionId::of_definition(&format!("{app}/{}", definition.slug), &definition.url)
}

fn function_of(
    definition: &FunctionDefinition,
    app: AppId,
    id: FunctionId,
    known: Option<&Function>,
    now: Millis,
) -> Function {
    Function {
        id,
        app,
        slug: definition.slug.clone(),
        name: definition.name.clone(),
        triggers: definition.triggers.clone(),
        url: definition.url.clone(),
        step_id: definition.step_id.clone(),
        retries: definition.retries,
        version: known.map_or(1, |known| known.version + u32::from(known.config != definition.config)),
        config: definition.config.clone(),
        created_at: known.map_or(now, |known| known.created_at),
        archived_at: None,
    }
}
