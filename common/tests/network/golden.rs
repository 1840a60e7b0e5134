//! The bytes of every message on the wire. A change here is a change of the protocol: other versions of this program,
//! and other programs, rely on them. New optional keys may come; what is here stays.
#![allow(clippy::unwrap_used)] // clippy knows `#[test]` functions, not their helpers

use std::fmt::{Debug, Write};

use potluck_common::codec::{decode, encode};
use potluck_common::content_id::ContentId;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::share_path::SharePath;
use potluck_common::wire::admit::{self, Claims, DenyList, Grant, Invalid, Join, Secret, Welcome};
use potluck_common::wire::index::{self, *};
use potluck_common::wire::piece::{self, FileAnswer, Header};
use potluck_common::wire::{Bounded, Bytes, Refusal, Text};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn namespace() -> Namespace {
    Namespace::default()
}

fn peer() -> PeerKey {
    "12D3KooWGatU8DSBTk6JnDHj3gJ8R3nbKDYBQeFGvoLY5VRvDhHX".parse().unwrap()
}

fn content_id() -> ContentId {
    ContentId::of(b"")
}

fn path(text: &str) -> SharePath {
    SharePath::parse(text).unwrap()
}

fn addresses() -> Bounded<Address, 16> {
    Bounded::truncated([Address::truncated("/ip4/192.0.2.1/tcp/9471")])
}

fn nickname() -> Nickname {
    Nickname::truncated("Ada")
}

fn entry() -> Entry {
    Entry { path: path("music/a.flac"), size: 70_000, mtime: 1_700_000_000, content_id: Some(content_id()) }
}

/// A file that is not hashed yet.
fn unhashed() -> Entry {
    Entry { path: path("music/b.flac"), size: 1, mtime: -1, content_id: None }
}

fn index_requests() -> Vec<(&'static str, index::Request)> {
    let (namespace, peer) = (namespace(), peer());
    let publish = Publish {
        namespace: namespace.clone(),
        nickname: nickname(),
        addresses: addresses(),
        epoch: 7,
        base: 1,
        revision: 2,
        changes: Bounded::truncated([Change::Put(entry()), Change::Put(unhashed()), Change::Remove(path("music/c.flac"))]),
    };
    let renewal = Publish { base: 2, changes: Bounded::default(), ..publish.clone() };
    let all = Peers { namespace: namespace.clone(), peer: None, after: None, limit: 100 };
    let one = Peers { peer: Some(peer), after: Some(Text::truncated("x")), ..all.clone() };
    let whole = List { namespace: namespace.clone(), peer, under: None, after: None, limit: 100 };
    let folder = List { under: Some(path("music")), after: Some(Text::truncated("music/a.flac")), ..whole.clone() };
    let search = Search { namespace: namespace.clone(), text: Text::truncated("joga -live"), after: None, limit: 50 };
    let next = Search { after: Some(Text::truncated("50")), ..search.clone() };
    let sources = Sources { namespace: namespace.clone(), content_ids: Bounded::truncated([content_id()]) };
    let watch = Watch { namespace: namespace.clone(), text: Text::truncated("joga"), after: None };
    vec![
        ("publish", index::Request::Publish(publish)),
        ("publish, a renewal", index::Request::Publish(renewal)),
        ("withdraw", index::Request::Withdraw(Withdraw { namespace: namespace.clone(), park: false })),
        ("withdraw, to come back", index::Request::Withdraw(Withdraw { namespace, park: true })),
        ("peers", index::Request::Peers(all)),
        ("peers, one of them", index::Request::Peers(one)),
        ("list", index::Request::List(whole)),
        ("list, the next page of a folder", index::Request::List(folder)),
        ("search", index::Request::Search(search)),
        ("search, the next page", index::Request::Search(next)),
        ("sources", index::Request::Sources(sources)),
        ("watch", index::Request::Watch(watch.clone())),
        ("watch, the next", index::Request::Watch(Watch { after: Some(Text::truncated("7")), ..watch })),
    ]
}

