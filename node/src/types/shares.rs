//! What is told of a share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShareLine {
    /// Its name.
    pub name: String,
    /// Its folder on this machine; peers are never told.
    pub dir: String,
    /// Who it is for, each a PeerId or a namespace; empty: everybody.
    #[serde(rename = "for")]
    pub guests: Vec<String>,
    /// `listing`, `hashing`, `ready`, or `offline`.
    pub state: String,
    /// Files.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Bytes that are hashed.
    pub hashed_bytes: u64,
    /// What is not shared, and why: some of it.
    pub skipped: Vec<String>,
    /// How much is not shared.
    pub skipped_count: u64,
}
