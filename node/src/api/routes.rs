//! The table of routes. The router, the OpenAPI document and the tests of who may do what are made from it, so that a route
//! cannot be forgotten by any of them.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post, put};
use potluck_common::web::{guard, session};
use schemars::{Schema, SchemaGenerator};

use super::reply::Page;
use super::{Api, assets, calls, events, media, metrics, openapi};
use crate::types::{
    CheckLine, DialLine, DownloadLine, IdLine, LimitsLine, PeerLine, SettingLine, ShareLine, StatusLine, TrackerLine, UploadLine,
};

/// One thing that can be asked.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    /// What it does, in a sentence for programmers.
    pub(super) summary: &'static str,
    /// What can stand behind the `?`.
    pub(super) query: &'static [Parameter],
    /// What must be sent, as JSON.
    pub(super) body: Option<SchemaOf>,
    /// What is answered, as JSON; `None`: something else, as the summary says.
    pub(super) answer: Option<SchemaOf>,
    handler: fn() -> MethodRouter<Api>,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever reaches the port: nothing of the user's is told.
    Open,
    /// Who holds the token or a session.
    SignedIn,
}

/// What a route does to things: only `Get` leaves them as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
    Put,
    Delete,
}

/// Something behind the `?`: its name, and what it means.
pub(super) type Parameter = (&'static str, &'static str);
/// Describes a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

const OFFSET: Parameter = ("offset", "items to skip");
const LIMIT: Parameter = ("limit", "most items, 100 unless told otherwise, 1000 at most");

