//! What `potluck-tracker --json` prints beside the lines of `admin.rs`.

use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::InvitationLine;

/// What a tracker tells while it runs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunLine<'a> {
    /// It can be reached at an address.
    Listening {
        /// A multiaddr that ends in its PeerId.
        address: &'a str,
    },
    /// It reads what peers published before it was restarted.
    Restoring {
        /// Files that are read.
        files: u64,
        /// Files that there are.
        of: u64,
    },
    /// All of that is read.
    Restored {
        /// Files that are known from before.
        files: u64,
    },
    /// A private tracker that has no members yet invites the first.
    Invited {
        /// The invitation.
        #[serde(flatten)]
        line: &'a InvitationLine,
    },
    /// Its page is open.
    Page {
        /// Where, as a URL.
        address: &'a str,
    },
}

/// A link to the page that signs in once.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LinkLine<'a> {
    /// A URL.
    pub link: &'a str,
}
