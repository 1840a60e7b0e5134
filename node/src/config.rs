//! What a node runs with, resolved and checked.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use libp2p::Multiaddr;
use potluck_common::namespace::Namespace;
pub use potluck_common::web::PagePlan;

use crate::error::CommandError;
use crate::types::SettingLine;

use crate::core::audience::Guest;
use crate::limits::NodeLimits;

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
    /// Whom shares are limited to: name of the share, and one whom it is for. A share that is not named here is for whom it was before,
    /// or for everybody.
    pub share_for: Vec<(String, Guest)>,
    /// Whether files with more than one name are left out of the shares.
    pub reject_hardlinks: bool,
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
    /// What remotes may cost.
    pub limits: NodeLimits,
    /// Where its page is.
    pub page: PagePlan,
    /// Names under which the page may be asked for, beside those of its address, each with its port.
    pub page_hosts: Vec<String>,
    /// Short-lived: shares nothing, registers nowhere by itself, ends with its command.
    pub one_shot: bool,
    /// The same as it was set, for people, with where each value comes from.
    pub settings: Settings,
    /// How to read it again; `None` where that makes no sense.
    pub reread: Option<Reread>,
}

/// The settings as they are in effect. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Settings(Arc<Mutex<Vec<SettingLine>>>);

impl Settings {
    /// Settings at a start.
    #[must_use]
    pub fn new(lines: Vec<SettingLine>) -> Self {
        Self(Arc::new(Mutex::new(lines)))
    }

    /// All of them.
    #[must_use]
    pub fn lines(&self) -> Vec<SettingLine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other ones are in effect now.
    pub fn replace(&self, lines: Vec<SettingLine>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lines;
    }
}

/// Reads the configuration again, as it would be at a start now.
#[derive(Clone)]
pub struct Reread(Arc<dyn Fn() -> Result<Config, CommandError> + Send + Sync>);

impl Reread {
    /// By a function that may block.
    pub fn new(read: impl Fn() -> Result<Config, CommandError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// What the configuration is now. Blocks.
    ///
    /// # Errors
    /// When it makes no sense any more.
    pub fn read(&self) -> Result<Config, CommandError> {
        (self.0)()
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reread")
    }
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
