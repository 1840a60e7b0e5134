//! How an index answers `List`, `Search` and `Sources`, for a tracker over its peers; a node, which keeps what its files hold
//! elsewhere, searches by the same. Pages are cut so that an answer always fits in one message.

use std::collections::HashMap;
use std::io;

use serde::Serialize;

use super::{FoundHit, Index, PeerNo, Query};
use crate::content_id::ContentId;
use crate::peer::PeerKey;
use crate::share_path::SharePath;
use crate::wire::index::{
    Address, Answer, ContentSources, Hit, Holder, Kind, List, ListPage, MAX_PAGE, MAX_SOURCES, Nickname, Request, Search, SearchPage,
    SourcePeer, Sources, SourcesFound,
};
use crate::wire::{Bounded, MAX_ADDRESSES, MAX_CURSOR_BYTES, MAX_INDEX_MESSAGE_BYTES, MAX_SEARCH_BYTES, Refusal, Text};

/// Bytes of an answer around its items: a cursor, a corrected search text, and less than 256 bytes of keys and numbers.
const ENVELOPE_BYTES: usize = MAX_CURSOR_BYTES + MAX_SEARCH_BYTES + 256;
/// Most contents in one `Sources` with which paths are told: who asks for few wants a name, who asks for many has them.
pub const MAX_NAMED_SOURCES: usize = 16;
/// Most peers that one answer to `Sources` names: the bound of the message.
const MAX_SOURCE_PEERS: usize = 1024;

/// Who the numbers of an index stand for.
pub trait Directory {
    /// The number of a peer that may be told of; `None` when it is unknown or offline.
    fn peer_no(&self, peer: &PeerKey) -> Option<PeerNo>;

    /// The peer that has a number.
    fn card(&self, peer: PeerNo) -> Option<Card<'_>>;

    /// The peers that a user means by a PeerId, its last letters or a nickname, for `peer:anna`.
    fn peers_named(&self, name: &str) -> Vec<PeerNo>;

    /// The time in seconds since 1970-01-01 UTC, for `newer:7d`; `None` where it is not known, and then nothing is new.
    fn unix_now(&self) -> Option<i64> {
        None
    }
}

/// What is told of a peer beside its files.
#[derive(Clone, Copy, Debug)]
pub struct Card<'a> {
    /// Who.
    pub peer: PeerKey,
    /// What it calls itself.
    pub nickname: &'a Nickname,
    /// Where it listens.
    pub addresses: &'a Bounded<Address, MAX_ADDRESSES>,
}

/// Least letters of a PeerId's end that name a peer.
const LEAST_LETTERS: usize = 4;

/// Whether a user means this peer by a name in a search: a nickname, whatever its case and accents, a PeerId or its last
/// letters.
#[must_use]
pub fn is_named(name: &str, peer: &PeerKey, nickname: &str) -> bool {
    super::fold(nickname) == super::fold(name) || (name.len() >= LEAST_LETTERS && peer.to_string().ends_with(name))
}

/// What is left of a message for the items of a list.
#[derive(Clone, Copy, Debug)]
pub struct PageBudget {
    left: usize,
}

impl PageBudget {
    /// The room of one answer.
    #[must_use]
    pub const fn new() -> Self {
        Self { left: MAX_INDEX_MESSAGE_BYTES - ENVELOPE_BYTES }
    }

