//! [`Invitation`]: one line that lets somebody join a private swarm.
//!
//! `potluck:join/` and base32 (RFC 4648, without padding) of
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version: 1 |
//! | 32 | the tracker's Ed25519 key, which is its PeerId |
//! | 16 | the secret |
//! | 4 | when it expires: seconds since 1970-01-01 UTC, big endian; 0: never |
//! | 1 | how many places follow |
//! | 7 to 257 each | a place: kind, port (big endian), host |
//! | 4 | checksum: the first bytes of BLAKE3 of all before |
//!
//! The kind of a place is 0 for an IPv4 address, 1 for IPv6, 2 for a DNS name after its length; 4 more for QUIC instead of
//! TCP. Upper and lower case are the same, 0, 1 and 8 are read as the letters that they look like, and blanks, line breaks
//! and hyphens that a mail program put in are skipped: a line can be read out over the telephone. In upper case a QR code
//! holds it in its denser mode.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use data_encoding::BASE32_NOPAD_VISUAL;

use crate::peer::PeerKey;
use crate::wire::admit::{SECRET_BYTES, Secret};

/// Longest invitation in characters: fits a line of chat and a QR code that a terminal can show.
pub const MAX_INVITATION_CHARS: usize = 200;
/// Longest text that is looked at: one with all the blanks that a mail program may put in.
const MAX_TEXT_BYTES: usize = 1024;
const SCHEME: &str = "potluck:join/";
const VERSION: u8 = 1;
/// Bytes that [`MAX_INVITATION_CHARS`] hold: five bits a character.
const MAX_BYTES: usize = (MAX_INVITATION_CHARS - SCHEME.len()) * 5 / 8;
const CHECKSUM_BYTES: usize = 4;
/// Added to the kind of a host whose port is QUIC's.
const QUIC: u8 = 4;

/// What lets somebody join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Who the tracker is: nobody else is told the secret.
    pub tracker: PeerKey,
    /// Where it listens, the likeliest place first.
    pub places: Vec<Place>,
    /// What proves that whoever has this was invited.
    pub secret: Secret,
    /// Until when it holds, in seconds since 1970-01-01 UTC; `None`: until it is used up or revoked.
    pub expires: Option<u32>,
}

/// Where a tracker listens. Shown and parsed as a multiaddr without a PeerId.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    host: Host,
    port: u16,
    is_quic: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    Ip4(Ipv4Addr),
    Ip6(Ipv6Addr),
    /// ASCII letters, digits, dots and hyphens.
    Dns(String),
}

/// Why a text is not an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// It looks like nothing of ours.
    #[error(
        "this is not an invitation: one begins with {SCHEME}; ask whoever runs the tracker for a line from `potluck-tracker invite create`"
    )]
    NotOne,
    /// Something was lost or changed on the way.
    #[error("this invitation was mistyped or cut short; copy the whole line again")]
    Mistyped,
    /// A later version made it.
    #[error("this invitation needs a newer version of potluck; update it and join again")]
    Newer,
    /// It would be too long, or its tracker has no Ed25519 key.
    #[error("no invitation can be made: the tracker has no address that fits; name one with --address /dns/HOST/tcp/PORT")]
    NoPlace,
}

/// The text is not a place where a tracker can listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an address of a tracker: one looks like /ip4/203.0.113.5/tcp/9470, /dns/tracker.example.org/tcp/9470 or /ip4/203.0.113.5/udp/9470/quic-v1"
)]
pub struct NotAPlace;

impl Invitation {
    /// Makes an invitation with as many of the places, from the first on, as fit into [`MAX_INVITATION_CHARS`].
    ///
    /// # Errors
    /// When none fits, or the tracker has a key of another kind than Ed25519.
    pub fn new(
        tracker: PeerKey,
        places: impl IntoIterator<Item = Place>,
        secret: Secret,
        expires: Option<u32>,
    ) -> Result<Self, InvitationError> {
        let mut invitation = Self { tracker, places: Vec::new(), secret, expires };
        let mut length = invitation.to_bytes().ok_or(InvitationError::NoPlace)?.len() + CHECKSUM_BYTES;
        for place in places {
            let more = place.to_bytes().len();
            if length + more <= MAX_BYTES && !invitation.places.contains(&place) {
                length += more;
                invitation.places.push(place);
            }
        }
        if invitation.places.is_empty() { Err(InvitationError::NoPlace) } else { Ok(invitation) }
    }

    /// All but the checksum; `None` for a tracker without an Ed25519 key.
    fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.tracker.ed25519()?);
        bytes.extend(self.secret.as_bytes());
        bytes.extend(self.expires.unwrap_or(0).to_be_bytes());
        bytes.push(u8::try_from(self.places.len()).ok()?);
        self.places.iter().for_each(|place| bytes.extend(place.to_bytes()));
        Some(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, InvitationError> {
        let (bytes, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(InvitationError::Mistyped)?;
        if checksum(bytes) != *sum {
            return Err(InvitationError::Mistyped);
        }
        let mut rest = Reader(bytes);
        if rest.byte() != Some(VERSION) {
            return Err(InvitationError::Newer); // the checksum holds, so somebody meant it
        }
        rest.invitation().ok_or(InvitationError::Mistyped)
    }
}

impl std::fmt::Display for Invitation {
    /// The line, in lower case.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = self.to_bytes().ok_or(std::fmt::Error)?;
        bytes.extend(checksum(&bytes));
        write!(f, "{SCHEME}{}", BASE32_NOPAD_VISUAL.encode(&bytes).to_ascii_lowercase())
    }
}

