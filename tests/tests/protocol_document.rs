//! `docs/PROTOCOL.md` can be trusted: every example in it is what our programs send, byte for byte, and every limit that it
//! names is the one in the code.

#![allow(clippy::unwrap_used)] // clippy knows `#[test]` functions, not their helpers

use std::collections::BTreeMap;

use futures::executor::block_on;
use futures::io::Cursor;
use potluck_common::codec::{decode, encode, write_next_request};
use potluck_common::content_id::ContentId;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::share_path::{self, SharePath};
use potluck_common::wire::admit::{self, Claims, DenyList, Grant, Join, Secret, Welcome};
use potluck_common::wire::index::{
    Answer, Change, ContentSources, Entry, Hit, Holder, Kind, List, ListPage, PeerInfo, Peers, PeersPage, Publish, Published, Request,
    Search, SearchPage, SourcePeer, Sources, SourcesFound, Watch, Watched, Withdraw,
};
use potluck_common::wire::piece::{FileAnswer, Header};
use potluck_common::wire::{self, Bounded, Bytes, Refusal, Text, index, piece};
use potluck_common::{geometry, invitation, link};
use potluck_tests::{Result, programs};

/// Bytes of an example on one line of the document.
const BYTES_A_LINE: usize = 32;

fn path(text: &str) -> SharePath {
    SharePath::parse(text).unwrap()
}

/// Every message of the document by its title.
fn examples() -> BTreeMap<&'static str, Vec<u8>> {
    let peer: PeerKey = "12D3KooWGatU8DSBTk6JnDHj3gJ8R3nbKDYBQeFGvoLY5VRvDhHX".parse().unwrap();
    let (content_id, namespace) = (ContentId::of(b""), Namespace::default());
    let addresses = || Bounded::truncated([Text::truncated("/ip4/192.0.2.7/tcp/9471")]);
    let entry = Entry { path: path("music/live.flac"), size: 5_000_000, mtime: 1_700_000_000, content_id: Some(content_id) };
    let publish = Publish {
        namespace: namespace.clone(),
        nickname: Text::truncated("ada"),
        addresses: addresses(),
        epoch: 7,
        base: 1,
        revision: 2,
        changes: Bounded::truncated([Change::Put(entry.clone()), Change::Remove(path("music/old.flac"))]),
    };
    let info = PeerInfo { peer, nickname: Text::truncated("ada"), addresses: addresses(), files: 1, bytes: 5_000_000 };
    let holder = Holder { peer, nickname: Text::truncated("ada"), path: entry.path.clone() };
    let hit = Hit {
        content_id: Some(content_id),
        path: entry.path.clone(),
        kind: Kind::File,
        size: entry.size,
        mtime: entry.mtime,
        sources: 1,
        holders: Bounded::truncated([holder]),
    };
    let index_requests = [
        ("publish", Request::Publish(publish)),
        ("withdraw", Request::Withdraw(Withdraw { namespace: namespace.clone(), park: false })),
        ("withdraw_to_come_back", Request::Withdraw(Withdraw { namespace: namespace.clone(), park: true })),
        ("peers", Request::Peers(Peers { namespace: namespace.clone(), peer: None, after: None, limit: 100 })),
        ("list", Request::List(List { namespace: namespace.clone(), peer, under: Some(path("music")), after: None, limit: 100 })),
        (
            "search",
            Request::Search(Search { namespace: namespace.clone(), text: Text::truncated("live ext:flac"), after: None, limit: 20 }),
        ),
        ("watch", Request::Watch(Watch { namespace: namespace.clone(), text: Text::truncated("live"), after: Some(Text::truncated("7")) })),
        ("sources", Request::Sources(Sources { namespace, content_ids: Bounded::truncated([content_id]) })),
    ];
    let source = SourcePeer { peer, nickname: Text::truncated("ada"), addresses: addresses() };
    let found = ContentSources { content_id, size: 5_000_000, path: Some(path("music/live.flac")), peers: Bounded::truncated([0]) };
    let index_answers = [
        ("published", Answer::Published(Published { revision: 2, lease_seconds: 120 })),
        ("withdrawn", Answer::Withdrawn {}),
        ("peers page", Answer::Peers(PeersPage { peers: Bounded::truncated([info]), next: None })),
        ("list page", Answer::List(ListPage { entries: Bounded::truncated([entry]), next: Some(Text::truncated("music/live.flac")) })),
        ("watched", Answer::Watched(Watched { hits: Bounded::truncated([hit.clone()]), more: false, next: Text::truncated("8") })),
        ("search page", Answer::Search(SearchPage { hits: Bounded::truncated([hit]), total: 1, ..SearchPage::default() })),
        ("sources found", Answer::Sources(SourcesFound { found: Bounded::truncated([found]), peers: Bounded::truncated([source]) })),
        ("refused", Answer::Refused { why: Refusal::NotFound }),
    ];
    let piece_requests = [
        ("hashes", piece::Request::Hashes { content_id, from: 0 }),
        ("piece", piece::Request::Piece { content_id, piece: 3 }),
        ("part", piece::Request::Part { content_id, piece: 3, offset: 262_144, length: 262_144 }),
        ("files", piece::Request::Files { content_ids: Bounded::truncated([content_id]) }),
        ("have", piece::Request::Have { content_id, from: 0 }),
    ];
    let headers = [
        ("hashes header", Header::Hashes { size: 5_000_000, count: 5 }),
        ("piece header", Header::Piece { length: 1 << 20 }),
        ("files header", Header::Files { files: Bounded::truncated([FileAnswer::Length(300), FileAnswer::Refused(Refusal::NotFound)]) }),
        ("have header", Header::Have { size: 5_000_000, bitmap: Some(vec![0b0001_1011]) }),
        ("refused header", Header::Refused { why: Refusal::Busy, queue: Some(3) }),
    ];
    let mut next = Cursor::new(Vec::new());
    block_on(write_next_request(&mut next, &piece::Request::Piece { content_id, piece: 3 })).unwrap();
    let mut all = admission();
    all.insert("next piece", next.into_inner());
    all.extend(index_requests.map(|(name, message)| (name, round_trip(&message))));
    all.extend(index_answers.map(|(name, message)| (name, round_trip(&message))));
    all.extend(piece_requests.map(|(name, message)| (name, round_trip(&message))));
    all.extend(headers.map(|(name, header)| {
        let bytes = round_trip(&header);
        (name, [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat())
    }));
    all
}

