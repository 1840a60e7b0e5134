//! [`Order`]: which blocks to read first when they cannot all be read.
//!
//! A name is worth most that is short, has many sources, and has the words at the start of words of its last component. Of a
//! block is known, before it is read: which words start words in it, where, and in names of what length (see
//! [`TIERS`]); and what its most popular name is worth. So each block gets a number that no name in it exceeds, and is read in the order
//! of those. Words meet within a tier: a block in which one short name has one word and a long one the other is not taken
//! for one with a short name that has both.
//!
//! Blocks in which no word starts a last component's word come by the promise of their best name, whichever it is.

use super::engine::Engine;
use super::find::Part;
use super::fold::starts_word;
use super::postings::{Bits, List, ones};
use super::rank::{FOLDER, LEADS, PLACE_BASE, PLACE_STEP, Word, shortness};
use super::segment::{LEAF_BLOCKS, Place, Segment, TIERS, key};
use super::texts::{LEVELS, Promise};

/// How many times as many blocks are put in order as can be read: those of longer names are left out then, unless they are
/// popular.
const SPARE: usize = 4;
/// Candidates that are put in order one by one. Where there are more, those in which no word starts in a last component are taken from the
/// levels of promise 64 at a time, as it comes to them: most often it does not.
const FEW: usize = 16_384;

/// Blocks, the best first.
pub(super) struct Order<'a> {
    engine: &'a Engine,
    words: &'a [Word],
    parts: Vec<Part<'a>>,
    /// Blocks that have not been told, by what they are worth at most: the part's number and the block's.
    buckets: Vec<Vec<(u32, u32)>>,
    /// What is left when no word starts in a last component: worth, folder steps and level of promise, the best last.
    rest: Vec<(u32, usize, usize)>,
    /// The blocks of each part where each word starts a word in a folder.
    folders: Vec<Vec<Bits>>,
    /// The candidates of each part by folder steps, made when they are needed.
    by_steps: Vec<Vec<Bits>>,
}

/// The blocks of a segment in which one word starts words of last components of one tier.
#[derive(Default)]
struct Starts {
    leads: Bits,
    within: Bits,
}

impl<'a> Order<'a> {
    /// Puts the candidates of all parts in order, of which at most `readable` blocks will be read.
    pub(super) fn new(engine: &'a Engine, words: &'a [Word], parts: Vec<Part<'a>>, readable: usize) -> Self {
        let mut this = Self { engine, words, parts, buckets: Vec::new(), rest: Vec::new(), folders: Vec::new(), by_steps: Vec::new() };
        let steps = 0..=words.len();
        let rest = steps.flat_map(|steps| (0..LEVELS).map(move |level| (steps, level)));
        this.rest = rest.map(|(steps, level)| (this.base() + PLACE_STEP * steps as u32 + Promise::most(level), steps, level)).collect();
        this.rest.sort_unstable();
        this.folders = this.parts.iter().map(|part| folder_starts(part.segment, words)).collect();
        let mut starts: Vec<Starts> = words.iter().map(|_| Starts::default()).collect();
        let all: usize = this.parts.iter().map(|part| part.segment.blocks()).sum();
        let mut room = readable.saturating_mul(SPARE);
        for tier in 0..TIERS.len() {
            let mut sorted = 0;
            for number in 0..this.parts.len() {
                // Each part has its share, so that the first ones do not take the room of the others.
                let share = this.parts.get(number).map_or(0, |part| part.segment.blocks() as u128 * room as u128 / all.max(1) as u128);
                sorted += this.sort_tier(number, tier, share as usize, &mut starts);
            }
            room = room.saturating_sub(sorted);
        }
        if this.parts.iter().map(|part| part.candidates.count()).sum::<usize>() <= FEW {
            this.sort_rest();
        }
        this
    }

    /// What the next blocks are worth at most; `None` when all are told.
    pub(super) fn most(&self) -> Option<u32> {
        let bucket = self.buckets.len().checked_sub(1).map(|worth| worth as u32);
        bucket.max(self.rest.last().map(|(worth, ..)| *worth))
    }

    /// What any block is worth at most, but for steps and promise.
    fn base(&self) -> u32 {
        // A word that begins with punctuation may lead, but starts no word.
        let leads_unseen = self.words.iter().flat_map(Word::spellings).any(|spelling| !starts_word(spelling, 0));
        PLACE_BASE * self.words.len() as u32 + FOLDER + if leads_unseen { LEADS } else { 0 }
    }

