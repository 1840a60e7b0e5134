//! What happens to a node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to a node in the foreground.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// It can be reached at an address.
    Listening {
        /// With the PeerId.
        address: String,
    },
    /// Its page can be opened in a browser.
    Page {
        /// Where.
        address: String,
    },
    /// A tracker has it registered.
    Registered {
        /// Which tracker.
        tracker: String,
        /// Where.
        namespace: String,
    },
    /// A tracker has it registered no longer, or refuses it.
    TrackerLost {
        /// Which tracker.
        tracker: String,
        /// Why, in a sentence with the next step.
        error: String,
    },
    /// Every share is listed: names can be searched.
    Listed {
        /// Files.
        files: u64,
        /// Bytes in them.
        bytes: u64,
    },
    /// Every share is hashed: all files can be downloaded.
    Indexed {
        /// Files.
        files: u64,
        /// Bytes in them.
        bytes: u64,
    },
    /// A peer sent bytes that do not verify; it is not asked again.
    PeerBanned {
        /// Which.
        peer_id: String,
        /// What it did.
        error: String,
    },
    /// Something that the user should know and the node goes on with.
    Warning {
        /// A sentence with the next step.
        message: String,
    },
}
