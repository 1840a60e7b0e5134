//! What a tracker is told before it starts.

use std::path::PathBuf;
use std::time::Duration;

use libp2p::Multiaddr;

use crate::quota::Limits;

/// How long a registration lasts that is not renewed. A node renews after half of it, which also keeps its connection
/// from being closed as idle; and one that is away for less than two minutes comes back with one message.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(120);

/// A tracker's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where its identity lives; made when it is not there. One running tracker a folder.
    pub data_dir: PathBuf,
    /// Where it listens. Each must work.
    pub listen: Vec<Multiaddr>,
    /// Where it listens as well, if the system can: addresses of IPv6. A port that is taken is an error here too.
    pub listen_if_possible: Vec<Multiaddr>,
    /// Whether nodes on the same network find it by themselves.
    pub mdns: bool,
    /// How long a registration lasts that is not renewed.
    pub lease: Duration,
    /// Most that it holds.
    pub limits: Limits,
}

impl Config {
    /// A tracker that keeps its identity in `data_dir` and listens nowhere yet.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: Vec::new(),
            listen_if_possible: Vec::new(),
            mdns: true,
            lease: DEFAULT_LEASE,
            limits: Limits::default(),
        }
    }
}
