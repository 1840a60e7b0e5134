//! The engine tells what the scan tells, whatever was done to both.

use proptest::prelude::*;

use super::find::BUDGET;
use super::{Engine, Found, PeerNo, Query, Scan};
use crate::content_id::ContentId;
use crate::share_path::SharePath;
use crate::wire::index::Entry;

const NOW: i64 = 1_000_000;

/// Both indexes.
#[derive(Default)]
struct Both {
    engine: Engine,
    scan: Scan,
}

#[derive(Clone, Debug)]
enum Step {
    Put(u32, Entry),
    /// Many files below a folder, made of a seed.
    PutTree(u32, u32, u16),
    Remove(u32, SharePath),
    /// Many files of a tree again.
    RemoveTree(u32, u32, u16),
    Forget(u32),
    Online(u32, bool),
    Maintain,
}

impl Both {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Put(peer, entry) => self.put(*peer, entry),
            Step::PutTree(peer, seed, count) => (0..*count).for_each(|file| self.put(*peer, &tree_entry(*seed, file))),
            Step::Remove(peer, path) => self.remove(*peer, path),
            Step::RemoveTree(peer, seed, count) => (0..*count).for_each(|file| self.remove(*peer, &tree_entry(*seed, file).path)),
            Step::Forget(peer) => {
                self.engine.forget_peer(PeerNo(*peer));
                self.scan.forget_peer(PeerNo(*peer));
            }
            Step::Online(peer, online) => {
                self.engine.set_online(PeerNo(*peer), *online);
                self.scan.set_online(PeerNo(*peer), *online);
            }
            Step::Maintain => while self.engine.maintain() {},
        }
    }

    fn put(&mut self, peer: u32, entry: &Entry) {
        self.engine.put(PeerNo(peer), entry);
        self.scan.put(PeerNo(peer), entry);
    }

    fn remove(&mut self, peer: u32, path: &SharePath) {
        self.engine.remove(PeerNo(peer), path);
        self.scan.remove(PeerNo(peer), path);
    }

    fn searches_are_equal(&self, text: &str, only: Option<&[PeerNo]>, page: usize) {
        let query = Query::parse(text);
        let known = self.scan.search(&query, only, None, 100_000, NOW);
        let found = self.engine.search(&query, only, None, 100_000, NOW);
        if found.corrected.is_some() {
            assert!(known.total < super::typo::LITTLE && found.total > known.total, "{text}");
            return;
        }
        if !found.more {
            assert_eq!(found, known, "{text}");
            assert_eq!(self.pages(&query, only, page, BUDGET), known.hits, "{text}");
        }
        for budget in [500, 4_000, 32_000] {
            self.divided_search_is_equal(&query, only, page, budget, &known);
        }
    }

    /// With less work than it takes to read all that may fit, a search is divided. It finds the same each time, whether the halves
    /// run at once or not, and it finds all where the work suffices. True if it did.
    fn divided_search_is_equal(&self, query: &Query, only: Option<&[PeerNo]>, page: usize, budget: usize, known: &Found) -> bool {
        let found = self.engine.search_with(query, only, None, 100_000, NOW, budget);
        assert_eq!(found, self.engine.search_with(query, only, None, 100_000, NOW, budget), "{query:?} {budget}");
        if found.more || found.corrected.is_some() {
            return false;
        }
        assert_eq!(&found, known, "{query:?} {budget}");
        assert_eq!(self.pages(query, only, page, budget), known.hits, "{query:?} {budget}");
        true
    }

    fn pages(&self, query: &Query, only: Option<&[PeerNo]>, page: usize, budget: usize) -> Vec<super::FoundHit> {
        let mut hits = Vec::new();
        let mut after = None;
        loop {
            let Found { hits: mut more, next, .. } = self.engine.search_with(query, only, after.as_deref(), page, NOW, budget);
            hits.append(&mut more);
            after = next;
            if after.is_none() {
                return hits;
            }
        }
    }

    fn lists_are_equal(&self, peer: u32, under: Option<&str>) {
        let under = under.map(|under| SharePath::parse(under).unwrap());
        let mut after = None;
        loop {
            let page = self.engine.list(PeerNo(peer), under.as_ref(), after.as_deref(), 7);
            assert_eq!(page, self.scan.list(PeerNo(peer), under.as_ref(), after.as_deref(), 7));
            after = page.1;
            if after.is_none() {
                return;
            }
        }
    }

    fn all_is_equal(&self) {
        for peer in 0..5 {
            assert_eq!(self.engine.totals(PeerNo(peer)), self.scan.totals(PeerNo(peer)));
            self.lists_are_equal(peer, None);
            self.lists_are_equal(peer, Some("music"));
        }
        for content in 0..12u8 {
            let id = ContentId::of(&[content]);
            assert_eq!(self.engine.sources(&id, 3), self.scan.sources(&id, 3));
        }
    }
}

