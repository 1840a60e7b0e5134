//! A search: from words to blocks of names, from those to documents.
//!
//! 1. *Candidates.* For each segment, the blocks that hold every three bytes of every word: a set of bits. What filters say
//!    of names (`ext:`) narrows it.
//! 2. *Order.* Where the candidates are few, all are read. Where they are more than [`BUDGET`] allows, the best are read first:
//!    sets of blocks by how many of the words start words there, and start words in last components, are cut with the
//!    levels of promise (short paths, many sources), and taken in the order of what they can be worth at most. It ends when
//!    the page is full of hits that are worth more than any that can follow, or when the budget is spent; then `more`
//!    says that there are more hits than were counted.
//! 3. *Verification.* Names are read, folded and compared; who holds them is looked up; the rest is the
//!    [`Collector`](super::collect::Collector)'s.
//!
//! The budget is counted in work, not in time: a search finds the same whatever else the machine does.

use super::collect::{Collector, Cursor};
use super::engine::Engine;
use super::filter::Filter;
use super::names::{Name, Reader};
use super::postings::{Bits, List, ones};
use super::query::Query;
use super::rank::{self, MOST_EXTRA, PLACE_BASE, PLACE_STEP, Word};
use super::relation::DocNo;
use super::segment::{LEAF_BLOCKS, Place, Segment, key};
use super::texts::{LEVELS, Leaf, Promise};
use super::{Found, PeerNo};

/// Work that one search may do, in steps of some 40 ns: reading a block is [`BLOCK_COST`], a document that fits is
/// [`HIT_COST`].
const BUDGET: usize = 60_000;
/// Reading and comparing 16 names.
const BLOCK_COST: usize = 16;
/// Ranking and collecting one document.
const HIT_COST: usize = 4;
/// Hits that are counted before a search may end early: so that `1000+` is said and not `60+`.
const MIN_COUNTED: usize = 1000;
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
struct Part<'a> {
    segment: &'a Segment,
    candidates: Bits,
}

/// A search under way.
struct Search<'a> {
    engine: &'a Engine,
    plan: &'a Plan,
    hits: Collector<'a>,
    work: usize,
    /// When only the best blocks are read: what is worth less than this does not come on the page.
    least: u32,
    /// What words and extras are worth at most in the block that is read.
    most_of_words: u32,
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

    fn search_with(&self, query: &Query, only: Option<&[PeerNo]>, after: Option<&str>, limit: usize, now: i64, budget: usize) -> Found {
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

    fn run(&self, plan: &Plan, only: Option<&[PeerNo]>, after: Option<Cursor>, limit: usize) -> Found {
        let mut search =
            Search { engine: self, plan, hits: Collector::new(self, &plan.filter, after), work: 0, least: 0, most_of_words: 0 };
        let more = match only {
            Some(only) if only.iter().map(|peer| self.totals(*peer).files).sum::<u64>() <= FEW_FILES as u64 => {
                search.read_peers(only);
                false
            }
            _ => search.read_all(limit),
        };
        Found { more, ..search.hits.page(limit) }
    }
}

impl Plan {
    fn new(words: Vec<Word>, query: &Query, filter: Filter, budget: usize) -> Self {
        let endings: Vec<String> = query.extensions.iter().map(|extension| format!(".{extension}")).collect();
        let endings = if endings.is_empty() { Vec::new() } else { vec![Word::new(endings.iter().map(String::as_str))] };
        Self { words, endings, filter, budget }
    }
}

