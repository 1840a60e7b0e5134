//! `/potluck/admit/1`: who may take part in a private swarm. Request and answer, one CBOR message each way, at most
//! [`MAX_ADMIT_MESSAGE_BYTES`](super::MAX_ADMIT_MESSAGE_BYTES).
//!
//! It is the only protocol of ours that a private tracker or a node of a private swarm speaks to a peer before that peer
//! is admitted. An open tracker, and a node that is in no private swarm, do not serve it.
//!
//! What the tracker signs travels as the bytes of a libp2p `SignedEnvelope`; [`crate::certificate`] makes and opens them.
//! This file has what is inside.

use serde::{Deserialize, Serialize};

use super::index::Nickname;
use super::{Bounded, Bytes, Refusal};
use crate::namespace::Namespace;
use crate::peer::PeerKey;

/// Most certificates that a peer shows: one for each tracker that it is a member of in its namespace.
pub const MAX_CERTIFICATES: usize = 4;
/// Longest certificate in bytes, with its envelope: sixteen namespaces and their signature take 700.
pub const MAX_CERTIFICATE_BYTES: usize = 1024;
/// Most namespaces of one member.
pub const MAX_GRANTS: usize = 16;
/// Most members on a deny list: those that were revoked within the life of a certificate. 40 bytes each.
pub const MAX_DENIED: usize = 1024;
/// Longest deny list in bytes, with its envelope.
pub const MAX_DENY_LIST_BYTES: usize = 48 << 10;
/// Bytes of the secret of an invitation: too many to guess.
pub const SECRET_BYTES: usize = 16;
/// Bytes of the salt of a certificate.
pub const SALT_BYTES: usize = 16;
/// Bytes of a salted hash of a namespace.
pub const TAG_BYTES: usize = 16;

/// The bytes of a signed certificate.
pub type CertificateBytes = Bytes<MAX_CERTIFICATE_BYTES>;
/// The bytes of a signed deny list.
pub type DenyListBytes = Bytes<MAX_DENY_LIST_BYTES>;

/// What a peer asks of another before anything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Let me in. To a peer it shows certificates; the tracker knows its members.
    Hello {
        /// Those of the namespace that the asker is in.
        #[serde(rename = "certs", default)]
        certificates: Bounded<CertificateBytes, MAX_CERTIFICATES>,
    },
    /// Redeem an invitation. To a tracker only.
    Join(Join),
    /// From the tracker: these members are no longer.
    Deny {
        /// The whole list, signed.
        list: DenyListBytes,
    },
}

/// Redeems an invitation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The invitation's secret.
    pub secret: Secret,
    /// What the peer calls itself: a note for whoever runs the tracker.
    #[serde(rename = "nick", default)]
    pub nickname: Nickname,
}

/// The secret of an invitation. Whoever has it can become a member, so it is never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Bytes<SECRET_BYTES>", into = "Bytes<SECRET_BYTES>")]
pub struct Secret([u8; SECRET_BYTES]);

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To `Hello` and `Join`: you are admitted.
    Welcome(Box<Welcome>),
    /// To `Join`: the invitation admits nobody.
    NotJoined {
        /// Why.
        why: Invalid,
    },
    /// To `Deny`: the list was taken.
    Noted {},
    /// To any. A stranger is told [`Refusal::NotPermitted`], whatever it asked for.
    Refused {
        /// Why.
        why: Refusal,
    },
}

/// The asker is admitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// From a peer: its own certificates. From the tracker: a new one for the asker.
    #[serde(rename = "certs", default)]
    pub certificates: Bounded<CertificateBytes, MAX_CERTIFICATES>,
    /// From the tracker: what the certificate grants, in plain words.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub grants: Bounded<Grant, MAX_GRANTS>,
    /// From the tracker: whose certificates are void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<DenyListBytes>,
}

/// What a member may do in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where.
    #[serde(rename = "ns")]
    pub namespace: Namespace,
    /// Whether it may search and download, but offer nothing.
    #[serde(rename = "ro", default, skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// Why an invitation admits nobody. Only who holds its secret is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Invalid {
    /// The tracker never made it, or has forgotten it.
    #[error("the tracker does not know this invitation")]
    Unknown,
    /// As many have joined by it as it allows.
    #[error("this invitation is used up")]
    UsedUp,
    /// Its time is over.
    #[error("this invitation has expired")]
    Expired,
    /// Whoever runs the tracker took it back.
    #[error("this invitation was revoked")]
    Revoked,
    /// Too many wrong ones came from this peer or this address.
    #[error("the tracker has refused too many invitations from here and accepts none for an hour")]
    TooManyTries,
}