/// A file of a tree: some contents are everywhere, some names too.
fn tree_entry(seed: u32, file: u16) -> Entry {
    let mixed = u32::from(file).wrapping_mul(2_654_435_761).rotate_left(seed % 32) ^ seed;
    let word = ["night", "Summer", "love-river", "日本語", "Été", "lib"][mixed as usize % 6];
    let folder = ["music", "music/live", "docs", "e\u{301}t\u{e9}"][mixed as usize / 6 % 4];
    let extension = ["mp3", "txt", "PNG"][mixed as usize / 24 % 3];
    let content = if mixed.is_multiple_of(3) { mixed % 997 } else { mixed };
    Entry {
        path: SharePath::parse(&format!("{folder}/{word} {}.{extension}", u32::from(file % 97) * (1 + seed % 3))).unwrap(),
        size: u64::from(mixed % 50),
        mtime: i64::from(mixed % 2000) + NOW - 1000,
        content_id: (!mixed.is_multiple_of(7)).then(|| ContentId::of(&content.to_le_bytes())),
    }
}

fn path() -> impl Strategy<Value = SharePath> {
    let component = prop_oneof!["(music|docs|Live|日本|ab|a|b c|été|x\\.mp3|-)", "[ab]{1,3}(\\.txt)?", "[a-cé /]{1,4}"];
    prop::collection::vec(component, 1..4)
        .prop_filter_map("a share path", |components| SharePath::parse(components.join("/").trim_matches('/')).ok())
}

fn entry() -> impl Strategy<Value = Entry> {
    let mtime = prop_oneof![Just(-5i64), NOW - 100..NOW, Just(i64::MAX)];
    (path(), 0u64..4, mtime, prop::option::weighted(0.8, 0u8..12)).prop_map(|(path, size, mtime, id)| Entry {
        path,
        size,
        mtime,
        content_id: id.map(|id| ContentId::of(&[id])),
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u32..5, entry()).prop_map(|(peer, entry)| Step::Put(peer, entry)),
        2 => (0u32..5, 0u32..6, 1u16..700).prop_map(|(peer, seed, count)| Step::PutTree(peer, seed, count)),
        2 => (0u32..5, path()).prop_map(|(peer, path)| Step::Remove(peer, path)),
        1 => (0u32..5, 0u32..6, 1u16..700).prop_map(|(peer, seed, count)| Step::RemoveTree(peer, seed, count)),
        1 => (0u32..5).prop_map(Step::Forget),
        4 => (0u32..5, any::<bool>()).prop_map(|(peer, online)| Step::Online(peer, online)),
        2 => Just(Step::Maintain),
    ]
}

const QUERIES: [&str; 22] = [
    "a",
    "ab",
    "b c",
    "music",
    "live night",
    "日本",
    "日",
    "été",
    "summer -live",
    "\"love-river 1\"",
    "ext:mp3",
    "lib type:image",
    "night size:>20 size:<40",
    "e newer:500s",
    "newer:1970-01-12 music",
    "type:folder music",
    "type:folder",
    "/",
    "music/",
    "x.mp3",
    ".",
    "",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 24 } else { 512 }))]

    #[test]
    fn engine_and_scan_tell_the_same(steps in prop::collection::vec(step(), 1..40), text in "[a-cé日 \"-]{1,6}", page in 3usize..60) {
        let mut both = Both::default();
        (0..4).for_each(|peer| both.take(&Step::Online(peer, true)));
        steps.iter().for_each(|step| both.take(step));
        both.all_is_equal();
        for query in QUERIES.iter().copied().chain([text.as_str()]) {
            both.searches_are_equal(query, None, page);
        }
        both.searches_are_equal("a", Some(&[PeerNo(1), PeerNo(2), PeerNo(9)]), page);
        both.searches_are_equal("music", Some(&[]), page);
    }
}

/// Ids and sizes are what peers say: they may differ in either alone, and in a single byte.
#[test]
fn hits_of_one_path_and_score_stand_in_one_order_and_none_is_lost_between_pages() {
    let mut both = Both::default();
    for peer in 0..20 {
        both.take(&Step::Online(peer, true));
        let mut id = [0xff; 32];
        id[31] = u8::try_from(peer / 8).unwrap();
        let content_id = (peer < 16).then(|| ContentId::from_bytes(id));
        let path = SharePath::parse(if peer == 19 { "ab/ab" } else { "ab" }).unwrap();
        both.put(peer, &Entry { path, size: u64::from(peer % 8), mtime: 0, content_id });
    }
    for page in 1..5 {
        both.searches_are_equal("ab", None, page);
        both.searches_are_equal("", None, page);
    }
}

