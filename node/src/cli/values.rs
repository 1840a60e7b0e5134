//! What stands behind an option: text checked and turned into a value, or refused with a sentence that shows the right form.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use potluck_common::content_id::ContentId;
use potluck_common::limits::set;
use potluck_common::link::Link;
use potluck_common::namespace::Namespace;
use potluck_common::search::query::parse_size;
use potluck_common::share_path::{SharePath, check_component};
use potluck_common::wire::MAX_NICKNAME_BYTES;

use crate::config::{NODE_PORT, TRACKER_PORT};
use crate::core::audience::Guest;
use crate::error::{CommandError, Failure};
use crate::limits::NodeLimits;

/// A folder to share, under its own name or another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareArg {
    /// The name; `None`: the folder's own.
    pub name: Option<String>,
    /// The folder, as typed.
    pub dir: PathBuf,
}

impl ShareArg {
    /// The folder, absolute and there.
    ///
    /// # Errors
    /// When it is missing, no folder, or cannot be read.
    pub fn folder(&self, here: &Path) -> Result<PathBuf, CommandError> {
        let dir = here.join(&self.dir);
        let shown = dir.display();
        let fail = |message: String| CommandError::new(Failure::LocalFile, message);
        let dir = dir.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => fail(format!("there is no folder {shown} to share; create it or correct the name")),
            _ => fail(format!("cannot share {shown}: {error}")),
        })?;
        match std::fs::read_dir(&dir) {
            Ok(_) => Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                Err(fail(format!("{shown} is no folder; put the file into one and share that")))
            }
            Err(error) => Err(fail(format!("cannot read the folder {shown}: {error}; allow it, or share another"))),
        }
    }
}

pub(super) fn namespace(text: &str) -> Result<Namespace, String> {
    Namespace::new(text).map_err(|error| error.to_string())
}

pub(super) fn nickname(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text {
        "" => Err("a nickname cannot be empty".into()),
        _ if text.len() > MAX_NICKNAME_BYTES => Err(format!("a nickname is at most {MAX_NICKNAME_BYTES} bytes long")),
        _ if text.chars().any(char::is_control) => Err("a nickname cannot hold control characters".into()),
        _ => Ok(text.to_owned()),
    }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "give a number of bytes, or one with a unit: 700k, 10MiB, 1.5GB".into())
}

/// A rate: a size, with or without `/s`.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    match parse_size(text.trim().strip_suffix("/s").unwrap_or(text)) {
        None => Err("give bytes per second with a unit: 10MiB/s, 10MB/s, 800k".into()),
        Some(0) => Err("at no bytes per second nothing could be sent; leave the option out for no limit".into()),
        Some(rate) => Ok(rate),
    }
}

/// A rate, or `none`, which is 0.
pub(super) fn rate_or_none(text: &str) -> Result<u64, String> {
    if text == "none" { Ok(0) } else { rate(text).map_err(|why| format!("{why}; or `none` for no limit")) }
}

pub(super) fn extensions(text: &str) -> Result<String, String> {
    let plain = |extension: &str| !extension.is_empty() && !extension.contains(|c: char| c.is_whitespace() || c == '"');
    if text.split(',').all(plain) { Ok(text.to_owned()) } else { Err("give extensions without blanks: flac or flac,mp3".into()) }
}

/// `[NAME=]DIR`. A text whose `=` comes after a `/` is a folder: `./a=b` shares the folder `a=b`.
pub(super) fn share(text: &str) -> Result<ShareArg, String> {
    let (name, dir) = match text.split_once('=') {
        Some((name, dir)) if !name.contains('/') => (Some(name), dir),
        _ => (None, text),
    };
    if dir.is_empty() {
        return Err("give a folder: DIR or NAME=DIR".into());
    }
    if let Some(name) = name {
        check_component(name).map_err(|error| format!("`{name}` cannot be the name of a share: {error}"))?;
    }
    Ok(ShareArg { name: name.map(ToOwned::to_owned), dir: dir.into() })
}

/// `NAME=N`, one of the limits.
pub(super) fn limit(text: &str) -> Result<String, String> {
    set(NodeLimits::default().fields(), text).map(|()| text.to_owned())
}

