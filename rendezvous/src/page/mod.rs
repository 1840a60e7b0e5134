//! The page of a tracker: who is there, what is searched, who was invited. It only shows; changes are made by the verbs of
//! `potluck-tracker`, by whoever may read its data folder.
//!
//! Who may send a request, and the limits of connections, are the same as at a node's page: `potluck_common::web`. The figures
//! come from the event loop by the same requests as over the control socket.

mod metrics;
mod openapi;

use std::path::Path;

use axum::extract::{FromRef, Path as InPath, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use potluck_common::failure::Failure;
use potluck_common::page_assets;
use potluck_common::web::assets::{self, Asset, INDEX};
use potluck_common::web::reply::Refused;
use potluck_common::web::token::page_token;
use potluck_common::web::{self, Clocks, Door, guard, session};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::admin::{AdminAnswer, AdminRequest, InvitationLine, MemberLine, PeersPage, StatusLine};
use crate::clock::{now, unix_seconds};
use crate::control::Ask;
use crate::{Config, TrackerError};

/// The port of the page on loopback; when it is taken, any free one.
pub const PAGE_PORT: u16 = 9480;
/// The verb that prints a link to the page.
const COMMAND: &str = "potluck-tracker page";
/// Peers of a page of the list unless told otherwise.
const PEERS: u32 = 100;

const OWN: &[Asset] = page_assets!("app.js");

/// What all routes work with.
#[derive(Clone)]
struct Desk {
    door: Door,
    asks: mpsc::Sender<Ask>,
}

impl FromRef<Desk> for Door {
    fn from_ref(desk: &Desk) -> Self {
        desk.door.clone()
    }
}

/// The page, open and not served yet.
pub(crate) struct Page {
    listener: TcpListener,
    pub(crate) door: Door,
}

/// Which peers are wanted.
#[derive(Debug, Deserialize)]
struct Slice {
    #[serde(default)]
    offset: u64,
    limit: Option<u32>,
}

impl Page {
    /// Opens the page; `None` when there is to be none.
    ///
    /// # Errors
    /// When the port is taken, or the token cannot be read or made.
    pub(crate) async fn open(config: &Config) -> Result<Option<Self>, TrackerError> {
        let failed = |source: std::io::Error| TrackerError::Page { reason: source.to_string() };
        let Some(listener) = web::listen(config.page, PAGE_PORT).await.map_err(failed)? else { return Ok(None) };
        let address = listener.local_addr().map_err(failed)?;
        let token = token(&config.data_dir)?;
        let clocks = Clocks { now, unix_seconds };
        Ok(Some(Self { listener, door: Door::new(address, &config.page_hosts, token, clocks, "potluck-tracker", COMMAND) }))
    }

    /// Serves it until it is dropped.
    pub(crate) async fn serve(self, asks: mpsc::Sender<Ask>) {
        web::serve(self.listener, router(Desk { door: self.door, asks })).await;
    }
}

fn token(data_dir: &Path) -> Result<String, TrackerError> {
    page_token(data_dir, rand::random()).map_err(|error| TrackerError::Page { reason: error.to_string() })
}

fn router(desk: Desk) -> Router {
    let door = desk.door.clone();
    let for_members = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/openapi.json", get(openapi::serve))
        .route("/api/v1/status", get(status))
        .route("/api/v1/peers", get(peers))
        .route("/api/v1/invitations", get(invitations))
        .route("/api/v1/members", get(members))
        .route_layer(from_fn_with_state(door.clone(), guard::signed_in));
    let session = get(session::session)
        .merge(post(session::sign_in))
        .merge(delete(session::sign_out).layer(from_fn_with_state(door.clone(), guard::signed_in)));
    let open = Router::new()
        .route("/", get(index))
        .route("/page/{file}", get(file))
        .route("/healthz", get(metrics::health))
        .route("/readyz", get(metrics::ready))
        .route("/api/v1/session", session);
    guard::behind(open.merge(for_members), desk, door)
}

impl Desk {
    /// Asks the event loop.
    async fn ask(&self, request: AdminRequest) -> Result<AdminAnswer, Refused> {
        let gone = || Refused::new(StatusCode::SERVICE_UNAVAILABLE, Failure::Unreachable, "the tracker is stopping; ask again later");
        let (reply, answer) = oneshot::channel();
        self.asks.send((request, reply)).await.map_err(|_| gone())?;
        match answer.await.map_err(|_| gone())? {
            AdminAnswer::Failed(error) => Err(Refused::new(StatusCode::CONFLICT, Failure::Other, error.message)),
            answer => Ok(answer),
        }
    }

    async fn status(&self) -> Result<StatusLine, Refused> {
        match self.ask(AdminRequest::Status).await? {
            AdminAnswer::Status(status) => Ok(*status),
            _ => Err(odd()),
        }
    }
}

fn odd() -> Refused {
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Failure::Other, "the tracker answered something else")
}

async fn index(headers: HeaderMap) -> Response {
    assets::serve(OWN, INDEX, &headers).await
}

async fn file(InPath(name): InPath<String>, headers: HeaderMap) -> Response {
    assets::serve(OWN, &name, &headers).await
}

async fn status(State(desk): State<Desk>) -> Result<Json<StatusLine>, Refused> {
    Ok(Json(desk.status().await?))
}

async fn peers(
    State(desk): State<Desk>,
    asked: Result<Query<Slice>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<PeersPage>, Refused> {
    let Query(Slice { offset, limit }) = asked?;
    match desk.ask(AdminRequest::Peers { offset, limit: limit.unwrap_or(PEERS) }).await? {
        AdminAnswer::Peers(page) => Ok(Json(page)),
        _ => Err(odd()),
    }
}

/// None of an open tracker, where nobody needs one.
async fn invitations(State(desk): State<Desk>) -> Result<Json<Vec<InvitationLine>>, Refused> {
    if !desk.status().await?.private {
        return Ok(Json(Vec::new()));
    }
    match desk.ask(AdminRequest::Invitations).await? {
        AdminAnswer::Invitations(lines) => Ok(Json(lines)),
        _ => Err(odd()),
    }
}

async fn members(State(desk): State<Desk>) -> Result<Json<Vec<MemberLine>>, Refused> {
    if !desk.status().await?.private {
        return Ok(Json(Vec::new()));
    }
    match desk.ask(AdminRequest::Members).await? {
        AdminAnswer::Members(lines) => Ok(Json(lines)),
        _ => Err(odd()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_embedded_safe_and_small() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/page")).unwrap();
        let folder: Vec<String> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(assets::faults(OWN, &folder), Vec::<String>::new());
        assert!(assets::size(OWN) < assets::MAX_PAGE_BYTES);
    }
}