/// The messages of the admit protocol, and what a tracker signs. Signed bytes are shortened to three.
fn admission() -> BTreeMap<&'static str, Vec<u8>> {
    let peer: PeerKey = "12D3KooWGatU8DSBTk6JnDHj3gJ8R3nbKDYBQeFGvoLY5VRvDhHX".parse().unwrap();
    let grant = Grant { namespace: Namespace::default(), read_only: true };
    let signed = || Bounded::truncated([Bytes::truncated(&[1, 2, 3])]);
    let welcome =
        Welcome { certificates: signed(), grants: Bounded::truncated([grant.clone()]), denied: Some(Bytes::truncated(&[4, 5, 6])) };
    let claims = Claims::new(peer, &[grant], [9; 16], 1_800_000_000, 1_800_086_400);
    BTreeMap::from([
        ("hello", round_trip(&admit::Request::Hello { certificates: signed() })),
        ("join", round_trip(&admit::Request::Join(Join { secret: Secret::new([7; 16]), nickname: Text::truncated("ada") }))),
        ("deny", round_trip(&admit::Request::Deny { list: Bytes::truncated(&[4, 5, 6]) })),
        ("welcome", round_trip(&admit::Answer::Welcome(Box::new(welcome)))),
        ("not joined", round_trip(&admit::Answer::NotJoined { why: admit::Invalid::UsedUp })),
        ("noted", round_trip(&admit::Answer::Noted {})),
        ("refused admission", round_trip(&admit::Answer::Refused { why: Refusal::NotPermitted })),
        ("claims", round_trip(&claims)),
        ("deny list", round_trip(&DenyList { number: 3, peers: Bounded::truncated([peer]) })),
    ])
}

/// The bytes of a message, which also decode to it.
fn round_trip<M>(message: &M) -> Vec<u8>
where
    M: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = encode(message).unwrap();
    assert_eq!(&decode::<M>(&bytes).unwrap(), message);
    bytes
}

