//! The arguments, and nothing else.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use etcetera::base_strategy::{BaseStrategy, choose_base_strategy};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use potluck_common::invitation::Place;
use potluck_common::limits::set;
use potluck_common::namespace::Namespace;
use potluck_common::web::PagePlan;
use potluck_common::web::place::{check_exposure, parse_host};
use potluck_rendezvous::{CERTIFICATE_LIFE, Config, DEFAULT_LEASE};

use crate::verbs::Verb;

/// Where a tracker listens that is told nothing: on port 9470 of all interfaces.
const DEFAULT_LISTEN: [&str; 2] = ["/ip4/0.0.0.0/tcp/9470", "/ip4/0.0.0.0/udp/9470/quic-v1"];
/// The same with IPv6, which not every system has.
const DEFAULT_LISTEN_IPV6: [&str; 2] = ["/ip6/::/tcp/9470", "/ip6/::/udp/9470/quic-v1"];

const AFTER_HELP: &str = "\
Examples:
  potluck-tracker                                     on port 9470; nodes on this network find it by themselves
  potluck-tracker --listen /ip4/0.0.0.0/tcp/4001      on another port, over TCP only
  potluck-tracker --json --listen /ip4/127.0.0.1/tcp/0 --data-dir /tmp/t
                                                      for scripts: any free port, told in the first line of output

A node joins with the address that the tracker prints:
  potluck node --share DIR --tracker /ip4/192.0.2.1/tcp/9470/p2p/12D3KooW…
Forward port 9470 (TCP, and UDP for QUIC) to it if it stands behind a router and others should reach it from outside.

A private swarm, where strangers learn nothing from anybody:
  potluck-tracker --private                           prints a first invitation
  potluck-tracker invite create                       prints one more, also while the tracker runs
  potluck-tracker page                                prints a link that opens its page in a browser
  potluck-tracker members revoke ada                  within seconds nobody speaks to ada any more

The identity in the data folder is what nodes know the tracker by: keep a copy of it, and of members.json if it is private.

Exit codes: 0 done or stopped by a signal, 1 other, 2 wrong arguments, 3 no such invitation or member,
7 data folder not usable, 8 cannot listen.";

/// The tracker of a potluck swarm: nodes register here and find each other's files.
///
/// It runs until Ctrl-C or SIGTERM. Files never pass through it: nodes fetch them from each other.
#[derive(Debug, Parser)]
#[command(name = "potluck-tracker", version, after_help = AFTER_HELP, subcommand_value_name = "VERB")]
pub(crate) struct Cli {
    /// What to do instead of running a tracker.
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,

    /// Admit members only: nobody else learns anything from the tracker or its members. A tracker that was private once
    /// stays so.
    #[arg(long)]
    private: bool,

    /// The group that the first invitation of a new private tracker is for
    #[arg(long, value_name = "NAME", env = "POTLUCK_NAMESPACE", hide_env_values = true, default_value_t)]
    namespace: Namespace,

    /// Where others reach the tracker, for invitations: behind a router, its outside; repeat for several
    #[arg(long, value_name = "MULTIADDR")]
    address: Vec<Place>,

    /// Where the tracker's identity lives; one running tracker a folder.
    /// [default: $XDG_DATA_HOME/potluck-tracker]
    #[arg(long, value_name = "DIR", env = "POTLUCK_DATA_DIR", global = true)]
    data_dir: Option<PathBuf>,

    /// An address to listen on, as often as needed; port 0 is any free one.
    /// [default: port 9470, TCP and QUIC, on all interfaces]
    #[arg(long, value_name = "MULTIADDR", value_parser = listen)]
    listen: Vec<Multiaddr>,

    /// Keep the index in PostgreSQL, postgres://USER:PASSWORD@HOST/DATABASE, where several trackers share it.
    /// [default: a file in the data folder]
    #[arg(long, value_name = "URL", env = "POTLUCK_INDEX", hide_env_values = true)]
    index: Option<String>,

    /// Most files that one node may offer in a group
    #[arg(long, value_name = "N")]
    max_files_per_peer: Option<u64>,

    /// Print one JSON object a line on stdout: {"event":"listening","address":…} for each address.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Do not let nodes on the same network find the tracker by themselves.
    #[arg(long)]
    no_mdns: bool,

    /// Where the page for a browser is: a port, an address with a port, or `off` [default: port 9480 of this machine only]
    #[arg(long, value_name = "ADDR", env = "POTLUCK_PAGE", hide_env_values = true)]
    page: Option<PagePlan>,

    /// A name by which browsers may ask for the page, with its port, if it is not on this machine only; repeat for several
    #[arg(long, value_name = "NAME:PORT", env = "POTLUCK_PAGE_HOST", hide_env_values = true, value_delimiter = ',', value_parser = parse_host)]
    page_host: Vec<String>,

    /// How log messages stand on stderr
    #[arg(long, value_name = "FORMAT", env = "POTLUCK_LOG_FORMAT", hide_env_values = true, value_enum, default_value_t, global = true)]
    pub(crate) log_format: LogFormat,

    /// Tell on stderr what happens.
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    /// Most connections from one address, or one /64 of IPv6; this machine's own are not counted
    #[arg(long, value_name = "N")]
    max_per_address: Option<u64>,

    /// Most connections from one network: a /24 of IPv4, a /48 of IPv6
    #[arg(long, value_name = "N")]
    max_per_network: Option<u64>,

