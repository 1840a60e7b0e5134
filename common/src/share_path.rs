//! [`SharePath`]: the only way a remote name comes near a file system.
//!
//! A share path is `share/folder/file` with `/` between components, the first of which is the name of a share. It is
//! parsed or refused, never repaired: a name that was changed silently would be another file. What a file system cannot
//! hold (Windows device names, say) is mapped where files are written, not here.

use serde::{Deserialize, Serialize};

/// Longest path in bytes of UTF-8.
pub const MAX_PATH_BYTES: usize = 1024;
/// Longest component in bytes: what Linux file systems hold.
pub const MAX_COMPONENT_BYTES: usize = 255;
/// Most components in a path; bounds the work of walking down to a file.
pub const MAX_DEPTH: usize = 64;

/// A portable relative path below a node's shares. Holds no `..`, no root, no control character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SharePath(Box<str>);

/// Why a text is not a share path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharePathError {
    /// Empty, or with an empty component: `a//b`, `/a`, `a/`.
    #[error("the path has an empty component")]
    EmptyComponent,
    /// A component is `.` or `..`.
    #[error("the path tries to leave its folder")]
    Traversal,
    /// A component holds `\`, NUL or another control character, or is a drive (`C:`).
    #[error("the path holds a character that no file name should")]
    ForbiddenCharacter,
    /// Over [`MAX_PATH_BYTES`], [`MAX_COMPONENT_BYTES`] or [`MAX_DEPTH`].
    #[error("the path is too long or too deep")]
    TooLong,
}

impl SharePath {
    /// Parses a path that a remote, a user or a disk named.
    ///
    /// # Errors
    /// When the text is not a portable relative path.
    pub fn parse(text: &str) -> Result<Self, SharePathError> {
        if text.len() > MAX_PATH_BYTES {
            return Err(SharePathError::TooLong);
        }
        let mut depth = 0;
        for (position, component) in text.split('/').enumerate() {
            depth += 1;
            check_component(component)?;
            if position == 0 && is_drive(component) {
                return Err(SharePathError::ForbiddenCharacter);
            }
        }
        if depth > MAX_DEPTH {
            return Err(SharePathError::TooLong);
        }
        Ok(Self(text.into()))
    }

    /// The path with one more component at its end.
    ///
    /// # Errors
    /// When the component is not a file name, or the path would be too long.
    pub fn join(&self, component: &str) -> Result<Self, SharePathError> {
        if component.contains('/') {
            return Err(SharePathError::ForbiddenCharacter);
        }
        Self::parse(&format!("{}/{component}", self.0))
    }

