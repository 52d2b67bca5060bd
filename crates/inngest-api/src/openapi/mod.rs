//! OpenAPI 3.1: a table of operations as a document, and that document as a page for people.

mod page;

use schemars::SchemaGenerator;
use schemars::generate::Contract;
use serde_json::{Map, Value, json};

use crate::operation::{Availability, JSON, Operation, Parameter, Place, generator, without_null};

pub(crate) use page::page;

/// An API as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
    pub(crate) version: &'a str,
    /// Where its paths begin.
    pub(crate) root: &'a str,
    /// Whether what is not there may be `null`; else it is always left out.
    pub(crate) has_null: bool,
}

/// The document of an API.
pub(crate) fn document<'o>(about: About<'_>, operations: impl IntoIterator<Item = &'o Operation>) -> Value {
    // What is read and what is written differ in what is required.
    let (mut read, mut written) = (generator(Contract::Deserialize), generator(Contract::Serialize));
    let mut paths = Map::new();
    for operation in operations {
        let described = describe(operation, about.has_null, &mut read, &mut written);
        let item = paths.entry(operation.path).or_insert_with(|| json!({}));
        item[operation.method.as_str().to_ascii_lowercase()] = described;
    }
    let mut schemas = read.take_definitions(true);
    schemas.extend(written.take_definitions(true));
    for schema in schemas.values_mut().filter(|_| !about.has_null) {
        if let Ok(schema) = schema.try_into() {
            without_null(schema);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": about.title, "description": about.description, "version": about.version },
        "servers": [{ "url": if about.root.is_empty() { "/" } else { about.root } }],
        "security": [{ "signingKey": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "signingKey": {
                "type": "http",
                "scheme": "bearer",
                "description": "The signing key of the server, or its SHA-256 as SDKs send it. `inngest dev` needs none.",
            } },
        },
    })
}

fn describe(operation: &Operation, has_null: bool, read: &mut SchemaGenerator, written: &mut SchemaGenerator) -> Value {
    let responses = operation.replies.iter().map(|(status, reply)| {
        let mut schema = reply.add_to(written);
        if !has_null {
            without_null(&mut schema);
        }
        let mut described = json!({ "description": reply.description });
        // What nothing is an instance of is the schema of no body.
        if *schema.as_value() != Value::Bool(false) {
            described["content"] = content(operation, &schema);
        }
        (status.to_string(), described)
    });
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.group],
        "summary": operation.summary,
        "responses": responses.collect::<Map<_, _>>(),
    });
    if !operation.description.is_empty() {
        described["description"] = operation.description.into();
    }
    if !operation.parameters.is_empty() {
        described["parameters"] = operation.parameters.iter().map(parameter).collect();
    }
    if let Some(body) = &operation.body {
        let mut schema = body.add_to(read);
        if !has_null {
            without_null(&mut schema);
        }
        let content = content(operation, &schema);
        described["requestBody"] = json!({ "required": body.is_required, "content": content });
    }
    if operation.is_open {
        described["security"] = json!([]);
    }
    if operation.availability == Availability::CloudOnly {
        described["x-cloud-only"] = true.into();
    }
    described
}

/// A body in each of its types; only that of JSON has a schema.
fn content(operation: &Operation, schema: &schemars::Schema) -> Value {
    let described = |media| if media == JSON { json!({ "schema": schema }) } else { json!({}) };
    operation.media.iter().map(|media| ((*media).to_owned(), described(*media))).collect()
}

fn parameter(parameter: &Parameter) -> Value {
    let place = match parameter.place {
        Place::Path => "path",
        Place::Query | Place::Body => "query",
        Place::Header => "header",
    };
    let mut described = json!({
        "name": parameter.name, "in": place, "required": parameter.is_required, "schema": parameter.schema,
    });
    if !parameter.description.is_empty() {
        described["description"] = parameter.description.clone().into();
    }
    described
}
