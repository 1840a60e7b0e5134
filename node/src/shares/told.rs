//! What a reader is told of the shares: those for everybody, and those that are for this reader.
//!
//! A listing goes by path over all of them. A search tells what is for few first, one share after another, then what is for everybody; its
//! cursor says how far it is: `NUMBER;CURSOR`, where the number counts the shelves that this reader may see. A reader for whom
//! there is nothing in particular gets the cursors of the one index, unchanged.
//!
//! The indexes know names, sizes and times. What the files hold is in the journals, once, and comes from there.

use potluck_common::content_id::ContentId;
use potluck_common::search::Index;
use potluck_common::search::answer::{Directory, MAX_NAMED_SOURCES, PageBudget, search_of_names};
use potluck_common::share_path::SharePath;
use potluck_common::wire::index::{
    Answer, ContentSources, Entry, List, ListPage, MAX_PAGE, Request, Search, SearchPage, SourcePeer, Sources, SourcesFound,
};
use potluck_common::wire::{Bounded, MAX_CURSOR_BYTES, Refusal, Text};

use super::{ME, Table};
use crate::core::audience::Reader;
use crate::core::journal::Journal;

/// Files that are for the same readers: what they hold, and their names.
type Shelved<'a> = (&'a Journal, &'a Index);

impl Table {
    /// What a reader may see, what is for everybody last.
    fn shelves(&self, reader: &Reader) -> Vec<Shelved<'_>> {
        let limited = self.shares.values().filter(|share| share.readers.include(reader)).filter_map(|share| share.shelf.as_ref());
        limited.map(|shelf| (&shelf.journal, &shelf.index)).chain([(&self.journal, &self.index)]).collect()
    }

    /// The answer to a reader's request; `None` for those that only a tracker knows.
    pub(crate) fn answer_for(&self, reader: &Reader, myself: &impl Directory, request: &Request) -> Option<Answer> {
        let told = match request {
            Request::List(ask) => match myself.peer_no(&ask.peer) {
                Some(_) => Answer::List(self.page_for(reader, ask)),
                None => Answer::Refused { why: Refusal::NotFound },
            },
            Request::Search(ask) => Answer::Search(search_all(&self.shelves(reader), myself, ask)),
            Request::Sources(ask) => Answer::Sources(sources_in_all(&self.shelves(reader), myself, ask)),
            Request::Publish(_) | Request::Withdraw(_) | Request::Peers(_) | Request::Watch(_) => return None,
        };
        Some(if self.is_filling { of_part(told) } else { told })
    }

    /// Whether what is told is not all that there is: for some seconds after the start of a node with large shares.
    pub(crate) fn is_filling(&self) -> bool {
        self.is_filling
    }

    /// The files that a reader may see at or below a path, after a cursor, in the order of their paths; with the next cursor.
    pub(crate) fn list_for(
        &self,
        reader: &Reader,
        under: Option<&SharePath>,
        after: Option<&str>,
        limit: usize,
    ) -> (Vec<Entry>, Option<String>) {
        let mut entries = Vec::new();
        let mut more = false;
        for (journal, index) in self.shelves(reader) {
            let (some, next) = index.list(ME, under, after, limit);
            entries.extend(some.into_iter().map(|entry| Entry { content_id: content_in(journal, &entry.path), ..entry }));
            more |= next.is_some();
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        more |= entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|entry| entry.path.to_string());
        (entries, next)
    }

    fn page_for(&self, reader: &Reader, ask: &List) -> ListPage {
        let limit = usize::try_from(ask.limit).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let (mut entries, mut next) = self.list_for(reader, ask.under.as_ref(), ask.after.as_deref(), limit);
        let mut budget = PageBudget::new();
        let fitting = entries.iter().take_while(|entry| budget.take(entry)).count();
        if fitting < entries.len() {
            entries.truncate(fitting);
            next = entries.last().map(|entry| entry.path.to_string());
        }
        ListPage { entries: Bounded::truncated(entries), next: next.as_deref().map(Text::truncated) }
    }
}

