//! [`PeerKey`]: a PeerId as plain bytes, for the modules that decide and therefore know no libp2p type.

use serde::{Deserialize, Serialize};

/// Longest PeerId in bytes: a two-byte multihash header and an inlined public key of 42 bytes
/// (libp2p specs, peer-ids).
const MAX_BYTES: usize = 44;
const IDENTITY: u8 = 0x00;
const SHA2_256: u8 = 0x12;
/// What stands before an Ed25519 key in a PeerId: a value of 36 bytes, inlined; a key of type 1, of 32 bytes.
const ED25519: [u8; 6] = [IDENTITY, 36, 8, 1, 18, 32];

/// The name of a peer: the bytes of its libp2p PeerId, checked for form. Shown in base58.
///
/// That the peer really holds the key is proven by the connection, not by this type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey {
    bytes: [u8; MAX_BYTES],
    len: u8,
}

/// The bytes or the text are not a PeerId.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PeerId: it is 52 letters and digits that begin with 12D3Koo")]
pub struct NotAPeer;

impl PeerKey {
    /// Checks the bytes of a PeerId: a multihash of an inlined key or of SHA-256.
    ///
    /// # Errors
    /// When the bytes have another form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAPeer> {
        let (code, length) = match bytes {
            [code, length, ..] => (*code, usize::from(*length)),
            _ => return Err(NotAPeer),
        };
        let fits = bytes.len() == length + 2 && bytes.len() <= MAX_BYTES;
        let known = (code == IDENTITY && length > 0) || (code == SHA2_256 && length == 32);
        if !fits || !known {
            return Err(NotAPeer);
        }
        let mut all = [0; MAX_BYTES];
        all.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Ok(Self { bytes: all, len: bytes.len() as u8 })
    }

    /// The PeerId of an Ed25519 key, which is what every program of this project has.
    #[must_use]
    pub fn from_ed25519(key: &[u8; 32]) -> Self {
        let mut bytes = [0; MAX_BYTES];
        bytes.iter_mut().zip(ED25519.iter().chain(key)).for_each(|(to, from)| *to = *from);
        Self { bytes, len: (ED25519.len() + key.len()) as u8 }
    }

    /// The Ed25519 key that the PeerId holds; `None` for one of another kind.
    #[must_use]
    pub fn ed25519(&self) -> Option<[u8; 32]> {
        self.as_bytes().strip_prefix(&ED25519)?.try_into().ok()
    }

    /// The bytes of the PeerId.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The last six letters of the base58 form: enough to tell peers apart in a list.
    #[must_use]
    pub fn short(&self) -> String {
        let text = self.to_string();
        text.get(text.len().saturating_sub(6)..).unwrap_or_default().to_owned()
    }
}

impl std::fmt::Display for PeerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&bs58::encode(self.as_bytes()).into_string())
    }
}

impl std::fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PeerKey({self})")
    }
}

impl std::str::FromStr for PeerKey {
    type Err = NotAPeer;
    fn from_str(text: &str) -> Result<Self, NotAPeer> {
        let mut bytes = [0; MAX_BYTES];
        let length = bs58::decode(text).onto(&mut bytes[..]).map_err(|_| NotAPeer)?;
        Self::from_bytes(bytes.get(..length).unwrap_or_default())
    }
}

impl Serialize for PeerKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(self.as_bytes()) }
    }
}

impl<'de> Deserialize<'de> for PeerKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
            Self::from_bytes(&bytes).map_err(serde::de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWGatU8DSBTk6JnDHj3gJ8R3nbKDYBQeFGvoLY5VRvDhHX";

    #[test]
    fn a_peer_survives_the_way_through_text_and_cbor() {
        let peer: PeerKey = PEER.parse().unwrap();
        assert_eq!(peer.to_string(), PEER);
        let bytes = serde_cbor::to_vec(&peer).unwrap();
        assert_eq!(serde_cbor::from_slice::<PeerKey>(&bytes).unwrap(), peer);
        assert_eq!(peer.short(), "VRvDhHX"[1..].to_owned());
        assert_eq!(peer.ed25519().map(|key| PeerKey::from_ed25519(&key)), Some(peer));
    }

    #[test]
    fn other_text_and_bytes_are_refused() {
        for text in ["", "1", "0OIl", "QmNothing", &PEER.repeat(3)] {
            assert!(text.parse::<PeerKey>().is_err(), "{text}");
        }
        assert!(PeerKey::from_bytes(&[0, 36, 1, 2]).is_err());
        assert!(PeerKey::from_bytes(&[0, 255]).is_err());
    }
}
