//! [`Attendance`]: who is connected to this tracker, and what of that the other trackers have not been told. Pure.
//!
//! The states and their changes are those of [`catalog`](crate::catalog); what there is switched in an index is here a row
//! that comes or goes in a table.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;

use crate::admin::{NamespaceLine, PeerLine, PeersPage};
use crate::catalog::GRACE;

/// Whether a peer is here, in a namespace.
pub(super) type Mark = (Namespace, PeerKey, bool);

/// Who is here. An item for each registration that a connected peer made here, or one that has just left.
#[derive(Debug, Default)]
pub(crate) struct Attendance {
    peers: HashMap<PeerKey, BTreeMap<Namespace, Attendee>>,
    /// All who are connected, registered or not.
    connected: HashSet<PeerKey>,
    /// What the database is to be told. At most one a registration.
    untold: HashMap<(Namespace, PeerKey), bool>,
}

#[derive(Debug)]
struct Attendee {
    presence: Presence,
    /// Of one that registered by rendezvous only: when that ends.
    guest_until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Online,
    Silent,
    Grace { until: Instant },
    Away,
}

impl Presence {
    fn is_told(self) -> bool {
        matches!(self, Self::Online | Self::Grace { .. })
    }
}

impl Attendance {
    /// A peer has published, or renewed its lease; it may have left meanwhile.
    pub(super) fn handle_published(&mut self, namespace: &Namespace, peer: PeerKey, now: Instant) {
        let presence = if self.connected.contains(&peer) { Presence::Online } else { Presence::Grace { until: now + GRACE } };
        self.note(namespace, peer, Attendee { presence, guest_until: None });
    }

    /// A peer has registered by rendezvous, for `ttl`.
    pub(super) fn handle_rendezvous(&mut self, namespace: &Namespace, peer: PeerKey, ttl: Duration, now: Instant) {
        let known = self.peers.get(&peer).and_then(|of_peer| of_peer.get(namespace));
        if known.is_none_or(|known| known.guest_until.is_some()) {
            self.note(namespace, peer, Attendee { presence: Presence::Online, guest_until: Some(now + ttl) });
        }
    }

    fn note(&mut self, namespace: &Namespace, peer: PeerKey, attendee: Attendee) {
        // Told again although it may be known: an older word that it left may still be on its way.
        self.untold.insert((namespace.clone(), peer), true);
        self.peers.entry(peer).or_default().insert(namespace.clone(), attendee);
    }

    /// A peer has left a namespace, or all: there is nothing that others could be told of.
    pub(super) fn forget(&mut self, peer: &PeerKey, namespace: Option<&Namespace>) {
        let Some(of_peer) = self.peers.get_mut(peer) else { return };
        let is_meant = |name: &Namespace| namespace.is_none_or(|meant| meant == name);
        of_peer.retain(|name, _| !is_meant(name));
        self.untold.retain(|(name, key), _| !(key == peer && is_meant(name)));
        if of_peer.is_empty() {
            self.peers.remove(peer);
        }
    }

    /// A peer has connected.
    pub(crate) fn handle_connected(&mut self, peer: &PeerKey) {
        self.connected.insert(*peer);
        self.change(peer, |attendee| if attendee.guest_until.is_some() { Presence::Online } else { attendee.presence });
    }

    /// A peer's last connection was closed.
    pub(crate) fn handle_lost(&mut self, peer: &PeerKey, now: Instant) {
        self.connected.remove(peer);
        self.change(peer, |attendee| match attendee.presence {
            Presence::Online => Presence::Grace { until: now + GRACE },
            Presence::Silent => Presence::Away,
            other => other,
        });
    }

    /// A connected peer does not answer pings.
    pub(crate) fn handle_silent(&mut self, peer: &PeerKey) {
        self.change(peer, |attendee| if attendee.presence == Presence::Online { Presence::Silent } else { attendee.presence });
    }

    /// A silent peer answers pings again.
    pub(crate) fn handle_heard(&mut self, peer: &PeerKey) {
        self.change(peer, |attendee| if attendee.presence == Presence::Silent { Presence::Online } else { attendee.presence });
    }

