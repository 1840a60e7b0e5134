//! Typing errors: what a word that finds little was probably meant to be.
//!
//! Every segment knows the hashes of its words. The words at one error from the typed one (a letter left out, put in, replaced,
//! or two neighbours exchanged) are not many, some 400 for seven Latin letters, so each is looked up: a binary search of
//! 50 ns in each segment. No dictionary of texts is kept, and no automaton walked. Letters that may be put in are those of the word's own
//! alphabet; Han characters and kana have too many, and are typed by other means.
//!
//! A hash may be a namesake's; then the search that follows finds nothing for it, which costs time only.

use std::collections::{BTreeSet, HashMap};

use super::engine::Engine;
use super::query::Query;
use super::rank::Word;
use super::segment::{Segment, WORD_CHARS, word_hash, words_of};

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
/// Segments of which one has to know a spelling: a word that is meant is seldom rare, and of the largest four each knows a
/// million names.
const TELLING: usize = 4;
/// How much likelier a spelling is that keeps the first letter: people mostly get it right.
const FIRST_LETTER: u32 = 4;

impl Engine {
    /// The words of a query with other spellings beside those that are seldom or never found, and the query as corrected: the
    /// likeliest spelling in each place. `None` when there is nothing to correct.
    pub(super) fn correct(&self, query: &Query, total: u64) -> Option<(Vec<Word>, String)> {
        // Leaves that have no hashes yet count where they are all there is; otherwise they are few names among many.
        let scanned = if self.texts.segments().next().is_none() { self.scanned_words() } else { HashMap::new() };
        let mut largest: Vec<&Segment> = self.texts.segments().map(|(_, segment)| segment).collect();
        largest.sort_unstable_by_key(|segment| std::cmp::Reverse(segment.leaves.len()));
        largest.truncate(TELLING);
        let mut changed = false;
        let mut words = Vec::new();
        let mut texts = Vec::new();
        for word in &query.words {
            let mut spellings = self.spellings(word, &largest, &scanned, total);
            changed |= !spellings.is_empty();
            texts.push(spellings.first().unwrap_or(word).clone());
            spellings.insert(0, word.clone());
            words.push(Word::new(spellings.iter().map(String::as_str)));
        }
        changed.then(|| (words, texts.join(" ")))
    }

    /// Known words at one error from one, the likeliest first, when a search for it as typed had `total` hits.
    fn spellings(&self, word: &str, largest: &[&Segment], scanned: &HashMap<u32, u32>, total: u64) -> Vec<String> {
        let letters: Vec<char> = word.chars().collect();
        if !WORD_CHARS.contains(&letters.len()) || !letters.iter().all(|letter| letter.is_alphabetic()) {
            return Vec::new();
        }
        let count = |word: &str| {
            let hash = word_hash(word.as_bytes());
            let known: u32 = self.texts.segments().map(|(_, segment)| segment.word_count(hash)).sum();
            known + scanned.get(&hash).copied().unwrap_or(0)
        };
        let own = count(word);
        if own >= SURE || (own == 0 && total >= FEW) {
            return Vec::new();
        }
        let enough = 1.max(own * MORE_FREQUENT);
        let is_likely = |edit: &String| {
            let hash = word_hash(edit.as_bytes());
            scanned.contains_key(&hash) || largest.iter().any(|segment| segment.word_count(hash) > 0)
        };
        let known = edits(&letters).into_iter().filter(is_likely).map(|edit| (count(&edit), edit)).filter(|(count, _)| *count >= enough);
        let mut known: Vec<(u32, String)> = known
            .map(|(count, edit)| (if edit.chars().next() == letters.first().copied() { count * FIRST_LETTER } else { count }, edit))
            .collect();
        known.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
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

/// All texts at one error from a word.
fn edits(letters: &[char]) -> BTreeSet<String> {
    let alphabet = alphabet(letters);
    let mut edits = BTreeSet::new();
    for at in 0..=letters.len() {
        let (before, after) = letters.split_at(at);
        let mut add = |middle: &[char], after: &[char]| {
            edits.insert(before.iter().chain(middle).chain(after).collect::<String>());
        };
        if let [first, rest @ ..] = after {
            add(&[], rest);
            alphabet.clone().for_each(|letter| add(&[letter], rest));
            if let [second, rest @ ..] = rest {
                add(&[*second, *first], rest);
            }
        }
        alphabet.clone().for_each(|letter| add(&[letter], after));
    }
    edits.remove(&letters.iter().collect::<String>());
    edits
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

    #[test]
    fn edits_are_all_single_errors_and_not_the_word() {
        let edits = edits(&['a', 'b', 'c', 'd']);
        for near in ["abd", "abxcd", "abcde", "xbcd", "bacd", "abdc", "xabcd"] {
            assert!(edits.contains(near), "{near}");
        }
        assert!(!edits.contains("abcd") && !edits.contains("ab"));
    }

    #[test]
    fn only_letters_of_the_same_alphabet_are_put_in() {
        assert!(edits(&['м', 'и', 'р', 'а']).contains("мирка"));
        assert_eq!(edits(&['日', '本', '語', '字']).len(), 4 + 3);
    }
}