impl std::str::FromStr for Invitation {
    type Err = InvitationError;
    fn from_str(text: &str) -> Result<Self, InvitationError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(InvitationError::NotOne);
        }
        let skipped = |c: char| c.is_whitespace() || c == '-';
        let letters: String = text.chars().filter(|c| !skipped(*c)).map(|c| c.to_ascii_uppercase()).collect();
        let scheme = SCHEME.to_ascii_uppercase();
        let letters = letters.strip_prefix(scheme.as_str()).ok_or(InvitationError::NotOne)?;
        let bytes = BASE32_NOPAD_VISUAL.decode(letters.as_bytes()).map_err(|_| InvitationError::Mistyped)?;
        if bytes.len() > MAX_BYTES { Err(InvitationError::Mistyped) } else { Self::from_bytes(&bytes) }
    }
}

impl Place {
    /// Whether only programs on the tracker's own machine reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip4(ip) => ip.is_loopback(),
            Host::Ip6(ip) => ip.is_loopback(),
            Host::Dns(name) => name == "localhost",
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let (kind, host) = match &self.host {
            Host::Ip4(ip) => (0, ip.octets().to_vec()),
            Host::Ip6(ip) => (1, ip.octets().to_vec()),
            Host::Dns(name) => (2, [&[name.len() as u8], name.as_bytes()].concat()),
        };
        let kind = if self.is_quic { kind | QUIC } else { kind };
        [&[kind], self.port.to_be_bytes().as_slice(), &host].concat()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.host {
            Host::Ip4(ip) => write!(f, "/ip4/{ip}")?,
            Host::Ip6(ip) => write!(f, "/ip6/{ip}")?,
            Host::Dns(name) => write!(f, "/dns/{name}")?,
        }
        if self.is_quic { write!(f, "/udp/{}/quic-v1", self.port) } else { write!(f, "/tcp/{}", self.port) }
    }
}

impl std::str::FromStr for Place {
    type Err = NotAPlace;
    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let mut parts = text.split('/');
        let mut part = || parts.next().ok_or(NotAPlace);
        let ("", kind, host, transport, port) = (part()?, part()?, part()?, part()?, part()?) else { return Err(NotAPlace) };
        let host = match (kind, host.parse::<IpAddr>()) {
            ("ip4", Ok(IpAddr::V4(ip))) => Host::Ip4(ip),
            ("ip6", Ok(IpAddr::V6(ip))) => Host::Ip6(ip),
            ("dns" | "dns4" | "dns6", Err(_)) => dns(host).ok_or(NotAPlace)?,
            _ => return Err(NotAPlace),
        };
        let rest: Vec<&str> = parts.collect();
        let is_quic = match (transport, rest.as_slice()) {
            ("tcp", []) => false,
            ("udp", ["quic-v1"]) => true,
            _ => return Err(NotAPlace),
        };
        Ok(Self { host, port: port.parse().map_err(|_| NotAPlace)?, is_quic })
    }
}

/// Reads what a checksum has vouched for, which somebody may still have made on purpose.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn invitation(&mut self) -> Option<Invitation> {
        let tracker = PeerKey::from_ed25519(&self.take()?);
        let secret = Secret::new(self.take::<SECRET_BYTES>()?);
        let expires = Some(u32::from_be_bytes(self.take()?)).filter(|expires| *expires != 0);
        let count = self.byte()?;
        let places = (0..count).map(|_| self.place()).collect::<Option<Vec<Place>>>()?;
        let is_whole = self.0.is_empty() && !places.is_empty();
        is_whole.then_some(Invitation { tracker, places, secret, expires })
    }

    fn place(&mut self) -> Option<Place> {
        let kind = self.byte()?;
        let port = u16::from_be_bytes(self.take()?);
        let host = match kind & !QUIC {
            0 => Host::Ip4(self.take::<4>()?.into()),
            1 => Host::Ip6(self.take::<16>()?.into()),
            2 => {
                let length = usize::from(self.byte()?);
                let (name, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                dns(std::str::from_utf8(name).ok()?)?
            }
            _ => return None,
        };
        Some(Place { host, port, is_quic: kind & QUIC != 0 })
    }
}