fn index_answers() -> Vec<(&'static str, Answer)> {
    let info = PeerInfo { peer: peer(), nickname: nickname(), addresses: addresses(), files: 2, bytes: 70_001 };
    let peers = PeersPage { peers: Bounded::truncated([info]), next: Some(Text::truncated("x")) };
    let list = ListPage { entries: Bounded::truncated([entry(), unhashed()]), next: Some(Text::truncated("music/b.flac")) };
    let holder = Holder { peer: peer(), nickname: nickname(), path: path("music/a.flac") };
    let file = Hit {
        content_id: Some(content_id()),
        path: path("music/a.flac"),
        kind: Kind::File,
        size: 70_000,
        mtime: 1_700_000_000,
        sources: 1,
        holders: Bounded::truncated([holder]),
    };
    let folder = Hit { content_id: None, path: path("music"), kind: Kind::Folder, mtime: 0, ..file.clone() };
    let watched = Watched { hits: Bounded::truncated([file.clone()]), more: false, next: Text::truncated("8") };
    let missed = Watched { hits: Bounded::default(), more: true, next: Text::truncated("8") };
    let exact = SearchPage { hits: Bounded::truncated([file]), total: 1, ..SearchPage::default() };
    let cut = SearchPage {
        hits: Bounded::truncated([folder]),
        total: 9,
        more: true,
        corrected: Some(Text::truncated("joga")),
        next: Some(Text::truncated("1")),
    };
    let of = ContentSources { content_id: content_id(), size: 0, path: None, peers: Bounded::truncated([0]) };
    let named = SourcesFound {
        found: Bounded::truncated([ContentSources { path: Some(path("music/a")), ..of.clone() }]),
        ..SourcesFound::default()
    };
    let source = SourcePeer { peer: peer(), nickname: nickname(), addresses: addresses() };
    let sources = SourcesFound { found: Bounded::truncated([of]), peers: Bounded::truncated([source]) };
    let mut all = vec![
        ("published", Answer::Published(Published { revision: 2, lease_seconds: 120 })),
        ("withdrawn", Answer::Withdrawn {}),
        ("peers", Answer::Peers(peers)),
        ("peers, none", Answer::Peers(PeersPage::default())),
        ("list", Answer::List(list)),
        ("list, none", Answer::List(ListPage::default())),
        ("search", Answer::Search(exact)),
        ("search, cut short and corrected", Answer::Search(cut)),
        ("search, none", Answer::Search(SearchPage::default())),
        ("sources", Answer::Sources(sources)),
        ("sources, with a name", Answer::Sources(named)),
        ("watched", Answer::Watched(watched)),
        ("watched, some missed", Answer::Watched(missed)),
    ];
    all.extend(refusals().map(|(name, why)| (name, Answer::Refused { why })));
    all
}

