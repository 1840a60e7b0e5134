//! What a node runs with, resolved and checked.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use libp2p::Multiaddr;
use potluck_common::namespace::Namespace;

/// The port that a node listens on unless told otherwise; when it is taken, any free one.
pub const NODE_PORT: u16 = 9471;
/// The port where a tracker on this machine is looked for.
pub const TRACKER_PORT: u16 = 9470;

/// The port of the page on loopback; when it is taken, any free one.
pub const PAGE_PORT: u16 = 9481;

/// Everything that a node needs to know to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Identity, database, control socket.
    pub data_dir: PathBuf,
    /// Where downloads go unless a command says otherwise.
    pub download_dir: PathBuf,
    /// Folders to share beside those that the database remembers: name (`None`: the folder's own) and folder.
    pub shares: Vec<(Option<String>, PathBuf)>,
    /// Trackers; empty: found on this machine and the LAN.
    pub trackers: Vec<Multiaddr>,
    /// Peers to dial at start.
    pub dial: Vec<Multiaddr>,
    /// Where to register, share and search; `None`: where the node was invited to, or else in the default one.
    pub namespace: Option<Namespace>,
    /// What the node calls itself.
    pub nickname: String,
    /// Where to listen.
    pub listen: Listen,
    /// Whether to find and be found on the LAN.
    pub mdns: bool,
    /// Most bytes per second sent to peers; `None`: no limit.
    pub limit_up: Option<u64>,
    /// Where its page is.
    pub page: PagePlan,
    /// Names under which the page may be asked for, beside those of its address, each with its port.
    pub page_hosts: Vec<String>,
    /// Short-lived: shares nothing, registers nowhere by itself, ends with its command.
    pub one_shot: bool,
}

/// Where the page of a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PagePlan {
    /// On loopback at [`PAGE_PORT`], or at a free port if that is taken.
    #[default]
    Default,
    /// Exactly there; a taken port is an error.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On every interface at [`NODE_PORT`], or at a free port if that is taken.
    Default,
    /// Exactly there; a taken port is an error.
    At(Vec<Multiaddr>),
    /// Nowhere: a short-lived node that only asks.
    Nowhere,
}

impl Config {
    /// The folder that passes on what is read as it comes.
    #[must_use]
    pub fn stream_dir(&self) -> PathBuf {
        self.data_dir.join("streams")
    }

    /// Whether an address may be told to a tracker: one on loopback only helps nodes of this machine.
    #[must_use]
    pub fn is_reachable(ip: IpAddr) -> bool {
        !ip.is_unspecified() && !ip.is_multicast()
    }
}
