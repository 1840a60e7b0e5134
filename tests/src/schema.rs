//! [`Schema`]: checks what the programs print against what they say they print.
//!
//! It knows as much of JSON Schema as our own documents use, and is strict where the standard is not: what is not described
//! must not be there.

use serde_json::Value;

use crate::failure::{Failure, Result};

/// A document with the shapes of all lines.
#[derive(Clone, Debug)]
pub struct Schema {
    document: Value,
}

impl Schema {
    /// The shapes of an OpenAPI document.
    #[must_use]
    pub fn of(document: Value) -> Self {
        Self { document }
    }

    /// Fails unless a value has the shape of that name.
    ///
    /// # Errors
    /// With the place in the value, and what is wrong there.
    #[track_caller]
    pub fn check(&self, name: &str, value: &Value) -> Result {
        let shape = &self.document["components"]["schemas"][name];
        if !shape.is_object() {
            return Err(Failure::new(format!("no shape is called {name}")));
        }
        self.fits(shape, value, name).map_err(|why| Failure::new(format!("{why} in {value}")))
    }

    fn fits(&self, shape: &Value, value: &Value, at: &str) -> std::result::Result<(), String> {
        if let Some(reference) = shape["$ref"].as_str() {
            let target = self.document.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null);
            return self.fits(target, value, at);
        }
        if let Some(any) = shape["anyOf"].as_array().or(shape["oneOf"].as_array()) {
            let errors: Vec<String> = any.iter().filter_map(|one| self.fits(one, value, at).err()).collect();
            return if errors.len() < any.len() { Ok(()) } else { Err(errors.join("; or ")) };
        }
        if let Some(only) = shape.get("const") {
            return if only == value { Ok(()) } else { Err(format!("{at}: not {only}")) };
        }
        if let Some(some) = shape["enum"].as_array() {
            return if some.contains(value) { Ok(()) } else { Err(format!("{at}: none of {some:?}")) };
        }
        let kinds: Vec<&str> = match &shape["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => return Ok(()),
        };
        let is_of_kind = kinds.contains(&kind(value)) || (kind(value) == "integer" && kinds.contains(&"number"));
        if !is_of_kind {
            return Err(format!("{at}: {} instead of {kinds:?}", kind(value)));
        }
        match value {
            Value::Array(items) => {
                items.iter().enumerate().try_for_each(|(no, item)| self.fits(&shape["items"], item, &format!("{at}[{no}]")))
            }
            Value::Object(fields) => {
                let missing =
                    shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str).find(|key| !fields.contains_key(*key));
                if let Some(key) = missing {
                    return Err(format!("{at}: no `{key}`"));
                }
                let of_all = shape.get("additionalProperties").filter(|shape| shape.is_object()); // a map from names
                fields.iter().try_for_each(|(key, field)| match shape["properties"].get(key).or(of_all) {
                    Some(shape) => self.fits(shape, field, &format!("{at}.{key}")),
                    None => Err(format!("{at}: `{key}` is not described")),
                })
            }
            _ => Ok(()),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_wrong_or_not_described_is_noticed() {
        let line = json!({
            "type": "object",
            "properties": { "a": { "type": ["integer", "null"] }, "b": { "$ref": "#/components/schemas/Word" } },
            "required": ["a", "b"],
        });
        let word = json!({ "oneOf": [{ "const": "x" }, { "enum": ["y", "z"] }] });
        let schema = Schema::of(json!({ "components": { "schemas": { "Line": line, "Word": word } } }));
        for right in [json!({ "a": 1, "b": "x" }), json!({ "a": null, "b": "z" })] {
            schema.check("Line", &right).unwrap();
        }
        for wrong in
            [json!({ "a": 1 }), json!({ "a": 1.5, "b": "x" }), json!({ "a": 1, "b": "w" }), json!({ "a": 1, "b": "x", "c": 0 }), json!([])]
        {
            assert!(schema.check("Line", &wrong).is_err(), "{wrong}");
        }
        assert!(schema.check("Other", &json!({})).is_err());
        let counts = json!({ "type": "object", "additionalProperties": { "type": "integer" } });
        let schema = Schema::of(json!({ "components": { "schemas": { "Counts": counts } } }));
        schema.check("Counts", &json!({ "any": 1, "name": 2 })).unwrap();
        assert!(schema.check("Counts", &json!({ "any": "one" })).is_err());
    }
}
