//! [`TrackerLimits`]: every number that bounds what remotes may cost a tracker, to be set by name.

use potluck_common::conduct::Rates;
use potluck_common::limits::{Field, NetLimits};
use potluck_common::rate::Rate;

use crate::lobby::MAX_FAILURES;
use crate::quota::Limits;

/// The limits of a tracker, each set by `--limit NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerLimits {
    /// Of the network.
    pub net: NetLimits,
    /// Rendezvous registrations of one peer: at once, and a minute. libp2p's server keeps each until its TTL ends (two hours at most),
    /// also when it was superseded, so that a peer that registers in a loop would fill the memory.
    pub registrations: (u64, u64),
    /// Discoveries of one peer by rendezvous: at once, and a minute. A name that is guessed costs one.
    pub discoveries: (u64, u64),
    /// Wrong invitations an hour, from one address or of one peer.
    pub bad_invitations: u64,
    /// Of the index.
    pub index: Limits,
}

impl Default for TrackerLimits {
    fn default() -> Self {
        Self {
            net: NetLimits::of_tracker(),
            registrations: (16, 6),
            discoveries: (120, 60),
            bad_invitations: u64::from(MAX_FAILURES),
            index: Limits::default(),
        }
    }
}

impl TrackerLimits {
    /// All of them, to be set and shown.
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        let mut fields = self.net.fields();
        fields.extend([
            ("registrations-burst", "rendezvous registrations of one peer at once", &mut self.registrations.0),
            ("registrations-per-minute", "the same a minute", &mut self.registrations.1),
            ("discoveries-burst", "rendezvous discoveries of one peer at once", &mut self.discoveries.0),
            ("discoveries-per-minute", "the same a minute; who goes on is cut off", &mut self.discoveries.1),
            ("bad-invitations", "wrong invitations an hour from one address or by one peer", &mut self.bad_invitations),
        ]);
        fields.extend(self.index.fields());
        fields
    }

    /// How often one peer may do what. Bytes of files are not asked for here.
    #[must_use]
    pub fn rates(&self) -> Rates {
        let per_minute = |(burst, count)| Rate::per_minute(burst, count);
        Rates::new(&self.net, Rate::per_second(1, 1), per_minute(self.registrations), per_minute(self.discoveries))
    }
}

#[cfg(test)]
mod tests {
    use potluck_common::limits::{faults, set};

    use super::*;

    #[test]
    fn what_is_set_counts() {
        let mut limits = TrackerLimits::default();
        let names: Vec<&str> = limits.fields().iter().map(|(name, ..)| *name).collect();
        names.iter().for_each(|name| set(limits.fields(), &format!("{name}=7")).unwrap());
        assert!(limits.fields().iter().all(|(.., value)| **value == 7));
        assert_eq!((limits.index.files, limits.rates().registrations.burst), (7, 7));
    }

    #[test]
    fn every_limit_has_its_own_name_and_is_in_the_document() {
        let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ADMINISTRATORS.md")).unwrap();
        assert_eq!(faults(&TrackerLimits::default().fields(), &document, 3), Vec::<String>::new());
    }
}
