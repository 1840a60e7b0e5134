//! Memberships as they are remembered: what a private tracker gave us, and where it is.

use potluck_common::peer::PeerKey;
use potluck_common::wire::admit::{CertificateBytes, DenyListBytes, Grant};
use serde::{Deserialize, Serialize};

use super::database::StateError;
use super::state::State;

/// The name of the list in the database.
const MEMBERSHIPS: &str = "memberships";
/// Most memberships; the one that was renewed longest ago makes room.
const MAX_MEMBERSHIPS: usize = 16;

/// A membership of a private swarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipRecord {
    /// Who admitted us.
    pub tracker: PeerKey,
    /// Where it listens, as multiaddrs without a PeerId.
    pub addresses: Vec<String>,
    /// What we may do, in the order in which it was granted.
    pub grants: Vec<Grant>,
    /// Our certificate.
    pub certificate: CertificateBytes,
    /// Whose certificates are void.
    pub denied: Option<DenyListBytes>,
}

impl State {
    /// All memberships, the one that was joined last first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn memberships(&self) -> Result<Vec<MembershipRecord>, StateError> {
        Ok(self.meta(MEMBERSHIPS)?.unwrap_or_default())
    }

    /// Remembers a membership, as the one that was joined last.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_membership(&self, record: &MembershipRecord) -> Result<(), StateError> {
        let mut all = self.memberships()?;
        all.retain(|known| known.tracker != record.tracker);
        all.insert(0, record.clone());
        all.truncate(MAX_MEMBERSHIPS);
        self.put_meta(MEMBERSHIPS, &all)
    }

    /// Changes a membership, if it is there.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn edit_membership(&self, tracker: &PeerKey, change: impl FnOnce(&mut MembershipRecord)) -> Result<(), StateError> {
        let mut all = self.memberships()?;
        match all.iter_mut().find(|known| known.tracker == *tracker) {
            Some(known) => change(known),
            None => return Ok(()),
        }
        self.put_meta(MEMBERSHIPS, &all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use potluck_common::namespace::Namespace;

    fn record(number: u8) -> MembershipRecord {
        MembershipRecord {
            tracker: PeerKey::from_ed25519(&[number; 32]),
            addresses: vec![format!("/ip4/192.0.2.{number}/tcp/9470")],
            grants: vec![Grant { namespace: Namespace::default(), read_only: number > 2 }],
            certificate: CertificateBytes::truncated(&[number; 5]),
            denied: None,
        }
    }

    #[test]
    fn the_last_joined_comes_first_and_an_edit_keeps_the_order() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        assert!(state.memberships().unwrap().is_empty());
        for number in [1, 2, 1, 3] {
            state.put_membership(&record(number)).unwrap();
        }
        assert_eq!(state.memberships().unwrap(), [record(3), record(1), record(2)]);
        let list = DenyListBytes::truncated(b"list");
        state.edit_membership(&record(1).tracker, |known| known.denied = Some(list.clone())).unwrap();
        state.edit_membership(&record(9).tracker, |known| known.addresses.clear()).unwrap();
        drop(state);
        let known = State::open(dir.path()).unwrap().memberships().unwrap();
        assert_eq!(known, [record(3), MembershipRecord { denied: Some(list), ..record(1) }, record(2)]);
    }
}
