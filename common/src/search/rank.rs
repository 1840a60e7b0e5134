//! What is a better hit: the one score that [`Engine`](super::engine::Engine) and [`Scan`](super::scan::Scan) share.
//!
//! A sum of points, so that it can be bounded from above by what is known of a block of names before they are read:
//!
//! | points | for |
//! |---|---|
//! | 0 or 64, 128 or 224 for each word | where it stands best: inside a word in a folder or in the last component, at the start of a word likewise |
//! | 32 for each word | a whole word there |
//! | 32 | the last component begins with one of the words |
//! | up to 256 | a short path: one for each byte below 256 |
//! | up to 160 | sources: 16 each time their number doubles, up to 1,024 |
//! | 32 | a folder, more than the best of the files in it that match, whatever their sources |

use memchr::memmem::Finder;

use super::fold::{ends_word, starts_word};
use super::names::Reader;
use super::postings::ones;
use super::segment::base_start;

/// For a word inside another, in the last component.
const INSIDE_BASE: u32 = 64;
/// For the start of a word in a folder.
const FOLDER_START: u32 = 128;
/// For the start of a word in the last component.
const BASE_START: u32 = 224;
/// For a word that also ends there.
const WHOLE: u32 = 32;
/// For a last component that begins with a word.
pub(super) const LEADS: u32 = 32;
/// For a folder.
pub(super) const FOLDER: u32 = 32;
/// For no length at all.
const SHORTNESS: u32 = 256;
/// For ever so many sources.
pub(super) const POPULARITY: u32 = 160;

/// What the place of a word is worth at most, by how much is known: it is inside, it starts a word in a folder, it
/// starts one in the last component. The steps are equal, so that the sum over all words depends on the number of steps only.
pub(super) const PLACE_BASE: u32 = INSIDE_BASE;
/// See [`PLACE_BASE`].
pub(super) const PLACE_STEP: u32 = FOLDER_START + WHOLE - INSIDE_BASE;
/// What does not depend on words is worth at most this, and a name that leads.
pub(super) const MOST_PROMISE: u32 = SHORTNESS + POPULARITY;

/// As many names of a block are searched one by one as fast as all of them at once.
const FEW: u32 = 4;

const _: () = assert!(INSIDE_BASE + 2 * PLACE_STEP == BASE_START + WHOLE, "steps are equal");

/// A word of a query, with the spellings that count as it.
#[derive(Debug)]
pub(super) struct Word {
    finders: Vec<Finder<'static>>,
}

impl Word {
    pub(super) fn new<'a>(spellings: impl IntoIterator<Item = &'a str>) -> Self {
        Self { finders: spellings.into_iter().map(|spelling| Finder::new(spelling).into_owned()).collect() }
    }

    pub(super) fn spellings(&self) -> impl Iterator<Item = &[u8]> {
        self.finders.iter().map(Finder::needle)
    }

    pub(super) fn is_in(&self, folded: &[u8]) -> bool {
        self.finders.iter().any(|finder| finder.find(folded).is_some())
    }

    /// Where it stands first.
    pub(super) fn find(&self, folded: &[u8]) -> Option<usize> {
        self.finders.iter().filter_map(|finder| finder.find(folded)).min()
    }

    /// In which of some names of a block it stands: a bit for each.
    pub(super) fn holding(&self, block: &Reader, among: u16) -> u16 {
        if among.count_ones() <= FEW {
            return ones(among.into()).filter(|place| self.is_in(block.name(*place).folded)).fold(0, |holding, place| holding | 1 << place);
        }
        self.finders.iter().fold(0, |holding, finder| holding | block.holding(finder)) & among
    }

    /// What its best place is worth, and where it ends for the first time; `None` when it is not there.
    fn place(&self, folded: &[u8], base: usize) -> Option<(u32, usize)> {
        let mut best = 0;
        let mut first_end = usize::MAX;
        for finder in &self.finders {
            let len = finder.needle().len();
            let mut from = 0;
            while let Some(at) = folded.get(from..).and_then(|rest| finder.find(rest)).map(|at| from + at) {
                first_end = first_end.min(at + len);
                best = best.max(place(folded, base, at, len));
                if best == BASE_START + WHOLE {
                    break;
                }
                from = at + len;
            }
        }
        (first_end != usize::MAX).then_some((best, first_end))
    }

    fn leads(&self, name: &[u8]) -> bool {
        self.finders.iter().any(|finder| name.starts_with(finder.needle()))
    }
}

