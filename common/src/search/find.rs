//! A search: from words to blocks of names, from those to documents.
//!
//! 1. *Candidates.* For each segment, the blocks that hold every three bytes of every word: a set of bits. What filters say
//!    of names (`ext:`) narrows it.
//! 2. *Order.* Where the candidates are few, all are read. Where they are more than [`BUDGET`] allows, the best are read first:
//!    [`Order`] tells what each can be worth at most. It ends when the page is full of hits that are worth more than any that
//!    can follow, or when the budget is spent; then `more` says that there are more hits than were counted. The segments are dealt
//!    out to two halves, which two cores read at the same time where one is idle.
//! 3. *Verification.* Names are read, folded and compared; who holds them is looked up; the rest is the
//!    [`Collector`](super::collect::Collector)'s.
//!
//! The budget is counted in work, not in time, and the halves are the same wherever they are read: a search finds the same whatever
//! else the machine does.

use std::cmp::Reverse;

use super::collect::{Collector, Cursor};
use super::engine::Engine;
use super::filter::Filter;
use super::names::{Name, Reader};
use super::order::Order;
use super::postings::{Bits, List, ones};
use super::query::Query;
use super::rank::{self, FOLDER, POPULARITY, Word};
use super::relation::DocNo;
use super::segment::{LEAF_BLOCKS, Place, Segment, key};
use super::texts::Leaf;
use super::{Found, PeerNo};
use crate::halves::{AtWork, both};

/// Work that one search may do, in steps of some 150 ns: reading a block is [`BLOCK_COST`], a name that holds all words is
/// [`RANK_COST`], a document that fits is [`HIT_COST`].
pub(super) const BUDGET: usize = 40_000;
/// Reading and comparing 16 names.
const BLOCK_COST: usize = 16;
/// Telling what a name is worth.
const RANK_COST: usize = 2;
/// Looking one document up and collecting it.
const HIT_COST: usize = 6;
/// Hits that are counted before a search may end early: so that `200+` is said and not `60+`.
const MIN_COUNTED: usize = 200;
/// Documents from which on another core is woken for a half: among fewer, the sixteenth of a millisecond that this takes is much of what
/// it saves. Tests do it always.
const WORTH_A_CORE: usize = if cfg!(test) { 1 } else { 2_000_000 };
/// What part of its work a half does before it meets the other: one of so many.
const FIRST: usize = 4;
/// Blocks that are asked of the memory at once.
const TOUCHED: usize = 16;
/// Where only some peers are searched and have so few files together, their files are read one by one.
const FEW_FILES: usize = 8192;
/// Blocks of a list that are read in the time that 16 names are: a longer list does not pay to spare one.
const WORTH_A_BLOCK: usize = 500;

/// What a search is made of, apart from where it begins.
pub(super) struct Plan {
    pub(super) words: Vec<Word>,
    /// Texts one of which each fitting name holds: extensions with their dots.
    endings: Vec<Word>,
    pub(super) filter: Filter,
    /// The work that may be done.
    budget: usize,
}

/// A segment's part in a search.
pub(super) struct Part<'a> {
    pub(super) segment: &'a Segment,
    pub(super) candidates: Bits,
}

/// A search under way.
struct Search<'a> {
    engine: &'a Engine,
    plan: &'a Plan,
    hits: Collector<'a>,
    work: usize,
    /// The work that may be done.
    budget: usize,
    /// When only the best blocks are read: what is worth less than this does not come on the page.
    least: u32,
    /// Whether something was left out.
    more: bool,
}

impl Engine {
    /// What a query finds among the online peers (or among `only` those), best first, after a cursor. `now` is the time in
    /// seconds since 1970-01-01 UTC, for `newer:7d`.
    ///
    /// Contents are one hit, under whatever names; folders are hits where a folder's path holds all words. When the
    /// words as typed find little, what they were probably meant to be is searched too, and told in `corrected`.
    #[must_use]
    pub fn search(&self, query: &Query, only: Option<&[PeerNo]>, after: Option<&str>, limit: usize, now: i64) -> Found {
        self.search_with(query, only, after, limit, now, BUDGET)
    }

