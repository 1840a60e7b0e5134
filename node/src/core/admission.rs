//! [`Admission`]: who is let in by a node of a private swarm.
//!
//! A peer that is connected is in exactly one state: it waits to be admitted, or is admitted until its certificate expires.
//! Whoever dialled says hello and shows its certificates; the other answers with its own, and each admits the other only if
//! one of them was signed by a tracker that it trusts itself, for this peer, for the namespace that it is in, has not
//! expired, and is not on that tracker's deny list. A tracker that it trusts needs no certificate: the connection proves
//! its identity, and it knows its members.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use potluck_common::certificate;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::wire::Bounded;
use potluck_common::wire::admit::{CertificateBytes, Claims, DenyListBytes, Grant, MAX_CERTIFICATES, Welcome};

/// How long a peer may wait to be admitted: two round trips on a bad line.
const PATIENCE: Duration = Duration::from_secs(5);
/// Part of the life of our certificate after which a new one is asked for: three more times before it expires.
const RENEW_AFTER_PART: i64 = 4;
/// A new certificate is not asked for more often than this, whatever life the tracker gives it.
const SHORTEST_RENEWAL: Duration = Duration::from_secs(1);
/// How far clocks may be apart: a certificate from so far in the future is taken, and one that expired so long ago.
const SKEW_SECONDS: i64 = 600;

/// A membership: what a tracker that admitted us gave us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Papers {
    /// The tracker.
    pub tracker: PeerKey,
    /// Our certificate.
    pub certificate: CertificateBytes,
    /// Whose certificates are void.
    pub denied: Option<DenyListBytes>,
}

/// A membership that was renewed, or a deny list that came: to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The tracker.
    pub tracker: PeerKey,
    /// The new certificate with what it grants; `None`: only the deny list is new.
    pub certificate: Option<(CertificateBytes, Vec<Grant>)>,
    /// The deny list.
    pub denied: Option<DenyListBytes>,
}

/// What to do with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Let it in.
    Admit,
    /// Close its connections.
    Refuse,
}

/// What time brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Close the connections of this peer.
    Drop(PeerKey),
    /// Say hello to this tracker again.
    Renew(PeerKey),
}

/// Who is let in. One per swarm.
#[derive(Debug)]
pub struct Admission {
    me: PeerKey,
    namespace: Namespace,
    trackers: BTreeMap<PeerKey, Trusted>,
    /// The peers that are connected; the number of connections bounds it.
    peers: HashMap<PeerKey, Guest>,
}

/// What is known of a tracker that we trust.
#[derive(Debug)]
struct Trusted {
    certificate: CertificateBytes,
    denied: HashSet<PeerKey>,
    denied_number: u64,
    renew_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guest {
    Waiting {
        until: Instant,
    },
    /// `until` in seconds since 1970; `None`: a tracker, who stays.
    Admitted {
        until: Option<i64>,
    },
}

impl Admission {
    /// Admits those who belong to the same namespace at one of the trackers.
    #[must_use]
    pub fn new(me: PeerKey, namespace: Namespace, papers: Vec<Papers>) -> Self {
        let trusted = |papers: Papers| {
            let mut trusted = Trusted { certificate: papers.certificate, denied: HashSet::new(), denied_number: 0, renew_at: None };
            let _known = papers.denied.is_some_and(|list| trusted.take_list(papers.tracker, &list));
            (papers.tracker, trusted)
        };
        Self { me, namespace, trackers: papers.into_iter().map(trusted).collect(), peers: HashMap::new() }
    }

    /// The certificates that we show.
    #[must_use]
    pub fn certificates(&self) -> Bounded<CertificateBytes, MAX_CERTIFICATES> {
        Bounded::truncated(self.trackers.values().map(|trusted| trusted.certificate.clone()))
    }

    /// Whether a peer is one of the trackers that we trust.
    #[must_use]
    pub fn is_tracker(&self, peer: &PeerKey) -> bool {
        self.trackers.contains_key(peer)
    }

    /// A connection to a peer is there. Whether it is the first.
    pub fn handle_connected(&mut self, peer: PeerKey, now: Instant) {
        self.peers.entry(peer).or_insert(Guest::Waiting { until: now + PATIENCE });
    }

    /// A peer's last connection is gone.
    pub fn handle_disconnected(&mut self, peer: &PeerKey) {
        self.peers.remove(peer);
        if let Some(trusted) = self.trackers.get_mut(peer) {
            trusted.renew_at = None;
        }
    }