fn refusals() -> [(&'static str, Refusal); 7] {
    [
        ("refused: unsupported", Refusal::Unsupported),
        ("refused: not found", Refusal::NotFound),
        ("refused: changed", Refusal::Changed),
        ("refused: busy", Refusal::Busy),
        ("refused: over quota", Refusal::OverQuota),
        ("refused: not permitted", Refusal::NotPermitted),
        ("refused: unavailable", Refusal::Unavailable),
    ]
}

fn piece_requests() -> Vec<(&'static str, piece::Request)> {
    let content_id = content_id();
    vec![
        ("hashes", piece::Request::Hashes { content_id, from: 0 }),
        ("piece", piece::Request::Piece { content_id, piece: 300 }),
        ("part", piece::Request::Part { content_id, piece: 300, offset: 262_144, length: 262_144 }),
        ("files", piece::Request::Files { content_ids: Bounded::truncated([content_id]) }),
        ("have", piece::Request::Have { content_id, from: 65_536 }),
    ]
}

fn piece_headers() -> Vec<(&'static str, Header)> {
    let files = Bounded::truncated([FileAnswer::Length(5), FileAnswer::Refused(Refusal::NotFound)]);
    let mut all = vec![
        ("hashes", Header::Hashes { size: 3 << 20, count: 3 }),
        ("piece", Header::Piece { length: 1 << 20 }),
        ("files", Header::Files { files }),
        ("have, all", Header::Have { size: 3 << 20, bitmap: None }),
        ("have, some", Header::Have { size: 3 << 20, bitmap: Some(vec![0b101]) }),
        ("refused: busy, with a place in the queue", Header::Refused { why: Refusal::Busy, queue: Some(3) }),
    ];
    all.extend(refusals().map(|(name, why)| (name, Header::Refused { why, queue: None })));
    all
}

fn admit_requests() -> Vec<(&'static str, admit::Request)> {
    let join = Join { secret: Secret::new([7; 16]), nickname: nickname() };
    vec![
        ("hello to a tracker", admit::Request::Hello { certificates: Bounded::default() }),
        ("hello to a peer", admit::Request::Hello { certificates: Bounded::truncated([Bytes::truncated(&[1, 2, 3])]) }),
        ("join", admit::Request::Join(join)),
        ("deny", admit::Request::Deny { list: Bytes::truncated(&[4, 5]) }),
    ]
}

fn grants() -> [Grant; 2] {
    [Grant { namespace: namespace(), read_only: false }, Grant { namespace: Namespace::new("choir").unwrap(), read_only: true }]
}

fn admit_answers() -> Vec<(&'static str, admit::Answer)> {
    let of_tracker = Welcome {
        certificates: Bounded::truncated([Bytes::truncated(&[1, 2, 3])]),
        grants: Bounded::truncated(grants()),
        denied: Some(Bytes::truncated(&[4, 5])),
    };
    let of_peer = Welcome { certificates: Bounded::truncated([Bytes::truncated(&[1, 2, 3])]), ..Welcome::default() };
    let mut all = vec![
        ("welcome of a tracker", admit::Answer::Welcome(Box::new(of_tracker))),
        ("welcome of a peer", admit::Answer::Welcome(Box::new(of_peer))),
        ("noted", admit::Answer::Noted {}),
        ("refused", admit::Answer::Refused { why: Refusal::NotPermitted }),
    ];
    all.extend(
        [
            ("not joined: unknown", Invalid::Unknown),
            ("not joined: used up", Invalid::UsedUp),
            ("not joined: expired", Invalid::Expired),
            ("not joined: revoked", Invalid::Revoked),
            ("not joined: too many tries", Invalid::TooManyTries),
        ]
        .map(|(name, why)| (name, admit::Answer::NotJoined { why })),
    );
    all
}

fn claims() -> Vec<(&'static str, Claims)> {
    vec![("claims", Claims::new(peer(), &grants(), [9; 16], 1_800_000_000, 1_800_086_400))]
}

fn deny_lists() -> Vec<(&'static str, DenyList)> {
    vec![("deny list", DenyList { number: 3, peers: Bounded::truncated([peer()]) })]
}

/// Each message has the bytes that the table says, and the bytes are that message.
fn hold<M: Serialize + DeserializeOwned + PartialEq + Debug>(messages: &[(&str, M)], table: &[(&str, &str)]) {
    let mut actual = String::new();
    for (name, message) in messages {
        let bytes = encode(message).unwrap();
        assert_eq!(decode::<M>(&bytes).as_ref(), Ok(message), "{name}");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(actual, "    (\"{name}\", \"{hex}\"),").unwrap();
    }
    let expected: String = table.iter().map(|(name, hex)| format!("    (\"{name}\", \"{hex}\"),\n")).collect();
    assert!(actual == expected, "the wire has changed; it is now\n{actual}");
}

#[test]
fn requests_to_an_index_have_their_bytes() {
    hold(&index_requests(), INDEX_REQUESTS);
}

#[test]
fn answers_of_an_index_have_their_bytes() {
    hold(&index_answers(), INDEX_ANSWERS);
}

#[test]
fn requests_for_pieces_have_their_bytes() {
    hold(&piece_requests(), PIECE_REQUESTS);
}

#[test]
fn headers_of_pieces_have_their_bytes() {
    hold(&piece_headers(), PIECE_HEADERS);
}

#[test]
fn requests_for_admission_have_their_bytes() {
    hold(&admit_requests(), ADMIT_REQUESTS);
}

#[test]
fn answers_about_admission_have_their_bytes() {
    hold(&admit_answers(), ADMIT_ANSWERS);
}

#[test]
fn what_a_tracker_signs_has_its_bytes() {
    hold(&claims(), CLAIMS);
    hold(&deny_lists(), DENY_LISTS);
}

/// G100.
#[test]
fn an_unknown_key_is_ignored_and_an_unknown_variant_is_an_error() {
    let later = serde_cbor::to_vec(&serde_cbor::Value::Map(
        [(
            serde_cbor::Value::Text("withdraw".into()),
            serde_cbor::Value::Map(
                [("ns", "public"), ("why", "tired")]
                    .map(|(key, value)| (serde_cbor::Value::Text(key.into()), serde_cbor::Value::Text(value.into())))
                    .into(),
            ),
        )]
        .into(),
    ))
    .unwrap();
    assert_eq!(decode::<index::Request>(&later), Ok(index::Request::Withdraw(Withdraw { namespace: namespace(), park: false })));
    let unknown = serde_cbor::to_vec(&std::collections::BTreeMap::from([("dance", 1)])).unwrap();
    assert!(decode::<index::Request>(&unknown).is_err());
    assert!(decode::<piece::Request>(&unknown).is_err());
}

#[rustfmt::skip] // one line a message
const INDEX_REQUESTS: &[(&str, &str)] = &[
    ("publish", "a1677075626c697368a7626e73667075626c6963646e69636b6341646165616464727381772f6970342f3139322e302e322e312f7463702f393437316565706f636807646261736501637265760262636883a163707574a461706c6d757369632f612e666c616361731a00011170616d1a6553f10061635820af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262a163707574a361706c6d757369632f622e666c6163617301616d20a16364656c6c6d757369632f632e666c6163"),
    ("publish, a renewal", "a1677075626c697368a7626e73667075626c6963646e69636b6341646165616464727381772f6970342f3139322e302e322e312f7463702f393437316565706f636807646261736502637265760262636880"),
    ("withdraw", "a1687769746864726177a1626e73667075626c6963"),
    ("withdraw, to come back", "a1687769746864726177a2626e73667075626c6963647061726bf5"),
    ("peers", "a1657065657273a2626e73667075626c6963616e1864"),
    ("peers, one of them", "a1657065657273a4626e73667075626c69636269645826002408011220648defe5e0f2e660f8949998863ed1f98efc77e138fad778ceaacc08e3103c8e6561667465726178616e1864"),
    ("list", "a1646c697374a3626e73667075626c69636269645826002408011220648defe5e0f2e660f8949998863ed1f98efc77e138fad778ceaacc08e3103c8e616e1864"),
    ("list, the next page of a folder", "a1646c697374a5626e73667075626c69636269645826002408011220648defe5e0f2e660f8949998863ed1f98efc77e138fad778ceaacc08e3103c8e65756e646572656d757369636561667465726c6d757369632f612e666c6163616e1864"),
    ("search", "a166736561726368a3626e73667075626c696361716a6a6f6761202d6c697665616e1832"),
    ("search, the next page", "a166736561726368a4626e73667075626c696361716a6a6f6761202d6c697665656166746572623530616e1832"),
    ("sources", "a167736f7572636573a2626e73667075626c696363696473815820af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
    ("watch", "a1657761746368a2626e73667075626c69636171646a6f6761"),
    ("watch, the next", "a1657761746368a3626e73667075626c69636171646a6f67616561667465726137"),
];

#[rustfmt::skip] // one line a message
const INDEX_ANSWERS: &[(&str, &str)] = &[
    ("published", "a1697075626c6973686564a263726576026374746c1878"),
    ("withdrawn", "a16977697468647261776ea0"),
    ("peers", "a1657065657273a265706565727381a56269645826002408011220648defe5e0f2e660f8949998863ed1f98efc77e138fad778ceaacc08e3103c8e646e69636b6341646165616464727381772f6970342f3139322e302e322e312f7463702f393437316566696c6573026562797465731a00011171646e6578746178"),
    ("peers, none", "a1657065657273a165706565727380"),
    ("list", "a1646c697374a267656e747269657382a461706c6d757369632f612e666c616361731a00011170616d1a6553f10061635820af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262a361706c6d757369632f622e666c6163617301616d20646e6578746c6d757369632f622e666c6163"),
    ("list, none", "a1646c697374a167656e747269657380"),
    ("search", "a166736561726368a2646869747381a761635820af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f326261706c6d757369632f612e666c6163616b6466696c6561731a00011170616d1a6553f100616e0162617481a36269645826002408011220648defe5e0f2e660f8949998863ed1f98efc77e138fad778ceaacc08e3103c8e646e69636b6341646161706c6d757369632f612e666c616365746f74616c01"),
    ("search, cut short and corrected", "a166736561726368a5646869747381a66170656d75736963616b66666f6c64657261731a00011170616d00616e0162617481a36269645826002408011220648defe5e0f2e660f8949998863ed1f98efc77e138fad778ceaacc08e3103c8e646e69636b6341646161706c6d757369632f612e666c616365746f74616c09646d6f7265f563666978646a6f6761646e6578746131"),
    ("search, none", "a166736561726368a264686974738065746f74616c00"),
    ("sources", "a167736f7572636573a265666f756e6481a361635820af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262617300626174810065706565727381a36269645826002408011220648defe5e0f2e660f8949998863ed1f98efc77e138fad778ceaacc08e3103c8e646e69636b6341646165616464727381772f6970342f3139322e302e322e312f7463702f39343731"),
    ("sources, with a name", "a167736f7572636573a265666f756e6481a461635820af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f32626173006170676d757369632f61626174810065706565727380"),
    ("watched", "a16777617463686564a2646869747381a761635820af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f326261706c6d757369632f612e666c6163616b6466696c6561731a00011170616d1a6553f100616e0162617481a36269645826002408011220648defe5e0f2e660f8949998863ed1f98efc77e138fad778ceaacc08e3103c8e646e69636b6341646161706c6d757369632f612e666c6163646e6578746138"),
    ("watched, some missed", "a16777617463686564a3646869747380646d6f7265f5646e6578746138"),
    ("refused: unsupported", "a16772656675736564a1637768796b756e737570706f72746564"),
    ("refused: not found", "a16772656675736564a163776879696e6f745f666f756e64"),
    ("refused: changed", "a16772656675736564a163776879676368616e676564"),
    ("refused: busy", "a16772656675736564a1637768796462757379"),
    ("refused: over quota", "a16772656675736564a1637768796a6f7665725f71756f7461"),
    ("refused: not permitted", "a16772656675736564a1637768796d6e6f745f7065726d6974746564"),
    ("refused: unavailable", "a16772656675736564a1637768796b756e617661696c61626c65"),
];

#[rustfmt::skip] // one line a message
const PIECE_REQUESTS: &[(&str, &str)] = &[
    ("hashes", "a166686173686573a261635820af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f32626466726f6d00"),
    ("piece", "a1657069656365a261635820af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262616919012c"),
    ("part", "a16470617274a461635820af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262616919012c616f1a00040000616e1a00040000"),
    ("files", "a16566696c6573a16163815820af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
    ("have", "a16468617665a261635820af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f32626466726f6d1a00010000"),
];

#[rustfmt::skip] // one line a message
const PIECE_HEADERS: &[(&str, &str)] = &[
    ("hashes", "a166686173686573a261731a00300000616e03"),
    ("piece", "a1657069656365a1616e1a00100000"),
    ("files", "a16566696c6573a16566696c657382a1616e05a1626e6f696e6f745f666f756e64"),
    ("have, all", "a16468617665a161731a00300000"),
    ("have, some", "a16468617665a261731a0030000061624105"),
    ("refused: busy, with a place in the queue", "a16772656675736564a2637768796462757379617103"),
    ("refused: unsupported", "a16772656675736564a1637768796b756e737570706f72746564"),
    ("refused: not found", "a16772656675736564a163776879696e6f745f666f756e64"),
    ("refused: changed", "a16772656675736564a163776879676368616e676564"),
    ("refused: busy", "a16772656675736564a1637768796462757379"),
    ("refused: over quota", "a16772656675736564a1637768796a6f7665725f71756f7461"),
    ("refused: not permitted", "a16772656675736564a1637768796d6e6f745f7065726d6974746564"),
    ("refused: unavailable", "a16772656675736564a1637768796b756e617661696c61626c65"),
];

#[rustfmt::skip] // one line a message
const ADMIT_REQUESTS: &[(&str, &str)] = &[
    ("hello to a tracker", "a16568656c6c6fa165636572747380"),
    ("hello to a peer", "a16568656c6c6fa16563657274738143010203"),
    ("join", "a1646a6f696ea2667365637265745007070707070707070707070707070707646e69636b63416461"),
    ("deny", "a16464656e79a1646c697374420405"),
];

#[rustfmt::skip] // one line a message
const ADMIT_ANSWERS: &[(&str, &str)] = &[
    ("welcome of a tracker", "a16777656c636f6d65a36563657274738143010203666772616e747382a1626e73667075626c6963a2626e736563686f697262726ff56664656e696564420405"),
    ("welcome of a peer", "a16777656c636f6d65a16563657274738143010203"),
    ("noted", "a1656e6f746564a0"),
    ("refused", "a16772656675736564a1637768796d6e6f745f7065726d6974746564"),
    ("not joined: unknown", "a16a6e6f745f6a6f696e6564a16377687967756e6b6e6f776e"),
    ("not joined: used up", "a16a6e6f745f6a6f696e6564a16377687967757365645f7570"),
    ("not joined: expired", "a16a6e6f745f6a6f696e6564a1637768796765787069726564"),
    ("not joined: revoked", "a16a6e6f745f6a6f696e6564a163776879677265766f6b6564"),
    ("not joined: too many tries", "a16a6e6f745f6a6f696e6564a1637768796e746f6f5f6d616e795f7472696573"),
];

#[rustfmt::skip] // one line a message
const CLAIMS: &[(&str, &str)] = &[
    ("claims", "a56269645826002408011220648defe5e0f2e660f8949998863ed1f98efc77e138fad778ceaacc08e3103c8e6473616c745009090909090909090909090909090909626e7382a1617450236de08ff624732141c5bf6e2c2f7831a2617450d370abe2c4661b3908505923ac7cf98662726ff5636961741a6b49d200636578701a6b4b2380"),
];

#[rustfmt::skip] // one line a message
const DENY_LISTS: &[(&str, &str)] = &[
    ("deny list", "a2626e6f03657065657273815826002408011220648defe5e0f2e660f8949998863ed1f98efc77e138fad778ceaacc08e3103c8e"),
];
