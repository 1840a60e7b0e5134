//! [`Segment`]: the names of some leaves, and everything that finds them. Never changed, only replaced.
//!
//! A *leaf* is [`LEAF`] documents with consecutive numbers. A segment holds one leaf when it is made and up to
//! [`MAX_LEAVES`] after merges; as leaves stay whole, merging renumbers nothing: names are copied, lists joined.
//!
//! Postings go from three bytes of folded UTF-8 to blocks of 16 names, so that one Han character finds its names as well as
//! a word does. Several kinds share the table, told apart by the top bits of the key:
//!
//! * *inside*: the three bytes stand anywhere. What a query needs to be complete.
//! * *folder start*, *base start*, *lead*: a word starts with them in the folders, in the last component, at its beginning. What
//!   lets a search look at the best blocks first. The last two are kept apart by the length of the path ([`TIERS`]), because a
//!   block with a short name in it and a block with the word in it are not yet a short name with the word.
//!
//! A word shorter than three bytes is a range of keys; where a name ends, keys are filled with zeros for it. In front-coded
//! neighbours only what differs makes new keys: some 250 keys a block, 16 bytes a document.
//!
//! `words` holds a hash of every word (a run of letters) with how often it occurs, for the correction of typing errors.

use super::fold::starts_word;
use super::names::{BLOCK, Names, Reader, shared_bytes};
use super::postings::Postings;

/// Documents in a leaf. In tests few, so that small indexes have segments: 64 blocks fill one word of bits.
pub(super) const LEAF: usize = if cfg!(test) { 1024 } else { 8192 };
/// Blocks in a leaf.
pub(super) const LEAF_BLOCKS: usize = LEAF / BLOCK;
/// Most leaves in a segment: a million names, 65,536 blocks, a merge of some 50 ms beside the searches.
pub(super) const MAX_LEAVES: usize = 128;
/// Characters of words that can be corrected. Shorter ones are all near one another; longer ones are hashes.
pub(super) const WORD_CHARS: std::ops::RangeInclusive<usize> = 4..=32;

/// Lengths in bytes of folded paths, from the shortest: the tier of a path is the first that it does not exceed.
pub(super) const TIERS: [usize; 8] = [15, 23, 31, 39, 47, 63, 95, usize::MAX];

/// Where in a name three bytes stand. What starts words in last components is told by the tier of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Inside,
    FolderStart,
    BaseStart(usize),
    Lead(usize),
}

impl Place {
    fn number(self) -> u32 {
        match self {
            Self::Inside => 0,
            Self::FolderStart => 1,
            Self::BaseStart(tier) => (2 + tier) as u32,
            Self::Lead(tier) => (2 + TIERS.len() + tier) as u32,
        }
    }
}

/// The key of three bytes at a place.
pub(super) fn key(place: Place, a: u8, b: u8, c: u8) -> u32 {
    place.number() << 24 | u32::from_be_bytes([0, a, b, c])
}

/// The tier of a folded path of so many bytes.
pub(super) fn tier(len: usize) -> usize {
    TIERS.iter().position(|most| len <= *most).unwrap_or(TIERS.len() - 1)
}

/// A searchable part of the index.
#[derive(Debug)]
pub(super) struct Segment {
    /// Which leaves, in the order of their blocks.
    pub(super) leaves: Vec<u32>,
    pub(super) names: Names,
    pub(super) postings: Postings,
    words: Words,
}

/// Hashes of words in ascending order, and how many documents begin to hold each, at most 255.
#[derive(Debug, Default)]
struct Words {
    hashes: Vec<u32>,
    counts: Vec<u8>,
}

impl Segment {
    /// Makes a segment of the paths of a whole leaf.
    pub(super) fn of_leaf(leaf: u32, names: Names) -> Self {
        let mut pairs = Vec::with_capacity(LEAF * 16);
        let mut hashes = Vec::with_capacity(LEAF * 4);
        let mut reader = Reader::default();
        let mut keys = Vec::new();
        for block in 0..LEAF_BLOCKS {
            keys.clear();
            names.read_block(block, &mut reader);
            let mut before: &[u8] = &[];
            for name in reader.names() {
                let shared = shared_bytes(before, name.folded);
                add_keys(before, name.folded, shared, &mut keys);
                add_words(name.folded, shared, &mut hashes);
                before = name.folded;
            }
            keys.sort_unstable();
            keys.dedup();
            pairs.extend(keys.iter().map(|key| u64::from(*key) << 16 | block as u64));
        }
        pairs.sort_unstable();
        let mut postings = Postings::new(LEAF_BLOCKS);
        let mut blocks = Vec::new();
        for same_key in pairs.chunk_by(|a, b| a >> 16 == b >> 16) {
            blocks.clear();
            blocks.extend(same_key.iter().map(|pair| *pair as u32 & 0xffff));
            postings.push((same_key[0] >> 16) as u32, &blocks);
        }
        postings.finish();
        Self { leaves: vec![leaf], names, postings, words: Words::count(hashes) }
    }

    /// Puts segments one behind the other.
    pub(super) fn join(parts: &[&Self]) -> Self {
        Self {
            leaves: parts.iter().flat_map(|part| part.leaves.iter().copied()).collect(),
            names: Names::join(parts.iter().map(|part| &part.names)),
            postings: Postings::join(&parts.iter().map(|part| &part.postings).collect::<Vec<_>>()),
            words: Words::join(parts.iter().map(|part| &part.words)),
        }
    }

    /// How many blocks it has.
    pub(super) fn blocks(&self) -> usize {
        self.leaves.len() * LEAF_BLOCKS
    }