/// `NAME=WHO`: a share, and one whom it is for.
pub(super) fn share_for(text: &str) -> Result<(String, Guest), String> {
    let sentence = "give a share and whom it is for: NAME=PEER_ID or NAME=NAMESPACE";
    let (name, who) = text.split_once('=').filter(|(_, who)| !who.is_empty()).ok_or(sentence)?;
    check_component(name).map_err(|error| format!("`{name}` cannot be the name of a share: {error}; {sentence}"))?;
    Ok((name.to_owned(), who.parse().map_err(|error| format!("{error}; {sentence}"))?))
}

/// Checks the form of a reference, so that a typing error is told before anything is started.
pub(super) fn reference(text: &str) -> Result<String, String> {
    let sentence = "give a content id (64 hex digits), a link potluck:CONTENT_ID, or PEER:share/path";
    if text.parse::<ContentId>().is_ok() {
        return Ok(text.to_owned());
    }
    if text.starts_with("potluck:") {
        return text.parse::<Link>().map(|_| text.to_owned()).map_err(|error| error.to_string());
    }
    match text.split_once(':') {
        Some((peer, path)) if !peer.is_empty() => {
            SharePath::parse(path.trim_end_matches('/')).map_err(|error| format!("{error}; {sentence}"))?;
            Ok(text.to_owned())
        }
        _ => Err(sentence.into()),
    }
}

pub(super) fn tracker(text: &str) -> Result<Multiaddr, String> {
    let address = multiaddr(text, TRACKER_PORT, true)?;
    let named = matches!(address.iter().last(), Some(Protocol::P2p(_)));
    if named || is_loopback(&address) {
        return Ok(address);
    }
    Err(format!(
        "a tracker on another machine is named with its PeerId, so that nobody can pose as it: {address}/p2p/PEER_ID, as the tracker prints it when it starts"
    ))
}

pub(super) fn dial(text: &str) -> Result<Multiaddr, String> {
    multiaddr(text, NODE_PORT, false)
}

pub(super) fn listen(text: &str) -> Result<Multiaddr, String> {
    let address = multiaddr(text, NODE_PORT, false)?;
    match address.iter().next() {
        Some(Protocol::Ip4(_) | Protocol::Ip6(_)) => Ok(address),
        _ => Err(format!("a node listens at an IP address: /ip4/0.0.0.0/tcp/{NODE_PORT}")),
    }
}

/// A multiaddr that names a host and a port. Other notations are not guessed at; the message shows the multiaddr.
fn multiaddr(text: &str, port: u16, tracker: bool) -> Result<Multiaddr, String> {
    if !text.starts_with('/') {
        return Err(match from_host_and_port(text, port, tracker) {
            Some(instead) => format!("write it as a multiaddr: {instead}"),
            None => format!("not a multiaddr; one looks like /ip4/192.168.1.7/tcp/{port}"),
        });
    }
    let address: Multiaddr =
        text.parse().map_err(|error| format!("not a multiaddr ({error}); one looks like /ip4/192.168.1.7/tcp/{port}"))?;
    let mut parts = address.iter();
    let host = matches!(
        parts.next(),
        Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_))
    );
    let named =
        matches!(address.iter().next(), Some(Protocol::Dnsaddr(_))) || matches!(parts.next(), Some(Protocol::Tcp(_) | Protocol::Udp(_)));
    if host && named { Ok(address) } else { Err(format!("the address names no host and port; one looks like /ip4/192.168.1.7/tcp/{port}")) }
}

/// The multiaddr that `host:port`, `ip:port`, `[ip]:port`, a bare host or a URL means.
fn from_host_and_port(text: &str, default_port: u16, tracker: bool) -> Option<String> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    let (host, port) = match text.parse::<IpAddr>() {
        Ok(_) => (text, default_port),
        Err(_) => match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, default_port),
        },
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let (kind, loopback) = match host.parse::<IpAddr>() {
        Ok(ip @ IpAddr::V4(_)) => ("ip4", ip.is_loopback()),
        Ok(ip @ IpAddr::V6(_)) => ("ip6", ip.is_loopback()),
        Err(_) => ("dns", host == "localhost"),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    if host.is_empty() || !host.chars().all(is_name) {
        return None;
    }
    let end = if tracker && !loopback { "/p2p/PEER_ID, with the PeerId that the tracker prints when it starts" } else { "" };
    Some(format!("/{kind}/{host}/tcp/{port}{end}"))
}

fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) => name == "localhost",
        _ => false,
    }
}
