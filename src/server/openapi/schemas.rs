//! The schemas the document refers to, as types make them.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Two generators: what may be left out of a request is always there in an answer.
pub(super) struct Schemas {
    /// Of what requests bring.
    pub(super) taken: SchemaGenerator,
    /// Of what is answered.
    pub(super) answered: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = || SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
        Self {
            taken: settings().for_deserialize().into_generator(),
            answered: settings().for_serialize().into_generator(),
        }
    }

    /// The fields of a type that stands for a query, each with its schema. That one may be absent, a query says by
    /// not having it: there is no null.
    pub(super) fn fields(&mut self, make: fn(&mut SchemaGenerator) -> Schema) -> Vec<(String, Value)> {
        let mut generator = self.taken.settings().clone().with(|s| s.inline_subschemas = true).into_generator();
        let schema = make(&mut generator).to_value();
        let fields = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        fields.into_iter().map(|(name, schema)| (name, without_null(schema))).collect()
    }

    /// All that were referred to. The same name has the same schema whichever way it goes; a test holds that to be so.
    pub(super) fn all(mut self) -> Map<String, Value> {
        let mut all = self.taken.take_definitions(true);
        all.extend(self.answered.take_definitions(true));
        all
    }
}

fn without_null(mut schema: Value) -> Value {
    if let Some(kind) = schema.get_mut("type")
        && let Some(one) = kind.as_array().and_then(|kinds| kinds.iter().find(|kind| *kind != "null")).cloned()
    {
        *kind = one;
    }
    let is_null = |one: &Value| one.get("type").is_some_and(|kind| kind == "null");
    if let Some([one, other]) = schema.get("anyOf").and_then(Value::as_array).map(Vec::as_slice)
        && is_null(other)
    {
        let (mut only, description) = (one.clone(), schema.get("description").cloned());
        if let (Some(of), Some(description)) = (only.as_object_mut(), description) {
            of.insert("description".to_owned(), description);
        }
        schema = only;
    }
    schema
}

/// A reference to a part of the document.
pub(super) fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}