    /// About how many documents hold a word, by its hash; 0 for none.
    pub(super) fn word_count(&self, hash: u32) -> u32 {
        self.words.find(hash).and_then(|place| self.words.counts.get(place)).map_or(0, |count| u32::from(*count))
    }

    /// Bytes on the heap: of names, of postings, of words.
    pub(super) fn heap_bytes(&self) -> [usize; 3] {
        [self.names.heap_bytes(), self.postings.heap_bytes(), self.words.hashes.capacity() * 4 + self.words.counts.capacity()]
    }
}

impl Words {
    /// Where a hash is. As hashes are spread evenly, it is near where its size says, and nearer where the one that is there says:
    /// three looks instead of twenty.
    fn find(&self, hash: u32) -> Option<usize> {
        let len = self.hashes.len();
        let guess = ((u64::from(hash) * len as u64) >> 32) as usize;
        let missed = i64::from(hash) - i64::from(*self.hashes.get(guess)?);
        let guess = guess.saturating_add_signed(((missed * len as i64) >> 32) as isize).min(len);
        let mut reach = 16;
        loop {
            let (low, high) = (guess.saturating_sub(reach), (guess + reach).min(len));
            let near = self.hashes.get(low..high)?;
            let above = low == 0 || near.first().is_some_and(|first| *first <= hash);
            let below = high == len || near.last().is_some_and(|last| *last >= hash);
            if above && below {
                return near.binary_search(&hash).ok().map(|place| low + place);
            }
            reach *= 4;
        }
    }

    fn count(mut hashes: Vec<u32>) -> Self {
        hashes.sort_unstable();
        let mut words = Self::default();
        for same in hashes.chunk_by(|a, b| a == b) {
            words.hashes.push(same[0]);
            words.counts.push(same.len().min(255) as u8);
        }
        words
    }

    fn join<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        let mut all: Vec<(u32, u8)> = parts.flat_map(|part| part.hashes.iter().copied().zip(part.counts.iter().copied())).collect();
        all.sort_unstable();
        let mut words = Self::default();
        for same in all.chunk_by(|a, b| a.0 == b.0) {
            words.hashes.push(same[0].0);
            words.counts.push(same.iter().fold(0, |sum: u8, (_, count)| sum.saturating_add(*count)));
        }
        words.hashes.shrink_to_fit();
        words.counts.shrink_to_fit();
        words
    }
}

/// Where the last component of a path starts.
pub(super) fn base_start(path: &[u8]) -> usize {
    path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1)
}

/// The keys of a name that its predecessor in the block, with which it shares its start, does not have.
fn add_keys(before: &[u8], name: &[u8], shared: usize, keys: &mut Vec<u32>) {
    let byte = |at: usize| name.get(at).copied().unwrap_or(0);
    let changed = shared.saturating_sub(2);
    keys.extend(name.windows(3).skip(changed).map(|three| key(Place::Inside, three[0], three[1], three[2])));
    if let [.., a, b] = name {
        keys.push(key(Place::Inside, *a, *b, 0));
    }
    let base = base_start(name);
    // Words that stood in the folders of the one before, or in a path of another length, may stand in the base of this one.
    let tier = tier(name.len());
    let same = base_start(before) == base && self::tier(before.len()) == tier;
    let first = if same { changed } else { changed.min(base) };
    for at in first..name.len() {
        if name[at] & 0xc0 == 0x80 || !starts_word(name, at) {
            continue;
        }
        let place = match at {
            _ if at == base => Place::Lead(tier),
            _ if at > base => Place::BaseStart(tier),
            _ => Place::FolderStart,
        };
        keys.push(key(place, byte(at), byte(at + 1), byte(at + 2)));
    }
}

/// Hashes the words of a name, but for those that lie in what it shares with the name before it.
fn add_words(name: &[u8], shared: usize, hashes: &mut Vec<u32>) {
    let text = std::str::from_utf8(name).unwrap_or_default();
    // A word is new when its end is, or what follows it: words before the one that the names part in are not.
    let parting = text.get(..shared).map_or(0, |same| same.rfind(|c: char| !c.is_alphabetic()).unwrap_or(0));
    let hash = |(end, word): (usize, &str)| (parting + end >= shared).then(|| word_hash(word.as_bytes()));
    hashes.extend(words_of(text.get(parting..).unwrap_or(text)).filter_map(hash));
}

/// The words of a text that can be corrected, with their ends.
pub(super) fn words_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let long_enough = |word: &str| match word.len() {
        len if len < *WORD_CHARS.start() => false,
        len if len <= *WORD_CHARS.end() && word.is_ascii() => true,
        _ => WORD_CHARS.contains(&word.chars().count()),
    };
    let mut pieces = text.split_inclusive(|c: char| !c.is_alphabetic()).scan(0, |start, piece| {
        let word = piece.trim_end_matches(|c: char| !c.is_alphabetic());
        let end = *start + word.len();
        *start += piece.len();
        Some((end, word))
    });
    std::iter::from_fn(move || pieces.find(|(_, word)| long_enough(word)))
}

/// The hash of a word, as far as it has been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct WordHash(u64);

impl WordHash {
    /// Of nothing.
    pub(super) const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    /// Of a text that goes on.
    pub(super) fn then(self, text: &[u8]) -> Self {
        Self(text.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// Of a text that ends here.
    pub(super) fn whole(self) -> u32 {
        (self.0 ^ self.0 >> 32) as u32
    }
}

/// FNV-1a, folded to 32 bits: of 400 guesses at a word in a million about one in ten meets a namesake, which finds nothing.
pub(super) fn word_hash(word: &[u8]) -> u32 {
    WordHash::EMPTY.then(word).whole()
}
