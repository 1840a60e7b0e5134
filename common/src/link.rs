//! `potluck:` links as text: a file by its content id, with a name and a size to show before anything is fetched.
//!
//! `potluck:CONTENT_ID?name=…&size=…`, the parts of the query in any order, each optional, percent-encoded as in a URL.
//! Unknown parts are ignored, so that a later version may add some.

use std::fmt::Write;

use crate::content_id::ContentId;

/// Longest link in bytes that is parsed.
pub const MAX_LINK_BYTES: usize = 4096;
const SCHEME: &str = "potluck:";

/// A link to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Which file.
    pub content_id: ContentId,
    /// What the sender calls it: a proposal, not to be trusted as a path.
    pub name: Option<String>,
    /// Its size in bytes as the sender says; the content id proves the real one.
    pub size: Option<u64>,
}

/// The text is not a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a link: it looks like potluck:CONTENT_ID?name=NAME&size=BYTES")]
pub struct NotALink;

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SCHEME}{}", self.content_id)?;
        let mut separator = '?';
        if let Some(name) = &self.name {
            write!(f, "{separator}name=")?;
            encode(name, f)?;
            separator = '&';
        }
        if let Some(size) = self.size {
            write!(f, "{separator}size={size}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Link {
    type Err = NotALink;
    fn from_str(text: &str) -> Result<Self, NotALink> {
        if text.len() > MAX_LINK_BYTES {
            return Err(NotALink);
        }
        let rest = text.trim().strip_prefix(SCHEME).ok_or(NotALink)?;
        let (id, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut link = Self { content_id: id.parse().map_err(|_| NotALink)?, name: None, size: None };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or(NotALink)?;
            match key {
                "name" => link.name = Some(decode(value)?),
                "size" => link.size = Some(value.parse().map_err(|_| NotALink)?),
                _ => {}
            }
        }
        // What is pasted need not have encoded its name; what is printed has, and must be a link again.
        if link.to_string().len() > MAX_LINK_BYTES { Err(NotALink) } else { Ok(link) }
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode(text: &str, out: &mut impl Write) -> std::fmt::Result {
    text.bytes().try_for_each(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.write_char(char::from(byte)),
        _ => write!(out, "%{byte:02X}"),
    })
}

fn decode(text: &str) -> Result<String, NotALink> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let decoded = if byte == b'%' {
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or(NotALink);
            (digit()? * 16 + digit()?) as u8
        } else {
            byte
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).map_err(|_| NotALink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_link_without_name_and_one_with_unknown_parts_are_read() {
        let id = ContentId::of(b"x");
        assert_eq!(format!("potluck:{id}").parse(), Ok(Link { content_id: id, name: None, size: None }));
        let link: Link = format!("potluck:{id}?from=someone&size=3&name=a%20b").parse().unwrap();
        assert_eq!(link, Link { content_id: id, name: Some("a b".into()), size: Some(3) });
    }

    #[test]
    fn broken_links_are_refused() {
        let id = ContentId::of(b"x");
        for text in [
            "",
            "potluck:",
            "potluck:12",
            &format!("magnet:{id}"),
            &format!("potluck:{id}?size=-1"),
            &format!("potluck:{id}?name=%f"),
            &format!("potluck:{id}?name=%ff"),
            &format!("potluck:{id}?x"),
        ] {
            assert!(text.parse::<Link>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_link_survives_the_way_through_text(name in proptest::option::of(any::<String>()), size in proptest::option::of(any::<u64>())) {
            let link = Link { content_id: ContentId::of(b"y"), name: name.filter(|name| name.len() < 300), size };
            prop_assert_eq!(link.to_string().parse(), Ok(link));
        }
    }
}