    /// Puts the blocks of a part in order in which a word starts a last component's word of a tier; where they are more than `share`,
    /// only those with a popular name. Returns how many. `starts` is room to work in.
    fn sort_tier(&mut self, number: usize, tier: usize, share: usize, starts: &mut [Starts]) -> usize {
        let base = self.base();
        let short = shortness(tier.checked_sub(1).and_then(|before| TIERS.get(before)).map_or(0, |most| most + 1));
        let Some((part, folders)) = self.parts.get(number).zip(self.folders.get(number)) else { return 0 };
        let (segment, texts) = (part.segment, &self.engine.texts);
        let mut found = false;
        for (starts, word) in starts.iter_mut().zip(self.words) {
            found |= starts.fill(segment, word, tier);
        }
        if !found {
            return 0;
        }
        let mut started = Bits(vec![0; part.candidates.0.len()]);
        for starts in starts.iter() {
            started.or(&starts.leads);
            started.or(&starts.within);
        }
        started.and(&part.candidates);
        let only_popular = share == 0 || started.count() > share;
        let mut sorted = 0;
        for (place, (leaf, started)) in segment.leaves.iter().zip(started.0.chunks(LEAF_BLOCKS / 64)).enumerate() {
            if started.iter().all(|word| *word == 0) {
                continue;
            }
            let popular = texts.popular(*leaf).iter().map(|popular| if only_popular { *popular } else { u64::MAX });
            for (at, any) in started.iter().zip(popular).map(|(started, popular)| started & popular).enumerate() {
                let word = place * LEAF_BLOCKS / 64 + at;
                for bit in ones(any) {
                    let is_in = |bits: &Bits| (bits.0[word] >> bit & 1) as u32;
                    let mut worth = base + texts.most_worth(*leaf, at * 64 + bit, short);
                    let mut leads = 0;
                    for (starts, folder) in starts.iter().zip(folders) {
                        let in_base = is_in(&starts.leads) | is_in(&starts.within);
                        worth += PLACE_STEP * (2 * in_base).max(is_in(folder));
                        leads |= is_in(&starts.leads);
                    }
                    put(&mut self.buckets, worth + LEADS * leads, number, word * 64 + bit);
                    sorted += 1;
                }
            }
        }
        sorted
    }

    /// Puts all candidates in order by their folders and their promise. Those that are in order by better reasons are told for these.
    fn sort_rest(&mut self) {
        self.rest.clear();
        let base = self.base();
        for (number, (part, folders)) in self.parts.iter().zip(&self.folders).enumerate() {
            for block in part.candidates.iter() {
                let Some(leaf) = part.segment.leaves.get(block / LEAF_BLOCKS) else { continue };
                let Some(most) = self.engine.texts.most_promise(*leaf, block % LEAF_BLOCKS) else { continue };
                let steps = folders.iter().filter(|folder| folder.has(block)).count() as u32;
                put(&mut self.buckets, base + PLACE_STEP * steps + most, number, block);
            }
        }
    }

    /// Takes a block, unless it was told before.
    fn take(&mut self, number: usize, block: usize) -> Option<(&'a Segment, usize)> {
        let part = self.parts.get_mut(number)?;
        let word = part.candidates.0.get_mut(block / 64)?;
        let was_there = *word >> (block % 64) & 1 == 1;
        *word &= !(1 << (block % 64));
        was_there.then_some((part.segment, block))
    }

    /// Takes what is left of one level.
    fn take_rest(&mut self, steps: usize, level: usize) -> Vec<(&'a Segment, usize)> {
        if self.by_steps.is_empty() {
            self.by_steps = self.parts.iter().zip(&self.folders).map(|(part, folders)| by_steps(&part.candidates, folders)).collect();
        }
        let mut blocks = Vec::new();
        for (part, by_steps) in self.parts.iter_mut().zip(&self.by_steps) {
            let Some(bits) = by_steps.get(steps) else { continue };
            for (place, leaf) in part.segment.leaves.iter().enumerate() {
                let first = place * LEAF_BLOCKS / 64;
                for (at, promised) in self.engine.texts.promised(*leaf, level).iter().enumerate() {
                    let found = part.candidates.0[first + at] & bits.0[first + at] & promised;
                    part.candidates.0[first + at] &= !found;
                    blocks.extend(ones(found).map(|bit| (part.segment, (first + at) * 64 + bit)));
                }
            }
        }
        blocks
    }
}

/// Puts a block of a part among those of its worth.
fn put(buckets: &mut Vec<Vec<(u32, u32)>>, worth: u32, part: usize, block: usize) {
    let worth = worth as usize;
    if buckets.len() <= worth {
        buckets.resize_with(worth + 1, Vec::new);
    }
    buckets[worth].push((part as u32, block as u32));
}

