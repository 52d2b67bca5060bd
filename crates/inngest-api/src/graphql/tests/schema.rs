//! Introspection against the fixture, field by field.

use std::collections::BTreeSet;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{FieldDefinition, InputValueDefinition, TypeKind, TypeSystemDefinition};
use serde_json::{Value, json};

use super::World;

const INTROSPECTION: &str = "query IntrospectionQuery {
  __schema { queryType { name } mutationType { name } subscriptionType { name } directives { name locations args { ...Input } } types { ...FullType } }
}
fragment FullType on __Type {
  kind name
  fields(includeDeprecated: true) { name args { ...Input } type { ...TypeRef } isDeprecated deprecationReason }
  inputFields { ...Input }
  interfaces { ...TypeRef }
  enumValues(includeDeprecated: true) { name isDeprecated deprecationReason }
  possibleTypes { ...TypeRef }
}
fragment Input on __InputValue { name type { ...TypeRef } defaultValue }
fragment TypeRef on __Type {
  kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
  ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } }
}";

/// One line for each field, argument, enum value and member of a union.
type Lines = BTreeSet<String>;

/// A line, among the others.
fn add(lines: &mut Lines, line: String) {
    assert!(lines.insert(line), "each is told once");
}

fn expected() -> Lines {
    let document = parse_schema(include_str!("schema.graphql")).unwrap();
    let input = |input: &InputValueDefinition| {
        let default = input.default_value.as_ref().map_or_else(String::new, |value| format!(" = {}", value.node));
        format!("{}: {}{default}", input.name.node, input.ty.node)
    };
    let field = |field: &FieldDefinition| {
        let args: Vec<String> = field.arguments.iter().map(|arg| input(&arg.node)).collect();
        let deprecated = if field.directives.is_empty() { "" } else { " @deprecated" };
        format!("{}({}): {}{deprecated}", field.name.node, args.join(", "), field.ty.node)
    };
    let mut lines = Lines::new();
    for definition in &document.definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let name = &definition.node.name.node;
        let mut add = |kind: &str, line: String| add(&mut lines, format!("{kind} {name}{line}"));
        match &definition.node.kind {
            TypeKind::Scalar => add("SCALAR", String::new()),
            TypeKind::Object(object) => {
                object.fields.iter().for_each(|each| add("OBJECT", format!(".{}", field(&each.node))))
            }
            TypeKind::InputObject(object) => {
                object.fields.iter().for_each(|each| add("INPUT_OBJECT", format!(".{}", input(&each.node))));
            }
            TypeKind::Enum(values) => {
                values.values.iter().for_each(|each| add("ENUM", format!(".{}", each.node.value.node)))
            }
            TypeKind::Union(union) => union.members.iter().for_each(|each| add("UNION", format!(" = {}", each.node))),
            TypeKind::Interface(_) => unreachable!("there is none"),
        }
    }
    lines
}

fn type_text(of: &Value) -> String {
    match of["kind"].as_str() {
        Some("NON_NULL") => format!("{}!", type_text(&of["ofType"])),
        Some("LIST") => format!("[{}]", type_text(&of["ofType"])),
        _ => of["name"].as_str().expect("a name").to_owned(),
    }
}

fn list(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_array().into_iter().flatten()
}

fn introspected(schema: &Value) -> Lines {
    let input = |input: &Value| {
        let default = input["defaultValue"].as_str().map_or_else(String::new, |value| format!(" = {value}"));
        format!("{}: {}{default}", input["name"].as_str().unwrap(), type_text(&input["type"]))
    };
    let mut lines = Lines::new();
    for of in list(&schema["types"]) {
        let (kind, name) = (of["kind"].as_str().unwrap(), of["name"].as_str().unwrap());
        if name.starts_with("__") || ["Boolean", "Float", "ID", "Int", "String"].contains(&name) {
            continue;
        }
        let mut add = |line: String| add(&mut lines, format!("{kind} {name}{line}"));
        for field in list(&of["fields"]) {
            let args: Vec<String> = list(&field["args"]).map(input).collect();
            let deprecated = if field["isDeprecated"] == true { " @deprecated" } else { "" };
            add(format!(
                ".{}({}): {}{deprecated}",
                field["name"].as_str().unwrap(),
                args.join(", "),
                type_text(&field["type"])
            ));
        }
        list(&of["inputFields"]).for_each(|field| add(format!(".{}", input(field))));
        list(&of["enumValues"]).for_each(|value| add(format!(".{}", value["name"].as_str().unwrap())));
        if kind == "UNION" {
            list(&of["possibleTypes"]).for_each(|member| add(format!(" = {}", member["name"].as_str().unwrap())));
        }
        if kind == "SCALAR" {
            add(String::new());
        }
    }
    lines
}

#[tokio::test]
async fn the_schema_is_the_one_that_clients_know() {
    let data = World::new().await.ask(INTROSPECTION, json!({})).await;
    let schema = &data["__schema"];
    let (expected, found) = (expected(), introspected(schema));
    let missing: Vec<_> = expected.difference(&found).collect();
    let unknown: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing: {missing:#?}\nunknown: {unknown:#?}");
    assert_eq!(schema["queryType"]["name"], "Query");
    assert_eq!(schema["mutationType"]["name"], "Mutation");
    assert_eq!(schema["subscriptionType"], Value::Null);
    let mut directives: Vec<_> = list(&schema["directives"]).map(|one| one["name"].as_str().unwrap()).collect();
    directives.sort_unstable();
    assert_eq!(directives, ["defer", "deprecated", "include", "skip", "specifiedBy"]);
}
