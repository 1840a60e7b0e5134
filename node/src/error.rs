//! Why a command failed: for the user a sentence with the next step, for a script an exit code.

pub use potluck_common::failure::Failure;
use serde::{Deserialize, Serialize};

/// A command that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// What kind of failure.
    pub failure: Failure,
    /// One sentence, with the next step.
    pub message: String,
}

impl CommandError {
    /// A failure in words.
    pub fn new(failure: Failure, message: impl Into<String>) -> Self {
        Self { failure, message: message.into() }
    }
}
