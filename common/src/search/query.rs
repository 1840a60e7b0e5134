//! The query language: one for the command line, the protocol and the page.
//!
//! | typed | finds entries |
//! |---|---|
//! | `abbey road` | whose path holds both words, in any order, each anywhere: `road` finds `Broadway` too |
//! | `"abbey road"` | whose path holds exactly this, blanks and all |
//! | `-live` `-"in concert"` | whose path does not hold it |
//! | `ext:flac,mp3` | with one of these extensions |
//! | `type:video` | of this kind: `audio` `video` `image` `document` `archive` `program` `subtitle`; or `type:folder`, folders only |
//! | `size:>10MiB` `size:<1.5GB` | at least, at most so big; `KiB MiB GiB TiB` are powers of 1,024, `k M G T` of 1,000 |
//! | `newer:7d` `newer:2026-01-31` | changed in the last `s` `m` `h` `d` `w` `y`, or on that day (UTC) or later |
//! | `peer:anna` | of this peer, by nickname or PeerId; several: any of them |
//!
//! Case, accents and width do not count ([`fold`]). Filters join by *and*, what is repeated within `ext:`,
//! `type:` and `peer:` by *or*. A filter whose value makes no sense is a word: every text is a query.
//!
//! Folders are hits where a folder's own path holds all the words, unless a filter asks for what only files have.

use super::fold::fold;
use super::media::extensions_of;

/// Most words, and most exclusions, that are looked at; what follows is left out. Each costs work for every entry that is
/// looked at, and nobody types as many.
pub const MAX_WORDS: usize = 16;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// A parsed search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Folded texts that must all be in the path.
    pub words: Vec<String>,
    /// Folded texts that must not.
    pub without: Vec<String>,
    /// Folded file name extensions, one of which must fit; empty: any.
    pub extensions: Vec<String>,
    /// Only folders.
    pub folders_only: bool,
    /// Least size in bytes.
    pub min_size: Option<u64>,
    /// Greatest size in bytes.
    pub max_size: Option<u64>,
    /// Nicknames or PeerIds as typed: who searches finds their numbers and searches `only` there.
    pub peers: Vec<String>,
    /// Since when it must have changed.
    pub newer: Option<Newer>,
}

/// Since when a file must have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newer {
    /// At most so many seconds before the search.
    Age(i64),
    /// At this time or later, in seconds since 1970-01-01 UTC.
    Since(i64),
}

impl Newer {
    /// The earliest time that counts, in seconds since 1970-01-01 UTC, when it is searched at `now`.
    #[must_use]
    pub fn earliest(self, now: i64) -> i64 {
        match self {
            Self::Age(seconds) => now.saturating_sub(seconds),
            Self::Since(time) => time,
        }
    }
}

impl Query {
    /// Parses what a user typed.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for token in tokens(text) {
            if token.quoted || token.negative || !query.take_filter(&token.text) {
                query.take_word(&token);
            }
        }
        query
    }

    /// Whether folders can be hits: no filter asks for what only files have.
    #[must_use]
    pub fn wants_folders(&self) -> bool {
        let of_files = !self.extensions.is_empty() || self.min_size.is_some() || self.max_size.is_some() || self.newer.is_some();
        !self.words.is_empty() && (self.folders_only || !of_files)
    }

    fn take_word(&mut self, token: &Token) {
        let folded = fold(&token.text);
        let list = if token.negative { &mut self.without } else { &mut self.words };
        if !folded.is_empty() && list.len() < MAX_WORDS {
            list.push(folded);
        }
    }

    /// Takes `key:value` if it is a filter with a value that makes sense.
    fn take_filter(&mut self, token: &str) -> bool {
        let Some((key, value)) = token.split_once(':').filter(|(_, value)| !value.is_empty()) else { return false };
        match key.to_ascii_lowercase().as_str() {
            "ext" => self.take_extensions(value),
            "type" => self.take_type(&value.to_ascii_lowercase()),
            "size" => self.take_size(value),
            "newer" => parse_newer(value).map(|newer| self.newer = Some(newer)).is_some(),
            "peer" => {
                self.peers.push(value.to_owned());
                self.peers.truncate(MAX_WORDS);
                true
            }
            _ => false,
        }
    }

    fn take_extensions(&mut self, value: &str) -> bool {
        let before = self.extensions.len();
        let named = value.split(',').map(|extension| fold(extension.trim_start_matches('.'))).filter(|extension| !extension.is_empty());
        self.extensions.extend(named.take(MAX_WORDS));
        self.extensions.len() > before
    }

    fn take_type(&mut self, value: &str) -> bool {
        if matches!(value, "folder" | "folders" | "dir") {
            self.folders_only = true;
            return true;
        }
        let Some(extensions) = extensions_of(value) else { return false };
        self.extensions.extend(extensions.iter().map(|extension| (*extension).to_owned()));
        true
    }

    fn take_size(&mut self, value: &str) -> bool {
        let bound = if value.starts_with('>') { &mut self.min_size } else { &mut self.max_size };
        let Some(size) = value.strip_prefix(['>', '<']).and_then(|size| parse_size(size.strip_prefix('=').unwrap_or(size))) else {
            return false;
        };
        *bound = Some(size);
        true
    }
}

