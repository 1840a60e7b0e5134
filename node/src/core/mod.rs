//! What a node decides, as pure state machines: no file, no socket, no task, no clock.
//!
//! Each machine keeps the same contract. Getters tell; `handle_…` takes what happened; plain verbs take what the user
//! wants; `poll_…` gives what must be done next. The time comes in as an argument, randomness as a seed, so that a test
//! plays a day in a millisecond and the same seed plays the same day. After every call that may have changed something,
//! the owner empties the `poll_…` methods, and sleeps no longer than `poll_timeout` says.
//!
//! | module | decides |
//! |---|---|
//! | [`audience`] | who a share is for |
//! | [`admission`] | who is let in by a node of a private swarm |
//! | [`scheduler`] | which peer is asked for which piece of which file, now |
//! | [`load`] | by which connection the next request goes |
//! | [`upload_slots`] | which peer is served now, and which waits |
//! | [`registration`] | what to tell a tracker next, and when |
//! | [`journal`] | what is in the shares, and what changed since a tracker last heard of them |
//! | [`stamp`] | by what a file is known without reading it |
//! | [`folder_view`] | what lies directly in a folder of a peer |
//! | [`rescans`] | which share is listed again after the disk said that something changed |
//! | [`upload_ledger`] | nothing: what was sent to whom, to be shown |
//! | [`piece_set`] | some of the pieces of a file, one bit each |

pub mod admission;
pub mod audience;
pub mod folder_view;
pub mod journal;
pub mod load;
pub mod piece_set;
pub mod registration;
pub mod rescans;
pub mod scheduler;
pub mod stamp;
pub mod upload_ledger;
pub mod upload_slots;

mod download;
mod hash_list;
mod lanes;
mod lots;
mod peer_book;
mod pieces;
mod window;

#[cfg(test)]
pub(crate) mod testing {
    //! What the tests of several machines need.

    use std::time::Instant;

    use potluck_common::peer::PeerKey;

    /// Some time to count from.
    #[allow(clippy::disallowed_methods)] // an Instant has no other beginning; only differences to it matter
    pub(crate) fn beginning() -> Instant {
        Instant::now()
    }

    /// A peer for each number.
    pub(crate) fn peer(number: u32) -> PeerKey {
        let mut bytes = vec![0, 36];
        bytes.extend([8, 1, 18, 32]);
        bytes.extend([0; 28]);
        bytes.extend(number.to_be_bytes());
        PeerKey::from_bytes(&bytes).unwrap()
    }
}
