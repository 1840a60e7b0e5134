//! What the pages of both programs share: HTTP on loopback, for a browser and for programs.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | opens the port, accepts connections within limits |
//! | [`guard`] | who may send a request at all: host, origin, cookie or token; the headers of every answer |
//! | [`session`] | signing a browser in and out |
//! | [`place`] | where a page is to be, as it is typed |
//! | [`access`] | pure: tokens, keys and sessions |
//! | [`token`] | the file with the token |
//! | [`assets`] | the files of a page, embedded in the program; those that both pages use |
//! | [`reply`] | answers and errors |
//! | [`description`] | what both say of that to programs |
//!
//! The clock and the words that name a program are handed in.

pub mod access;
pub mod assets;
pub mod description;
pub mod guard;
pub mod place;
pub mod reply;
pub mod session;
pub mod token;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use self::access::Access;
use self::guard::Hosts;
use crate::accept::accept;

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
/// Most bytes of a request's body: a download of a few hundred references.
pub const MAX_BODY_BYTES: usize = 64 << 10;

/// Where a page is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PagePlan {
    /// On loopback at the program's usual port, or at a free one if that is taken.
    #[default]
    Default,
    /// Exactly there; a taken port is an error.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

/// The clocks of a program.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// For what lasts or lapses.
    pub now: fn() -> Instant,
    /// The calendar, in seconds since 1970.
    pub unix_seconds: fn() -> i64,
}

/// Who may use a page, and under what names it may be asked for. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Door(pub(crate) Arc<Frame>);

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) hosts: Hosts,
    pub(crate) access: Arc<Mutex<Access>>,
    /// The name of the cookie: browsers keep one jar for all ports of a machine.
    pub(crate) cookie: String,
    pub(crate) clocks: Clocks,
    /// The command that prints a link to the page.
    pub(crate) command: &'static str,
}

impl Door {
    /// The door of a page at an address, also known by other names. `program` begins the name of its cookie, `command` prints
    /// a link that signs in.
    #[must_use]
    pub fn new(address: SocketAddr, named: &[String], token: String, clocks: Clocks, program: &str, command: &'static str) -> Self {
        Self(Arc::new(Frame {
            hosts: Hosts::new(address, named),
            access: Arc::new(Mutex::new(Access::new(token))),
            cookie: format!("{program}-{}", address.port()),
            clocks,
            command,
        }))
    }

    /// Where people open the page.
    #[must_use]
    pub fn address(&self) -> String {
        format!("http://{}/", self.0.hosts.first())
    }

    /// A key that works once, for some minutes.
    #[must_use]
    pub fn new_key(&self, random: [u8; 16]) -> String {
        self.lock().new_key(random, (self.0.clocks.now)())
    }

    /// What keys and sessions are made by.
    #[must_use]
    pub fn access(&self) -> Arc<Mutex<Access>> {
        Arc::clone(&self.0.access)
    }
}

/// Listens where the plan says; at a free port where `usual` is taken and none was asked for. `None`: nowhere.
///
/// # Errors
/// When the port is taken.
pub async fn listen(plan: PagePlan, usual: u16) -> io::Result<Option<TcpListener>> {
    let any = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let listener = match plan {
        PagePlan::Off => return Ok(None),
        PagePlan::At(address) => TcpListener::bind(address).await,
        PagePlan::Default => match TcpListener::bind(any(usual)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind(any(0)).await,
            bound => bound,
        },
    };
    listener.map(Some)
}

/// Serves connections, within limits, until it is dropped: then they are cut.
pub async fn serve(listener: TcpListener, router: Router) {
    accept(&listener, MAX_CONNECTIONS, |stream| serve_connection(stream, router.clone())).await;
}

async fn serve_connection(stream: TcpStream, router: Router) {
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
