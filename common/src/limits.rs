//! What remotes may cost, as numbers that whoever runs a program may set (`--limit NAME=VALUE`), and how often each was
//! what stopped somebody ([`Tally`]).
//!
//! Sizes of messages, pages and streams are no such numbers: they are part of the protocols ([`wire`](crate::wire)), where both sides have to
//! keep the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::rate::Rate;

/// A limit as it is set: its name, what it is, and its value.
pub type Field<'a> = (&'static str, &'static str, &'a mut u64);

/// Limits of the network, which trackers and nodes have alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetLimits {
    /// Connections at once that others made.
    pub connections: u64,
    /// Handshakes at once of connections that others make.
    pub pending: u64,
    /// Connections with one peer.
    pub connections_per_peer: u64,
    /// Connections and handshakes from one address.
    pub connections_per_address: u64,
    /// The same from one network.
    pub connections_per_network: u64,
    /// Connections made from one address: at once, and a second.
    pub connects: (u64, u64),
    /// Requests of one peer to the index: at once, and a second.
    pub requests: (u64, u64),
    /// Messages of one peer that cannot be decoded: at once, and a minute.
    pub malformed: (u64, u64),
    /// Refusals in a row that a peer may ignore before it is cut off: at once, and a second.
    pub patience: (u64, u64),
    /// Seconds for which a peer that was cut off is not let in again.
    pub ban_seconds: u64,
}

impl NetLimits {
    /// What a tracker starts with: open to thousands of peers.
    #[must_use]
    pub fn of_tracker() -> Self {
        Self {
            connections: 10_000,         // one costs about 41 KiB, all of them 400 MiB
            pending: 256, // each costs half a millisecond of one core; one network has an eighth at most: a long path asks for 16 at once
            connections_per_peer: 4, // TCP and QUIC, and as many that are dead but not given up yet
            connections_per_address: 64, // the nodes of a household or an office behind one router, each with TCP and QUIC
            connections_per_network: 256,
            connects: (64, 4),   // all of a household at once, then those who try again
            requests: (200, 50), // a browser that pages through a large folder asks for some ten pages a second
            malformed: (16, 6),  // a newer node may try a few that this program does not know
            patience: (200, 10),
            ban_seconds: 60, // long enough to make it dear, short enough for a mistake
        }
    }

    /// What a node starts with: enough for hundreds of peers, too few to exhaust file handles.
    #[must_use]
    pub fn of_node() -> Self {
        // A long path that loses packets is given up to 40 connections.
        Self { connections: 512, connections_per_peer: 48, ..Self::of_tracker() }
    }

    /// All of them, to be set and shown.
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            ("connections", "connections at once that others made", &mut self.connections),
            ("pending", "handshakes at once", &mut self.pending),
            ("connections-per-peer", "connections with one peer", &mut self.connections_per_peer),
            ("connections-per-address", "connections from one address, or one /64 of IPv6", &mut self.connections_per_address),
            ("connections-per-network", "connections from one network: a /24 of IPv4, a /48 of IPv6", &mut self.connections_per_network),
            ("connects-burst", "new connections from one address at once", &mut self.connects.0),
            ("connects-per-second", "new connections from one address a second", &mut self.connects.1),
            ("requests-burst", "searches, listings and other questions of one peer at once", &mut self.requests.0),
            ("requests-per-second", "the same a second", &mut self.requests.1),
            ("malformed-burst", "messages of one peer that make no sense, at once", &mut self.malformed.0),
            ("malformed-per-minute", "the same a minute", &mut self.malformed.1),
            ("patience-burst", "requests beyond its rate for which a peer is only told to wait, at once", &mut self.patience.0),
            ("patience-per-second", "the same a second; who goes on is cut off", &mut self.patience.1),
            ("ban-seconds", "seconds for which a peer that was cut off stays out", &mut self.ban_seconds),
        ]
    }

    /// New connections from one address.
    #[must_use]
    pub fn connect_rate(&self) -> Rate {
        Rate::per_second(self.connects.0, self.connects.1)
    }
}

/// Sets a limit from `NAME=VALUE`.
///
/// # Errors
/// A sentence with the names that there are.
pub fn set(fields: Vec<Field<'_>>, text: &str) -> Result<(), String> {
    let names = || fields.iter().map(|(name, _, _)| *name).collect::<Vec<_>>().join(", ");
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("`{text}` is no limit; give NAME=VALUE, with one of these names: {}", names()));
    };
    let Ok(value) = value.parse::<u64>() else {
        return Err(format!("`{value}` is no value for {name}; give a whole number"));
    };
    let unknown = format!("there is no limit `{name}`; there are {}", names());
    let field = fields.into_iter().find(|(known, _, _)| *known == name).ok_or(unknown)?;
    *field.2 = value;
    Ok(())
}