    /// A peer shows certificates, with its hello or its welcome.
    pub fn handle_certificates(&mut self, peer: PeerKey, certificates: &[CertificateBytes], unix_now: i64) -> Verdict {
        let until = certificates.iter().filter_map(|bytes| self.holds(&peer, bytes, unix_now)).max();
        match (until, self.peers.get_mut(&peer)) {
            (Some(until), Some(guest)) => {
                *guest = Guest::Admitted { until: Some(until) };
                Verdict::Admit
            }
            _ => Verdict::Refuse,
        }
    }

    /// A tracker that we trust welcomes us. Returns what is to be remembered.
    pub fn handle_tracker_welcome(&mut self, tracker: PeerKey, welcome: Welcome, unix_now: i64, now: Instant) -> Option<Renewal> {
        let (me, namespace) = (self.me, self.namespace.clone());
        let trusted = self.trackers.get_mut(&tracker)?;
        let certificate = welcome.certificates.into_iter().next()?;
        let (signer, claims) = certificate::open(&certificate).ok()?;
        if signer != tracker || claims.peer != me || claims.in_namespace(&namespace).is_none() {
            return None;
        }
        let life = claims.expires.saturating_sub(unix_now).max(0) / RENEW_AFTER_PART;
        trusted.renew_at = Some(now + Duration::from_secs(life.unsigned_abs()).max(SHORTEST_RENEWAL));
        trusted.certificate = certificate.clone();
        let denied = welcome.denied.filter(|list| trusted.take_list(tracker, list));
        if let Some(guest) = self.peers.get_mut(&tracker) {
            *guest = Guest::Admitted { until: None };
        }
        Some(Renewal { tracker, certificate: Some((certificate, welcome.grants.into_vec())), denied })
    }

    /// A deny list came. Returns what is to be remembered; `None` when it is not from a tracker that we trust, or not new.
    pub fn handle_deny_list(&mut self, from: &PeerKey, list: DenyListBytes) -> Option<Renewal> {
        let trusted = self.trackers.get_mut(from)?;
        trusted.take_list(*from, &list).then_some(Renewal { tracker: *from, certificate: None, denied: Some(list) })
    }

    /// The connected peers that are denied by now: to be dropped after [`handle_deny_list`](Self::handle_deny_list) and
    /// [`handle_tracker_welcome`](Self::handle_tracker_welcome). A peer that another tracker vouches for comes back.
    #[must_use]
    pub fn denied(&self) -> Vec<PeerKey> {
        self.peers.keys().filter(|peer| self.trackers.values().any(|trusted| trusted.denied.contains(*peer))).copied().collect()
    }

    /// Time has passed.
    #[must_use]
    pub fn handle_tick(&mut self, unix_now: i64, now: Instant) -> Vec<Due> {
        let is_over = |guest: &Guest| match guest {
            Guest::Waiting { until } => *until <= now,
            Guest::Admitted { until } => until.is_some_and(|until| until + SKEW_SECONDS <= unix_now),
        };
        let mut due: Vec<Due> = self.peers.iter().filter(|(_, guest)| is_over(guest)).map(|(peer, _)| Due::Drop(*peer)).collect();
        for (tracker, trusted) in &mut self.trackers {
            if trusted.renew_at.is_some_and(|at| at <= now) {
                trusted.renew_at = Some(now + PATIENCE); // if this one is not answered
                due.push(Due::Renew(*tracker));
            }
        }
        due
    }

    /// Until when a certificate that a peer shows lets it in; `None`: it does not.
    fn holds(&self, peer: &PeerKey, bytes: &CertificateBytes, unix_now: i64) -> Option<i64> {
        let (signer, claims) = certificate::open(bytes).ok()?;
        let trusted = self.trackers.get(&signer)?;
        let Claims { peer: whose, issued, expires, .. } = claims;
        let in_time = issued <= unix_now + SKEW_SECONDS && expires + SKEW_SECONDS > unix_now;
        let holds = whose == *peer && in_time && claims.in_namespace(&self.namespace).is_some() && !trusted.denied.contains(peer);
        holds.then_some(expires)
    }
}

impl Trusted {
    /// Takes a deny list if the tracker signed it and it is newer than the one that is held.
    fn take_list(&mut self, tracker: PeerKey, bytes: &DenyListBytes) -> bool {
        let Ok((signer, list)) = certificate::open_list(bytes) else { return false };
        if signer != tracker || list.number <= self.denied_number {
            return false;
        }
        self.denied_number = list.number;
        self.denied = list.peers.into_iter().collect();
        true
    }
}

#[cfg(test)]
mod tests;