    /// Takes the room that an item needs. `false`, and nothing taken, when it does not fit.
    #[must_use]
    pub fn take(&mut self, item: &impl Serialize) -> bool {
        match encoded_bytes(item).and_then(|bytes| self.left.checked_sub(bytes)) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// How many of the first items fit.
    fn count<'a, T: Serialize + 'a>(mut self, items: impl IntoIterator<Item = &'a T>) -> usize {
        items.into_iter().take_while(|item| self.take(item)).count()
    }
}

impl Default for PageBudget {
    fn default() -> Self {
        Self::new()
    }
}

/// The answer to a request that reads an index; `None` for those that only a tracker knows.
#[must_use]
pub fn answer(index: &Index, directory: &impl Directory, request: &Request) -> Option<Answer> {
    match request {
        Request::List(ask) => Some(match list(index, directory, ask) {
            Ok(page) => Answer::List(page),
            Err(why) => Answer::Refused { why },
        }),
        Request::Search(ask) => Some(Answer::Search(search(index, directory, ask))),
        Request::Sources(ask) => Some(Answer::Sources(sources(index, directory, ask))),
        Request::Publish(_) | Request::Withdraw(_) | Request::Peers(_) | Request::Watch(_) => None,
    }
}

/// A page of a peer's files.
///
/// # Errors
/// [`Refusal::NotFound`] when the directory does not tell of the peer.
pub fn list(index: &Index, directory: &impl Directory, ask: &List) -> Result<ListPage, Refusal> {
    let peer = directory.peer_no(&ask.peer).ok_or(Refusal::NotFound)?;
    let page = |limit| index.list(peer, ask.under.as_ref(), ask.after.as_deref(), limit);
    let (mut entries, mut next) = page(page_size(ask.limit));
    let fitting = PageBudget::new().count(&entries);
    if fitting < entries.len() {
        (entries, next) = page(fitting); // a shorter page has another cursor, which only the index can name
    }
    Ok(ListPage { entries: Bounded::truncated(entries), next: next.as_deref().map(Text::truncated) })
}

/// A page of hits.
#[must_use]
pub fn search(index: &Index, directory: &impl Directory, ask: &Search) -> SearchPage {
    search_of_names(index, directory, ask, |_| None)
}

/// A page of hits from an index of files that are not hashed: `content_of` tells what is known of a file elsewhere.
#[must_use]
pub fn search_of_names(
    index: &Index,
    directory: &impl Directory,
    ask: &Search,
    content_of: impl Fn(&SharePath) -> Option<ContentId>,
) -> SearchPage {
    let query = Query::parse(&ask.text);
    let now = directory.unix_now().unwrap_or(i64::MAX);
    let only: Option<Vec<PeerNo>> =
        (!query.peers.is_empty()).then(|| query.peers.iter().flat_map(|name| directory.peers_named(name)).collect());
    let page = |limit| index.search(&query, only.as_deref(), ask.after.as_deref(), limit, now);
    let tell_one = |mut hit: FoundHit| {
        if hit.kind == Kind::File {
            hit.content_id = hit.content_id.or_else(|| content_of(&hit.path));
        }
        tell_hit(directory, hit)
    };
    let tell = |hits: Vec<FoundHit>| -> Vec<Hit> { hits.into_iter().map(tell_one).collect() };
    let mut found = page(page_size(ask.limit));
    let mut hits = tell(std::mem::take(&mut found.hits));
    let fitting = PageBudget::new().count(&hits);
    if fitting < hits.len() {
        found = page(fitting);
        hits = tell(std::mem::take(&mut found.hits));
    }
    SearchPage {
        hits: Bounded::truncated(hits),
        total: found.total,
        more: found.more,
        corrected: found.corrected.as_deref().map(Text::truncated),
        next: found.next.as_deref().map(Text::truncated),
    }
}

/// Who has the contents that were asked for. When not all sources fit in a message, each content gets one before another
/// gets a second. It takes hundreds of peers with the longest addresses to crowd a content out altogether; asked for
/// alone, it is always found.
#[must_use]
pub fn sources(index: &Index, directory: &impl Directory, ask: &Sources) -> SourcesFound {
    let found: Vec<_> = ask
        .content_ids
        .iter()
        .filter_map(|id| Some((*id, index.sources(id, MAX_SOURCES)?)))
        .filter(|(_, of)| !of.peers.is_empty())
        .collect();
    // What the items cost when all sources fit, taken first: at most 64 KiB for 256 contents of 64 sources.
    let mut budget = PageBudget::new();
    let mut table = PeerTable::default();
    let mut places: Vec<Vec<u16>> = found.iter().map(|(_, of)| Vec::with_capacity(of.peers.len())).collect();
    let tell_paths = ask.content_ids.len() <= MAX_NAMED_SOURCES;
    for (id, of) in &found {
        let peers = Bounded::truncated(std::iter::repeat_n(u16::MAX, of.peers.len()));
        let path = tell_paths.then(|| of.path.clone());
        let _always_fits = budget.take(&ContentSources { content_id: *id, size: of.size, path, peers });
    }
    for round in 0..MAX_SOURCES {
        for ((_, of), places) in found.iter().zip(&mut places) {
            let place = of.peers.get(round).and_then(|peer| table.place(directory, *peer, &mut budget));
            places.extend(place);
        }
    }
    let found = found.into_iter().zip(places).filter(|(_, places)| !places.is_empty()).map(|((content_id, of), places)| ContentSources {
        content_id,
        size: of.size,
        path: tell_paths.then_some(of.path),
        peers: Bounded::truncated(places),
    });
    SourcesFound { found: Bounded::truncated(found), peers: Bounded::truncated(table.peers) }
}

/// The peers of an answer to `Sources`, each told once.
#[derive(Default)]
struct PeerTable {
    peers: Vec<SourcePeer>,
    places: HashMap<PeerNo, Option<u16>>,
}

impl PeerTable {
    /// The place of a peer in the table; `None` when it is unknown or there is no room for it.
    fn place(&mut self, directory: &impl Directory, peer: PeerNo, budget: &mut PageBudget) -> Option<u16> {
        if let Some(known) = self.places.get(&peer) {
            return *known;
        }
        let place = self.add(directory, peer, budget);
        self.places.insert(peer, place);
        place
    }