/// What stopped somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `connections`.
    Connections,
    /// `pending`.
    Pending,
    /// `connections-per-peer`.
    ConnectionsPerPeer,
    /// `connections-per-address`.
    ConnectionsPerAddress,
    /// `connections-per-network`.
    ConnectionsPerNetwork,
    /// `connects-…`.
    Connects,
    /// A peer that was cut off came back within `ban-seconds`.
    Banned,
    /// `requests-…`: told to wait.
    Requests,
    /// `pieces-…`: told to wait.
    Pieces,
    /// `registrations-…`: cut off.
    Registrations,
    /// `discoveries-…`: cut off.
    Discoveries,
    /// `malformed-…`: cut off.
    Malformed,
    /// `patience-…`: cut off.
    Patience,
    /// A quota of the index: refused.
    Quota,
    /// An invitation that admits nobody: refused.
    BadInvitation,
    /// `queued…`: told to wait.
    Uploads,
    /// It read too slowly: cut off.
    SlowReader,
    /// It sent what is not what its content id says: not asked again.
    Lie,
}

impl Stop {
    /// All of them with the names that metrics have for them.
    pub const ALL: [(Self, &'static str); 18] = [
        (Self::Connections, "connections"),
        (Self::Pending, "pending"),
        (Self::ConnectionsPerPeer, "connections_per_peer"),
        (Self::ConnectionsPerAddress, "connections_per_address"),
        (Self::ConnectionsPerNetwork, "connections_per_network"),
        (Self::Connects, "connects"),
        (Self::Banned, "banned"),
        (Self::Requests, "requests"),
        (Self::Pieces, "pieces"),
        (Self::Registrations, "registrations"),
        (Self::Discoveries, "discoveries"),
        (Self::Malformed, "malformed"),
        (Self::Patience, "patience"),
        (Self::Quota, "quota"),
        (Self::BadInvitation, "bad_invitation"),
        (Self::Uploads, "uploads"),
        (Self::SlowReader, "slow_reader"),
        (Self::Lie, "lie"),
    ];
}

/// How often each limit stopped somebody. Cloning shares the counts.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<[AtomicU64; Stop::ALL.len()]>);

impl Tally {
    /// Counts one.
    pub fn count(&self, stop: Stop) {
        if let Some(count) = self.0.get(stop as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts since the start, by the names that metrics have for them.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        Stop::ALL.iter().zip(&*self.0).map(|((_, name), count)| (*name, count.load(Ordering::Relaxed))).collect()
    }
}

/// What is wrong with the limits of a program, a sentence each: for the tests of whoever has some. Each has a name of its own, and a row of
/// a table in `document` that tells it, what it is, and in the column of that number its value.
#[must_use]
pub fn faults(fields: &[Field<'_>], document: &str, column: usize) -> Vec<String> {
    let mut faults = Vec::new();
    for (place, (name, about, value)) in fields.iter().enumerate() {
        if fields.iter().take(place).any(|(other, ..)| other == name) {
            faults.push(format!("two limits are called `{name}`"));
        }
        let row = document.lines().find(|line| line.starts_with(&format!("| `{name}` | {about} |")));
        let told = row.and_then(|row| row.split('|').map(str::trim).nth(column));
        if told != Some(value.to_string().as_str()) {
            faults.push(format!("the document says {told:?} of `{name}`, which is {value}"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> NetLimits {
        NetLimits::of_tracker()
    }

    #[test]
    fn every_limit_can_be_set_by_its_name() {
        let mut set_all = limits();
        let names: Vec<&str> = limits().fields().iter().map(|(name, _, _)| *name).collect();
        for (value, name) in names.iter().enumerate() {
            set(set_all.fields(), &format!("{name}={}", value + 100)).unwrap();
        }
        let values: Vec<u64> = set_all.fields().into_iter().map(|(_, _, value)| *value).collect();
        assert_eq!(values, (0..names.len() as u64).map(|value| value + 100).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_limit_is_told_with_those_that_there_are() {
        for wrong in ["", "connections", "connections=", "connections=many", "connections=-1", "nothing=3"] {
            let why = set(limits().fields(), wrong).unwrap_err();
            assert!(why.contains("whole number") || why.contains("connections-per-address"), "{wrong}: {why}");
        }
    }

    #[test]
    fn a_name_that_is_there_twice_and_a_document_that_says_something_else_are_faults() {
        let (mut one, mut two) = (1, 2);
        let fields: Vec<Field<'_>> = vec![("a", "some", &mut one), ("a", "some", &mut two)];
        let faults = faults(&fields, "| `a` | some | 1 |", 3);
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn each_count_has_its_own_place() {
        let tally = Tally::default();
        for (place, (stop, _)) in Stop::ALL.iter().enumerate() {
            assert_eq!(*stop as usize, place);
            (0..=place).for_each(|_| tally.count(*stop));
        }
        let counts: Vec<u64> = tally.counts().iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, (1..=Stop::ALL.len() as u64).collect::<Vec<_>>());
    }
}
