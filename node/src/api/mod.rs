//! The page of a node: HTTP on loopback, for a browser and for programs.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | opens the port, accepts connections within limits |
//! | `routes.rs` | **the table of routes**: the router, the OpenAPI document and the tests are made from it |
//! | `guard.rs` | who may send a request at all: host, origin, cookie or token; the headers of every answer |
//! | `calls.rs` | what each route asks of the facade |
//! | `media.rs` | the bytes of downloads, in ranges, also of those that are still coming |
//! | `events.rs` | what happens, as a stream that can be taken up again |
//! | `assets.rs` | the files of the page, embedded in the program |
//! | `metrics.rs` | what Prometheus and service managers ask |
//! | `openapi.rs` | the description of all this for programs |
//! | `reply.rs` | answers and errors |
//!
//! Nothing here decides: every route asks the facade what a verb on the command line would ask, and answers in the same shapes.

mod assets;
mod calls;
mod events;
mod guard;
mod media;
mod metrics;
mod openapi;
mod reply;
mod routes;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::events::Hub;
use self::guard::Hosts;
use crate::config::{PAGE_PORT, PagePlan};
use crate::core::access::Access;
use crate::error::{CommandError, Failure};
use crate::node::Node;
use crate::store::page_token;

/// Connections at a time: some tabs, each with a stream of events and a few players, and some programs.
const MAX_CONNECTIONS: usize = 64;
/// Most bytes of the headers of a request: a cookie, and a few names.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// The buffer of a connection; headers must fit.
const BUFFER_BYTES: usize = 64 << 10;
/// How long the headers of a request may take: a connection that says nothing keeps no place.
const HEADER_PATIENCE: Duration = Duration::from_secs(10);
/// Rest after the system refused to accept, for instance because too many files are open.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// What all routes work with. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Api(Arc<Shared>);

struct Shared {
    node: Node,
    access: Arc<Mutex<Access>>,
    hosts: Hosts,
    hub: Hub,
    /// The name of the cookie: browsers keep one jar for all ports of a machine.
    cookie: String,
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
    pub(crate) async fn open(node: &Node, plan: &PagePlan) -> Result<Option<Self>, CommandError> {
        let Some(listener) = listen(plan).await? else { return Ok(None) };
        let address = listener.local_addr().map_err(|error| no_page(plan, &error))?;
        let data_dir = node.config().data_dir.clone();
        let token = tokio::task::spawn_blocking(move || page_token(&data_dir, rand::random()));
        let token = token.await.map_err(|error| CommandError::new(Failure::Other, error.to_string()))?;
        let token = token.map_err(|error| CommandError::new(Failure::LocalFile, error.to_string()))?;
        let access = Arc::new(Mutex::new(Access::new(token)));
        let hosts = Hosts::new(address, &node.config().page_hosts);
        let hub = Hub::start(node.clone());
        node.page_opened(format!("http://{}/", hosts.first()), Arc::clone(&access));
        let cookie = format!("potluck-{}", address.port());
        Ok(Some(Self { listener, api: Api(Arc::new(Shared { node: node.clone(), access, hosts, hub, cookie })) }))
    }

    /// Serves it until `stop` is cancelled; then connections are cut.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let router = routes::router(self.api.clone());
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                // when all places are taken, a client waits in the system's queue until another has gone
                let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
                let (stream, _) = self.listener.accept().await?;
                io::Result::Ok((stream, place))
            };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = next => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let router = router.clone();
                    connections.spawn(async move {
                        let _place = place;
                        serve_connection(stream, router).await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept at the page");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn serve_connection(stream: TcpStream, router: axum::Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client of the page left");
    }
}

/// Listens where the plan says; at a free port where the usual one is taken and none was asked for.
async fn listen(plan: &PagePlan) -> Result<Option<TcpListener>, CommandError> {
    let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let listener = match plan {
        PagePlan::Off => return Ok(None),
        PagePlan::At(address) => TcpListener::bind(address).await,
        PagePlan::Default => match TcpListener::bind(any(PAGE_PORT)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind(any(0)).await,
            bound => bound,
        },
    };
    listener.map(Some).map_err(|error| no_page(plan, &error))
}

fn no_page(plan: &PagePlan, error: &io::Error) -> CommandError {
    let place = match plan {
        PagePlan::At(address) => address.to_string(),
        _ => "this machine".to_owned(),
    };
    CommandError::new(
        Failure::LocalFile,
        format!("the page cannot be opened at {place}: {error}; choose another with --page ADDR, or --page off"),
    )
}
