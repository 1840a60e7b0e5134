//! What a private tracker signs: certificates of its members, and the list of those that are members no longer.
//!
//! Both are libp2p's `SignedEnvelope`s around CBOR. [`issue`] and [`sign_list`] make them; [`open`] and [`open_list`] check
//! the signature and tell who signed: whether that tracker is trusted is for the caller to decide.

use libp2p::core::SignedEnvelope;
use libp2p::identity::Keypair;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{decode, encode};
use crate::peer::PeerKey;
use crate::transport::key_of;
use crate::wire::admit::{CertificateBytes, Claims, DenyList, DenyListBytes};

/// Keeps these signatures apart from all others that a key makes, such as those of peer records.
const DOMAIN: &str = "potluck-membership";
const CERTIFICATE_TYPE: &[u8] = b"/potluck/certificate/1";
const DENY_LIST_TYPE: &[u8] = b"/potluck/deny-list/1";

/// The bytes are no envelope of the kind, or its signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not signed as it should be")]
pub struct NotSigned;

/// Signs a certificate with the tracker's key; `None` when it does not fit, which claims within their limits always do.
#[must_use]
pub fn issue(key: &Keypair, claims: &Claims) -> Option<CertificateBytes> {
    CertificateBytes::new(sign(key, CERTIFICATE_TYPE, claims)?)
}

/// Opens a certificate: who signed it, and what it says.
///
/// # Errors
/// When it is no certificate, or its signature does not hold.
pub fn open(bytes: &CertificateBytes) -> Result<(PeerKey, Claims), NotSigned> {
    open_envelope(bytes.as_slice(), CERTIFICATE_TYPE)
}

/// Signs a deny list with the tracker's key; `None` when it does not fit, which a list within its limit always does.
#[must_use]
pub fn sign_list(key: &Keypair, list: &DenyList) -> Option<DenyListBytes> {
    DenyListBytes::new(sign(key, DENY_LIST_TYPE, list)?)
}

/// Opens a deny list: who signed it, and what it says.
///
/// # Errors
/// When it is no deny list, or its signature does not hold.
pub fn open_list(bytes: &DenyListBytes) -> Result<(PeerKey, DenyList), NotSigned> {
    open_envelope(bytes.as_slice(), DENY_LIST_TYPE)
}

fn sign(key: &Keypair, kind: &[u8], payload: &impl Serialize) -> Option<Vec<u8>> {
    let payload = encode(payload).ok()?;
    let envelope = SignedEnvelope::new(key, DOMAIN.to_owned(), kind.to_vec(), payload).ok()?;
    Some(envelope.into_protobuf_encoding())
}

fn open_envelope<T: DeserializeOwned>(bytes: &[u8], kind: &[u8]) -> Result<(PeerKey, T), NotSigned> {
    let envelope = SignedEnvelope::from_protobuf_encoding(bytes).map_err(|_| NotSigned)?;
    let (payload, key) = envelope.payload_and_signing_key(DOMAIN.to_owned(), kind).map_err(|_| NotSigned)?;
    let signer = key_of(&key.to_peer_id()).ok_or(NotSigned)?;
    Ok((signer, decode(payload).map_err(|_| NotSigned)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::Namespace;
    use crate::wire::Bounded;
    use crate::wire::admit::{Grant, MAX_DENIED, MAX_GRANTS};

    fn key_and_peer() -> (Keypair, PeerKey) {
        let key = Keypair::generate_ed25519();
        let peer = key_of(&key.public().to_peer_id()).unwrap();
        (key, peer)
    }

    fn claims(peer: PeerKey, grants: usize) -> Claims {
        let grant = |number| Grant { namespace: Namespace::new(format!("{number}{}", "x".repeat(250))).unwrap(), read_only: true };
        let grants: Vec<Grant> = (0..grants).map(grant).collect();
        Claims::new(peer, &grants, [9; 16], 1_800_000_000, i64::MAX)
    }

    #[test]
    fn what_is_signed_is_read_and_its_signer_named() {
        let (key, tracker) = key_and_peer();
        let claims = claims(key_and_peer().1, MAX_GRANTS);
        assert_eq!(open(&issue(&key, &claims).unwrap()), Ok((tracker, claims)));
        let list = DenyList { number: u64::MAX, peers: Bounded::truncated(vec![tracker; MAX_DENIED]) };
        assert_eq!(open_list(&sign_list(&key, &list).unwrap()), Ok((tracker, list)));
    }

    #[test]
    fn a_flipped_bit_anywhere_voids_a_certificate() {
        let (key, tracker) = key_and_peer();
        let whole = issue(&key, &claims(tracker, 1)).unwrap();
        for at in 0..whole.as_slice().len() {
            let mut bytes = whole.as_slice().to_vec();
            bytes[at] ^= 1;
            let opened = open(&CertificateBytes::new(bytes).unwrap());
            assert!(opened.is_err_and(|error| error == NotSigned), "byte {at}");
        }
    }

    #[test]
    fn one_kind_is_not_taken_for_the_other() {
        let (key, peer) = key_and_peer();
        let list = sign_list(&key, &DenyList::default()).unwrap();
        assert_eq!(open(&CertificateBytes::new(list.as_slice().to_vec()).unwrap()), Err(NotSigned));
        let certificate = issue(&key, &claims(peer, 1)).unwrap();
        assert_eq!(open_list(&DenyListBytes::new(certificate.as_slice().to_vec()).unwrap()), Err(NotSigned));
    }
}
