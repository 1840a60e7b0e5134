//! What a user can ask to download, as text.

use potluck_common::content_id::ContentId;
use potluck_common::link::Link;
use potluck_common::share_path::SharePath;

use crate::error::{CommandError, Failure};

/// A content id, a link, or a place in a peer's shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ref {
    /// A content, with the name and the size that the link proposes.
    Content {
        /// Which.
        content_id: ContentId,
        /// What to call the file.
        name: Option<String>,
        /// Its size in bytes.
        size: Option<u64>,
    },
    /// A file or folder of a peer.
    Place {
        /// A PeerId, its last letters, or a nickname.
        peer: String,
        /// Where in its shares.
        path: SharePath,
    },
}

impl std::str::FromStr for Ref {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, CommandError> {
        if let Ok(content_id) = text.parse() {
            return Ok(Self::Content { content_id, name: None, size: None });
        }
        let usage = |why: &str| {
            CommandError::new(Failure::Usage, format!("{why}; give a content id (64 hex digits), a potluck: link, or PEER:share/path"))
        };
        if text.starts_with("potluck:") {
            let link: Link = text.parse().map_err(|_| usage("that link is damaged"))?;
            return Ok(Self::Content { content_id: link.content_id, name: link.name, size: link.size });
        }
        let (peer, path) = text.split_once(':').ok_or_else(|| usage("that names no file"))?;
        let path = path.trim_end_matches('/');
        let path = SharePath::parse(path).map_err(|error| usage(&error.to_string()))?;
        if peer.is_empty() { Err(usage("no peer is named")) } else { Ok(Self::Place { peer: peer.to_owned(), path }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_forms_are_read() {
        let id = ContentId::of(b"x");
        assert_eq!(id.to_string().parse(), Ok(Ref::Content { content_id: id, name: None, size: None }));
        let link = format!("potluck:{id}?name=a&size=3");
        assert_eq!(link.parse(), Ok(Ref::Content { content_id: id, name: Some("a".into()), size: Some(3) }));
        let place = Ref::Place { peer: "anna".into(), path: SharePath::parse("music/a b").unwrap() };
        assert_eq!("anna:music/a b/".parse(), Ok(place));
    }

    #[test]
    fn anything_else_is_a_usage_error() {
        for text in ["", "x", "anna:", "anna:../x", ":music", "potluck:12", "anna:/etc/passwd"] {
            assert_eq!(text.parse::<Ref>().unwrap_err().failure, Failure::Usage, "{text}");
        }
    }
}