/// What is said instead of an answer that knows a part only: hits, and that there are more; otherwise to try again.
fn of_part(told: Answer) -> Answer {
    match told {
        Answer::Search(page) if !page.hits.is_empty() => Answer::Search(SearchPage { more: true, ..page }),
        Answer::Search(_) | Answer::List(_) => Answer::Refused { why: Refusal::Unavailable },
        other => other,
    }
}

/// What the file at a path holds, as far as is known.
fn content_in(journal: &Journal, path: &SharePath) -> Option<ContentId> {
    journal.content(path).flatten()
}

fn search_all(shelves: &[Shelved<'_>], myself: &impl Directory, ask: &Search) -> SearchPage {
    if let [(journal, index)] = shelves {
        return search_of_names(index, myself, ask, |path| content_in(journal, path));
    }
    let (start, mut after) = place_in(ask.after.as_deref());
    let everybody = shelves.len().saturating_sub(1);
    let pages = |at: usize, after: Option<String>, limit: u32| {
        let ask = Search { after: after.as_deref().map(Text::truncated), limit, ..ask.clone() };
        let shelf = shelves.get(at);
        let page = shelf.map(|(journal, index)| search_of_names(index, myself, &ask, |path| content_in(journal, path)));
        let page = page.unwrap_or_default();
        // Typing errors are mended in what is for everybody only: a guess must not come before what was meant.
        if at < everybody && page.corrected.is_some() { SearchPage::default() } else { page }
    };
    let total = (0..shelves.len()).map(|at| pages(at, None, 1).total).sum();
    for at in start..shelves.len() {
        let mut page = pages(at, after.take(), ask.limit);
        let next = page.next.take().map(|next| format!("{at};{}", next.as_str())).filter(|next| next.len() <= MAX_CURSOR_BYTES);
        let next = next.or_else(|| (at < everybody).then(|| format!("{};", at + 1)));
        if !page.hits.is_empty() || at == everybody {
            return SearchPage { total, next: next.as_deref().map(Text::truncated), ..page };
        }
    }
    SearchPage { total, ..SearchPage::default() }
}

/// Which shelf a cursor is in, and where there.
fn place_in(cursor: Option<&str>) -> (usize, Option<String>) {
    let Some((at, after)) = cursor.and_then(|cursor| cursor.split_once(';')) else { return (0, None) };
    (at.parse().unwrap_or(usize::MAX), Some(after.to_owned()).filter(|after| !after.is_empty()))
}

/// All shelves are this node's, so that each answer names the same one peer.
fn sources_in_all(shelves: &[Shelved<'_>], myself: &impl Directory, ask: &Sources) -> SourcesFound {
    let Some(card) = myself.card(ME) else { return SourcesFound::default() };
    let tell_paths = ask.content_ids.len() <= MAX_NAMED_SOURCES;
    let found = ask.content_ids.iter().filter_map(|id| {
        let places = shelves.iter().flat_map(|(journal, _)| journal.places(id));
        let (path, stamp) = places.min_by(|one, other| one.0.cmp(&other.0))?;
        Some(ContentSources { content_id: *id, size: stamp.size, path: tell_paths.then_some(path), peers: Bounded::truncated([0]) })
    });
    let found = Bounded::truncated(found);
    let me = SourcePeer { peer: card.peer, nickname: card.nickname.clone(), addresses: card.addresses.clone() };
    SourcesFound { peers: Bounded::truncated((!found.is_empty()).then_some(me)), found }
}

#[cfg(test)]
mod tests {
    use potluck_common::namespace::Namespace;
    use potluck_common::peer::PeerKey;
    use potluck_common::search::PeerNo;
    use potluck_common::search::answer::Card;
    use potluck_common::wire::MAX_ADDRESSES;
    use potluck_common::wire::index::{Address, Cursor, Nickname};

    use super::*;
    use crate::core::audience::{Audience, Guest};
    use crate::core::testing::peer;
    use crate::shares::{FoundFile, Shares};
    use crate::store::Stamp;

    const STAMP: Stamp = Stamp { dev: 1, ino: 2, size: 3, mtime_ns: 4_000_000_000 };

    struct Myself(PeerKey, Nickname, Bounded<Address, MAX_ADDRESSES>);

    impl Directory for Myself {
        fn peer_no(&self, peer: &PeerKey) -> Option<PeerNo> {
            (*peer == self.0).then_some(ME)
        }
        fn card(&self, peer: PeerNo) -> Option<Card<'_>> {
            (peer == ME).then_some(Card { peer: self.0, nickname: &self.1, addresses: &self.2 })
        }
        fn peers_named(&self, _: &str) -> Vec<PeerNo> {
            Vec::new()
        }
    }

    fn myself() -> Myself {
        Myself(peer(0), Nickname::default(), Bounded::default())
    }

    /// Files `PATH` with the content of the same letters; a share `secret` for peer 1, one `band` for peers 1 and 2, `open` for all.
    fn shares(paths: &[&str]) -> Shares {
        let shares = Shares::new(1, Namespace::default());
        let for_peers = |numbers: &[u32]| Audience::new(numbers.iter().map(|number| Guest::Peer(peer(*number))));
        shares.lock().add_share("secret", "/secret".into(), None, for_peers(&[1]));
        shares.lock().add_share("band", "/band".into(), None, for_peers(&[1, 2]));
        shares.lock().add_share("open", "/open".into(), None, for_peers(&[]));
        for path in paths {
            let path = SharePath::parse(path).unwrap();
            let content_id = Some(ContentId::of(path.name().as_bytes()));
            shares.lock().put(&FoundFile { path, stamp: STAMP, content_id });
        }
        shares
    }

    fn listed(shares: &Shares, reader: u32, limit: u32) -> Vec<String> {
        let (mut paths, mut after) = (Vec::new(), None);
        loop {
            let ask = List { namespace: Namespace::default(), peer: peer(0), under: None, after, limit };
            let Some(Answer::List(page)) = shares.lock().answer_for(&Reader::Peer(peer(reader)), &myself(), &Request::List(ask)) else {
                panic!("no page");
            };
            paths.extend(page.entries.iter().map(|entry| entry.path.to_string()));
            after = page.next.map(|next| Cursor::truncated(&next));
            if after.is_none() {
                return paths;
            }
        }
    }

    fn searched(shares: &Shares, reader: u32, text: &str, limit: u32) -> (Vec<String>, u64) {
        let (mut paths, mut after) = (Vec::new(), None);
        loop {
            let ask = Search { namespace: Namespace::default(), text: Text::truncated(text), after, limit };
            let Some(Answer::Search(page)) = shares.lock().answer_for(&Reader::Peer(peer(reader)), &myself(), &Request::Search(ask)) else {
                panic!("no page");
            };
            paths.extend(page.hits.iter().map(|hit| hit.path.to_string()));
            after = page.next;
            if after.is_none() {
                return (paths, page.total);
            }
        }
    }

    #[test]
    fn everybody_is_told_what_is_for_them_and_in_the_order_of_paths() {
        let shares = shares(&["secret/tune 1", "band/tune 2", "open/tune 3", "band/tune 4"]);
        for limit in [1, 2, 100] {
            assert_eq!(listed(&shares, 1, limit), ["band/tune 2", "band/tune 4", "open/tune 3", "secret/tune 1"]);
            assert_eq!(listed(&shares, 2, limit), ["band/tune 2", "band/tune 4", "open/tune 3"]);
            assert_eq!(listed(&shares, 3, limit), ["open/tune 3"]);
        }
    }

    #[test]
    fn a_search_pages_through_all_that_a_reader_may_see() {
        let shares = shares(&["secret/tune 1", "band/tune 2", "open/tune 3", "open/tune 4"]);
        for limit in [1, 2, 100] {
            let (mut paths, total) = searched(&shares, 1, "tune", limit);
            paths.sort();
            assert_eq!((paths.len(), total), (4, 4), "{paths:?}");
            assert_eq!(searched(&shares, 2, "tune", limit).0.len(), 3);
            let (paths, total) = searched(&shares, 3, "tune", limit);
            assert_eq!((paths.len(), total), (2, 2), "{paths:?}");
        }
        assert_eq!(searched(&shares, 3, "secret", 10), (Vec::new(), 0), "not even that there is something");
        assert_eq!(searched(&shares, 1, "nothing-like-it", 10), (Vec::new(), 0));
    }

    #[test]
    fn a_content_is_found_by_those_only_whom_a_place_of_it_is_for() {
        let shares = shares(&["secret/a", "open/b", "secret/b"]);
        let (a, b) = (ContentId::of(b"a"), ContentId::of(b"b"));
        let ask = Request::Sources(Sources { namespace: Namespace::default(), content_ids: Bounded::truncated([a, b]) });
        let found = |reader| match shares.lock().answer_for(&Reader::Peer(peer(reader)), &myself(), &ask) {
            Some(Answer::Sources(found)) => found,
            other => panic!("{other:?}"),
        };
        let names = |found: &SourcesFound| found.found.iter().map(|one| one.content_id).collect::<Vec<_>>();
        assert!(names(&found(1)).contains(&a) && names(&found(1)).contains(&b));
        let theirs = found(3);
        assert_eq!(names(&theirs), [b]);
        assert_eq!(theirs.found[0].path.as_ref().map(ToString::to_string).as_deref(), Some("open/b"));
        let kept = |id, reader| shares.lock().is_kept_from(&id, &Reader::Peer(peer(reader)));
        assert!(kept(a, 3) && kept(a, 2) && !kept(a, 1) && !kept(b, 3));
    }

    #[test]
    fn an_answer_says_when_it_knows_a_part_only() {
        let shares = shares(&["secret/tune 1", "open/tune 2"]);
        let ask = |reader: u32, request: &Request| shares.lock().answer_for(&Reader::Peer(peer(reader)), &myself(), request).unwrap();
        let search =
            |text: &str| Request::Search(Search { namespace: Namespace::default(), text: Text::truncated(text), after: None, limit: 10 });
        let list = Request::List(List { namespace: Namespace::default(), peer: peer(0), under: None, after: None, limit: 10 });
        let later = Answer::Refused { why: Refusal::Unavailable };
        for reader in [1, 3] {
            shares.lock().is_filling = true;
            assert!(matches!(ask(reader, &search("tune")), Answer::Search(page) if page.more && !page.hits.is_empty()));
            assert_eq!((ask(reader, &search("flute")), ask(reader, &list)), (later.clone(), later.clone()));
            shares.fill_indexes(&|| false);
            assert!(matches!(ask(reader, &search("tune")), Answer::Search(page) if !page.more));
            assert!(matches!(ask(reader, &list), Answer::List(page) if !page.entries.is_empty()));
        }
    }

    #[test]
    fn a_limited_share_is_published_to_nobody_and_counted_for_its_readers() {
        let shares = shares(&["secret/a", "band/b", "open/c"]);
        let published: Vec<String> = shares.lock().journal.entries().map(|entry| entry.path.to_string()).collect();
        assert_eq!(published, ["open/c"]);
        assert_eq!(shares.totals(&Reader::Me).0, 3);
        assert_eq!(shares.totals(&Reader::Peer(peer(2))).0, 2);
        assert_eq!(shares.totals(&Reader::Peer(peer(3))).0, 1);
    }

    #[test]
    fn a_share_that_is_removed_while_it_is_listed_stays_away() {
        let shares = shares(&["secret/a"]);
        shares.lock().close_share("secret");
        let path = SharePath::parse("secret/late").unwrap();
        shares.lock().put(&FoundFile { path, stamp: STAMP, content_id: None });
        assert_eq!(listed(&shares, 1, 10), Vec::<String>::new());
        assert_eq!(shares.lock().journal.files(), 0);
    }
}