/// What a certificate says: the tracker that signed it vouches for a peer, for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom.
    #[serde(rename = "id")]
    pub peer: PeerKey,
    /// Makes the tags of this certificate unlike those of any other.
    #[serde(with = "serde_bytes")]
    pub salt: [u8; SALT_BYTES],
    /// The namespaces, so that only who knows a name recognises it: a certificate is shown to peers that have not proven
    /// anything yet.
    #[serde(rename = "ns")]
    pub namespaces: Bounded<ClaimedNamespace, MAX_GRANTS>,
    /// When it was signed, in seconds since 1970-01-01 UTC.
    #[serde(rename = "iat")]
    pub issued: i64,
    /// Until when it holds, in seconds since 1970-01-01 UTC.
    #[serde(rename = "exp")]
    pub expires: i64,
}

/// A namespace in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedNamespace {
    /// The first [`TAG_BYTES`] of BLAKE3's keyed hash of the namespace; the key is the salt, twice.
    #[serde(rename = "t", with = "serde_bytes")]
    pub tag: [u8; TAG_BYTES],
    /// Whether the member may search and download there, but offer nothing.
    #[serde(rename = "ro", default, skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// Whose certificates are void though they have not expired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenyList {
    /// Grows with every change: an older list never replaces a newer one.
    #[serde(rename = "no")]
    pub number: u64,
    /// Who.
    pub peers: Bounded<PeerKey, MAX_DENIED>,
}

impl Claims {
    /// Claims for a peer, with `salt` drawn at random.
    #[must_use]
    pub fn new(peer: PeerKey, grants: &[Grant], salt: [u8; SALT_BYTES], issued: i64, expires: i64) -> Self {
        let claimed = |grant: &Grant| ClaimedNamespace { tag: tag(&salt, &grant.namespace), read_only: grant.read_only };
        Self { peer, salt, namespaces: Bounded::truncated(grants.iter().map(claimed)), issued, expires }
    }

    /// What is claimed for a namespace; `None`: nothing.
    #[must_use]
    pub fn in_namespace(&self, namespace: &Namespace) -> Option<&ClaimedNamespace> {
        let wanted = tag(&self.salt, namespace);
        self.namespaces.iter().find(|claimed| claimed.tag == wanted)
    }
}

/// What stands for a namespace in a certificate with this salt.
fn tag(salt: &[u8; SALT_BYTES], namespace: &Namespace) -> [u8; TAG_BYTES] {
    let mut key = [0; blake3::KEY_LEN];
    key.iter_mut().zip(salt.iter().cycle()).for_each(|(to, from)| *to = *from);
    let hash = blake3::keyed_hash(&key, namespace.as_str().as_bytes());
    let mut tag = [0; TAG_BYTES];
    tag.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    tag
}

impl Secret {
    /// Takes bytes that were drawn at random.
    #[must_use]
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, for an invitation.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// What the tracker keeps instead of the secret. It needs no salt and no slow hash: a secret of 128 random bits is in
    /// no dictionary.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.0).as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl TryFrom<Bytes<SECRET_BYTES>> for Secret {
    type Error = &'static str;
    fn try_from(bytes: Bytes<SECRET_BYTES>) -> Result<Self, Self::Error> {
        bytes.as_slice().try_into().map(Self).map_err(|_| "a secret has 16 bytes")
    }
}

impl From<Secret> for Bytes<SECRET_BYTES> {
    fn from(secret: Secret) -> Self {
        Self::truncated(&secret.0)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(value: &bool) -> bool {
    !value
}

fn is_empty(grants: &Bounded<Grant, MAX_GRANTS>) -> bool {
    grants.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).unwrap()
    }

    #[test]
    fn a_namespace_is_recognised_by_its_name_and_tells_it_to_nobody() {
        let peer = "12D3KooWGatU8DSBTk6JnDHj3gJ8R3nbKDYBQeFGvoLY5VRvDhHX".parse().unwrap();
        let grants =
            [Grant { namespace: namespace("family"), read_only: false }, Grant { namespace: namespace("friends"), read_only: true }];
        let claims = Claims::new(peer, &grants, [7; SALT_BYTES], 1, 2);
        assert!(claims.in_namespace(&namespace("family")).is_some_and(|claimed| !claimed.read_only));
        assert!(claims.in_namespace(&namespace("friends")).is_some_and(|claimed| claimed.read_only));
        assert_eq!(claims.in_namespace(&namespace("public")), None);
        let bytes = serde_cbor::to_vec(&claims).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"family"));
        let other = Claims::new(peer, &grants, [8; SALT_BYTES], 1, 2);
        assert_ne!(claims.namespaces, other.namespaces);
    }

    #[test]
    fn a_secret_is_not_printed_and_has_one_length() {
        let secret = Secret::new([0xab; SECRET_BYTES]);
        assert!(!format!("{secret:?}").contains("ab"));
        let short = serde_cbor::to_vec(&serde_bytes::Bytes::new(&[1; SECRET_BYTES - 1])).unwrap();
        assert!(serde_cbor::from_slice::<Secret>(&short).is_err());
        let long = serde_cbor::to_vec(&serde_bytes::Bytes::new(&[1; SECRET_BYTES + 1])).unwrap();
        assert!(serde_cbor::from_slice::<Secret>(&long).is_err());
    }
}