    /// [`search`](Self::search) with all the work that it takes: what a search that is cut is measured against.
    #[must_use]
    pub fn search_thoroughly(&self, query: &Query, only: Option<&[PeerNo]>, after: Option<&str>, limit: usize, now: i64) -> Found {
        self.search_with(query, only, after, limit, now, usize::MAX)
    }

    /// [`search`](Self::search) with as much work as is said.
    pub(super) fn search_with(
        &self,
        query: &Query,
        only: Option<&[PeerNo]>,
        after: Option<&str>,
        limit: usize,
        now: i64,
        budget: usize,
    ) -> Found {
        let _at_work = AtWork::begin();
        let after = after.and_then(Cursor::parse);
        let words = query.words.iter().map(|word| Word::new([word.as_str()])).collect();
        let plan = Plan::new(words, query, Filter::new(self, query, only, now), budget);
        let found = self.run(&plan, only, after.clone(), limit);
        if found.total >= super::typo::LITTLE || found.more {
            return found;
        }
        let Some((words, corrected)) = self.correct(query, found.total) else { return found };
        let plan = Plan { words, ..plan };
        let better = self.run(&plan, only, after, limit);
        if better.total > found.total { Found { corrected: Some(corrected), ..better } } else { found }
    }

    /// Does two halves of a search: at the same time where a core is idle, and the index so large that it pays to wake it.
    pub(super) fn both(&self, ours: impl FnOnce(), theirs: impl FnOnce() + Send) {
        if self.relation.documents() < WORTH_A_CORE {
            ours();
            theirs();
        } else {
            both(ours, theirs);
        }
    }

    fn run(&self, plan: &Plan, only: Option<&[PeerNo]>, after: Option<Cursor>, limit: usize) -> Found {
        let hits = Collector::new(self, &plan.filter, after);
        let mut search = Search { engine: self, plan, hits, work: 0, budget: plan.budget, least: 0, more: false };
        match only {
            Some(only) if only.iter().map(|peer| self.totals(*peer).files).sum::<u64>() <= FEW_FILES as u64 => {
                search.read_peers(only);
            }
            _ => search.read_all(limit),
        }
        Found { more: search.more, ..search.hits.page(limit) }
    }
}

impl Plan {
    fn new(words: Vec<Word>, query: &Query, filter: Filter, budget: usize) -> Self {
        let endings: Vec<String> = query.extensions.iter().map(|extension| format!(".{extension}")).collect();
        let endings = if endings.is_empty() { Vec::new() } else { vec![Word::new(endings.iter().map(String::as_str))] };
        Self { words, endings, filter, budget }
    }
}

impl<'a> Search<'a> {
    /// Reads the files of a few peers.
    fn read_peers(&mut self, only: &[PeerNo]) {
        let slots = only.iter().filter_map(|peer| self.engine.peers.slot(*peer)).filter(|slot| self.engine.peers.is_online(*slot));
        let mut docs: Vec<DocNo> = slots.flat_map(|slot| self.engine.peers.get(slot).files.iter()).collect();
        docs.sort_unstable();
        docs.dedup();
        for doc in docs {
            let path = self.engine.path(doc);
            let folded = super::fold::fold(&path);
            self.look_at(doc, Name { path: path.as_bytes(), folded: folded.as_bytes() });
        }
    }

