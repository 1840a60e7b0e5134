//! The description of the interface for programs: OpenAPI 3.1, made from the table of routes and the types themselves, so
//! that it cannot say anything else than what is served. A larger tool that reads it from attributes on each handler would
//! only repeat the table.

use axum::Json;
use potluck_common::web::description;
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::reply::ErrorBody;
use super::routes::{Access, ROUTES, Route};
use crate::types::{Event, Item};

pub(super) async fn serve() -> Json<Value> {
    Json(document())
}

/// The whole document.
fn document() -> Value {
    let mut schemas = description::shapes();
    let mut paths: Map<String, Value> = Map::new();
    let error = schemas.subschema_for::<ErrorBody>().to_value();
    for route in ROUTES {
        let operation = operation(route, &mut schemas, &error);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.name().to_owned(), operation);
        }
    }
    // What `--json` prints and what happens, also where no route answers with it: one document for all faces.
    let _ = (schemas.subschema_for::<Item>(), schemas.subschema_for::<Event>());
    let schemas = schemas.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Potluck node",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What a node can be asked over HTTP on loopback. Sizes are bytes, rates bytes per second, times RFC 3339. \
                            Programs send the token, which lies in the file page-token of the data folder.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": "potluck-PORT" },
            },
        },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator, error: &Value) -> Value {
    let content = |schema: Value| json!({ "application/json": { "schema": schema } });
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = route.query.iter();
    let in_query = in_query.map(|(name, what)| json!({ "name": name, "in": "query", "description": what, "schema": { "type": "string" } }));
    let answer = match route.answer {
        Some(schema) => json!({ "description": route.summary, "content": content(schema(schemas).to_value()) }),
        None => json!({ "description": route.summary }),
    };
    let mut operation = json!({
        "summary": route.summary,
        "operationId": operation_id(route),
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": { "2XX": answer, "default": { "description": "It was refused or failed.", "content": content(error.clone()) } },
        "security": if route.access == Access::Open { json!([]) } else { json!([{ "token": [] }, { "session": [] }]) },
    });
    if let (Some(schema), Some(operation)) = (route.body, operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), json!({ "required": true, "content": content(schema(schemas).to_value()) }));
    }
    operation
}

/// `get_downloads_id_content`.
fn operation_id(route: &Route) -> String {
    let path = route.path.trim_start_matches("/api/v1/").replace(['{', '}'], "");
    let words: Vec<&str> = path.split(['/', '.']).filter(|word| !word.is_empty()).collect();
    std::iter::once(route.method.name()).chain(words).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::routes::Method;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_describes_every_route_and_every_type_that_it_names() {
        let document = document();
        let mut ids = BTreeSet::new();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.name()];
            assert_eq!(operation["summary"], route.summary);
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
        }
        let text = document.to_string();
        let named = text.split("\"$ref\":\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        for name in named.collect::<BTreeSet<_>>() {
            assert!(document["components"]["schemas"][name].is_object(), "{name} is described");
        }
        assert!(document["components"]["schemas"]["StatusLine"]["properties"]["rate_down"].is_object());
    }

    /// G075: what changes something is never asked by `GET`, and a body is only sent with what changes something.
    #[test]
    fn no_get_takes_a_body() {
        assert!(ROUTES.iter().filter(|route| route.method == Method::Get).all(|route| route.body.is_none()));
    }
}