    /// Set a limit of what others may cost; repeat for several. docs/ADMINISTRATORS.md has them all
    #[arg(long, value_name = "NAME=N", env = "POTLUCK_LIMIT", hide_env_values = true, value_delimiter = ',')]
    limit: Vec<String>,

    /// Count connections of this machine too.
    #[arg(long, hide = true)]
    limit_loopback: bool,

    /// How long a registration lasts that is not renewed, in seconds.
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = DEFAULT_LEASE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    lease: u64,

    /// How long a certificate of a member holds, in seconds.
    #[arg(long, value_name = "SECONDS", hide = true, default_value_t = CERTIFICATE_LIFE.as_secs(), value_parser = clap::value_parser!(u64).range(4..=2_592_000))]
    certificate_life: u64,
}

/// How log messages stand on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: an object a line.
    Json,
}

impl Cli {
    /// The configuration that the arguments and the environment describe, or what is wrong with them.
    pub(crate) fn into_config(self) -> Result<Config, String> {
        let (listen, listen_if_possible) = match self.listen.as_slice() {
            [] => (parse(&DEFAULT_LISTEN), parse(&DEFAULT_LISTEN_IPV6)),
            given => (given.to_vec(), Vec::new()),
        };
        let config = Config::new(self.data_dir()?);
        let mut limits = config.limits.clone();
        limits.index.files_per_peer = self.max_files_per_peer.unwrap_or(limits.index.files_per_peer);
        let net = &mut limits.net;
        net.connections_per_address = self.max_per_address.unwrap_or(net.connections_per_address);
        net.connections_per_network = self.max_per_network.unwrap_or(net.connections_per_network);
        self.limit.iter().try_for_each(|limit| set(limits.fields(), limit))?;
        let page = self.page.unwrap_or_default();
        check_exposure(page, &self.page_host)?;
        Ok(Config {
            listen,
            listen_if_possible,
            mdns: !self.no_mdns,
            database: self.index,
            lease: Duration::from_secs(self.lease),
            limits,
            limit_loopback: self.limit_loopback,
            private: self.private,
            namespace: self.namespace,
            external: self.address,
            certificate_life: Duration::from_secs(self.certificate_life),
            page,
            page_hosts: self.page_host,
            ..config
        })
    }

    /// The data folder that is meant.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, String> {
        self.data_dir.clone().map_or_else(default_data_dir, Ok)
    }
}

/// An address to listen on, or a sentence that shows the right form.
fn listen(text: &str) -> Result<Multiaddr, String> {
    let form = "a tracker listens at an IP address and a port: /ip4/0.0.0.0/tcp/9470";
    let address: Multiaddr = text.parse().map_err(|error| format!("not a multiaddr ({error}); {form}"))?;
    let mut parts = address.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(_) | Protocol::Ip6(_)), Some(Protocol::Tcp(_) | Protocol::Udp(_))) => Ok(address),
        _ => Err(form.to_owned()),
    }
}

fn parse(addresses: &[&str]) -> Vec<Multiaddr> {
    addresses.iter().filter_map(|address| address.parse().ok()).collect()
}

fn default_data_dir() -> Result<PathBuf, String> {
    let base = choose_base_strategy().map_err(|_| "there is no home folder for the tracker's data; name one with --data-dir DIR")?;
    Ok(base.data_dir().join("potluck-tracker"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> Config {
        Cli::try_parse_from([&["potluck-tracker", "--data-dir", "/d"], args].concat()).unwrap().into_config().unwrap()
    }

    #[test]
    fn without_arguments_it_listens_on_its_port_by_both_transports() {
        let config = config(&[]);
        assert_eq!(config.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), DEFAULT_LISTEN);
        assert_eq!(config.listen_if_possible.iter().map(ToString::to_string).collect::<Vec<_>>(), DEFAULT_LISTEN_IPV6);
        assert!(config.mdns);
        assert_eq!(config.lease, DEFAULT_LEASE);
    }

    #[test]
    fn given_addresses_replace_all_of_the_default_ones() {
        let config = config(&["--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip6/::1/tcp/0", "--no-mdns", "--lease", "3"]);
        assert_eq!((config.listen.len(), config.listen_if_possible.len()), (2, 0));
        assert!(!config.mdns);
        assert_eq!(config.lease, Duration::from_secs(3));
    }

    #[test]
    fn limits_are_set_by_name() {
        let config = config(&["--limit", "pending=7", "--limit", "files-per-peer=9,bad-invitations=3", "--max-per-address", "5"]);
        assert_eq!((config.limits.net.pending, config.limits.index.files_per_peer, config.limits.bad_invitations), (7, 9, 3));
        assert_eq!(config.limits.net.connections_per_address, 5);
        let cli = Cli::try_parse_from(["potluck-tracker", "--data-dir", "/d", "--limit", "nothing=1"]).unwrap();
        assert!(cli.into_config().unwrap_err().contains("peers-per-namespace"));
    }

    #[test]
    fn what_is_no_address_is_an_error_of_usage() {
        for text in ["localhost:9470", "/ip4/300.1.1.1/tcp/1", "/ip4/127.0.0.1", "/dns/example.org/tcp/9470", ""] {
            let error = Cli::try_parse_from(["potluck-tracker", "--listen", text]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("/ip4/0.0.0.0/tcp/9470"), "{error}");
        }
    }
}
