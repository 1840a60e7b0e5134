//! Targets that take text. Bytes that are none become `U+FFFD`, so that every input says something.

use std::fmt::{Debug, Display};
use std::path::{Component, Path};
use std::str::FromStr;

use potluck_common::content_id::ContentId;
use potluck_common::escape::Escaped;
use potluck_common::invitation::{Invitation, MAX_INVITATION_CHARS, Place};
use potluck_common::link::Link;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::search::query::parse_size;
use potluck_common::search::{Index, PeerNo, Query, Scan};
use potluck_common::share_path::{MAX_COMPONENT_BYTES, MAX_DEPTH, MAX_PATH_BYTES, SharePath};
use potluck_common::wire::MAX_SEARCH_BYTES;
use potluck_common::wire::index::Entry;
use potluck_node::store::LocalName;

/// When the searches of the query's target happen: files are as old as their names are long.
const NOW: i64 = 1_800_000_000;
/// More hits than any of these searches has.
const ALL: usize = 10_000;

/// A name that a remote tells.
pub fn share_path(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(path) = SharePath::parse(&text) else { return };
    assert_eq!(SharePath::parse(path.as_str()).as_ref(), Ok(&path));
    assert!(path.as_str().len() <= MAX_PATH_BYTES && path.components().count() <= MAX_DEPTH);
    assert!(path.components().all(|component| (1..=MAX_COMPONENT_BYTES).contains(&component.len())));
    assert!(stays_inside(path.as_str(), path.components().count()), "{path:?} leaves its folder");
    for component in path.components() {
        let local = LocalName::new(component).map(|local| (stays_inside(local.as_str(), 1), local));
        assert!(matches!(&local, Ok((true, local)) if local.as_str().len() <= MAX_COMPONENT_BYTES), "{component:?} became {local:?}");
        let original = local.ok().and_then(|(_, local)| local.original());
        assert!(original.is_none_or(|original| original == component), "{component:?} does not lead back to itself");
    }
}

fn stays_inside(path: &str, depth: usize) -> bool {
    let parts: Vec<Component<'_>> = Path::new(path).components().collect();
    parts.len() == depth && parts.iter().all(|part| matches!(part, Component::Normal(_)))
}

/// A text that is to be shown.
pub fn escape(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let printed = Escaped(&text).to_string();
    assert!(!printed.chars().any(acts), "{printed:?}");
    if !text.chars().any(|c| acts(c) || !c.is_ascii()) {
        assert_eq!(printed, text);
    }
}

/// What a terminal or a reader's eye could be tricked by.
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The first line is searched for, the others are names of files. The engine must find what a look at every name finds.
pub fn query(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.lines();
    let Some(typed) = lines.next().filter(|typed| typed.len() <= MAX_SEARCH_BYTES) else { return };
    let _size = parse_size(typed);
    let query = Query::parse(typed);
    let (mut engine, mut scan, peer) = (Index::new(), Scan::new(), PeerNo(0));
    engine.set_online(peer, true);
    scan.set_online(peer, true);
    for path in lines.take(64).filter_map(|line| SharePath::parse(line).ok()) {
        let length = path.as_str().len() as u64;
        let content_id = (!length.is_multiple_of(3)).then(|| ContentId::of(path.name().as_bytes()));
        let entry = Entry { path, size: length << (length % 32), mtime: NOW - (length as i64) * 3600, content_id };
        engine.put(peer, &entry);
        scan.put(peer, &entry);
    }
    while engine.maintain() {}
    let (found, known) = (engine.search(&query, None, None, ALL, NOW), scan.search(&query, None, None, ALL, NOW));
    if found.corrected.is_some() {
        assert!(found.total > known.total, "a correction of {typed:?} finds less");
    } else if !found.more {
        assert_eq!(found, known, "{typed:?}");
    }
}

/// What people paste.
pub fn tickets(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Some(invitation) = survives::<Invitation>(&text) {
        assert!(invitation.to_string().len() <= MAX_INVITATION_CHARS);
    }
    survives::<Link>(&text);
    survives::<Place>(&text);
    survives::<PeerKey>(&text);
    survives::<Namespace>(&text);
    survives::<ContentId>(&text);
}

fn survives<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<T> {
    let parsed = text.parse::<T>().ok()?;
    let again = parsed.to_string();
    assert!(again.parse::<T>().ok().as_ref() == Some(&parsed), "{parsed:?} was printed as {again:?}");
    Some(parsed)
}
