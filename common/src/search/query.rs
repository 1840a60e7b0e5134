//! The query language: words, filters, and what they mean.
//!
//! Several words in any order, each found anywhere in the path; `"an exact phrase"`; `-without`; filters `ext:mkv`,
//! `size:>10MiB`, `size:<1GiB`. Case and accents do not count.

use unicode_normalization::UnicodeNormalization;

/// A parsed search. Every text is one: what is no filter is a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Folded texts that must all be in the path.
    pub words: Vec<String>,
    /// Folded texts that must not.
    pub without: Vec<String>,
    /// Folded file name extensions, one of which must fit; empty: any.
    pub extensions: Vec<String>,
    /// Least size in bytes.
    pub min_size: Option<u64>,
    /// Greatest size in bytes.
    pub max_size: Option<u64>,
}

impl Query {
    /// Parses what a user typed.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for (token, quoted) in tokens(text) {
            if quoted || !query.take_filter(&token) {
                query.take_word(&token, quoted);
            }
        }
        query
    }

    fn take_word(&mut self, token: &str, quoted: bool) {
        match token.strip_prefix('-').filter(|rest| !quoted && !rest.is_empty()) {
            Some(rest) => self.without.push(fold(rest)),
            None => self.words.push(fold(token)),
        }
    }

    /// Takes `key:value` if it is a filter with a value that makes sense.
    fn take_filter(&mut self, token: &str) -> bool {
        match token.split_once(':') {
            Some(("ext", value)) if !value.is_empty() => {
                self.extensions.extend(value.split(',').map(|extension| fold(extension.trim_start_matches('.'))));
                true
            }
            Some(("size", value)) => match (value.get(..1), value.get(1..).and_then(parse_size)) {
                (Some(">"), Some(size)) => {
                    self.min_size = Some(size);
                    true
                }
                (Some("<"), Some(size)) => {
                    self.max_size = Some(size);
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }
}

/// Cuts at white space outside double quotes. A quote that is not closed reaches to the end.
fn tokens(text: &str) -> Vec<(String, bool)> {
    let mut all = Vec::new();
    for (part, piece) in text.split('"').enumerate() {
        if part % 2 == 1 {
            all.push((piece.to_owned(), true));
        } else {
            all.extend(piece.split_whitespace().map(|word| (word.to_owned(), false)));
        }
    }
    all.retain(|(token, _)| !token.trim().is_empty());
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

/// A text as the index compares it: compatibility forms joined, accents and case dropped.
#[must_use]
pub fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfkd().filter(|c| !matches!(c, '\u{300}'..='\u{36f}')).flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_phrases_exclusions_and_filters_are_told_apart() {
        let query = Query::parse("Café \"Live At\" -remix ext:flac,.MP3 size:>10MiB size:<1GB c:d");
        assert_eq!(query.words, ["cafe", "live at", "c:d"]);
        assert_eq!(query.without, ["remix"]);
        assert_eq!(query.extensions, ["flac", "mp3"]);
        assert_eq!((query.min_size, query.max_size), (Some(10 << 20), Some(1_000_000_000)));
    }

    #[test]
    fn sizes_are_read_in_both_kinds_of_units() {
        assert_eq!(parse_size("10"), Some(10));
        assert_eq!(parse_size("1.5KiB"), Some(1536));
        assert_eq!(parse_size("2k"), Some(2000));
        assert_eq!(parse_size("x"), None);
        assert_eq!(parse_size("5 parsecs"), None);
    }
}
