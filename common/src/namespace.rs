//! [`Namespace`]: the group in which nodes register, search and share.

use serde::{Deserialize, Serialize};

/// Longest namespace in bytes of UTF-8: what libp2p's rendezvous protocol accepts.
pub const MAX_NAMESPACE_BYTES: usize = 255;

/// A group in which nodes register, search and share: 1 to 255 bytes of UTF-8 without control characters.
///
/// [`Namespace::new`] is the only way a string becomes one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace(String);

/// Why a string is not a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceError {
    /// The empty string names no group.
    #[error("a namespace cannot be empty")]
    Empty,
    /// Longer than [`MAX_NAMESPACE_BYTES`].
    #[error("a namespace is at most {MAX_NAMESPACE_BYTES} bytes long")]
    TooLong,
    /// A control character could hide the name on a terminal.
    #[error("a namespace cannot hold control characters")]
    ControlCharacter,
}

impl Namespace {
    /// Parses a namespace.
    ///
    /// # Errors
    /// When the text is empty, too long, or holds control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, NamespaceError> {
        let text = text.into();
        if text.is_empty() {
            return Err(NamespaceError::Empty);
        }
        if text.len() > MAX_NAMESPACE_BYTES {
            return Err(NamespaceError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NamespaceError::ControlCharacter);
        }
        Ok(Self(text))
    }

    /// The text, as it goes on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    /// The namespace of a node that was told none: `public`.
    fn default() -> Self {
        Self("public".to_owned())
    }
}

impl TryFrom<String> for Namespace {
    type Error = NamespaceError;
    fn try_from(text: String) -> Result<Self, NamespaceError> {
        Self::new(text)
    }
}

impl std::str::FromStr for Namespace {
    type Err = NamespaceError;
    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        Self::new(text)
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.0
    }
}

impl std::fmt::Display for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_namespace_is_accepted_and_one_byte_more_is_not() {
        assert!(Namespace::new("x".repeat(MAX_NAMESPACE_BYTES)).is_ok());
        assert_eq!(Namespace::new("x".repeat(MAX_NAMESPACE_BYTES + 1)), Err(NamespaceError::TooLong));
    }

    #[test]
    fn an_empty_or_a_hidden_namespace_is_refused() {
        assert_eq!(Namespace::new(""), Err(NamespaceError::Empty));
        assert_eq!(Namespace::new("a\u{1b}[2Jb"), Err(NamespaceError::ControlCharacter));
    }
}