fn place(folded: &[u8], base: usize, at: usize, len: usize) -> u32 {
    let in_base = at >= base;
    if !starts_word(folded, at) {
        return if in_base { INSIDE_BASE } else { 0 };
    }
    let whole = if ends_word(folded, at + len) { WHOLE } else { 0 };
    whole + if in_base { BASE_START } else { FOLDER_START }
}

/// A path that holds all words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    /// What it is worth but for its sources.
    pub(super) points: u32,
    /// Where the first folder ends that holds all words in its own path.
    pub(super) folder_end: Option<usize>,
}

/// Looks for all words in a folded path; `None` when one is missing.
pub(super) fn find(words: &[Word], folded: &[u8]) -> Option<Match> {
    let base = base_start(folded);
    let mut points = shortness(folded.len());
    let mut leads = false;
    let mut end = 1;
    for word in words {
        let (place, first_end) = word.place(folded, base)?;
        points += place;
        end = end.max(first_end);
        leads |= word.leads(&folded[base..]);
    }
    points += if leads { LEADS } else { 0 };
    // A word may end with the slash itself.
    let folder_end = (end <= base).then(|| folded.iter().skip(end - 1).position(|byte| *byte == b'/').map(|slash| end - 1 + slash));
    Some(Match { points, folder_end: folder_end.flatten() })
}

/// What the length of a folded path in bytes is worth.
pub(super) fn shortness(len: usize) -> u32 {
    SHORTNESS.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX))
}

/// What it is worth that so many entries of online peers have the content: 16 × log2, by straight lines between powers of two.
pub(super) fn popularity(copies: usize) -> u32 {
    let copies = copies.clamp(1, 1024) as u32;
    let doublings = copies.ilog2();
    (16 * doublings + ((copies << 4) >> doublings) - 16).min(POPULARITY)
}

/// The extension of a folded path, without the dot.
pub(super) fn extension(folded: &[u8]) -> Option<&[u8]> {
    let name = &folded[base_start(folded)..];
    name.iter().rposition(|byte| *byte == b'.').and_then(|dot| name.get(dot + 1..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points(words: &[&str], path: &str) -> Option<u32> {
        find(&words.iter().map(|word| Word::new([*word])).collect::<Vec<_>>(), path.as_bytes()).map(|found| found.points)
    }

    #[test]
    fn better_places_and_shorter_paths_are_worth_more() {
        let falling = ["road.mp3", "old road.mp3", "xx roads.mp3", "road/xxx.mp3", "x/broad.mp3", "broad/x.mp3"];
        let worth: Vec<_> = falling.iter().map(|path| points(&["road"], path)).collect();
        assert!(worth.windows(2).all(|pair| pair[0] > pair[1]), "{worth:?}");
        assert!(points(&["road"], "a/road") > points(&["road"], "abc/road"));
        assert_eq!(points(&["road", "abbey"], "a road"), None);
    }

    #[test]
    fn sources_count_by_their_magnitude() {
        assert_eq!([1, 2, 3, 4, 1024, 5000].map(popularity), [0, 16, 24, 32, 160, 160]);
    }

    #[test]
    fn the_first_folder_that_holds_all_words_ends_at_its_slash() {
        let end = |words: &[&str], path: &str| {
            find(&words.iter().map(|word| Word::new([*word])).collect::<Vec<_>>(), path.as_bytes()).unwrap().folder_end
        };
        assert_eq!(end(&["a"], "xa/b/a"), Some(2));
        assert_eq!(end(&["b", "a"], "xa/b/c"), Some(4));
        assert_eq!(end(&["a/"], "xa/b"), Some(2));
        assert_eq!(end(&["b"], "a/b"), None);
        assert_eq!(end(&["/"], "a/b"), Some(1));
    }

    proptest! {
        /// What makes it right to stop early.
        #[test]
        fn no_name_is_worth_more_than_was_promised(words in prop::collection::vec("[ab/. ]{1,3}", 1..4), path in "[ab/. ]{1,40}") {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if let Some(points) = points(&words, &path) {
                let most = words.len() as u32 * (PLACE_BASE + 2 * PLACE_STEP) + LEADS + FOLDER + shortness(path.len());
                prop_assert!(points <= most);
            }
        }
    }
}