    /// The database has forgotten this tracker: all who are here are to be told again.
    pub(super) fn tell_all(&mut self) {
        for (peer, of_peer) in &self.peers {
            let told = of_peer.iter().filter(|(_, attendee)| attendee.presence.is_told());
            self.untold.extend(told.map(|(namespace, _)| ((namespace.clone(), *peer), true)));
        }
    }

    /// Time has passed. What the database is to be told since the last call.
    pub(super) fn handle_tick(&mut self, now: Instant) -> Vec<Mark> {
        let over = |attendee: &Attendee| matches!(attendee.presence, Presence::Grace { until } if until <= now);
        let leaving: Vec<PeerKey> = self.peers.iter().filter(|(_, all)| all.values().any(over)).map(|(peer, _)| *peer).collect();
        for peer in leaving {
            self.change(&peer, |attendee| if over(attendee) { Presence::Away } else { attendee.presence });
        }
        // Who publishes comes back by publishing; a guest does by connecting, as long as it is registered.
        self.peers.retain(|_, of_peer| {
            of_peer.retain(|_, attendee| match attendee.guest_until {
                Some(until) => until > now,
                None => attendee.presence != Presence::Away,
            });
            !of_peer.is_empty()
        });
        self.untold.drain().map(|((namespace, peer), is_here)| (namespace, peer, is_here)).collect()
    }

    /// These could not be told; what has changed since is not touched.
    pub(super) fn handle_untold(&mut self, marks: Vec<Mark>) {
        for (namespace, peer, is_here) in marks {
            self.untold.entry((namespace, peer)).or_insert(is_here);
        }
    }

    /// The namespaces by name, with who is here in each. What they offer is in the database.
    pub(in crate::index) fn namespaces(&self) -> Vec<NamespaceLine> {
        let mut here: BTreeMap<&Namespace, u64> = BTreeMap::new();
        for (namespace, attendee) in self.peers.values().flatten() {
            *here.entry(namespace).or_default() += u64::from(attendee.presence.is_told());
        }
        let line = |(namespace, peers): (&Namespace, u64)| NamespaceLine {
            namespace: namespace.to_string(),
            peers,
            parked: None,
            files: None,
            bytes: None,
        };
        here.into_iter().map(line).collect()
    }

    /// Some of those who are here, in the order of namespaces and PeerIds, and how many there are.
    pub(in crate::index) fn registered(&self, offset: u64, limit: u32) -> PeersPage {
        let of_peer = |(peer, of_peer): (&PeerKey, &BTreeMap<Namespace, Attendee>)| -> Vec<_> {
            of_peer.iter().map(|(namespace, attendee)| (namespace.clone(), *peer, attendee.presence.is_told())).collect()
        };
        let mut all: Vec<Mark> = self.peers.iter().flat_map(of_peer).collect();
        all.sort_unstable();
        let total = all.len() as u64;
        let wanted = all.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(limit as usize);
        let line = |(namespace, peer, online): Mark| PeerLine {
            peer_id: peer.to_string(),
            nickname: None,
            namespace: namespace.to_string(),
            addresses: Vec::new(),
            files: None,
            bytes: None,
            online,
        };
        PeersPage { items: wanted.map(line).collect(), total }
    }