    /// Reads of the segments what the budget allows, and the scanned leaves.
    fn read_all(&mut self, limit: usize) {
        let parts: Vec<Part<'_>> = self.engine.texts.segments().filter_map(|(_, segment)| Part::new(segment, self.plan)).collect();
        let blocks: usize = parts.iter().map(|part| part.candidates.count()).sum();
        if blocks * (BLOCK_COST + (RANK_COST + HIT_COST) * super::names::BLOCK) <= self.budget {
            let all: Vec<_> = parts.iter().flat_map(|part| part.candidates.iter().map(|block| (part.segment, block))).collect();
            self.read_blocks(&all, &mut Reader::default());
            self.scan_leaves();
            return;
        }
        self.read_halves(parts, limit);
        self.more |= self.least > 0;
    }

    /// Reads the best blocks of two halves, each with its own share of the budget: at the same time where a core is idle, else one
    /// after the other. Neither half knows of the other while they are read, so that both ways find the same.
    ///
    /// They meet once before the end: when each has read a part, or its half of the page seems to be full. Together they know then what
    /// does not come on the page, which often is all that is left.
    fn read_halves(&mut self, parts: Vec<Part<'a>>, limit: usize) {
        let [(our_parts, our_blocks), (their_parts, their_blocks)] = dealt(parts);
        let their_budget = (self.budget as u128 * their_blocks as u128 / (our_blocks + their_blocks).max(1) as u128) as usize;
        let mut other = Search { hits: self.hits.half(), budget: their_budget, ..*self };
        self.budget -= their_budget;
        let engine = self.engine;
        let (mut ours, mut theirs) = (None, None);
        engine.both(|| ours = Some(self.begin(our_parts, limit)), || theirs = Some(other.begin(their_parts, limit)));
        let (Some(mut ours), Some(mut theirs)) = (ours, theirs) else { return };
        let found = std::mem::replace(&mut other.hits, self.hits.half());
        self.hits.join(found);
        self.raise_least(limit);
        self.least = self.least.max(other.least);
        other.least = self.least;
        let goes_on = |half: &Self, order: &Order<'_>| half.work < half.budget && order.most().is_some_and(|most| most >= half.least);
        let both_go_on = goes_on(self, &ours) && goes_on(&other, &theirs);
        let mut read_ours = || self.read_best(&mut ours, limit, false);
        let mut read_theirs = || {
            other.read_best(&mut theirs, limit, false);
            other.scan_leaves();
        };
        if both_go_on {
            engine.both(read_ours, read_theirs);
        } else {
            read_ours();
            read_theirs();
        }
        self.hits.join(other.hits);
        self.more |= other.more | ours.most().or(theirs.most()).is_some();
    }

    /// Reads the leaves that have no postings yet: after the others, as most of what they hold does not come on a page that is full.
    fn scan_leaves(&mut self) {
        for leaf in self.engine.texts.scanned() {
            self.scan(leaf);
        }
    }