fn dns(name: &str) -> Option<Host> {
    let is_fine = (1..=253).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-');
    is_fine.then(|| Host::Dns(name.to_owned()))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.iter_mut().zip(blake3::hash(bytes).as_bytes()).for_each(|(to, from)| *to = *from);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    fn invitation(places: &[&str]) -> Invitation {
        let tracker = PeerKey::from_ed25519(&[5; 32]);
        Invitation::new(tracker, places.iter().map(|text| place(text)), Secret::new([6; 16]), Some(1_800_000_000)).unwrap()
    }

    #[test]
    fn a_line_survives_mail_programs_telephones_and_qr_codes() {
        let sent = invitation(&["/ip4/203.0.113.5/tcp/9470", "/ip6/2001:db8::1/udp/9470/quic-v1", "/dns/tracker.example.org/tcp/443"]);
        let line = sent.to_string();
        assert!(line.starts_with("potluck:join/") && line.len() <= MAX_INVITATION_CHARS, "{line}");
        assert_eq!(line.parse(), Ok(sent.clone()));
        assert_eq!(line.to_uppercase().parse(), Ok(sent.clone()));
        let wrapped = format!("  {}\r\n  {}-{}\n", &line[..60], &line[60..90], &line[90..]);
        assert_eq!(wrapped.parse(), Ok(sent.clone()));
        let (scheme, letters) = line.split_at(SCHEME.len());
        let misread = letters.replace('o', "0").replace('i', "1").replace('b', "8");
        assert_eq!(format!("{scheme}{misread}").parse(), Ok(sent));
    }

    #[test]
    fn any_one_letter_that_is_wrong_or_missing_is_noticed() {
        let line = invitation(&["/ip4/203.0.113.5/tcp/9470"]).to_string();
        for at in SCHEME.len()..line.len() {
            let mut letters = line.clone().into_bytes();
            letters[at] = if letters[at] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(letters).unwrap();
            assert_eq!(changed.parse::<Invitation>(), Err(InvitationError::Mistyped), "letter {at}");
            let shorter = [&line[..at], &line[at + 1..]].concat();
            assert_eq!(shorter.parse::<Invitation>(), Err(InvitationError::Mistyped), "letter {at} left out");
        }
    }

    #[test]
    fn as_many_places_as_fit_are_taken_from_the_first_on() {
        let long = format!("/dns/{}.example.org/tcp/9470", "x".repeat(60));
        let kept = invitation(&["/ip4/203.0.113.5/tcp/9470", &long, "/ip4/203.0.113.5/tcp/9470", "/ip6/2001:db8::1/tcp/9470"]);
        assert_eq!(kept.places, [place("/ip4/203.0.113.5/tcp/9470"), place("/ip6/2001:db8::1/tcp/9470")]);
        let none = Invitation::new(PeerKey::from_ed25519(&[5; 32]), [place(&long)], Secret::new([6; 16]), None);
        assert_eq!(none, Err(InvitationError::NoPlace));
        let many: Vec<String> = (0..40).map(|port| format!("/ip4/203.0.113.5/tcp/{port}")).collect();
        let full = invitation(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(full.places.len(), 8);
        assert_eq!(full.to_string().parse(), Ok(full.clone()));
        assert!(full.to_string().len() <= MAX_INVITATION_CHARS);
    }

    #[test]
    fn what_is_no_place_of_a_tracker_is_refused() {
        for text in [
            "",
            "/",
            "localhost:9470",
            "/ip4/1.2.3/tcp/1",
            "/ip4/::1/tcp/1",
            "/ip6/1.2.3.4/tcp/1",
            "/dns/a b/tcp/1",
            "/dns//tcp/1",
            "/dns/1.2.3.4/tcp/1",
            "/ip4/1.2.3.4/tcp/65536",
            "/ip4/1.2.3.4/udp/1",
            "/ip4/1.2.3.4/tcp/1/ws",
            "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWGatU8DSBTk6JnDHj3gJ8R3nbKDYBQeFGvoLY5VRvDhHX",
            "/unix/tmp/tcp/1",
        ] {
            assert_eq!(text.parse::<Place>(), Err(NotAPlace), "{text}");
        }
        assert!(place("/ip4/127.0.0.1/tcp/1").is_loopback() && !place("/dns/x/tcp/1").is_loopback());
    }

    #[test]
    fn a_later_version_and_other_texts_are_told_apart() {
        let mut bytes = invitation(&["/ip4/203.0.113.5/tcp/9470"]).to_bytes().unwrap();
        bytes[0] = 2;
        bytes.extend(checksum(&bytes));
        let newer = format!("{SCHEME}{}", BASE32_NOPAD_VISUAL.encode(&bytes));
        assert_eq!(newer.parse::<Invitation>(), Err(InvitationError::Newer));
        for text in ["", "potluck:", "potluck:9f86d0", "hello", &"x".repeat(MAX_TEXT_BYTES + 1)] {
            assert_eq!(text.parse::<Invitation>(), Err(InvitationError::NotOne), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_with_a_right_checksum_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..MAX_BYTES)) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            bytes.extend(checksum(&bytes));
            if let Ok(invitation) = Invitation::from_bytes(&bytes) {
                prop_assert_eq!(invitation.to_string().parse(), Ok(invitation));
            }
        }
    }
}