/// The next best blocks, and what they are worth at most.
impl<'a> Iterator for Order<'a> {
    type Item = (u32, Vec<(&'a Segment, usize)>);

    fn next(&mut self) -> Option<Self::Item> {
        let bucket = self.buckets.len().checked_sub(1).map(|worth| worth as u32);
        let rest = self.rest.last().map(|(worth, ..)| *worth);
        if bucket >= rest {
            let worth = bucket?;
            let blocks = self.buckets.pop()?;
            return Some((worth, blocks.into_iter().filter_map(|(part, block)| self.take(part as usize, block as usize)).collect()));
        }
        let (worth, steps, level) = self.rest.pop()?;
        Some((worth, self.take_rest(steps, level)))
    }
}

impl Starts {
    /// Takes what a segment knows of a word. False when that is nothing.
    fn fill(&mut self, segment: &Segment, word: &Word, tier: usize) -> bool {
        [(&mut self.leads, Place::Lead(tier)), (&mut self.within, Place::BaseStart(tier))].into_iter().fold(
            false,
            |found, (bits, place)| {
                bits.0.clear();
                bits.0.resize(segment.blocks().div_ceil(64), 0);
                found | add_starts(segment, word, place, bits)
            },
        )
    }
}

/// The blocks where each word may start a word in a folder.
fn folder_starts(segment: &Segment, words: &[Word]) -> Vec<Bits> {
    if let [word] = words
        && word.spellings().any(|spelling| spelling.len() == 1)
    {
        // A letter alone starts words in most folders: to find out where takes longer than what comes of it.
        return vec![Bits::all(segment.blocks())];
    }
    let of_word = |word| {
        let mut bits = Bits::none(segment.blocks());
        add_starts(segment, word, Place::FolderStart, &mut bits);
        bits
    };
    words.iter().map(of_word).collect()
}

/// Adds the blocks where a word may start a word at a place. False when there are none.
fn add_starts(segment: &Segment, word: &Word, place: Place, bits: &mut Bits) -> bool {
    let mut found = false;
    for spelling in word.spellings() {
        let (a, b, c) = (spelling.first().copied().unwrap_or(0), spelling.get(1).copied(), spelling.get(2).copied());
        let first = key(place, a, b.unwrap_or(0), c.unwrap_or(0));
        let last = key(place, a, b.unwrap_or(0xff), c.unwrap_or(0xff));
        let mut add = |list: List<'_>| {
            list.add_to(bits);
            found = true;
        };
        match c {
            Some(_) => segment.postings.list(first).into_iter().for_each(&mut add),
            None => segment.postings.range(first, last).for_each(&mut add),
        }
    }
    found
}

/// Candidates by how many words start words in folders.
fn by_steps(candidates: &Bits, folders: &[Bits]) -> Vec<Bits> {
    let mut by_steps = vec![candidates.clone()];
    for folder in folders {
        let mut moved = vec![Bits(vec![0; candidates.0.len()]); by_steps.len() + 1];
        for (steps, bits) in by_steps.iter().enumerate() {
            for (at, word) in bits.0.iter().enumerate() {
                moved[steps].0[at] |= word & !folder.0[at];
                moved[steps + 1].0[at] |= word & folder.0[at];
            }
        }
        by_steps = moved;
    }
    by_steps
}

#[cfg(test)]
mod tests {
    use super::super::find::first_doc;
    use super::super::names::Reader;
    use super::super::rank::{self, popularity};
    use super::super::segment::LEAF;
    use super::super::{PeerNo, fold};
    use super::*;
    use crate::content_id::ContentId;
    use crate::share_path::SharePath;
    use crate::wire::index::Entry;

    /// Some segments of names of all lengths, some of which many peers have.
    fn engine() -> Engine {
        let mut engine = Engine::new();
        (0..20).for_each(|peer| engine.set_online(PeerNo(peer), true));
        for number in 0..3 * LEAF {
            let word = ["live", "a-live", "x.live", "alive", "Live at", "liver", "-live", "été"][number % 8];
            let folder = ["live", "music/live", "a", "音楽"][number / 8 % 4];
            let path = SharePath::parse(&format!("{folder}/{}{word} {number}", "x".repeat(number % 90))).unwrap();
            let content_id = Some(ContentId::of(&(number / 2).to_be_bytes()));
            let entry = Entry { path, size: 1, mtime: 0, content_id };
            let peers = if number.is_multiple_of(50) { 20 } else { 1 };
            (0..peers).for_each(|peer| engine.put(PeerNo(peer), &entry));
        }
        while engine.maintain() {}
        engine
    }

    /// What makes it right to stop early.
    #[test]
    fn every_block_is_told_once_and_no_name_in_it_is_worth_more_than_was_said() {
        let engine = engine();
        for texts in [&["live"][..], &["live", "music"], &["li"], &["x"], &["-live"], &["音"], &["ete", "a"], &[]] {
            let words: Vec<Word> = texts.iter().map(|text| Word::new([fold(text).as_str()])).collect();
            let all = engine.texts.segments().map(|(_, segment)| Part { segment, candidates: Bits::all(segment.blocks()) });
            let mut untold: usize = engine.texts.segments().map(|(_, segment)| segment.blocks()).sum();
            let mut before = u32::MAX;
            for (most, blocks) in Order::new(&engine, &words, all.collect(), usize::MAX) {
                assert!(most <= before, "{texts:?}");
                before = most;
                untold -= blocks.len();
                for (segment, block) in blocks {
                    let first = first_doc(segment, block).unwrap();
                    let mut reader = Reader::default();
                    segment.names.read_block(block, &mut reader);
                    for (place, name) in reader.names().enumerate() {
                        let Some(found) = rank::find(&words, name.folded) else { continue };
                        let (content, _) = engine.relation.content(first + place as u32).unwrap();
                        let worth = found.points + popularity(engine.copies(content)) + FOLDER;
                        assert!(worth <= most, "{texts:?}: {}", String::from_utf8_lossy(name.path));
                    }
                }
            }
            assert_eq!(untold, 0, "{texts:?}");
        }
    }
}
