//! JSON Schema of our types.

use schemars::generate::{Contract, SchemaSettings};
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

/// Collects schemas for `#/components/schemas`.
pub(crate) fn generator(contract: Contract) -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.contract = contract;
    settings.into_generator()
}

/// The schema of what is read as `T`, complete in itself.
pub(crate) fn inline<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    without_null(&mut schema);
    schema.to_value()
}

/// What is optional is left out rather than `null`, so `null` is no part of any type.
pub(crate) fn without_null(schema: &mut Schema) {
    RecursiveTransform(|schema: &mut Schema| {
        let Some(object) = schema.as_object_mut() else { return };
        if object.get("default").is_some_and(|value| *value == Value::Null || *value == json!([])) {
            object.remove("default");
        }
        for list in ["type", "anyOf", "enum"] {
            let Some(Value::Array(choices)) = object.get_mut(list) else { continue };
            choices.retain(|choice| *choice != "null" && *choice != Value::Null && choice["type"] != "null");
            if list == "enum" || choices.len() != 1 {
                continue;
            }
            let only = choices.remove(0);
            object.remove(list);
            match only {
                Value::Object(only) => object.extend(only),
                only => drop(object.insert(list.to_owned(), only)),
            }
        }
    })
    .transform(schema);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_optional_is_never_null() {
        /// Inner.
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only its schema is looked at")]
        struct Inner {
            a: Option<Vec<Option<bool>>>,
        }
        /// Outer.
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only its schema is looked at")]
        struct Outer {
            inner: Option<Inner>,
        }
        let mut generator = generator(Contract::Serialize);
        let mut schema = generator.root_schema_for::<Outer>();
        without_null(&mut schema);
        assert_eq!(schema.pointer("/properties/inner"), Some(&json!({ "$ref": "#/components/schemas/Inner" })));
        let inline = inline::<Outer>();
        assert_eq!(inline["properties"]["inner"]["properties"]["a"]["items"], json!({ "type": "boolean" }));
        assert!(!inline.to_string().contains("null"), "{inline}");
    }
}