    fn change(&mut self, peer: &PeerKey, change: impl Fn(&Attendee) -> Presence) {
        for (namespace, attendee) in self.peers.get_mut(peer).into_iter().flatten() {
            let after = change(attendee);
            let before = std::mem::replace(&mut attendee.presence, after);
            if before.is_told() != attendee.presence.is_told() {
                self.untold.insert((namespace.clone(), *peer), attendee.presence.is_told());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::some_time;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer() -> PeerKey {
        PeerKey::from_ed25519(&[7; 32])
    }

    /// With one peer that is connected and has not registered.
    fn with_a_peer() -> Attendance {
        let mut attendance = Attendance::default();
        attendance.handle_connected(&peer());
        attendance
    }

    fn marks(attendance: &mut Attendance, now: Instant) -> Vec<bool> {
        attendance.handle_tick(now).into_iter().map(|(_, _, is_here)| is_here).collect()
    }

    #[test]
    fn who_leaves_is_told_of_for_two_more_seconds() {
        let now = some_time();
        let mut attendance = with_a_peer();
        attendance.handle_published(&Namespace::default(), peer(), now);
        assert_eq!(marks(&mut attendance, now), [true]);
        attendance.handle_lost(&peer(), now);
        assert!(marks(&mut attendance, now + SECOND).is_empty());
        assert_eq!(marks(&mut attendance, now + GRACE), [false]);
        assert!(attendance.peers.is_empty(), "nothing is kept of who is gone");
        attendance.handle_connected(&peer());
        assert!(marks(&mut attendance, now + GRACE).is_empty(), "a connection alone brings nobody back who publishes");
    }

    #[test]
    fn who_is_silent_is_out_at_once_and_back_when_it_is_heard() {
        let now = some_time();
        let mut attendance = with_a_peer();
        attendance.handle_published(&Namespace::default(), peer(), now);
        attendance.handle_silent(&peer());
        assert_eq!(marks(&mut attendance, now), [false], "the last word counts");
        attendance.handle_silent(&peer());
        attendance.handle_published(&Namespace::default(), peer(), now);
        attendance.handle_silent(&peer());
        attendance.handle_heard(&peer());
        assert_eq!(marks(&mut attendance, now), [true]);
    }

    #[test]
    fn who_is_here_is_listed_by_namespace_and_nothing_is_made_up_about_what_it_offers() {
        let now = some_time();
        let mut attendance = with_a_peer();
        let other = Namespace::new("a-first").unwrap();
        attendance.handle_published(&other, peer(), now);
        attendance.handle_published(&Namespace::default(), peer(), now);
        attendance.handle_published(&Namespace::default(), PeerKey::from_ed25519(&[8; 32]), now);
        let lines = attendance.namespaces();
        let counts: Vec<_> = lines.iter().map(|line| (line.namespace.as_str(), line.peers, line.files)).collect();
        assert_eq!(counts, [("a-first", 1, None), (Namespace::default().as_str(), 2, None)]);
        let page = attendance.registered(1, 1);
        assert_eq!((page.total, page.items.len()), (3, 1));
        attendance.handle_silent(&peer());
        assert_eq!(attendance.registered(0, 1).items.first().map(|line| line.online), Some(false), "silent: not told of");
    }

    #[test]
    fn who_left_while_it_published_is_in_grace() {
        let now = some_time();
        let mut attendance = with_a_peer();
        attendance.handle_lost(&peer(), now);
        attendance.handle_published(&Namespace::default(), peer(), now);
        assert_eq!(marks(&mut attendance, now), [true]);
        assert_eq!(marks(&mut attendance, now + GRACE), [false]);
    }

    #[test]
    fn a_guest_is_back_with_its_connection_until_its_registration_ends() {
        let now = some_time();
        let mut attendance = with_a_peer();
        attendance.handle_rendezvous(&Namespace::default(), peer(), 60 * SECOND, now);
        attendance.handle_lost(&peer(), now);
        assert_eq!(marks(&mut attendance, now + GRACE), [false]);
        attendance.handle_connected(&peer());
        assert_eq!(marks(&mut attendance, now + GRACE), [true]);
        let _told = attendance.handle_tick(now + 60 * SECOND);
        assert!(attendance.peers.is_empty());
    }

    #[test]
    fn what_could_not_be_told_is_told_later_unless_it_has_changed() {
        let now = some_time();
        let mut attendance = with_a_peer();
        attendance.handle_published(&Namespace::default(), peer(), now);
        let failed = attendance.handle_tick(now);
        attendance.handle_silent(&peer());
        attendance.handle_untold(failed);
        assert_eq!(marks(&mut attendance, now), [false]);
        attendance.handle_heard(&peer());
        let _told = attendance.handle_tick(now);
        attendance.tell_all();
        assert_eq!(marks(&mut attendance, now), [true]);
    }
}