    fn add(&mut self, directory: &impl Directory, peer: PeerNo, budget: &mut PageBudget) -> Option<u16> {
        let card = directory.card(peer)?;
        let told = SourcePeer { peer: card.peer, nickname: card.nickname.clone(), addresses: card.addresses.clone() };
        let place = u16::try_from(self.peers.len()).ok().filter(|place| usize::from(*place) < MAX_SOURCE_PEERS)?;
        budget.take(&told).then(|| self.peers.push(told))?;
        Some(place)
    }
}

fn tell_hit(directory: &impl Directory, hit: FoundHit) -> Hit {
    let holders = hit.holders.into_iter().filter_map(|(peer, path)| {
        let card = directory.card(peer)?;
        Some(Holder { peer: card.peer, nickname: card.nickname.clone(), path })
    });
    Hit {
        content_id: hit.content_id,
        path: hit.path,
        kind: hit.kind,
        size: hit.size,
        mtime: hit.mtime,
        sources: hit.sources,
        holders: Bounded::truncated(holders),
    }
}

/// How many items to look for: what was asked for, at least one, at most a page.
fn page_size(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE)
}

/// Bytes of a value as CBOR, without writing them anywhere.
fn encoded_bytes(item: &impl Serialize) -> Option<usize> {
    struct Count(usize);

    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    serde_cbor::to_writer(&mut count, item).ok()?;
    Some(count.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::Namespace;
    use crate::wire::index::{Entry, MAX_HOLDERS};
    use crate::wire::{MAX_ADDRESS_BYTES, MAX_NICKNAME_BYTES};

    /// `count` peers with the longest names and addresses.
    struct Crowd(Vec<(PeerKey, Nickname, Bounded<Address, MAX_ADDRESSES>)>);

    impl Crowd {
        fn of(count: u8) -> Self {
            let address = || Address::truncated(&"a".repeat(MAX_ADDRESS_BYTES));
            let peer = |n: u8| PeerKey::from_bytes(&[&[0x12, 32], [n; 32].as_slice()].concat()).unwrap();
            let nickname = Nickname::truncated(&"n".repeat(MAX_NICKNAME_BYTES));
            let all = |n| (peer(n), nickname.clone(), Bounded::truncated(std::iter::repeat_with(address).take(MAX_ADDRESSES)));
            Self((0..count).map(all).collect())
        }
    }

    impl Directory for Crowd {
        fn peer_no(&self, peer: &PeerKey) -> Option<PeerNo> {
            self.0.iter().position(|(known, ..)| known == peer).map(|no| PeerNo(no as u32))
        }

        fn card(&self, peer: PeerNo) -> Option<Card<'_>> {
            self.0.get(peer.0 as usize).map(|(peer, nickname, addresses)| Card { peer: *peer, nickname, addresses })
        }

        fn peers_named(&self, name: &str) -> Vec<PeerNo> {
            let is_meant = |(_, (peer, nickname, _)): &(usize, &(PeerKey, Nickname, _))| is_named(name, peer, nickname);
            self.0.iter().enumerate().filter(is_meant).map(|(no, _)| PeerNo(no as u32)).collect()
        }
    }

    fn long_path(name: &str) -> SharePath {
        SharePath::parse(&[&"x".repeat(250), &"y".repeat(250), &"z".repeat(250), name].join("/")).unwrap()
    }

    /// Every peer of a crowd has the same files, `files` of them, with long paths.
    fn full_index(crowd: &Crowd, files: u64) -> Index {
        let mut index = Index::new();
        for peer in (0..crowd.0.len() as u32).map(PeerNo) {
            for n in 0..files {
                let content_id = Some(ContentId::of(&n.to_be_bytes()));
                index.put(peer, &Entry { path: long_path(&format!("file {n:05}")), size: n, mtime: 0, content_id });
            }
            index.set_online(peer, true);
        }
        index
    }

    fn encoded(answer: &Answer) -> usize {
        crate::codec::encode(answer).unwrap().len()
    }

    #[test]
    fn a_listing_of_long_paths_comes_in_pages_that_each_fit_in_a_message() {
        let crowd = Crowd::of(1);
        let index = full_index(&crowd, 1500);
        let mut ask = List { namespace: Namespace::default(), peer: crowd.0[0].0, under: None, after: None, limit: u32::MAX };
        let (mut seen, mut pages) = (0, 0);
        loop {
            let page = list(&index, &crowd, &ask).unwrap();
            assert!(encoded(&Answer::List(page.clone())) <= MAX_INDEX_MESSAGE_BYTES);
            assert!(page.entries.iter().enumerate().all(|(n, entry)| entry.size == seen + n as u64), "in order, none twice");
            seen += page.entries.len() as u64;
            pages += 1;
            ask.after = page.next;
            if ask.after.is_none() {
                break;
            }
        }
        assert_eq!(seen, 1500);
        assert!(pages > 4, "{pages} pages");
    }

    #[test]
    fn hits_with_many_holders_come_in_pages_that_each_fit_in_a_message() {
        let crowd = Crowd::of(20);
        let index = full_index(&crowd, 60);
        let mut ask = Search { namespace: Namespace::default(), text: Text::truncated("file"), after: None, limit: 1000 };
        let mut seen = Vec::new();
        loop {
            let page = search(&index, &crowd, &ask);
            assert!(encoded(&Answer::Search(page.clone())) <= MAX_INDEX_MESSAGE_BYTES);
            assert_eq!(page.total, 60);
            assert!(page.hits.iter().all(|hit| hit.sources == 20 && hit.holders.len() == MAX_HOLDERS));
            seen.extend(page.hits.iter().map(|hit| hit.content_id));
            ask.after = page.next;
            if ask.after.is_none() {
                break;
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 60);
    }

    #[test]
    fn when_sources_are_too_many_for_a_message_as_many_as_fit_are_shared_out() {
        let crowd = Crowd::of(200);
        let mut index = Index::new();
        // Content n is held by 64 peers from peer n on: all 200 peers are named by someone, and only some 60 fit.
        let ids: Vec<_> = (0..130u32).map(|n| ContentId::of(&n.to_be_bytes())).collect();
        for (n, id) in (0u32..).zip(&ids) {
            for peer in (n..n + 64).map(|peer| PeerNo(peer % 200)) {
                index.put(peer, &Entry { path: long_path(&format!("{n}")), size: 1, mtime: 0, content_id: Some(*id) });
                index.set_online(peer, true);
            }
        }
        let ask = Sources { namespace: Namespace::default(), content_ids: Bounded::truncated(ids.iter().copied()) };
        let found = sources(&index, &crowd, &ask);
        assert!(encoded(&Answer::Sources(found.clone())) <= MAX_INDEX_MESSAGE_BYTES);
        assert!((40..200).contains(&found.peers.len()), "{} peers", found.peers.len());
        assert!(found.found.iter().all(|of| !of.peers.is_empty() && of.peers.iter().all(|at| usize::from(*at) < found.peers.len())));
        assert!(found.found.len() > 50, "{} contents", found.found.len());
    }

    #[test]
    fn a_search_may_be_limited_to_a_peer_by_the_end_of_its_name() {
        let crowd = Crowd::of(3);
        let mut index = full_index(&crowd, 2);
        let only = Entry { path: long_path("mine"), size: 1, mtime: 0, content_id: Some(ContentId::of(b"mine")) };
        index.put(PeerNo(1), &only);
        let letters = crowd.0[1].0.short();
        let ask = |text: &str| Search { namespace: Namespace::default(), text: Text::truncated(text), after: None, limit: 10 };
        assert_eq!(search(&index, &crowd, &ask("mine")).total, 1);
        assert_eq!(search(&index, &crowd, &ask(&format!("mine peer:{letters}"))).total, 1);
        assert_eq!(search(&index, &crowd, &ask("mine peer:nobody")).total, 0);
        assert_eq!(search(&index, &crowd, &ask(&format!("peer:{} mine", crowd.0[2].0))).total, 0);
    }

    #[test]
    fn a_limit_of_nothing_is_one_and_an_unknown_peer_is_not_found() {
        let crowd = Crowd::of(1);
        let index = full_index(&crowd, 3);
        let ask = |peer| List { namespace: Namespace::default(), peer, under: None, after: None, limit: 0 };
        assert_eq!(list(&index, &crowd, &ask(crowd.0[0].0)).unwrap().entries.len(), 1);
        assert_eq!(list(&index, &crowd, &ask(Crowd::of(2).0[1].0)), Err(Refusal::NotFound));
    }

    #[test]
    fn a_content_that_nobody_has_is_left_out() {
        let crowd = Crowd::of(1);
        let index = full_index(&crowd, 1);
        let ids = [ContentId::of(b"nobody's"), ContentId::of(&0u64.to_be_bytes())];
        let found = sources(&index, &crowd, &Sources { namespace: Namespace::default(), content_ids: Bounded::truncated(ids) });
        assert_eq!(found.found.iter().map(|of| of.content_id).collect::<Vec<_>>(), ids[1..]);
        assert_eq!(found.peers[0].peer, crowd.0[0].0);
    }
}
