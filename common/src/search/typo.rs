//! Typing errors: what a word that finds little was probably meant to be.
//!
//! Every segment knows the hashes of its words. The words at one error from the typed one (a letter left out, put in, replaced,
//! or two neighbours exchanged) are not many, some 400 for seven Latin letters, so each is looked up: a binary search of
//! 50 ns in each segment. No dictionary of texts is kept, and no automaton walked. Letters that may be put in are those of the word's own
//! alphabet; Han characters and kana have too many, and are typed by other means.
//!
//! A hash may be a namesake's; then the search that follows finds nothing for it, which costs time only.

use std::collections::{BTreeMap, HashMap};

use super::engine::Engine;
use super::query::Query;
use super::rank::Word;
use super::segment::{Segment, WORD_CHARS, WordHash, word_hash, words_of};

/// Fewer hits than this are little: other spellings are tried.
pub(super) const LITTLE: u64 = 200;
/// From so many hits on, a text that is no word of any name is a part of words, not an error.
const FEW: u64 = 20;
/// A word that is so frequent is no error, however much more frequent another is. Among ten million names there are a hundred of
/// every common error.
const SURE: u32 = 200;
/// Spellings that are searched beside the typed one.
const SPELLINGS: usize = 3;
/// A word is corrected to such as are so many times as frequent.
const MORE_FREQUENT: u32 = 10;
/// How much likelier a spelling is that keeps the first letter: people mostly get it right.
const FIRST_LETTER: u32 = 4;
/// How much likelier two letters were exchanged, or one was left out, than that one was put in or mistaken: there are a few ways to do
/// the former, and a whole alphabet of ways to do the latter.
const FEW_WAYS: u32 = 8;
/// A spelling that is so many times less likely than the likeliest is not searched.
const UNLIKELY: u32 = 4;

impl Engine {
    /// The words of a query with other spellings beside those that are seldom or never found, and the query as corrected: the
    /// likeliest spelling in each place. `None` when there is nothing to correct.
    pub(super) fn correct(&self, query: &Query, total: u64) -> Option<(Vec<Word>, String)> {
        let spellings = self.spellings(query, total)?;
        // The typed word comes first, the likeliest other spelling after it.
        let likeliest: Vec<&str> = spellings.iter().filter_map(|of_word| of_word.get(1).or(of_word.first())).map(String::as_str).collect();
        let words = spellings.iter().map(|of_word| Word::new(of_word.iter().map(String::as_str))).collect();
        Some((words, likeliest.join(" ")))
    }

    /// For each word of a query itself and what it was probably meant to be, the likeliest first, when a search for them as
    /// typed had `total` hits. `None` when they are probably right.
    #[must_use]
    pub fn spellings(&self, query: &Query, total: u64) -> Option<Vec<Vec<String>>> {
        // Leaves that have no hashes yet count where they are all there is; otherwise they are few names among many.
        let scanned = if self.texts.segments().next().is_none() { self.scanned_words() } else { HashMap::new() };
        let segments: Vec<&Segment> = self.texts.segments().map(|(_, segment)| segment).collect();
        let other = |word: &String| self.spellings_of(word, &segments, &scanned, total);
        let all: Vec<Vec<String>> = query.words.iter().map(|word| std::iter::once(word.clone()).chain(other(word)).collect()).collect();
        all.iter().any(|of_word| of_word.len() > 1).then_some(all)
    }

    /// Whether a search that had `total` hits found so little that its words may be misspelt.
    #[must_use]
    pub fn finds_little(&self, total: u64) -> bool {
        total < LITTLE
    }

    /// Known words at one error from one, the likeliest first, when a search for it as typed had `total` hits.
    fn spellings_of(&self, word: &str, segments: &[&Segment], scanned: &HashMap<u32, u32>, total: u64) -> Vec<String> {
        let letters: Vec<char> = word.chars().collect();
        if !is_correctable(word) {
            return Vec::new();
        }
        let count = |word: &str| {
            let hash = word_hash(word.as_bytes());
            let known: u32 = segments.iter().map(|segment| segment.word_count(hash)).sum();
            known + scanned.get(&hash).copied().unwrap_or(0)
        };
        let own = count(word);
        if own >= SURE {
            return Vec::new();
        }
        // What is no word, and yet found in many names, is a part of words, unless another is far more frequent.
        let found = if own == 0 && total >= FEW { total as u32 } else { own };
        let enough = 1.max(found * MORE_FREQUENT);
        let edits = edits(&letters);
        let hashes = hashes(word, &letters, &edits);
        // All segments are asked: a word that is meant may be rare, and stand in a small one only.
        let mut counts: Vec<u32> = hashes.iter().map(|hash| scanned.get(hash).copied().unwrap_or(0)).collect();
        for segment in segments {
            counts.iter_mut().zip(&hashes).for_each(|(count, hash)| *count += segment.word_count(*hash));
        }
        // Two errors may make the same word of one.
        let mut meant: BTreeMap<String, u32> = BTreeMap::new();
        for (edit, count) in edits.iter().zip(counts).filter(|(_, count)| *count >= enough) {
            let likely = meant.entry(edit.apply(&letters)).or_default();
            *likely = (count * edit.likely).max(*likely);
        }
        let first = |edit: &str| if edit.chars().next() == letters.first().copied() { FIRST_LETTER } else { 1 };
        let mut known: Vec<(u32, String)> = meant.into_iter().map(|(edit, likely)| (likely * first(&edit), edit)).collect();
        known.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let least = known.first().map_or(0, |(likeliest, _)| likeliest / UNLIKELY);
        known.retain(|(likely, _)| *likely >= least);
        known.truncate(SPELLINGS);
        known.into_iter().map(|(_, edit)| edit).collect()
    }

