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
//! | 32 | a folder, as it stands for all that it holds |

use memchr::memmem::Finder;

use super::fold::{ends_word, starts_word};
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
const LEADS: u32 = 32;
/// For a folder.
pub(super) const FOLDER: u32 = 32;
/// For no length at all.
const SHORTNESS: u32 = 256;
/// For ever so many sources.
const POPULARITY: u32 = 160;

/// What the place of a word is worth at most, by how much is known: it is inside, it starts a word in a folder, it
/// starts one in the last component. The steps are equal, so that the sum over all words depends on the number of steps only.
pub(super) const PLACE_BASE: u32 = INSIDE_BASE;
/// See [`PLACE_BASE`].
pub(super) const PLACE_STEP: u32 = FOLDER_START + WHOLE - INSIDE_BASE;
/// What does not depend on words is worth at most this, and a name that leads.
pub(super) const MOST_PROMISE: u32 = SHORTNESS + POPULARITY;
/// What a hit may have beyond places and promise.
pub(super) const MOST_EXTRA: u32 = LEADS + FOLDER;

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

    /// What its best place is worth; `None` when it is not there.
    fn place(&self, folded: &[u8], base: usize) -> Option<u32> {
        let mut best = None;
        for finder in &self.finders {
            for at in finder.find_iter(folded) {
                let points = place(folded, base, at, finder.needle().len());
                best = best.max(Some(points));
                if points == BASE_START + WHOLE {
                    return best;
                }
            }
        }
        best
    }

    fn leads(&self, name: &[u8]) -> bool {
        self.finders.iter().any(|finder| name.starts_with(finder.needle()))
    }

    /// Where it ends for the first time.
    fn first_end(&self, folded: &[u8]) -> Option<usize> {
        self.finders.iter().filter_map(|finder| finder.find(folded).map(|at| at + finder.needle().len())).min()
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

/// What a path is worth but for its sources; `None` when it does not hold all words.
pub(super) fn score(words: &[Word], folded: &[u8]) -> Option<u32> {
    let base = base_start(folded);
    let mut sum = shortness(folded.len());
    let mut leads = false;
    for word in words {
        sum += word.place(folded, base)?;
        leads |= word.leads(&folded[base..]);
    }
    Some(sum + if leads { LEADS } else { 0 })
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

/// Where the first folder ends on the way to a file that holds all the words in its own path.
pub(super) fn folder_end(words: &[Word], folded: &[u8]) -> Option<usize> {
    let mut end = 1;
    for word in words {
        end = end.max(word.first_end(folded)?);
    }
    // A word may end with the slash itself.
    let from = end - 1;
    folded.get(from..)?.iter().position(|byte| *byte == b'/').map(|slash| from + slash)
}

/// The extension of a folded path, without the dot.
pub(super) fn extension(folded: &[u8]) -> Option<&[u8]> {
    let name = &folded[base_start(folded)..];
    name.iter().rposition(|byte| *byte == b'.').and_then(|dot| name.get(dot + 1..))
}
