//! [`Audience`]: who a share is for.
//!
//! A share is for everybody, unless somebody is named: then it is for the members of the named namespaces and for the named
//! peers, and for nobody else. A node is in one namespace at a time, so what is for another one is, at that time, for the
//! named peers only.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use potluck_common::namespace::{Namespace, NamespaceError};
use potluck_common::peer::PeerKey;
use serde::{Deserialize, Serialize};

/// Who a share is for; nobody named: everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Audience(BTreeSet<Guest>);

/// One that a share is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guest {
    /// Everybody in this namespace.
    Namespace(Namespace),
    /// This peer.
    Peer(PeerKey),
}

/// Who may read a share, in the namespace that the node is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Whoever is let in at all.
    Everybody,
    /// These peers, who may be none.
    Only(BTreeSet<PeerKey>),
}

/// Somebody who wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The user of this node.
    Me,
    /// A peer, as its connection has proven.
    Peer(PeerKey),
}

impl Audience {
    /// Those that are named.
    #[must_use]
    pub fn new(guests: impl IntoIterator<Item = Guest>) -> Self {
        Self(guests.into_iter().collect())
    }

    /// Whether nobody is named, so that it is for everybody.
    #[must_use]
    pub fn is_everybody(&self) -> bool {
        self.0.is_empty()
    }

    /// Who that is for a node in the namespace `here`.
    #[must_use]
    pub fn readers(&self, here: &Namespace) -> Readers {
        if self.0.is_empty() || self.0.contains(&Guest::Namespace(here.clone())) {
            return Readers::Everybody;
        }
        Readers::Only(self.0.iter().filter_map(Guest::peer).collect())
    }

    /// Those that are named, as text.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl Guest {
    fn peer(&self) -> Option<PeerKey> {
        match self {
            Self::Peer(peer) => Some(*peer),
            Self::Namespace(_) => None,
        }
    }
}

impl FromStr for Guest {
    type Err = NamespaceError;

    /// A PeerId, or else the name of a namespace. A PeerId with a typing error is read as a namespace that nobody is in, which lets in
    /// nobody.
    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        match text.parse() {
            Ok(peer) => Ok(Self::Peer(peer)),
            Err(_) => Namespace::new(text).map(Self::Namespace),
        }
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(namespace) => namespace.fmt(f),
            Self::Peer(peer) => peer.fmt(f),
        }
    }
}

impl Readers {
    /// Whether somebody is among them. The user of this node always is.
    #[must_use]
    pub fn include(&self, reader: &Reader) -> bool {
        match (self, reader) {
            (Self::Everybody, _) | (_, Reader::Me) => true,
            (Self::Only(peers), Reader::Peer(peer)) => peers.contains(peer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> PeerKey {
        PeerKey::from_ed25519(&[number; 32])
    }

    fn audience(names: &[&str]) -> Audience {
        Audience::new(names.iter().map(|name| name.parse().unwrap()))
    }

    #[test]
    fn a_share_for_nobody_in_particular_is_for_everybody() {
        let readers = audience(&[]).readers(&Namespace::default());
        assert_eq!(readers, Readers::Everybody);
        assert!(readers.include(&Reader::Peer(peer(1))));
    }

    #[test]
    fn who_is_not_named_reads_nothing() {
        let friend = peer(1).to_string();
        let readers = audience(&[&friend]).readers(&Namespace::default());
        assert!(readers.include(&Reader::Peer(peer(1))) && readers.include(&Reader::Me));
        assert!(!readers.include(&Reader::Peer(peer(2))));
    }

    #[test]
    fn a_share_for_a_namespace_is_for_all_of_it_and_for_nobody_elsewhere() {
        let (family, work) = (Namespace::new("family").unwrap(), Namespace::new("work").unwrap());
        let limited = audience(&["family"]);
        assert_eq!(limited.readers(&family), Readers::Everybody);
        assert_eq!(limited.readers(&work), Readers::Only(BTreeSet::new()));
        assert!(!limited.readers(&work).include(&Reader::Peer(peer(1))));
        let friend = peer(1).to_string();
        assert!(audience(&["family", &friend]).readers(&work).include(&Reader::Peer(peer(1))));
    }

    #[test]
    fn a_mistyped_peer_is_nobody() {
        let right = peer(1).to_string();
        let readers = audience(&[&right[1..]]).readers(&Namespace::default());
        assert_eq!(readers, Readers::Only(BTreeSet::new()));
        assert!("".parse::<Guest>().is_err());
    }

    #[test]
    fn what_is_remembered_is_what_was_said() {
        let said = audience(&["family", &peer(3).to_string()]);
        let bytes = serde_cbor::to_vec(&said).unwrap();
        assert_eq!(serde_cbor::from_slice::<Audience>(&bytes).unwrap(), said);
        assert_eq!(said.names(), ["family".to_owned(), peer(3).to_string()]);
    }
}