impl Search<'_> {
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

    /// Reads the scanned leaves, and of the segments what the budget allows. True when something was left out.
    fn read_all(&mut self, limit: usize) -> bool {
        for leaf in self.engine.texts.scanned() {
            self.scan(leaf);
        }
        let parts: Vec<Part<'_>> = self.engine.texts.segments().filter_map(|(_, segment)| Part::new(segment, self.plan)).collect();
        let blocks: usize = parts.iter().map(|part| part.candidates.count()).sum();
        if blocks * (BLOCK_COST + HIT_COST * super::names::BLOCK) <= self.plan.budget {
            let mut reader = Reader::default();
            for part in &parts {
                part.candidates.iter().for_each(|block| self.read_block(part.segment, block, &mut reader));
            }
            return false;
        }
        self.read_best(&parts, limit)
    }

    /// Reads blocks in the order of what they are worth at most.
    fn read_best(&mut self, parts: &[Part<'_>], limit: usize) -> bool {
        let mut reader = Reader::default();
        let parts: Vec<(&Segment, Vec<Bits>)> = parts.iter().map(|part| (part.segment, part.by_steps(&self.plan.words))).collect();
        let steps = 2 * self.plan.words.len();
        let mut classes: Vec<(u32, usize, usize)> = (0..=steps)
            .flat_map(|steps| (0..LEVELS).map(move |level| (PLACE_STEP * steps as u32 + Promise::most(level), steps, level)))
            .collect();
        classes.sort_unstable_by(|a, b| b.cmp(a));
        for (points, steps, level) in classes {
            let most = points + PLACE_BASE * self.plan.words.len() as u32 + MOST_EXTRA;
            if self.plan.budget < usize::MAX && self.hits.total() >= MIN_COUNTED {
                self.least = self.hits.score_at(limit);
                if self.least > most {
                    return true;
                }
            }
            self.most_of_words = most - Promise::most(level);
            for (segment, by_steps) in &parts {
                let Some(bits) = by_steps.get(steps) else { continue };
                let leaves = bits.0.chunks(LEAF_BLOCKS / 64).zip(&segment.leaves).enumerate();
                for (place, (bits, leaf)) in leaves {
                    let promised = self.engine.texts.promised(*leaf, level);
                    for (at, word) in bits.iter().zip(promised).map(|(bits, promised)| bits & promised).enumerate() {
                        for bit in ones(word) {
                            if self.work >= self.plan.budget {
                                return true;
                            }
                            self.read_block(segment, place * LEAF_BLOCKS + at * 64 + bit, &mut reader);
                        }
                    }
                }
            }
        }
        self.least > 0
    }

    fn read_block(&mut self, segment: &Segment, block: usize, reader: &mut Reader) {
        self.work += BLOCK_COST;
        let Some(leaf) = segment.leaves.get(block / LEAF_BLOCKS) else { return };
        let first = leaf * super::segment::LEAF as u32 + (block % LEAF_BLOCKS * super::names::BLOCK) as u32;
        segment.names.read_block(block, reader, |place, name| self.look_at(first + place as u32, name));
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
        if self.least > 0 && self.most_of_words + self.engine.most_promise(doc, name.folded.len()) < self.least {
            return;
        }
        let Some(found) = rank::find(&self.plan.words, name.folded) else { return };
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

    /// The candidates by the number of steps (see [`PLACE_STEP`]) that their words may make.
    fn by_steps(&self, words: &[Word]) -> Vec<Bits> {
        let mut by_steps = vec![self.candidates.clone()];
        for word in words {
            let (folder, base) = starts(self.segment, word);
            by_steps = split(&by_steps, &folder, &base);
        }
        by_steps
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

/// The blocks where a word may start a word in a folder, and those where it may in a last component.
fn starts(segment: &Segment, word: &Word) -> (Bits, Bits) {
    let mut starts = (Bits::none(segment.blocks()), Bits::none(segment.blocks()));
    for spelling in word.spellings() {
        let (a, b, c) = (spelling.first().copied().unwrap_or(0), spelling.get(1).copied(), spelling.get(2).copied());
        let low = [a, b.unwrap_or(0), c.unwrap_or(0)];
        let high = [a, b.unwrap_or(0xff), c.unwrap_or(0xff)];
        for (place, bits) in [(Place::FolderStart, &mut starts.0), (Place::BaseStart, &mut starts.1)] {
            let range = segment.postings.range(key(place, low[0], low[1], low[2]), key(place, high[0], high[1], high[2]));
            range.for_each(|list| list.add_to(bits));
        }
    }
    starts
}

/// Moves blocks where one more word may start a word by one step, or by two.
fn split(by_steps: &[Bits], folder: &Bits, base: &Bits) -> Vec<Bits> {
    let empty = Bits(vec![0; folder.0.len()]);
    let mut moved = vec![empty; by_steps.len() + 2];
    for (steps, bits) in by_steps.iter().enumerate() {
        for (at, word) in bits.0.iter().enumerate() {
            let in_base = word & base.0[at];
            let in_folder = word & folder.0[at] & !in_base;
            moved[steps].0[at] |= word & !in_base & !in_folder;
            moved[steps + 1].0[at] |= in_folder;
            moved[steps + 2].0[at] |= in_base;
        }
    }
    moved
}
