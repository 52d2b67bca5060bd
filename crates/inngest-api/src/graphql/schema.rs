//! The schema as a whole, with what the macros cannot say of it.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use async_graphql::parser::types::Directive;
use async_graphql::registry::{__DirectiveLocation as Location, MetaDirective, MetaInputValue, MetaType, Registry};
use async_graphql::{
    ContextDirective, CustomDirective, CustomDirectiveFactory, EmptySubscription, InputType, Schema, ServerResult,
    Value,
};

use super::limits::Meter;
use super::mutation::Mutation;
use super::query::Query;
use super::{declared, scalars};

/// Deepest nesting of fields; deeper is refused (422). The usual introspection fits.
pub(super) const DEPTH_MAX: usize = 15;

/// Fields that a request may ask for, those of lists as often as their pages are long; more are refused (422).
pub(super) const COMPLEXITY_MAX: usize = 100_000;

/// Types that no field leads to.
const DECLARED: [&str; 7] = [
    "ActionVersionQuery",
    "Environment",
    "FunctionRunEvent",
    "FunctionRunsQuery",
    "FunctionStatus",
    "FunctionVersion",
    "RunStep",
];

type Gql = Schema<Query, Mutation, EmptySubscription>;

/// Made when it is first asked for.
pub(super) static SCHEMA: LazyLock<Gql> = LazyLock::new(build);

fn build() -> Gql {
    Schema::build(Query, Mutation, EmptySubscription)
        .register_output_type::<declared::FunctionVersion>()
        .register_output_type::<declared::FunctionRunEvent>()
        .register_output_type::<declared::RunStep>()
        .register_output_type::<declared::FunctionStatus>()
        .register_output_type::<scalars::Environment>()
        .register_input_type::<declared::ActionVersionQuery>()
        .register_input_type::<declared::FunctionRunsQuery>()
        .directive(Defer)
        .extension(Meter)
        .limit_depth(DEPTH_MAX)
        .limit_complexity(COMPLEXITY_MAX)
        .disable_suggestions()
        .finish()
}

/// `@defer`: accepted, and without effect. It has no place on fields, so nothing is ever made of it.
struct Defer;

impl CustomDirectiveFactory for Defer {
    fn name(&self) -> Cow<'static, str> {
        "defer".into()
    }

    fn register(&self, registry: &mut Registry) {
        let argument = |name: &str, ty: String, default: Option<Value>| {
            let value = MetaInputValue {
                name: name.to_owned(),
                description: None,
                ty,
                deprecation: async_graphql::registry::Deprecation::NoDeprecated,
                default_value: default.map(|value| value.to_string()),
                visible: None,
                inaccessible: false,
                tags: Vec::new(),
                is_secret: false,
                directive_invocations: Vec::new(),
            };
            (name.to_owned(), value)
        };
        let args = [
            argument("if", <Option<bool> as InputType>::qualified_type_name(), Some(true.into())),
            argument("label", <Option<String> as InputType>::qualified_type_name(), None),
        ];
        registry.add_directive(MetaDirective {
            name: "defer".to_owned(),
            description: None,
            locations: vec![Location::FRAGMENT_SPREAD, Location::INLINE_FRAGMENT],
            args: args.into_iter().collect(),
            is_repeatable: false,
            visible: None,
            composable: None,
        });
        // Introspection shows what fields lead to: an argument, which it does not show, leads to the types that nothing
        // else does.
        if let Some(MetaType::Object { fields, .. }) = registry.types.get_mut("Query")
            && let Some(field) = fields.get_mut("functions")
        {
            for (index, ty) in DECLARED.iter().enumerate() {
                let (name, mut value) = argument(&format!("__declared{index}"), (*ty).to_owned(), None);
                value.visible = Some(|ctx| ctx.field().name() != "args");
                field.args.insert(name, value);
            }
        }
        // Nothing in the schema uses it, and clients do not expect it.
        registry.directives.remove("oneOf");
        // See `scalars::Text`.
        if let Some(MetaType::Scalar { is_valid, .. }) = registry.types.get_mut("String") {
            *is_valid = Some(Arc::new(|value| matches!(value, Value::String(_) | Value::Number(_))));
        }
    }

    fn create(&self, _: &ContextDirective<'_>, _: &Directive) -> ServerResult<Box<dyn CustomDirective>> {
        Ok(Box::new(Self))
    }
}

impl CustomDirective for Defer {}
