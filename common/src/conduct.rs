//! [`Conduct`]: how the connected peers behave, and what to do with those that behave badly. Pure: the time is an argument.

use std::collections::HashMap;
use std::time::Instant;

use crate::limits::{NetLimits, Stop, Tally};
use crate::peer::PeerKey;
use crate::rate::{Allowance, Rate};

/// What a peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// It asks the index.
    Request,
    /// It asks for bytes of files.
    Piece,
    /// It registers by rendezvous, or tries to.
    Registration,
    /// It asks by rendezvous who is registered: names of namespaces can be guessed.
    Discovery,
    /// It sends what cannot be decoded.
    Malformed,
}

/// What to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Do it.
    Serve,
    /// Tell the peer to ask later.
    Busy,
    /// Close the peer's connections.
    Disconnect,
}

/// How often one peer may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// [`Deed::Request`]; beyond it the peer is told to wait.
    pub requests: Rate,
    /// [`Deed::Piece`]; beyond it the peer is told to wait.
    pub pieces: Rate,
    /// [`Deed::Registration`]; beyond it the peer is cut off.
    pub registrations: Rate,
    /// [`Deed::Discovery`]; beyond it the peer is cut off.
    pub discoveries: Rate,
    /// [`Deed::Malformed`]; beyond it the peer is cut off.
    pub malformed: Rate,
    /// Being told to wait; beyond it the peer is cut off.
    pub patience: Rate,
}

impl Rates {
    /// The rates of these limits, with those that only one kind of program has.
    #[must_use]
    pub fn new(limits: &NetLimits, pieces: Rate, registrations: Rate, discoveries: Rate) -> Self {
        Self {
            requests: Rate::per_second(limits.requests.0, limits.requests.1),
            pieces,
            registrations,
            discoveries,
            malformed: Rate::per_minute(limits.malformed.0, limits.malformed.1),
            patience: Rate::per_second(limits.patience.0, limits.patience.1),
        }
    }
}

/// How the connected peers behave. One account a connected peer, so that the number of connections bounds it.
#[derive(Debug)]
pub struct Conduct {
    rates: Rates,
    tally: Tally,
    peers: HashMap<PeerKey, Account>,
}

#[derive(Debug)]
struct Account {
    requests: Allowance,
    pieces: Allowance,
    registrations: Allowance,
    discoveries: Allowance,
    malformed: Allowance,
    patience: Allowance,
}

impl Conduct {
    /// Nobody has done anything yet. What is refused is counted in `tally`.
    #[must_use]
    pub fn new(rates: Rates, tally: Tally) -> Self {
        Self { rates, tally, peers: HashMap::new() }
    }

    /// A peer does something.
    pub fn handle(&mut self, peer: PeerKey, deed: Deed, now: Instant) -> Verdict {
        let rates = self.rates;
        let account = self.peers.entry(peer).or_insert_with(|| Account::new(&rates, now));
        let (allowance, stop) = match deed {
            Deed::Request => (&mut account.requests, Stop::Requests),
            Deed::Piece => (&mut account.pieces, Stop::Pieces),
            Deed::Registration => (&mut account.registrations, Stop::Registrations),
            Deed::Discovery => (&mut account.discoveries, Stop::Discoveries),
            Deed::Malformed => (&mut account.malformed, Stop::Malformed),
        };
        if allowance.take(now) {
            return Verdict::Serve;
        }
        self.tally.count(stop);
        if matches!(deed, Deed::Registration | Deed::Discovery | Deed::Malformed) {
            return Verdict::Disconnect;
        }
        if account.patience.take(now) {
            return Verdict::Busy;
        }
        self.tally.count(Stop::Patience);
        Verdict::Disconnect
    }

    /// A peer's last connection was closed.
    pub fn handle_lost(&mut self, peer: &PeerKey) {
        self.peers.remove(peer);
    }
}