    /// The text, as it goes on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components in order; at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.split('/')
    }

    /// The first component: the name of the share.
    #[must_use]
    pub fn share(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// What follows the name of the share; empty for the share itself.
    #[must_use]
    pub fn within_share(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, rest)| rest)
    }

    /// The last component: the name of the file or folder.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The folder that holds it; `None` for a share.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into()))
    }

    /// Whether this path is `folder` or lies below it.
    #[must_use]
    pub fn is_within(&self, folder: &SharePath) -> bool {
        self.0.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Whether `name` may stand as one component of a share path: the name of a share, say.
///
/// # Errors
/// When it is empty, `.`, `..`, too long, or holds `/`, `\` or a control character.
pub fn check_component(name: &str) -> Result<(), SharePathError> {
    match name {
        "" => return Err(SharePathError::EmptyComponent),
        "." | ".." => return Err(SharePathError::Traversal),
        _ => {}
    }
    if name.len() > MAX_COMPONENT_BYTES {
        return Err(SharePathError::TooLong);
    }
    let is_forbidden = |byte: &u8| matches!(byte, b'/' | b'\\') || byte.is_ascii_control();
    // The other control characters, U+0080 to U+009F, are looked for where a name is not ASCII.
    if name.as_bytes().iter().any(is_forbidden) || !name.is_ascii() && name.chars().any(char::is_control) {
        return Err(SharePathError::ForbiddenCharacter);
    }
    Ok(())
}

/// `C:`, a drive of Windows. In `a:b` the colon is part of a name.
fn is_drive(component: &str) -> bool {
    matches!(component.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
}

impl std::fmt::Display for SharePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for SharePath {
    type Err = SharePathError;
    fn from_str(text: &str) -> Result<Self, SharePathError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for SharePath {
    type Error = SharePathError;
    fn try_from(text: String) -> Result<Self, SharePathError> {
        Self::parse(&text)
    }
}

impl From<SharePath> for String {
    fn from(path: SharePath) -> Self {
        path.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    /// G021, G023 (form only), G024: names that must be refused.
    #[test]
    fn names_that_try_to_leave_the_folder_are_refused() {
        let long = "x".repeat(256);
        let deep = vec!["d"; MAX_DEPTH + 1].join("/");
        let wide = vec!["xxxxxxxxxxxxxxx"; 65].join("/");
        let corpus = [
            "",
            "/",
            ".",
            "..",
            "./a",
            "a/.",
            "a/./b",
            "../a",
            "a/../b",
            "a/..",
            "../../../../etc/passwd",
            "/etc/passwd",
            "//a",
            "a//b",
            "a/",
            "\\\\srv\\x",
            "..\\..\\x",
            "a\\b",
            "a\\..\\b",
            "C:\\x",
            "C:",
            "c:/x",
            "C:/x",
            "a\0b",
            "\0",
            "a\nb",
            "a\rb",
            "\u{1b}[2J",
            "a\u{7f}",
            "a\u{9b}b",
            "a\u{85}b",
            &long,
            &deep,
            &wide,
        ];
        for name in corpus {
            assert!(SharePath::parse(name).is_err(), "{name:?} was accepted");
        }
    }

    /// G021: names that look odd and are harmless must be accepted.
    #[test]
    fn odd_names_that_stay_inside_are_accepted() {
        let longest = "x".repeat(MAX_COMPONENT_BYTES);
        let corpus = [
            "foo... bar",
            "..hidden",
            "a..b",
            "....",
            "...",
            "%2e%2e",
            "%2e%2e/%2f",
            "a b",
            " ",
            "~",
            "~root",
            "-rf",
            "CON",
            "nul.txt",
            "COM\u{b9}",
            "a:b",
            "ends.",
            "ends ",
            "a\u{2215}b",
            "a\u{ff0f}b",
            "\u{202e}gpj.exe",
            "日本語/東京.txt",
            "e\u{301}",
            "é",
            "$(reboot)",
            "a;b",
            "a|b",
            "a*b?",
            "\"q\"",
            "'",
            &longest,
        ];
        for name in corpus {
            assert!(SharePath::parse(name).is_ok(), "{name:?} was refused");
        }
    }

    #[test]
    fn a_folder_holds_what_lies_below_it_and_no_namesake() {
        let path = |text: &str| SharePath::parse(text).unwrap();
        assert!(path("music/a/b").is_within(&path("music/a")));
        assert!(path("music/a").is_within(&path("music/a")));
        assert!(!path("music/ab").is_within(&path("music/a")));
        assert_eq!(path("music/a/b").within_share(), "a/b");
        assert_eq!(path("music").parent(), None);
        assert_eq!(path("music/a/b").parent(), Some(path("music/a")));
    }

    proptest! {
        /// The oracle: joined to a root by the standard library, an accepted path stays beneath it.
        #[test]
        fn an_accepted_path_stays_inside(text in "[a-c./\\\\:~ \u{0}\u{2215}-]{0,24}") {
            if let Ok(path) = SharePath::parse(&text) {
                prop_assert_eq!(path.as_str(), &text);
                prop_assert!(Path::new(&text).components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(Path::new(&text).components().count(), path.components().count());
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused_without_panic(text in "\\PC{0,64}") {
            let _ = SharePath::parse(&text);
        }
    }
}
