//! What an API offers, as data: one [`Operation`] for each thing that it can be asked for.
//!
//! A table of operations is the only source of its routes, of its OpenAPI document ([`crate::openapi`]), of the commands
//! of the CLI and of the tools of MCP, so that these cannot differ from one another.

mod schema;

use std::collections::BTreeMap;

use http::Method;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

pub(crate) use schema::{generator, inline, without_null};

/// The type of most bodies.
pub(crate) const JSON: &str = "application/json";

/// Adds the schema of a type to a document.
type SchemaOf = fn(&mut SchemaGenerator) -> schemars::Schema;

/// One thing that an API can be asked for.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its name, as clients generate code for it: `GetFunctionRun`.
    pub id: &'static str,
    /// What it is about, for people: `Runs`.
    pub group: &'static str,
    /// HTTP method.
    pub method: Method,
    /// Path below the root of the API, with parameters in braces: `/runs/{runId}`.
    pub path: &'static str,
    /// A line.
    pub summary: &'static str,
    /// More than a line; empty when the summary says it all.
    pub description: &'static str,
    /// What its path, its query and its headers may say.
    pub parameters: Vec<Parameter>,
    /// The types of its bodies, of requests and of replies.
    pub media: &'static [&'static str],
    /// The body of a request.
    pub body: Option<Body>,
    /// The bodies of replies, by status.
    pub replies: BTreeMap<u16, Reply>,
    /// The command of the CLI.
    pub cli: Option<Cli>,
    /// The tool of MCP.
    pub mcp: Option<Tool>,
    /// Whether this server does it.
    pub availability: Availability,
    /// Whether it needs no key.
    pub is_open: bool,
}

/// Something that a path, a query, a header or the members of a body may say.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// `runId`. In queries `run_id` is understood as well.
    pub name: String,
    /// Where it is said.
    pub place: Place,
    /// Whether there is no request without.
    pub is_required: bool,
    /// Whether it may be said several times.
    pub is_repeated: bool,
    /// What it means.
    pub description: String,
    /// JSON Schema of its value; of all of its values if it may be repeated.
    pub schema: Value,
}

/// Where a [`Parameter`] is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a segment of the path.
    Path,
    /// In the query.
    Query,
    /// In a header.
    Header,
    /// In a member of the body.
    Body,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub struct Body {
    /// Whether there is no request without.
    pub is_required: bool,
    /// JSON Schema, complete in itself.
    pub schema: Value,
    /// Its members; none if it is no object.
    pub members: Vec<Parameter>,
    of: SchemaOf,
}

/// The body of a reply.
#[derive(Clone, Debug)]
pub struct Reply {
    /// When it is given.
    pub description: &'static str,
    of: SchemaOf,
}

/// A command of the CLI: `inngest api <command>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cli {
    /// `get-function-run`.
    pub command: &'static str,
}

/// A tool of MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// `get_run`.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// Whether it changes nothing.
    pub is_read_only: bool,
    /// Whether it may put an end to something.
    pub is_destructive: bool,
}

/// Whether this server does what an operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    /// It does.
    Served,
    /// Only Inngest Cloud does; this server answers 501.
    CloudOnly,
}