    /// Puts the blocks of a half in order, and reads the first of them.
    fn begin(&mut self, parts: Vec<Part<'a>>, limit: usize) -> Order<'a> {
        let mut order = Order::new(self.engine, &self.plan.words, parts, self.budget / BLOCK_COST);
        self.read_best(&mut order, limit, true);
        order
    }

    /// Reads blocks in the order of what they are worth at most, while they may be worth a place on the page and the budget lasts. At
    /// `first` no longer than it takes to know about what the page will be.
    fn read_best(&mut self, order: &mut Order<'_>, limit: usize, first: bool) {
        let mut reader = Reader::default();
        while let Some(most) = order.most() {
            self.raise_least(limit);
            let seems_full = || self.hits.total() >= MIN_COUNTED / 2 && self.hits.score_at(limit / 2) > most;
            if self.least > most || (first && (self.work >= self.budget / FIRST || seems_full())) {
                return;
            }
            let Some((_, blocks)) = order.next() else { return };
            if !self.read_blocks(&blocks, &mut reader) {
                self.more = true;
                return;
            }
        }
    }

    /// What is known of the page so far tells what does not come on it.
    fn raise_least(&mut self, limit: usize) {
        if self.hits.total() >= MIN_COUNTED {
            self.least = self.hits.score_at(limit).max(self.least);
        }
    }

    /// Reads blocks until the budget is spent. False if it was.
    fn read_blocks(&mut self, blocks: &[(&Segment, usize)], reader: &mut Reader) -> bool {
        for batch in blocks.chunks(TOUCHED) {
            // They lie all over the memory: asked for together, they come together.
            let touched = batch.iter().fold(0, |sum, (segment, block)| sum ^ self.touch(segment, *block));
            std::hint::black_box(touched);
            for (segment, block) in batch {
                if self.work >= self.budget {
                    return false;
                }
                self.read_block(segment, *block, reader);
            }
        }
        true
    }

    /// Looks at the places that reading a block will look at.
    fn touch(&self, segment: &Segment, block: usize) -> u32 {
        let first = first_doc(segment, block).unwrap_or_default();
        segment.names.touch(block) ^ self.engine.relation.touch_holders(first)
    }

    fn read_block(&mut self, segment: &Segment, block: usize, reader: &mut Reader) {
        self.work += BLOCK_COST;
        let Some(first) = first_doc(segment, block) else { return };
        segment.names.read_block(block, reader);
        // Most names that are read have not all words: that is looked at first.
        let holding = self.plan.words.iter().fold(reader.all(), |among, word| word.holding(reader, among));
        for place in ones(holding.into()) {
            self.look_at(first + place as u32, reader.name(place));
        }
    }

    /// Reads a leaf that has no postings: the places of the longest word, found in all its text at once.
    fn scan(&mut self, leaf: &Leaf) {
        let first = leaf.number * super::segment::LEAF as u32;
        let longest = self.plan.words.iter().max_by_key(|word| word.spellings().map(<[u8]>::len).min());
        let mut place = 0;
        let mut from = 0;
        while place < leaf.len() {
            if let Some(word) = longest {
                let Some(at) = leaf.all_folded().get(from..).and_then(|text| word.find(text)) else { return };
                place = leaf.place_of(from + at);
            }
            self.look_at(first + place as u32, Name { path: leaf.path(place), folded: leaf.folded(place) });
            from = leaf.after(place);
            place += 1;
        }
    }

    /// Takes a document if it fits.
    fn look_at(&mut self, doc: DocNo, name: Name<'_>) {
        let Some(found) = rank::find(&self.plan.words, name.folded) else { return };
        self.work += RANK_COST;
        // What does not come on the page need not be looked up.
        let missing = self.least.saturating_sub(found.points + FOLDER);
        if missing > 0 && (missing > POPULARITY || missing > self.engine.most_popularity(doc)) {
            return;
        }
        self.work += HIT_COST;
        let filter = &self.plan.filter;
        let engine = self.engine;
        let holders = engine.relation.holders(doc);
        if filter.files
            && filter.fits_name(name.folded)
            && !filter.excludes(name.folded)
            && holders.iter().any(|holder| filter.fits_holder(engine, *holder))
            && filter.fits_size(engine, doc)
        {
            self.hits.file(doc, found.points);
        }
        if let Some(end) = found.folder_end.filter(|_| filter.folders) {
            self.look_at_folder(doc, name, end, found.points);
        }
    }

    /// Takes the first folder on a document's path that holds all words itself.
    fn look_at_folder(&mut self, doc: DocNo, name: Name<'_>, end: usize, points: u32) {
        let Some(folder) = name.folded.get(..end) else { return };
        let filter = &self.plan.filter;
        if filter.excludes(folder) {
            return;
        }
        let engine = self.engine;
        let mut holders = engine.relation.holders(doc).iter().filter(|holder| filter.allows(engine, holder.slot)).copied().peekable();
        if holders.peek().is_some() {
            self.hits.folder(doc, path_of_folder(name, end), points, holders);
        }
    }
}

/// Deals parts out to two halves, about as many blocks to each, with how many they are; the second has the fewer.
fn dealt(mut parts: Vec<Part<'_>>) -> [(Vec<Part<'_>>, usize); 2] {
    parts.sort_by_cached_key(|part| Reverse(part.candidates.count()));
    let [mut ours, mut theirs] = [(Vec::new(), 0), (Vec::new(), 0)];
    for part in parts {
        let half = if ours.1 <= theirs.1 { &mut ours } else { &mut theirs };
        half.1 += part.candidates.count();
        half.0.push(part);
    }
    if ours.1 < theirs.1 { [theirs, ours] } else { [ours, theirs] }
}

