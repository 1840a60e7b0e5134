//! [`NodeLimits`]: every number that bounds what remotes may cost a node, to be set by name.

use potluck_common::conduct::Rates;
use potluck_common::limits::{Field, NetLimits};
use potluck_common::rate::Rate;

use crate::core::upload_slots;

/// The limits of a node, each set by `--limit NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Of the network.
    pub net: NetLimits,
    /// Requests of one peer for bytes of files: at once, and a second. The fastest peer on the same machine asks for a thousand
    /// pieces a second; each that is refused costs a tenth of a millisecond.
    pub pieces: (u64, u64),
    /// Answers with bytes of files that are sent at a time: each holds a body of up to 1 MiB in memory, smaller ones count for less.
    pub uploads: u64,
    /// Requests of one peer that wait to be served: twice what a window asks for.
    pub queued_per_peer: u64,
    /// Requests that wait.
    pub queued: u64,
    /// Searches and listings of peers that run at a time.
    pub searches: u64,
}

impl Default for NodeLimits {
    fn default() -> Self {
        let slots = upload_slots::Config::default();
        Self {
            net: NetLimits::of_node(),
            pieces: (8192, 4096),
            uploads: slots.max_serves as u64,
            queued_per_peer: slots.max_queued_per_peer as u64,
            queued: slots.max_queued as u64,
            searches: 4,
        }
    }
}

impl NodeLimits {
    /// All of them, to be set and shown.
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        let mut fields = self.net.fields();
        fields.extend([
            ("pieces-burst", "requests of one peer for bytes of files, at once", &mut self.pieces.0),
            ("pieces-per-second", "the same a second", &mut self.pieces.1),
            ("uploads", "answers with bytes of files that are sent at a time, 1 MiB of memory each", &mut self.uploads),
            ("queued-per-peer", "requests of one peer that wait for that", &mut self.queued_per_peer),
            ("queued", "requests that wait for that", &mut self.queued),
            ("searches", "searches and listings of peers that run at a time", &mut self.searches),
        ]);
        fields
    }

    /// How often one peer may do what. Nobody registers at a node.
    #[must_use]
    pub fn rates(&self) -> Rates {
        Rates::new(&self.net, Rate::per_second(self.pieces.0, self.pieces.1), Rate::per_minute(1, 1), Rate::per_minute(1, 1))
    }

    /// What the upload slots keep to.
    #[must_use]
    pub(crate) fn slots(&self, limit_up: Option<u64>) -> upload_slots::Config {
        let whole = |limit: u64| usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
        upload_slots::Config {
            max_serves: whole(self.uploads),
            max_queued_per_peer: whole(self.queued_per_peer),
            max_queued: whole(self.queued),
            limit_up,
        }
    }
}

#[cfg(test)]
mod tests {
    use potluck_common::limits::{faults, set};

    use super::*;

    #[test]
    fn what_is_set_counts() {
        let mut limits = NodeLimits::default();
        let names: Vec<&str> = limits.fields().iter().map(|(name, ..)| *name).collect();
        names.iter().for_each(|name| set(limits.fields(), &format!("{name}=7")).unwrap());
        assert!(limits.fields().iter().all(|(.., value)| **value == 7));
        assert_eq!((limits.slots(None).max_serves, limits.rates().pieces.burst), (7, 7));
    }

    #[test]
    fn every_limit_has_its_own_name_and_is_in_the_document() {
        let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ADMINISTRATORS.md")).unwrap();
        assert_eq!(faults(&NodeLimits::default().fields(), &document, 4), Vec::<String>::new());
    }
}