/// Enough files for joined segments, and for searches that are cut.
#[test]
fn joined_segments_tell_what_a_scan_tells_before_and_after_most_peers_are_forgotten() {
    let mut both = Both::default();
    for peer in 0..40 {
        both.take(&Step::Online(peer, true));
        for file in 0..600 {
            let mut entry = tree_entry(peer, file);
            entry.path = SharePath::parse(&format!("{}/{peer}/{}", entry.path.parent().unwrap(), entry.path.name())).unwrap();
            both.put(peer, &entry);
        }
        while peer % 8 == 0 && both.engine.maintain() {}
    }
    while both.engine.maintain() {}
    assert!(both.engine.texts.segments().any(|(_, segment)| segment.leaves.len() >= 16));
    let queries = ["love night", "日本 39", "live 7 mp3", "docs summer 11", "e\u{301}te\u{301}/3 lib", "zz", "night", "l", "li"];
    queries.iter().for_each(|query| both.searches_are_equal(query, None, 50));
    // A text of one byte may be in any block: with less work than to read and to rank all names it is divided, and has enough.
    let blocks: usize = both.engine.texts.segments().map(|(_, segment)| segment.blocks()).sum();
    for text in ["7", "v", "b", "ext:png v"] {
        let query = Query::parse(text);
        let known = both.scan.search(&query, None, None, 100_000, NOW);
        assert!(known.total > 1000 && both.divided_search_is_equal(&query, None, 500, blocks * 100, &known), "{text}");
    }
    let before = both.engine.heap_bytes();
    (0..36).for_each(|peer| both.take(&Step::Forget(peer)));
    both.take(&Step::Maintain);
    both.all_is_equal();
    queries.iter().for_each(|query| both.searches_are_equal(query, None, 50));
    assert!(both.engine.heap_bytes() < before, "numbers and texts of the dead are given back");
    both.take(&Step::PutTree(3, 5, 700));
    both.take(&Step::Online(3, true));
    queries.iter().for_each(|query| both.searches_are_equal(query, None, 50));
}

/// Peers that come and go for ever leave nothing behind, if somebody tidies now and then: at the worst a step for each page of files.
#[test]
fn what_comes_and_goes_is_tidied_as_fast_as_it_comes() {
    let mut engine = Engine::new();
    let mut heap = Vec::new();
    for turn in 0..1000_u32 {
        let peer = PeerNo(turn % 7);
        engine.forget_peer(peer);
        for file in 0..400 {
            let path = SharePath::parse(&format!("turn {turn}/chapter {}/file {file}", file % 9)).unwrap();
            let content_id = Some(ContentId::of(&[turn, file].map(u32::to_le_bytes).concat()));
            engine.put(peer, &Entry { path, size: 1, mtime: 0, content_id });
        }
        engine.set_online(peer, true);
        while let Some(job) = engine.next_job() {
            engine.finish_job(job.run());
        }
        engine.tidy();
        if turn % 100 == 99 {
            heap.push(engine.heap_bytes());
        }
    }
    let (first, last) = (heap[2], heap[heap.len() - 1]);
    assert!(last < first + first / 2, "{heap:?}");
}

/// An index that is settled finds what it found, in fewer segments; then there is nothing more to settle.
#[test]
fn an_index_at_rest_is_smaller_and_finds_the_same() {
    let mut both = Both::default();
    for peer in 0..4 {
        both.take(&Step::PutTree(peer, peer, 7000));
        both.take(&Step::Online(peer, true));
    }
    while let Some(job) = both.engine.next_job() {
        both.engine.finish_job(job.run());
    }
    let before = both.engine.heap_bytes();
    let job = both.engine.settling_job().expect("several segments of one leaf each");
    assert!(both.engine.settling_job().is_none(), "all are in the job");
    both.engine.finish_job(job.run());
    assert!(both.engine.settling_job().is_none());
    assert!(both.engine.heap_bytes() < before, "{} {before}", both.engine.heap_bytes());
    ["album", "track 12", "a", "nothing of the kind"].iter().for_each(|query| both.searches_are_equal(query, None, 50));
}

#[test]
fn a_typing_error_is_corrected_and_told() {
    let mut both = Both::default();
    both.take(&Step::PutTree(0, 1, 700));
    both.take(&Step::Online(0, true));
    for text in ["sumer", "nihgt", "lovve", "nigth mp3"] {
        let found = both.engine.search(&Query::parse(text), None, None, 10, NOW);
        let known = both.scan.search(&Query::parse(found.corrected.as_deref().unwrap_or("?")), None, None, 10, NOW);
        assert_eq!((found.total, found.hits), (known.total, known.hits), "{text}: {:?}", found.corrected);
    }
    assert_eq!(both.engine.search(&Query::parse("summer"), None, None, 10, NOW).corrected, None);
    while both.engine.maintain() {}
    assert_eq!(both.engine.search(&Query::parse("sumer"), None, None, 10, NOW).corrected.as_deref(), Some("summer"));
}