/// The first document of a block.
pub(super) fn first_doc(segment: &Segment, block: usize) -> Option<DocNo> {
    let leaf = segment.leaves.get(block / LEAF_BLOCKS)?;
    Some(leaf * super::segment::LEAF as u32 + (block % LEAF_BLOCKS * super::names::BLOCK) as u32)
}

/// The path as published of a folder that ends at a slash of the folded path.
fn path_of_folder<'a>(name: Name<'a>, end: usize) -> &'a [u8] {
    if name.path.len() == name.folded.len() && name.path.get(end) == Some(&b'/') && name.path.is_ascii() {
        return &name.path[..end];
    }
    // Folding keeps the number of slashes.
    let depth = name.folded[..end].iter().filter(|byte| **byte == b'/').count();
    let slash = name.path.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(depth);
    slash.map_or(name.path, |(at, _)| &name.path[..at])
}

impl<'a> Part<'a> {
    /// The candidates in a segment; `None` when there are none.
    fn new(segment: &'a Segment, plan: &Plan) -> Option<Self> {
        let mut words = plan.words.iter().chain(&plan.endings);
        let mut all = match words.next() {
            Some(word) => candidates(segment, word, None)?,
            None => Bits::all(segment.blocks()),
        };
        for word in words {
            all = candidates(segment, word, Some(all))?;
        }
        Some(Self { segment, candidates: all })
    }
}

/// The blocks of `within` (or of all) that hold a word in one of its spellings; `None` for none.
fn candidates(segment: &Segment, word: &Word, within: Option<Bits>) -> Option<Bits> {
    let mut spellings = word.spellings();
    let first = spellings.next()?;
    let mut more = spellings.peekable();
    if more.peek().is_none() {
        return spelled(segment, first, within);
    }
    let mut any = Bits::none(segment.blocks());
    for spelling in std::iter::once(first).chain(more) {
        spelled(segment, spelling, within.clone()).into_iter().for_each(|bits| any.or(&bits));
    }
    Some(any).filter(|bits| !bits.is_empty())
}

fn spelled(segment: &Segment, spelling: &[u8], within: Option<Bits>) -> Option<Bits> {
    let lists: Vec<List<'_>> = match *spelling {
        [] | [_] => return Some(within.unwrap_or_else(|| Bits::all(segment.blocks()))),
        [a, b] => {
            let mut bits = Bits::none(segment.blocks());
            segment.postings.range(key(Place::Inside, a, b, 0), key(Place::Inside, a, b, 0xff)).for_each(|list| list.add_to(&mut bits));
            within.iter().for_each(|within| bits.and(within));
            return Some(bits).filter(|bits| !bits.is_empty());
        }
        _ => {
            let keys = spelling.windows(3).map(|three| key(Place::Inside, three[0], three[1], three[2]));
            let mut lists = keys.map(|key| segment.postings.list(key)).collect::<Option<Vec<_>>>()?;
            lists.sort_unstable_by_key(|list| list.len);
            lists
        }
    };
    let mut lists = lists.iter();
    let mut bits = match within {
        Some(within) => within,
        None => {
            let mut bits = Bits::none(segment.blocks());
            lists.next()?.add_to(&mut bits);
            bits
        }
    };
    for list in lists {
        if bits.count() * WORTH_A_BLOCK <= list.work() {
            break;
        }
        list.keep_in(&mut bits);
    }
    Some(bits).filter(|bits| !bits.is_empty())
}