    /// How often words stand in the leaves that have no hashes yet.
    fn scanned_words(&self) -> HashMap<u32, u32> {
        let mut words = HashMap::new();
        for leaf in self.texts.scanned() {
            let text = std::str::from_utf8(leaf.all_folded()).unwrap_or_default();
            words_of(text).for_each(|(_, word)| *words.entry(word_hash(word.as_bytes())).or_default() += 1);
        }
        words
    }
}

/// Whether a folded word is of a kind that is corrected: of letters, and neither very short nor very long.
#[must_use]
pub fn is_correctable(word: &str) -> bool {
    WORD_CHARS.contains(&word.chars().count()) && word.chars().all(char::is_alphabetic)
}

/// An error that may have been made in a word.
#[derive(Clone, Copy, Debug)]
struct Edit {
    /// Before which letter.
    at: usize,
    /// How many letters from there on were not meant.
    taken: usize,
    /// What was meant in their place.
    put: [Option<char>; 2],
    /// How much likelier it is than others.
    likely: u32,
}

impl Edit {
    /// The word that was meant.
    fn apply(&self, letters: &[char]) -> String {
        let (before, after) = (letters.iter().take(self.at), letters.iter().skip(self.at + self.taken));
        before.chain(self.put.iter().flatten()).chain(after).collect()
    }
}

/// All errors that make another word of one.
fn edits(letters: &[char]) -> Vec<Edit> {
    let alphabet = alphabet(letters);
    let mut edits = Vec::new();
    for at in 0..=letters.len() {
        let mut add = |taken: usize, put: [Option<char>; 2], likely: u32| edits.push(Edit { at, taken, put, likely });
        if let Some(first) = letters.get(at) {
            add(1, [None; 2], 1);
            alphabet.clone().filter(|letter| letter != first).for_each(|letter| add(1, [Some(letter), None], 1));
            if let Some(second) = letters.get(at + 1).filter(|second| *second != first) {
                add(2, [Some(*second), Some(*first)], FEW_WAYS);
            }
        }
        alphabet.clone().for_each(|letter| add(0, [Some(letter), None], FEW_WAYS));
    }
    edits
}

/// The hash of the word that each error makes: where they begin alike they are hashed once.
fn hashes(word: &str, letters: &[char], edits: &[Edit]) -> Vec<u32> {
    let letter = |hash: WordHash, letter: char| hash.then(letter.encode_utf8(&mut [0; 4]).as_bytes());
    let mut before = vec![(WordHash::EMPTY, 0)];
    before.extend(letters.iter().scan((WordHash::EMPTY, 0), |(hash, bytes), next| {
        (*hash, *bytes) = (letter(*hash, *next), *bytes + next.len_utf8());
        Some((*hash, *bytes))
    }));
    let hash = |edit: &Edit| {
        let start = before.get(edit.at).map_or(WordHash::EMPTY, |(hash, _)| *hash);
        let after = before.get(edit.at + edit.taken).and_then(|(_, bytes)| word.as_bytes().get(*bytes..)).unwrap_or_default();
        edit.put.iter().flatten().fold(start, |hash, put| letter(hash, *put)).then(after).whole()
    };
    edits.iter().map(hash).collect()
}

/// The small letters, as folded, of the script that a word is written in.
fn alphabet(letters: &[char]) -> std::ops::RangeInclusive<char> {
    match letters.first() {
        Some('a'..='z') => 'a'..='z',
        Some('\u{370}'..='\u{3ff}') => 'α'..='ω',
        Some('\u{400}'..='\u{52f}') => 'а'..='я',
        Some('\u{590}'..='\u{5ff}') => 'א'..='ת',
        Some('\u{600}'..='\u{6ff}') => 'ء'..='ي',
        // None at all: letters are left out or exchanged only.
        _ => '\u{1}'..='\u{0}',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(word: &str) -> Vec<String> {
        let letters: Vec<char> = word.chars().collect();
        edits(&letters).iter().map(|edit| edit.apply(&letters)).collect()
    }

    #[test]
    fn edits_are_all_single_errors_and_not_the_word() {
        let edits = words("abcd");
        for near in ["abd", "abxcd", "abcde", "xbcd", "bacd", "abdc", "xabcd"] {
            assert!(edits.iter().any(|edit| edit == near), "{near}");
        }
        assert!(!edits.iter().any(|edit| edit == "abcd" || edit == "ab"));
    }

    #[test]
    fn only_letters_of_the_same_alphabet_are_put_in() {
        assert!(words("мира").contains(&"мирка".to_owned()));
        assert_eq!(words("日本語字").len(), 4 + 3);
    }

    #[test]
    fn an_error_has_the_hash_of_the_word_that_it_makes() {
        for word in ["abba", "мира", "日本語字"] {
            let letters: Vec<char> = word.chars().collect();
            let edits = edits(&letters);
            let known: Vec<u32> = words(word).iter().map(|edit| word_hash(edit.as_bytes())).collect();
            assert_eq!(hashes(word, &letters, &edits), known, "{word}");
        }
    }
}
