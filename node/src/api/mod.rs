//! The page of a node: HTTP on loopback, for a browser and for programs.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | opens the page |
//! | `routes.rs` | **the table of routes**: the router, the OpenAPI document and the tests are made from it |
//! | `calls.rs` | what each route asks of the facade |
//! | `media.rs` | the bytes of downloads, in ranges, also of those that are still coming |
//! | `events.rs` | what happens, as a stream that can be taken up again |
//! | `assets.rs` | the files of the page, embedded in the program |
//! | `metrics.rs` | what Prometheus and service managers ask |
//! | `openapi.rs` | the description of all this for programs |
//! | `reply.rs` | answers and errors |
//!
//! Who may send a request at all, and the limits of connections, are the same as at the tracker's page: `potluck_common::web`.
//! Nothing here decides: every route asks the facade what a verb on the command line would ask, and answers in the same shapes.

mod assets;
mod calls;
mod events;
mod media;
mod metrics;
mod openapi;
mod reply;
mod routes;

use std::io;
use std::sync::Arc;

use axum::extract::FromRef;
use potluck_common::web::{self, Clocks, Door, PagePlan, token::page_token};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::events::Hub;
use crate::clock::{now, unix_seconds};
use crate::config::PAGE_PORT;
use crate::error::{CommandError, Failure};
use crate::node::Node;

/// The verb that prints a link to the page.
const COMMAND: &str = "potluck page";

/// What all routes work with. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

struct Shared {
    node: Node,
    door: Door,
    hub: Hub,
}

impl FromRef<Api> for Door {
    fn from_ref(api: &Api) -> Self {
        api.0.door.clone()
    }
}

/// The page, open and not served yet.
pub(crate) struct Page {
    listener: TcpListener,
    api: Api,
}

impl Page {
    /// Opens the page of a node; `None` when it is to have none.
    ///
    /// # Errors
    /// When the port is taken, or the token cannot be read or made.
    pub(crate) async fn open(node: &Node, plan: PagePlan) -> Result<Option<Self>, CommandError> {
        let listener = web::listen(plan, PAGE_PORT).await.map_err(|error| no_page(plan, &error))?;
        let Some(listener) = listener else { return Ok(None) };
        let address = listener.local_addr().map_err(|error| no_page(plan, &error))?;
        let data_dir = node.config().data_dir.clone();
        let token = tokio::task::spawn_blocking(move || page_token(&data_dir, rand::random()));
        let token = token.await.map_err(|error| CommandError::new(Failure::Other, error.to_string()))?;
        let token = token.map_err(|error| CommandError::new(Failure::LocalFile, error.to_string()))?;
        let door = Door::new(address, &node.config().page_hosts, token, Clocks { now, unix_seconds }, "potluck", COMMAND);
        let hub = Hub::start(node.clone());
        node.page_opened(door.address(), door.access());
        Ok(Some(Self { listener, api: Api(Arc::new(Shared { node: node.clone(), door, hub })) }))
    }

    /// Serves it until `stop` is cancelled; then connections are cut.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let router = routes::router(self.api);
        tokio::select! {
            () = stop.cancelled() => {}
            () = web::serve(self.listener, router) => {}
        }
    }
}

fn no_page(plan: PagePlan, error: &io::Error) -> CommandError {
    let place = match plan {
        PagePlan::At(address) => address.to_string(),
        _ => "this machine".to_owned(),
    };
    CommandError::new(
        Failure::LocalFile,
        format!("the page cannot be opened at {place}: {error}; choose another with --page ADDR, or --page off"),
    )
}