fn document() -> Result<String> {
    Ok(std::fs::read_to_string(programs::workspace().join("docs/PROTOCOL.md"))?)
}

/// The blocks of bytes in the document by their titles: "```hex TITLE", lines of hex, "```".
fn blocks(document: &str) -> BTreeMap<String, String> {
    let mut blocks = BTreeMap::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("```hex ") {
            let bytes: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            assert!(blocks.insert(title.to_owned(), bytes.join("\n")).is_none(), "{title} stands there twice");
        }
    }
    blocks
}

fn hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(BYTES_A_LINE).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_example_is_what_our_programs_send() -> Result {
    let written = blocks(&document()?);
    let mut wrong = Vec::new();
    for (title, bytes) in examples() {
        if written.get(title) != Some(&hex(&bytes)) {
            wrong.push(format!("```hex {title}\n{}\n```", hex(&bytes)));
        }
    }
    assert!(wrong.is_empty(), "docs/PROTOCOL.md should say:\n\n{}", wrong.join("\n\n"));
    let unknown: Vec<_> = written.keys().filter(|title| !examples().contains_key(title.as_str())).collect();
    assert!(unknown.is_empty(), "examples of no message: {unknown:?}");
    Ok(())
}

#[test]
fn every_limit_is_the_one_in_the_code() -> Result {
    let document = document()?;
    let grouped = |number: u64| {
        let digits = number.to_string();
        let starts = (0..digits.len()).filter(|at| (digits.len() - at).is_multiple_of(3) || *at == 0);
        let mut ends: Vec<usize> = starts.collect();
        ends.push(digits.len());
        ends.windows(2).map(|pair| &digits[pair[0]..pair[1]]).collect::<Vec<_>>().join(",")
    };
    for (what, limit) in [
        ("index message", wire::MAX_INDEX_MESSAGE_BYTES as u64),
        ("piece request", wire::MAX_PIECE_REQUEST_BYTES as u64),
        ("piece header", wire::MAX_PIECE_HEADER_BYTES as u64),
        ("piece body", wire::MAX_BODY_BYTES as u64),
        ("admit message", wire::MAX_ADMIT_MESSAGE_BYTES as u64),
        ("certificate", admit::MAX_CERTIFICATE_BYTES as u64),
        ("deny list", admit::MAX_DENY_LIST_BYTES as u64),
        ("invitation", invitation::MAX_INVITATION_CHARS as u64),
        ("certificates of a message", admit::MAX_CERTIFICATES as u64),
        ("namespaces of a member", admit::MAX_GRANTS as u64),
        ("members on a deny list", admit::MAX_DENIED as u64),
        ("nickname", wire::MAX_NICKNAME_BYTES as u64),
        ("addresses of a peer", wire::MAX_ADDRESSES as u64),
        ("address", wire::MAX_ADDRESS_BYTES as u64),
        ("cursor", wire::MAX_CURSOR_BYTES as u64),
        ("search text", wire::MAX_SEARCH_BYTES as u64),
        ("changes of a `publish`", index::MAX_CHANGES as u64),
        ("items of a page", index::MAX_PAGE as u64),
        ("holders of a hit", index::MAX_HOLDERS as u64),
        ("content ids of a `sources`", index::MAX_SOURCE_IDS as u64),
        ("sources of a content id", index::MAX_SOURCES as u64),
        ("hashes of an answer", u64::from(piece::MAX_HASHES)),
        ("files of an answer", piece::MAX_FILES as u64),
        ("pieces of a `have`", u64::from(piece::MAX_HAVE)),
        ("share path", share_path::MAX_PATH_BYTES as u64),
        ("component of a share path", share_path::MAX_COMPONENT_BYTES as u64),
        ("components of a share path", share_path::MAX_DEPTH as u64),
        ("piece", u64::from(geometry::PIECE_BYTES)),
        ("file", geometry::MAX_FILE_BYTES),
        ("link", link::MAX_LINK_BYTES as u64),
    ] {
        let row = format!("| {what} | {} |", grouped(limit));
        assert!(document.contains(&row), "docs/PROTOCOL.md has no row `{row}`");
    }
    Ok(())
}
