//! What a tracker is told before it starts.

use std::path::PathBuf;
use std::time::Duration;

use libp2p::Multiaddr;

use potluck_common::invitation::Place;
use potluck_common::namespace::Namespace;
use potluck_common::web::PagePlan;

use crate::limits::TrackerLimits;

/// How long a registration lasts that is not renewed. A node renews after half of it, which also keeps its connection
/// from being closed as idle; and one that is away for less than two minutes comes back with one message.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(120);

/// How long a certificate of a member holds. A member that is connected renews it after a quarter of that; one that cannot
/// reach the tracker goes on with the others for the rest of the day.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(24 * 3600);

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
    /// The PostgreSQL database that keeps the index, shared with other trackers: `postgres://…`. `None`: a file in `data_dir`.
    pub database: Option<String>,
    /// How long a registration lasts that is not renewed.
    pub lease: Duration,
    /// What remotes may cost.
    pub limits: TrackerLimits,
    /// Whether connections from this machine are limited by address too.
    pub limit_loopback: bool,
    /// Whether it admits members only. One that did once always does.
    pub private: bool,
    /// What the first invitation is for.
    pub namespace: Namespace,
    /// Where others reach it that it does not see itself, such as the outside of a router: what invitations name first.
    pub external: Vec<Place>,
    /// How long a certificate of a member holds.
    pub certificate_life: Duration,
    /// Where its page is.
    pub page: PagePlan,
    /// Names under which the page may be asked for, beside those of its address, each with its port.
    pub page_hosts: Vec<String>,
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
            database: None,
            lease: DEFAULT_LEASE,
            limits: TrackerLimits::default(),
            limit_loopback: false,
            private: false,
            namespace: Namespace::default(),
            external: Vec::new(),
            certificate_life: CERTIFICATE_LIFE,
            page: PagePlan::Off,
            page_hosts: Vec::new(),
        }
    }
}
