//! Apps and functions known now: an immutable snapshot, replaced whole at each sync.
//!
//! Events are matched through an index from trigger text to the functions that declare it, so the cost of an
//! event depends on the number of patterns its name fits, not on the number of functions.

use std::collections::HashMap;
use std::sync::Arc;

use inngest_core::function::Trigger;
use inngest_core::{App, AppId, Function, FunctionId};
use inngest_expr::cron::Zone;
use inngest_expr::expression::{Expression, Roots};
use inngest_queue::flow::Dispatch;
use inngest_state::Hold;

use crate::flow_control::document::Document;
use crate::rules::Rules;

/// What an operator has set, besides what apps register.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time zone of schedules that name none.
    pub zone: Zone,
    /// Functions that are stopped.
    pub holds: HashMap<FunctionId, Hold>,
    /// Flow control that functions share.
    pub flow_control: Document,
}

impl Default for Settings {
    fn default() -> Self {
        Self { zone: Zone::utc(), holds: HashMap::new(), flow_control: Document::default() }
    }
}

/// Apps and functions known now.
#[derive(Debug, Default)]
pub struct Registry {
    apps: Vec<Arc<App>>,
    app_by_id: HashMap<AppId, usize>,
    app_by_name: HashMap<Arc<str>, usize>,
    app_by_url: HashMap<Arc<str>, usize>,
    functions: Vec<Arc<Function>>,
    /// In the order of `functions`.
    rules: Vec<Rules>,
    function_by_id: HashMap<FunctionId, usize>,
    function_by_slug: HashMap<Arc<str>, usize>,
    /// By exact name or pattern as declared; within one text in the order of functions and their triggers.
    triggers: HashMap<Arc<str>, Vec<EventTrigger>>,
}

/// One event trigger of one active function.
#[derive(Debug)]
pub(crate) struct EventTrigger {
    /// Position among [`Registry::functions`].
    pub(crate) function: usize,
    /// Compiled once; `None` when every event of the name matches.
    pub(crate) expression: Option<Arc<Expression>>,
}

impl Registry {
    /// The snapshot of these apps and functions. Archived ones can be looked up, because their runs go on,
    /// but no event matches them. A trigger whose expression does not compile never matches; a sync refuses it.
    #[must_use]
    pub fn build(apps: Vec<App>, functions: Vec<Function>) -> Self {
        Self::build_in(apps, functions, &Settings::default())
    }

    /// As [`Registry::build`], on a server that somebody operates.
    #[must_use]
    pub fn build_in(apps: Vec<App>, functions: Vec<Function>, settings: &Settings) -> Self {
        let mut registry = Self::default();
        for app in apps {
            registry.add_app(Arc::new(app));
        }
        for function in functions {
            registry.add_function(Arc::new(function), settings);
        }
        registry
    }

    /// A function by id, archived or not.
    #[must_use]
    pub fn function(&self, id: &FunctionId) -> Option<&Arc<Function>> {
        self.function_by_id.get(id).map(|index| &self.functions[*index])
    }

    /// What the configuration of a function asks for.
    #[must_use]
    pub fn rules(&self, id: &FunctionId) -> Option<&Rules> {
        self.function_by_id.get(id).map(|index| &self.rules[*index])
    }

    /// An active function of an active app, by slug or id.
    #[must_use]
    pub fn invocable(&self, name: &str) -> Option<&Arc<Function>> {
        let by_id = || name.parse().ok().and_then(|id| self.function(&id));
        let function = self.by_slug(name).or_else(by_id)?;
        self.is_active(function).then_some(function)
    }

    /// Whether a function may start runs.
    #[must_use]
    pub fn is_active(&self, function: &Function) -> bool {
        function.archived_at.is_none() && self.app(&function.app).is_none_or(|app| app.archived_at.is_none())
    }

    /// Active functions with their rules.
    pub fn active(&self) -> impl Iterator<Item = (&Arc<Function>, &Rules)> {
        self.functions.iter().zip(&self.rules).filter(|(function, _)| self.is_active(function))
    }

