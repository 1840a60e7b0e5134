//! What `verify` tells.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of a finished download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum VerifyLine {
    /// It is what it was.
    Intact {
        /// Where.
        path: String,
        /// Which content.
        content_id: String,
        /// Bytes in the file.
        bytes: u64,
    },
    /// It was damaged, and is right now.
    Repaired {
        /// Where.
        path: String,
        /// Which content.
        content_id: String,
        /// Bytes in the file.
        bytes: u64,
        /// Bytes that were fetched for it.
        fetched: u64,
        /// Where the damaged file is now.
        kept: Option<String>,
    },
    /// It is damaged.
    Damaged {
        /// Where.
        path: String,
        /// Which content it should be.
        content_id: String,
        /// Bytes that it should have.
        bytes: u64,
        /// Why it could not be read or repaired, if that was tried.
        error: Option<String>,
    },
    /// It was moved or deleted.
    Missing {
        /// Where it was.
        path: String,
        /// Which content.
        content_id: String,
        /// Bytes that it had.
        bytes: u64,
    },
}
