//! The description of the interface for programs, made from the types themselves: what the page is answered, and what
//! `potluck-tracker --json` prints.

use axum::Json;
use potluck_common::web::description;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::admin::{InvitationLine, MemberLine, PeersPage, StatusLine};
use crate::lines::{LinkLine, RunLine};

/// A path, what it tells, and in which shape.
type Told = (&'static str, &'static str, fn(&mut SchemaGenerator) -> Schema);

/// What is asked by GET. The page changes nothing.
const TOLD: [Told; 4] = [
    ("/api/v1/status", "How the tracker is.", |of| of.subschema_for::<StatusLine>()),
    ("/api/v1/peers", "Some of the peers that are registered: `offset` are passed, `limit` told at most.", |of| {
        of.subschema_for::<PeersPage>()
    }),
    ("/api/v1/invitations", "All invitations; none of an open tracker.", |of| of.subschema_for::<Vec<InvitationLine>>()),
    ("/api/v1/members", "All members; none of an open tracker.", |of| of.subschema_for::<Vec<MemberLine>>()),
];

pub(super) async fn serve() -> Json<Value> {
    Json(document())
}

/// The whole document.
fn document() -> Value {
    let mut schemas = description::shapes();
    let mut paths = Map::new();
    for (path, summary, shape) in TOLD {
        let content = json!({ "application/json": { "schema": shape(&mut schemas).to_value() } });
        paths.insert(
            path.to_owned(),
            json!({ "get": { "summary": summary, "responses": { "200": { "description": summary, "content": content } } } }),
        );
    }
    // What `--json` prints, also where no path answers with it.
    let _ = (schemas.subschema_for::<RunLine<'_>>(), schemas.subschema_for::<LinkLine<'_>>());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Potluck tracker",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What a tracker tells over HTTP, and what potluck-tracker --json prints. Sizes are bytes, times RFC 3339. \
                            Programs send the token, which lies in the file page-token of the data folder.",
        },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_describes_every_type_that_it_names() {
        let document = document();
        let text = document.to_string();
        let named: Vec<&str> = text.split("\"$ref\":\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(named.contains(&"PeersPage") && named.contains(&"EventLine"), "{named:?}");
        for name in named {
            assert!(document["components"]["schemas"][name].is_object(), "{name} is described");
        }
    }
}