/// A piece of the typed text.
struct Token {
    text: String,
    /// Stood in double quotes: no filter, and blanks count.
    quoted: bool,
    /// Had a `-` before it.
    negative: bool,
}

/// Cuts at white space outside double quotes. A quote that is not closed reaches to the end.
fn tokens(text: &str) -> Vec<Token> {
    let mut all: Vec<Token> = Vec::new();
    let mut negative_quote = false;
    for (part, piece) in text.split('"').enumerate() {
        if part % 2 == 1 {
            all.push(Token { text: piece.to_owned(), quoted: true, negative: std::mem::take(&mut negative_quote) });
            continue;
        }
        for word in piece.split_whitespace() {
            let rest = word.strip_prefix('-');
            all.push(Token { text: rest.unwrap_or(word).to_owned(), quoted: false, negative: rest.is_some() });
        }
        // A `-` that ends the piece belongs to the quote that follows.
        if piece.ends_with('-') && all.last().is_some_and(|last| last.negative && last.text.is_empty()) {
            all.pop();
            negative_quote = true;
        }
    }
    all.retain(|token| !token.text.trim().is_empty());
    all
}

/// Bytes from `10MiB`, `1.5 GB`, `700k`: powers of 1,024 with an `i`, of 1,000 without.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let factor = match unit {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "ki" => 1024.0,
        "mi" => 1024.0 * 1024.0,
        "gi" => 1024.0 * 1024.0 * 1024.0,
        "ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some((number * factor) as u64)
}

/// `7d`, or a day `2026-01-31`.
fn parse_newer(text: &str) -> Option<Newer> {
    if let Some(day) = parse_day(text) {
        return Some(Newer::Since(day));
    }
    let unit = text.chars().next_back()?;
    let seconds = match unit.to_ascii_lowercase() {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => DAY,
        'w' => 7 * DAY,
        'y' => 365 * DAY,
        _ => return None,
    };
    let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
    Some(Newer::Age(i64::from(count) * seconds))
}

/// The first second of a day of the Gregorian calendar, UTC.
fn parse_day(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let mut number = |digits: usize| parts.next().filter(|part| part.len() == digits)?.parse::<u32>().ok();
    let (year, month, day) = (i64::from(number(4)?), i64::from(number(2)?), i64::from(number(2)?));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March put the leap day last; then months have a regular length: 153 days in five.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 1;
    // Day 719,468 of this count is 1970-01-01.
    Some((days - 719_468) * DAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_phrases_exclusions_and_filters_are_told_apart() {
        let query = Query::parse("Café \"Live At\" -remix -\"In Concert\" ext:flac,.MP3 size:>10MiB size:<1GB c:d");
        assert_eq!(query.words, ["cafe", "live at", "c:d"]);
        assert_eq!(query.without, ["remix", "in concert"]);
        assert_eq!(query.extensions, ["flac", "mp3"]);
        assert_eq!((query.min_size, query.max_size), (Some(10 << 20), Some(1_000_000_000)));
        assert!(!query.wants_folders());
    }

    #[test]
    fn kinds_peers_and_ages_are_filters() {
        let query = Query::parse("type:subtitles type:folder peer:Anna newer:7d x");
        assert!(query.extensions.contains(&"srt".to_owned()) && query.folders_only);
        assert_eq!((query.peers, query.newer), (vec!["Anna".to_owned()], Some(Newer::Age(7 * DAY))));
        assert_eq!(Query::parse("newer:1970-01-02").newer, Some(Newer::Since(DAY)));
        assert_eq!(Query::parse("newer:2026-01-31").newer, Some(Newer::Since(1_769_817_600)));
        assert_eq!(Query::parse("newer:2000-03-01").newer, Some(Newer::Since(951_868_800)));
        assert_eq!(Newer::Age(5).earliest(12), 7);
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_a_word() {
        for text in ["size:big", "size:10", "newer:soon", "newer:2026-13-01", "type:smell", "ext:", "http://x"] {
            assert_eq!(Query::parse(text).words, [text], "{text}");
        }
        assert_eq!(Query::parse("\"ext:mp3\" -size:>1").words, ["ext:mp3"]);
    }

    #[test]
    fn sizes_are_read_in_both_kinds_of_units() {
        assert_eq!(parse_size("10"), Some(10));
        assert_eq!(parse_size("1.5KiB"), Some(1536));
        assert_eq!(parse_size("2k"), Some(2000));
        assert_eq!(parse_size("x"), None);
        assert_eq!(parse_size("5 parsecs"), None);
    }

    proptest! {
        #[test]
        fn every_text_is_a_query_of_bounded_size(text in "[\\PC \"-]{0,80}") {
            let query = Query::parse(&text);
            prop_assert!(query.words.len() <= MAX_WORDS && query.without.len() <= MAX_WORDS);
            prop_assert!(query.words.iter().all(|word| !word.is_empty()));
        }

        #[test]
        fn words_are_found_again_as_words(words in prop::collection::vec("[a-z]{1,8}", 1..6)) {
            prop_assert_eq!(Query::parse(&words.join("  ")).words, words);
        }
    }
}