/// All that can be asked.
pub(super) const ROUTES: &[Route] = &[
    open(Method::Get, "/", "The page.", || get(assets::index)),
    open(Method::Get, "/page/{file}", "A file of the page.", || get(assets::file)),
    open(Method::Get, "/healthz", "Says `ok` as long as the node runs.", || get(metrics::health)),
    open(Method::Get, "/readyz", "200 when the shares are listed and a tracker has the node registered, else 503.", || get(metrics::ready)),
    signed_in(Method::Get, "/metrics", "Figures in the notation of OpenMetrics, for Prometheus.", || get(metrics::metrics)),
    Route {
        answer: Some(|of| of.subschema_for::<session::Session>()),
        ..open(Method::Get, "/api/v1/session", "Whether who asks is signed in.", || get(session::session))
    },
    Route {
        body: Some(|of| of.subschema_for::<session::SignIn>()),
        ..open(Method::Post, "/api/v1/session", "Signs a browser in: sets a cookie.", || post(session::sign_in))
    },
    signed_in(Method::Delete, "/api/v1/session", "Signs a browser out.", || delete(session::sign_out)),
    signed_in(Method::Get, "/api/v1/openapi.json", "This document.", || get(openapi::serve)),
    Route {
        query: &[("since", "the id of the last event that was seen; `0` for all that are kept")],
        ..signed_in(Method::Get, "/api/v1/events", "What happens, as server-sent events; `tick` tells the rates each second.", || {
            get(events::serve)
        })
    },
    Route {
        answer: Some(|of| of.subschema_for::<StatusLine>()),
        ..signed_in(Method::Get, "/api/v1/status", "How the node is.", || get(calls::status))
    },
    Route {
        answer: Some(|of| of.subschema_for::<IdLine>()),
        ..signed_in(Method::Get, "/api/v1/id", "Who the node is.", || get(calls::id))
    },
    Route {
        answer: Some(|of| of.subschema_for::<Vec<events::Sample>>()),
        ..signed_in(Method::Get, "/api/v1/rates", "Bytes per second over the last minutes.", || get(events::rates))
    },
    Route {
        query: &[("q", "what to search for, in the query language"), OFFSET, LIMIT],
        answer: Some(|of| of.subschema_for::<calls::Found>()),
        ..signed_in(Method::Get, "/api/v1/search", "Files and folders by name, at all trackers and dialled peers.", || get(calls::search))
    },
    Route {
        query: &[OFFSET, LIMIT],
        answer: Some(|of| of.subschema_for::<Page<PeerLine>>()),
        ..signed_in(Method::Get, "/api/v1/peers", "Who else is there.", || get(calls::peers))
    },
    Route {
        query: &[("path", "the folder, as share/folder; empty: all shares"), ("after", "`next` of the page before"), LIMIT],
        answer: Some(|of| of.subschema_for::<Page<calls::Child>>()),
        ..signed_in(Method::Get, "/api/v1/peers/{peer}/files", "What lies in a folder of a peer; the peer `me` is the node itself.", || {
            get(calls::browse)
        })
    },
    Route {
        body: Some(|of| of.subschema_for::<calls::Dial>()),
        answer: Some(|of| of.subschema_for::<DialLine>()),
        ..signed_in(Method::Post, "/api/v1/dial", "Connects to a peer or a tracker.", || post(calls::dial))
    },
    Route {
        answer: Some(|of| of.subschema_for::<Vec<TrackerLine>>()),
        ..signed_in(Method::Post, "/api/v1/register", "Registers with every tracker, now.", || post(calls::register))
    },
    Route {
        answer: Some(|of| of.subschema_for::<Vec<TrackerLine>>()),
        ..signed_in(Method::Post, "/api/v1/deregister", "Leaves every tracker until told to register.", || post(calls::deregister))
    },
    Route {
        answer: Some(|of| of.subschema_for::<Vec<ShareLine>>()),
        ..signed_in(Method::Get, "/api/v1/shares", "The shares.", || get(calls::shares))
    },
    Route {
        body: Some(|of| of.subschema_for::<calls::NewShare>()),
        answer: Some(|of| of.subschema_for::<ShareLine>()),
        ..signed_in(Method::Post, "/api/v1/shares", "Shares one more folder.", || post(calls::add_share))
    },
    Route {
        answer: Some(|of| of.subschema_for::<Vec<ShareLine>>()),
        ..signed_in(Method::Delete, "/api/v1/shares/{name}", "Shares a folder no longer; its files stay.", || delete(calls::remove_share))
    },
    Route {
        answer: Some(|of| of.subschema_for::<Vec<ShareLine>>()),
        ..signed_in(Method::Post, "/api/v1/shares/{name}/rescan", "Looks for changes in a share now.", || post(calls::rescan))
    },
    Route {
        query: &[("state", "only those of this state"), OFFSET, LIMIT],
        answer: Some(|of| of.subschema_for::<Page<DownloadLine>>()),
        ..signed_in(Method::Get, "/api/v1/downloads", "The downloads: what is under way first.", || get(calls::downloads))
    },
    Route {
        body: Some(|of| of.subschema_for::<calls::NewDownload>()),
        answer: Some(|of| of.subschema_for::<calls::Begun>()),
        ..signed_in(Method::Post, "/api/v1/downloads", "Begins to fetch files and folders; answers when they are on the list.", || {
            post(calls::download)
        })
    },
    Route {
        body: Some(|of| of.subschema_for::<calls::Control>()),
        answer: Some(|of| of.subschema_for::<Vec<DownloadLine>>()),
        ..signed_in(Method::Put, "/api/v1/downloads", "Pauses, resumes, cancels, retries or prioritises downloads.", || put(calls::control))
    },
    Route {
        answer: Some(|of| of.subschema_for::<calls::DownloadDetails>()),
        ..signed_in(Method::Get, "/api/v1/downloads/{id}", "One download, with its pieces.", || get(calls::download_details))
    },
    Route {
        query: &[("save", "`1` to have the browser save it instead of showing it")],
        ..signed_in(
            Method::Get,
            "/api/v1/downloads/{id}/content",
            "The bytes of a download, in ranges; waits for those that are still coming.",
            || get(media::content),
        )
    },
    Route {
        answer: Some(|of| of.subschema_for::<Vec<UploadLine>>()),
        ..signed_in(Method::Get, "/api/v1/uploads", "What is sent to whom.", || get(calls::uploads))
    },
    Route {
        query: &[("text", "what the code holds")],
        ..signed_in(Method::Get, "/api/v1/qr", "A text as a QR code, in SVG.", || get(calls::qr))
    },
    Route {
        answer: Some(|of| of.subschema_for::<Vec<SettingLine>>()),
        ..signed_in(Method::Get, "/api/v1/settings", "What the node runs with, and where each value comes from.", || get(calls::settings))
    },
    Route {
        answer: Some(|of| of.subschema_for::<Vec<CheckLine>>()),
        ..signed_in(Method::Get, "/api/v1/doctor", "What keeps the node from others, if anything does.", || get(calls::doctor))
    },
    Route {
        answer: Some(|of| of.subschema_for::<LimitsLine>()),
        ..signed_in(Method::Get, "/api/v1/limits", "How fast the node may send.", || get(calls::limits))
    },
    Route {
        body: Some(|of| of.subschema_for::<LimitsLine>()),
        answer: Some(|of| of.subschema_for::<LimitsLine>()),
        ..signed_in(Method::Put, "/api/v1/limits", "Changes how fast the node may send, until it ends.", || put(calls::set_limits))
    },
];

const fn open(method: Method, path: &'static str, summary: &'static str, handler: fn() -> MethodRouter<Api>) -> Route {
    Route { method, path, access: Access::Open, summary, query: &[], body: None, answer: None, handler }
}

const fn signed_in(method: Method, path: &'static str, summary: &'static str, handler: fn() -> MethodRouter<Api>) -> Route {
    Route { access: Access::SignedIn, ..open(method, path, summary, handler) }
}

impl Method {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }
}

/// Everything that the page answers.
pub(super) fn router(api: Api) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let methods = (route.handler)();
        let methods = match route.access {
            Access::Open => methods,
            Access::SignedIn => methods.layer(from_fn_with_state(api.0.door.clone(), guard::signed_in)),
        };
        router = router.route(route.path, methods);
    }
    let door = api.0.door.clone();
    guard::behind(router, api, door)
}