impl Account {
    fn new(rates: &Rates, now: Instant) -> Self {
        Self {
            requests: Allowance::new(rates.requests, now),
            pieces: Allowance::new(rates.pieces, now),
            registrations: Allowance::new(rates.registrations, now),
            discoveries: Allowance::new(rates.discoveries, now),
            malformed: Allowance::new(rates.malformed, now),
            patience: Allowance::new(rates.patience, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[allow(clippy::disallowed_methods)] // an Instant has no other beginning; only differences to it matter
    fn beginning() -> Instant {
        Instant::now()
    }

    fn peer(number: u8) -> PeerKey {
        PeerKey::from_ed25519(&[number; 32])
    }

    fn conduct() -> (Conduct, Tally) {
        let tally = Tally::default();
        let rates = Rates {
            requests: Rate::per_second(200, 50),
            pieces: Rate::per_second(800, 400),
            registrations: Rate::per_minute(16, 6),
            discoveries: Rate::per_minute(120, 60),
            malformed: Rate::per_minute(16, 6),
            patience: Rate::per_second(100, 10),
        };
        (Conduct::new(rates, tally.clone()), tally)
    }

    fn count(tally: &Tally, name: &str) -> u64 {
        tally.counts().iter().find(|(known, _)| *known == name).unwrap().1
    }

    /// G053: every rate at its limit and one beyond, with its count.
    #[test]
    fn each_deed_is_served_up_to_its_rate_and_not_once_more() {
        for (deed, most, beyond, name) in [
            (Deed::Request, 200, Verdict::Busy, "requests"),
            (Deed::Piece, 800, Verdict::Busy, "pieces"),
            (Deed::Registration, 16, Verdict::Disconnect, "registrations"),
            (Deed::Discovery, 120, Verdict::Disconnect, "discoveries"),
            (Deed::Malformed, 16, Verdict::Disconnect, "malformed"),
        ] {
            let ((mut conduct, tally), now) = (conduct(), beginning());
            assert!((0..most).all(|_| conduct.handle(peer(1), deed, now) == Verdict::Serve), "{deed:?} {most}");
            assert_eq!(count(&tally, name), 0);
            assert_eq!(conduct.handle(peer(1), deed, now), beyond, "{deed:?} {most} + 1");
            assert_eq!(count(&tally, name), 1);
            assert_eq!(conduct.handle(peer(2), deed, now), Verdict::Serve, "another peer pays for nothing");
            assert_eq!(conduct.handle(peer(1), deed, now + Duration::from_secs(60)), Verdict::Serve, "and time heals");
        }
    }

    #[test]
    fn who_does_not_wait_when_told_to_is_cut_off() {
        let ((mut conduct, tally), now) = (conduct(), beginning());
        let verdicts: Vec<Verdict> = (0..301).map(|_| conduct.handle(peer(1), Deed::Request, now)).collect();
        assert!(verdicts[..200].iter().all(|verdict| *verdict == Verdict::Serve));
        assert!(verdicts[200..300].iter().all(|verdict| *verdict == Verdict::Busy));
        assert_eq!(verdicts[300], Verdict::Disconnect);
        assert_eq!((count(&tally, "requests"), count(&tally, "patience")), (101, 1));
    }

    #[test]
    fn an_occasional_unknown_request_never_adds_up() {
        let ((mut conduct, _), mut now) = (conduct(), beginning());
        for _ in 0..1000 {
            now += Duration::from_secs(10);
            assert_eq!(conduct.handle(peer(1), Deed::Malformed, now), Verdict::Serve);
        }
    }

    #[test]
    fn a_peer_that_left_is_forgotten() {
        let ((mut conduct, _), now) = (conduct(), beginning());
        assert!((0..50).all(|number| conduct.handle(peer(number), Deed::Request, now) == Verdict::Serve));
        (0..50).for_each(|number| conduct.handle_lost(&peer(number)));
        assert!(conduct.peers.is_empty());
    }
}