    /// What an operator has stopped of a function.
    #[must_use]
    pub fn hold(&self, id: &FunctionId) -> Option<Hold> {
        self.rules(id).and_then(|rules| rules.hold)
    }

    /// What the queue must know of every function, archived ones too: their runs go on.
    pub fn dispatch(&self) -> impl Iterator<Item = (FunctionId, Dispatch)> {
        self.functions.iter().zip(&self.rules).map(|(function, rules)| (function.id, rules.dispatch(function)))
    }

    /// A function by slug; an active one is preferred to an archived one.
    #[must_use]
    pub fn by_slug(&self, slug: &str) -> Option<&Arc<Function>> {
        self.function_by_slug.get(slug).map(|index| &self.functions[*index])
    }

    /// An app by id.
    #[must_use]
    pub fn app(&self, id: &AppId) -> Option<&Arc<App>> {
        self.app_by_id.get(id).map(|index| &self.apps[*index])
    }

    /// An app by name; an active one is preferred to an archived one. Placeholders have no name.
    #[must_use]
    pub fn app_by_name(&self, name: &str) -> Option<&Arc<App>> {
        self.app_by_name.get(name).map(|index| &self.apps[*index])
    }

    /// An app by normalised URL; an active one is preferred to an archived one, and a named one to a placeholder.
    #[must_use]
    pub fn app_by_url(&self, url: &str) -> Option<&Arc<App>> {
        self.app_by_url.get(url).map(|index| &self.apps[*index])
    }

    /// Every app.
    pub fn apps(&self) -> impl Iterator<Item = &Arc<App>> {
        self.apps.iter()
    }

    /// Every function.
    pub fn functions(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.functions.iter()
    }

    /// The triggers declared with exactly this text.
    pub(crate) fn triggers(&self, text: &str) -> &[EventTrigger] {
        self.triggers.get(text).map_or(&[], Vec::as_slice)
    }

    /// The function of an [`EventTrigger`].
    pub(crate) fn function_at(&self, index: usize) -> &Arc<Function> {
        &self.functions[index]
    }

    fn add_app(&mut self, app: Arc<App>) {
        let index = self.apps.len();
        let rank = |app: &App| (app.archived_at.is_none(), !app.name.is_empty());
        self.app_by_id.insert(app.id, index);
        let keys = [(&mut self.app_by_name, &app.name), (&mut self.app_by_url, &app.url)];
        for (map, key) in keys.into_iter().filter(|(_, key)| !key.is_empty()) {
            let known = map.get(key).map(|index| rank(&self.apps[*index]));
            if known.is_none_or(|known| known <= rank(&app)) {
                map.insert(Arc::clone(key), index);
            }
        }
        self.apps.push(app);
    }

    fn add_function(&mut self, function: Arc<Function>, settings: &Settings) {
        let index = self.functions.len();
        let active = function.archived_at.is_none();
        self.function_by_id.insert(function.id, index);
        let known = self.function_by_slug.get(&function.slug).map(|index| &self.functions[*index]);
        if active || known.is_none_or(|known| known.archived_at.is_some()) {
            self.function_by_slug.insert(Arc::clone(&function.slug), index);
        }
        if self.is_active(&function) {
            self.index_triggers(index, &function.triggers);
        }
        self.rules.push(Rules::of(&function, settings));
        self.functions.push(function);
    }

    fn index_triggers(&mut self, function: usize, triggers: &[Trigger]) {
        for trigger in triggers {
            let Trigger::Event { name, expression } = trigger else { continue };
            let compiled = expression.as_deref().map(|text| Expression::compile(text, Roots::Event)).transpose();
            let Ok(expression) = compiled else { continue };
            let trigger = EventTrigger { function, expression: expression.map(Arc::new) };
            self.triggers.entry(Arc::clone(name)).or_default().push(trigger);
        }
    }
}