impl Operation {
    /// An operation without parameters, bodies and replies.
    pub(crate) fn new(id: &'static str, method: Method, path: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            group: "",
            method,
            path,
            summary,
            description: "",
            parameters: Vec::new(),
            media: &[JSON],
            body: None,
            replies: BTreeMap::new(),
            cli: None,
            mcp: None,
            availability: Availability::Served,
            is_open: false,
        }
    }

    /// With the members of `P` as parameters: of the path if it names them, else of the query, by name.
    pub(crate) fn parameters<P: JsonSchema>(mut self) -> Self {
        let in_path = |name: &str| self.path.split('/').position(|segment| segment == format!("{{{name}}}"));
        let place = |name: &str| if in_path(name).is_some() { Place::Path } else { Place::Query };
        let mut parameters = members(&inline::<P>(), place);
        // Those of the path as they come in it, then the others.
        parameters.sort_by_key(|parameter| in_path(&parameter.name).unwrap_or(usize::MAX));
        self.parameters = parameters;
        self
    }

    /// With a header.
    pub(crate) fn header(mut self, name: &str, description: &str) -> Self {
        self.parameters.push(Parameter {
            name: name.to_owned(),
            place: Place::Header,
            is_required: false,
            is_repeated: false,
            description: description.to_owned(),
            schema: json!({ "type": "string" }),
        });
        self
    }

    /// With a body; one that may be left out has no required members.
    pub(crate) fn body<B: JsonSchema>(mut self) -> Self {
        let schema = inline::<B>();
        let is_required = schema["type"] != "object" || !schema["required"].is_null();
        let members = members(&schema, |_| Place::Body);
        self.body = Some(Body { is_required, schema, members, of: SchemaGenerator::subschema_for::<B> });
        self
    }

    /// With a reply.
    pub(crate) fn reply<R: JsonSchema>(mut self, status: u16, description: &'static str) -> Self {
        self.replies.insert(status, Reply { description, of: SchemaGenerator::subschema_for::<R> });
        self
    }

    /// With a command of the CLI.
    pub(crate) fn cli(mut self, command: &'static str) -> Self {
        self.cli = Some(Cli { command });
        self
    }

    /// With a tool of MCP.
    pub(crate) fn tool(mut self, name: &'static str, title: &'static str) -> Self {
        let is_read_only = self.method == Method::GET;
        self.mcp = Some(Tool { name, title, is_read_only, is_destructive: !is_read_only });
        self
    }

    /// The arguments that a command takes without naming them, in order: the parameters of its path.
    pub fn positional(&self) -> impl Iterator<Item = &Parameter> {
        let names = self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        names.filter_map(|name| self.parameters.iter().find(|parameter| parameter.name == name))
    }

    /// All that a caller may say besides headers, as one object.
    pub fn arguments(&self) -> impl Iterator<Item = &Parameter> {
        let said = self.parameters.iter().filter(|parameter| parameter.place != Place::Header);
        said.chain(self.body.iter().flat_map(|body| &body.members))
    }

    /// JSON Schema of [`Self::arguments`], complete in itself.
    #[must_use]
    pub fn input_schema(&self) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for parameter in self.arguments() {
            let mut schema = parameter.schema.clone();
            if !parameter.description.is_empty() {
                schema["description"] = parameter.description.clone().into();
            }
            properties.insert(parameter.name.clone(), schema);
            if parameter.is_required {
                required.push(Value::from(parameter.name.clone()));
            }
        }
        let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        schema
    }

    /// Its tool as MCP lists it.
    #[must_use]
    pub fn describe_tool(&self) -> Option<Value> {
        Some(self.mcp?.describe(self.text(), &self.input_schema()))
    }

    /// What it does, as long as can be.
    #[must_use]
    pub fn text(&self) -> &'static str {
        if self.description.is_empty() { self.summary } else { self.description }
    }
}

impl Tool {
    /// As MCP lists it.
    pub(crate) fn describe(&self, description: &str, input_schema: &Value) -> Value {
        let annotations = if self.is_read_only {
            json!({ "readOnlyHint": true, "idempotentHint": true, "destructiveHint": false, "openWorldHint": false })
        } else {
            json!({ "destructiveHint": self.is_destructive })
        };
        json!({
            "name": self.name,
            "title": self.title,
            "description": description,
            "annotations": annotations,
            "inputSchema": input_schema,
        })
    }
}

impl Body {
    pub(crate) fn add_to(&self, generator: &mut SchemaGenerator) -> schemars::Schema {
        (self.of)(generator)
    }
}

impl Reply {
    pub(crate) fn add_to(&self, generator: &mut SchemaGenerator) -> schemars::Schema {
        (self.of)(generator)
    }
}

/// The members of an object, as its schema tells.
fn members(schema: &Value, place: impl Fn(&str) -> Place) -> Vec<Parameter> {
    let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
    let member = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let place = place(name);
        Parameter {
            name: name.clone(),
            place,
            is_required: place == Place::Path || required(name),
            is_repeated: schema["type"] == "array",
            description: description.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
            schema,
        }
    };
    schema["properties"].as_object().into_iter().flatten().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request.
    #[derive(JsonSchema)]
    #[schemars(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Find {
        /// Which one.
        thing_id: String,
        /// Of which colours.
        #[schemars(default)]
        colour: Vec<String>,
        limit: Option<i32>,
    }

    #[test]
    fn parameters_are_those_of_the_path_and_else_of_the_query() {
        let operation = Operation::new("Find", Method::GET, "/things/{thingId}", "Finds").parameters::<Find>();
        let told: Vec<_> = operation
            .parameters
            .iter()
            .map(|one| (&*one.name, one.place, one.is_required, one.is_repeated, &*one.description))
            .collect();
        assert_eq!(
            told,
            [
                ("thingId", Place::Path, true, false, "Which one."),
                ("colour", Place::Query, false, true, "Of which colours."),
                ("limit", Place::Query, false, false, ""),
            ]
        );
        assert_eq!(operation.positional().map(|one| &*one.name).collect::<Vec<_>>(), ["thingId"]);
        let schema = operation.input_schema();
        assert_eq!((&schema["required"], &schema["additionalProperties"]), (&json!(["thingId"]), &json!(false)));
        assert_eq!(schema["properties"]["limit"], json!({ "type": "integer", "format": "int32" }));
    }

    #[test]
    fn a_body_without_required_members_may_be_left_out() {
        /// All of it is optional.
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only its schema is looked at")]
        struct Optional {
            a: Option<String>,
        }
        let body = |operation: Operation| operation.body.map(|body| (body.is_required, body.members.len()));
        let operation = Operation::new("Do", Method::POST, "/things", "Does");
        assert_eq!(body(operation.clone().body::<Optional>()), Some((false, 1)));
        assert_eq!(body(operation.clone().body::<Find>()), Some((true, 3)));
        assert_eq!(body(operation.body::<Vec<Find>>()), Some((true, 0)));
    }
}
